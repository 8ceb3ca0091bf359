"""What a file may cost: what is read from it is counted first, and limited by the file's own length."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ca_numpy.errors import UserError, quoted, reason

#: Deflate reaches 1000 to 1; weights hardly reach 2.
_MOST_COMPRESSED = 16
_SMALL = 1 << 20


class RefusedError(Exception):
    """The reason a file is refused; `refusing` turns it into a UserError that names the file."""


class Room:
    """The number of bytes that may still be taken from a file."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> None:
        """Count `size` bytes before they are taken. Raises RefusedError if that is too many."""
        self._left -= size
        if self._left < 0:
            raise RefusedError("its contents claim far more memory than its length allows; get it from a trusted place")


@contextmanager
def refusing(path: Path, what: str) -> Iterator[None]:
    """Turn errors while reading a file into a UserError; `what` names the format, for damaged files."""
    try:
        yield
    except RefusedError as error:
        raise UserError(f"{path}: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, struct.error, RuntimeError) as error:
        # All are raised by zipfile for damaged archives; the last for encrypted members and unknown features.
        raise UserError(f"{path}: damaged or truncated {what} ({reason(error)}); copy or save it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or 'damaged'})") from error


class _Bounded(io.BufferedReader):
    """A file of which no more memory is reserved than there is to read, whatever size zipfile finds in it."""

    def read(self, size: int | None = -1) -> bytes:
        left = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


class Archive:
    """A zip archive. `read` counts a member's size before it is taken.

    compressed   whether members may be compressed; torch's never are
    """

    def __init__(self, path: Path, *, compressed: bool = False) -> None:
        if path.exists() and not path.is_file():  # a pipe would block
            raise RefusedError("this is not a file; check the path")
        self._file = _Bounded(io.FileIO(path))
        try:
            self._zip = zipfile.ZipFile(self._file)
        except BaseException:
            self._file.close()
            raise
        self._methods = {zipfile.ZIP_STORED} | ({zipfile.ZIP_DEFLATED} if compressed else set())
        size = path.stat().st_size
        self._room = Room(_MOST_COMPRESSED * size + _SMALL if compressed else size)
        self.names = self._zip.namelist()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def read(self, name: str) -> bytes:
        """The contents of a member, its checksum verified. Raises RefusedError, and zipfile's errors."""
        try:
            info = self._zip.getinfo(name)
        except KeyError as error:
            raise RefusedError(f"the archive has no member {quoted(name)}; it is damaged") from error
        if info.compress_type not in self._methods:
            how = "compressed in an unknown way" if len(self._methods) > 1 else "compressed, which torch never does"
            raise RefusedError(f"member {quoted(name)} is {how}; save it again")
        self._room.take(info.file_size)
        return self._zip.read(info)
