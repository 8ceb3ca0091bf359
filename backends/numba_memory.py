"""A memory pool: large arrays reuse the memory of arrays that are no longer referenced.

Fresh memory is expensive: the operating system clears each page on first write, which costs several times the write
itself. A training step allocates the same arrays again and again, so their memory is kept. Every view holds a reference
to the array that owns its memory; a buffer is free when CPython's reference count shows that only the pool holds it.

A request takes the smallest free buffer that is large enough and at most 1.5 times as large. If none fits, a new one is
allocated, and free buffers are released as needed to keep the pool within SLACK times the peak memory in use.

Arrays begin with a line of the cache. The C library's begin 16 bytes into one if they are large, so that each store of
a vector of AVX-512 takes two lines, and twice as long. Rows that are whole lines begin with one, too.
"""

from __future__ import annotations

import os
import sys
import threading
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

#: Smaller arrays, in bytes, are left to the C library, which itself reuses memory up to about four times this size.
SMALL = 1 << 23
#: Bytes in a line of the cache.
LINE = 64
#: Limit of the pool, free buffers included, relative to the peak memory in use.
SLACK = 1.25

_LOCK = threading.Lock()
if hasattr(os, "register_at_fork"):  # a fork waits for it, so a child never finds it held
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class Pool:
    """Buffers of bytes, each referenced by the pool and by the arrays in it."""

    def __init__(self, *, small: int = SMALL) -> None:
        self._small = small
        self._buffers: list[Array] = []
        self._most = 0

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialised array, like `numpy.empty`."""
        dtype = np.dtype(dtype)
        size = prod(shape) * dtype.itemsize
        if size < self._small:
            room = np.empty(size + LINE, np.uint8)
            return _first_lines(room, size).view(dtype).reshape(shape)
        with _LOCK:
            return _first_lines(self._buffer(size + LINE), size).view(dtype).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of zeros, like `numpy.zeros`."""
        x = self.empty(shape, dtype)
        x.fill(0)
        return x

    def release(self) -> None:
        """Release all free memory."""
        with _LOCK:
            self._buffers, self._most = [], 0

    def held(self) -> int:
        """Size of all buffers, in use or free, in bytes."""
        return sum(buffer.nbytes for buffer in self._buffers)

    def _buffer(self, size: int) -> Array:
        free = [i for i in range(len(self._buffers)) if sys.getrefcount(self._buffers[i]) == _UNHELD]
        fitting = [i for i in free if size <= self._buffers[i].nbytes <= size * 3 // 2]
        if fitting:
            chosen = self._buffers.pop(min(fitting, key=lambda i: self._buffers[i].nbytes))
        else:
            self._make_room(free, size)
            chosen = np.empty(size, np.uint8)
        self._buffers.append(chosen)  # at the end: the list is in order of last use
        return chosen

    def _make_room(self, free: list[int], size: int) -> None:
        """Release free buffers, least recently used first, to make room for `size` bytes."""
        held = self.held()
        in_use = held - sum(self._buffers[i].nbytes for i in free)
        self._most = max(self._most, in_use + size)
        released = set()
        for i in free:
            if held + size <= SLACK * self._most:
                break
            held -= self._buffers[i].nbytes
            released.add(i)
        self._buffers = [buffer for i, buffer in enumerate(self._buffers) if i not in released]


def _first_lines(room: Array, size: int) -> Array:
    """`size` bytes from the beginning of a line on."""
    start = -room.ctypes.data % LINE
    return room[start : start + size]


_example = [np.empty(1)]
#: What `sys.getrefcount(buffers[i])` returns for a buffer that only the list references.
_UNHELD = sys.getrefcount(_example[0])
#: The process's pool. It affects where arrays are stored, never their values.
POOL = Pool()
