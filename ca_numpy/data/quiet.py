"""Suppress Pillow's warnings while pictures are read, in any number of threads."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image


class _Quiet:
    """The number of active readers, and what restores the warning filters."""

    lock = threading.Lock()
    readers = 0
    before = contextlib.ExitStack()


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Suppress Pillow's warnings about metadata, which we do not read.

    Python has one list of warning filters for all threads, so the first reader changes it and the last one restores
    it. Code that reads in its own threads keeps this open around all of them.
    """
    with _Quiet.lock:
        _Quiet.readers += 1
        if _Quiet.readers == 1:
            _Quiet.before.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `_opened` checks the size
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.readers -= 1
            if _Quiet.readers == 0:
                _Quiet.before.close()
