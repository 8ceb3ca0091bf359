"""Pillow's warnings, kept quiet while pictures are read, in however many threads."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image


class _Quiet:
    """How many are reading now, and what puts the list of warnings back as it was."""

    lock = threading.Lock()
    readers = 0
    before = contextlib.ExitStack()


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """While pictures are read, Pillow keeps its remarks on notes that we do not read to itself.

    Python has one list of filters for all threads. It is therefore changed by the first who comes and put back by the
    last who leaves; whoever reads in threads of its own holds this open around all of them.
    """
    with _Quiet.lock:
        _Quiet.readers += 1
        if _Quiet.readers == 1:
            _Quiet.before.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `_opened` counts for itself
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.readers -= 1
            if _Quiet.readers == 0:
                _Quiet.before.close()
