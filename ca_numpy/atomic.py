"""Atomic file writes."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing removed
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, which replaces `path` if the block succeeds. Raises OSError."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with _locked(temporary, "xb") if fcntl else contextlib.nullcontext():
            yield temporary
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # already moved, on success
            temporary.unlink()


def is_temporary(path: Path) -> bool:
    """Whether a file of this name is a temporary file of `replacing`, left by a process that was killed."""
    return re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name) is not None


@contextlib.contextmanager
def _locked(file: Path, mode: str) -> Iterator[bool]:
    """Open the file and lock it, where the system can; -> whether it is ours. The lock ends with the process."""
    with open(file, mode) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of `replacing`, in the folder and below, whose writers were killed."""
    for file in folder.rglob(".*.tmp") if fcntl else ():
        if is_temporary(file):
            with contextlib.suppress(OSError), _locked(file, "rb") as abandoned:
                if abandoned:
                    file.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
