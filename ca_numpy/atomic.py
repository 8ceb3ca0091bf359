"""Atomic file writes."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, which replaces `path` if the block succeeds. Raises OSError."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # already moved, on success
            temporary.unlink()


def is_temporary(path: Path) -> bool:
    """Whether a file of this name is a temporary file of `replacing`, left by a process that was killed."""
    return re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that were killed, in a folder that no other process writes to."""
    for path in folder.rglob(".*.tmp"):
        if is_temporary(path):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
