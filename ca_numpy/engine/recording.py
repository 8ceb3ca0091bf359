"""Whether operations are recorded: the tape's switch, a context variable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_recording: ContextVar[bool] = ContextVar("ca_numpy_recording", default=True)


def is_recording() -> bool:
    """Whether operations are currently recorded."""
    return _recording.get()


@contextmanager
def recording(on: bool, /) -> Iterator[None]:
    """Switch recording on or off inside a `with` block."""
    token = _recording.set(on)
    try:
        yield
    finally:
        _recording.reset(token)
