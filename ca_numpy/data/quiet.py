"""Suppress the libraries' own messages while pictures are read, in any number of threads."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

for _name in ("tifffile", "PIL"):
    logging.getLogger(_name).addHandler(logging.NullHandler())  # else their errors go to stderr


class _Quiet:
    """The number of active readers, and what restores the warning filters."""

    lock = threading.Lock()
    readers = 0
    before = contextlib.ExitStack()


@contextlib.contextmanager
def quiet_pillow(most_pixels: int = 0) -> Iterator[None]:
    """Suppress the decoders' warnings, and Pillow's limit below `most_pixels`.

    Python has one list of warning filters for all threads, so the first reader changes it and the last one restores
    it. Code that reads in its own threads keeps this open around all of them.
    """
    with _Quiet.lock:
        _Quiet.readers += 1
        if _Quiet.readers == 1:
            _Quiet.before.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.|tifffile|imagecodecs")
            warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `opened` checks the size
            _Quiet.before.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        if Image.MAX_IMAGE_PIXELS is not None:
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, most_pixels)
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.readers -= 1
            if _Quiet.readers == 0:
                _Quiet.before.close()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Suppress the messages of libtiff and libpng, which they write to the process's stderr themselves.

    In the main thread only: decoding in other threads must not swallow what the main one writes meanwhile.
    """
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nothing:  # stderr may be closed
                stderr = os.dup(2)
                stack.callback(os.close, stderr)
                stack.callback(os.dup2, stderr, 2)
                os.dup2(nothing.fileno(), 2)
        yield
