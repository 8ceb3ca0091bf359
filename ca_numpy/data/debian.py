"""Reading Debian packages with the standard library: the files in the archive, and each file's licence.

A package is an `ar` archive: a magic line, then members, each after a 60-byte header. Its `data.tar` holds the files.
Nothing is executed or unpacked by name: the caller decides what to write, and where.
"""

from __future__ import annotations

import fnmatch
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from ca_numpy.data.images import quoted
from ca_numpy.errors import UserError

MAGIC = b"!<arch>\n"
HEADER = 60  # name 16, time 12, owner 6, group 6, mode 8, size 10, two final bytes

#: Compressions of `data.tar` that Python's standard library reads.
PACKED = ("data.tar", "data.tar.xz", "data.tar.gz", "data.tar.bz2")


class _Part(io.RawIOBase):
    """The next `size` bytes of an open file, as a file that is read sequentially."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def files(package: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Every regular file in the package, in order: path without "./", size in bytes, and the open content.

    Read the content before advancing to the next file; links, devices and folders are skipped.
    Raises `UserError` for a file that is not a package, is truncated, or uses an unsupported compression.
    """
    try:
        with (
            package.open("rb") as file,
            tarfile.open(fileobj=io.BufferedReader(_Part(file, _data_size(file, package))), mode="r|*") as tar,
        ):
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member.name.removeprefix("./"), member.size, content
    except (OSError, EOFError, ValueError, tarfile.TarError, lzma.LZMAError, zlib.error) as e:
        if isinstance(e, UserError):
            raise
        raise UserError(f"cannot read the package {quoted(package)} ({e}): get it again, it may be truncated") from e


def _data_size(file: IO[bytes], package: Path) -> int:
    """Seek to the start of `data.tar`; return its size in bytes."""
    if file.read(len(MAGIC)) != MAGIC:
        raise UserError(f"{quoted(package)} is not a Debian package: give the .deb file")
    while len(header := file.read(HEADER)) == HEADER:
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        if name in PACKED:
            return size
        if name.startswith("data.tar"):
            raise UserError(f"{quoted(package)} holds {name}, which Python cannot read: unpack it yourself")
        file.seek(size + size % 2, 1)  # members start at even offsets
    raise UserError(f"{quoted(package)} has no data.tar: get it again, it may be truncated")


class Terms(NamedTuple):
    """What a copyright file says about a file: the licence's short name, the copyright holders, and the source."""

    licence: str
    copyright: str
    source: str


class Copyright:
    """A package's machine-readable copyright file (Debian's format 1.0): file patterns, each with its terms.

    By the format's rule, the last paragraph that matches a file applies. Some patterns match too much: `mountain1*`,
    "public domain", also matches `mountain10-somebody`, which is not. To be safe we add a rule: a file is not in the
    public domain if any paragraph, except those for whole folders (`images/land/*`), gives it another licence.
    """

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[str, Terms]] = []
        for paragraph in text.replace("\r\n", "\n").split("\n\n"):
            fields = _fields(paragraph)
            if "files" in fields and "license" in fields:
                short, _, more = fields["license"].partition("\n")
                source = " ".join((more or fields.get("comment", "")).split())
                terms = Terms(short.strip(), " ".join(fields.get("copyright", "").split()), source)
                self._rules += [(pattern, terms) for pattern in fields["files"].split()]
        if not self._rules:
            raise UserError("the package's copyright file names no files: it is not in Debian's format 1.0")

    def terms(self, path: str) -> Terms | None:
        """The terms of a file, by its path in the source; None if no paragraph matches."""
        matching = [(pattern, terms) for pattern, terms in self._rules if fnmatch.fnmatchcase(path, pattern)]
        if not matching:
            return None
        named = [terms for pattern, terms in matching if not pattern.endswith("/*") and pattern != "*"]
        restricted = [terms for terms in named if terms.licence != "public-domain"]
        return restricted[-1] if restricted else matching[-1][1]


def _fields(paragraph: str) -> dict[str, str]:
    """Parse `Name: value` fields; indented lines continue a value. Names are lower-cased."""
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line[:1].isspace():
            if name:
                fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields
