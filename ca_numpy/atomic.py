"""Atomic file writes."""

from __future__ import annotations

import contextlib
import os
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


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
