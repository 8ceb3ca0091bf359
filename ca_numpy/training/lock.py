"""One process at a time writes to a run's folder."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ca_numpy.errors import UserError, quoted

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: The locked file, and the one that names the process that locked it.
LOCK, WRITER = ".lock", ".writer"


class FolderLock:
    """A lock on a folder, from `hold` to the end of the `with` block or of the process, however it ends."""

    def __init__(self) -> None:
        self._lock: BaseFileLock | None = None

    def hold(self, folder: Path) -> None:
        """Lock the folder. Raises UserError, which names the other process, if it is locked; OSError."""
        from filelock import FileLock, Timeout  # slow to import

        lock = FileLock(folder / LOCK, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            other = "another process"
            with suppress(OSError, UnicodeError):
                other = (folder / WRITER).read_text(encoding="utf-8")[:100] or other
            raise UserError(f"{quoted(folder)} is being trained by {other}: wait for it, or stop it first") from None
        self._lock = lock
        with suppress(OSError):  # it only serves a message
            (folder / WRITER).write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            with suppress(OSError):
                (Path(self._lock.lock_file).parent / WRITER).unlink()
            self._lock.release()
