"""The memory plan: a large array lies where one lay that nobody holds any more.

Fresh memory is not free: the operating system clears each page when it is first written, which costs several times
the writing itself. A training step asks for the same arrays again and again, so their memory is kept and handed out
anew. CPython counts who holds an object, and every view holds the array whose memory it shows: a buffer with no holder
but the pool is free.

A buffer serves a request of at least two thirds of its size, the tightest first. Where none fits, a new one is made,
and as many free ones are given back to the system as keep the whole within SLACK times the most that was ever in use at
once.
"""

from __future__ import annotations

import sys
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ca_numpy.jit import LOCK

Array = NDArray[Any]

#: Bytes under which it is left to the C library, which keeps memory by itself up to about four times this.
SMALL = 1 << 23
#: Of the most that was in use at once: what may be held, free buffers included.
SLACK = 1.25


class Pool:
    """Buffers of bytes, each held by the pool and by the arrays that lie in it."""

    def __init__(self, *, small: int = SMALL) -> None:
        self._small = small
        self._buffers: list[Array] = []
        self._most = 0

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of any content, as from `numpy.empty`."""
        dtype = np.dtype(dtype)
        size = prod(shape) * dtype.itemsize
        if size < self._small:
            return np.empty(shape, dtype)
        with LOCK:  # the kernels' own, which a fork waits for: a child never finds it held
            return self._buffer(size)[:size].view(dtype).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """As from `numpy.zeros`."""
        x = self.empty(shape, dtype)
        x.fill(0)
        return x

    def release(self) -> None:
        """Gives everything that is free back to the system."""
        with LOCK:
            self._buffers, self._most = [], 0

    def held(self) -> int:
        """Bytes that the pool keeps, in use or free."""
        return sum(buffer.nbytes for buffer in self._buffers)

    def _buffer(self, size: int) -> Array:
        free = [i for i in range(len(self._buffers)) if sys.getrefcount(self._buffers[i]) == _UNHELD]
        fitting = [i for i in free if size <= self._buffers[i].nbytes <= size * 3 // 2]
        if fitting:
            # Moved to the end: the list is in order of last use.
            chosen = self._buffers.pop(min(fitting, key=lambda i: self._buffers[i].nbytes))
            self._buffers.append(chosen)
            return chosen
        self._give_back(free, size)
        self._buffers.append(np.empty(size, np.uint8))
        return self._buffers[-1]

    def _give_back(self, free: list[int], size: int) -> None:
        """Room for `size` more: the free buffers that were used longest ago go."""
        held = self.held()
        in_use = held - sum(self._buffers[i].nbytes for i in free)
        self._most = max(self._most, in_use + size)
        gone = set()
        for i in free:
            if held + size <= SLACK * self._most:
                break
            held -= self._buffers[i].nbytes
            gone.add(i)
        self._buffers = [buffer for i, buffer in enumerate(self._buffers) if i not in gone]


def _references() -> int:
    """What `sys.getrefcount(list[i])` says of an object that only the list holds."""
    alone = [np.empty(1)]
    return sys.getrefcount(alone[0])


_UNHELD = _references()
#: The process's pool. It changes where arrays lie, never what is in them.
POOL = Pool()
