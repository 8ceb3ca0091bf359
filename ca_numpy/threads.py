"""Threads that share the tasks of a compiled kernel.

Compiled code runs without the interpreter's lock, so Python's own threads run one kernel on all cores. Handing out a
task takes about 10 µs. Numba's `parallel=True` would do it in compiled code, which takes three to five times as long
to compile, and needs OpenMP or TBB, whose threads do not survive a fork.

The threads start when first needed and wait for work. A process forked later starts its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import numba

_number: ContextVar[int | None] = ContextVar("ca_numpy_threads", default=None)


def get_num_threads() -> int:
    """Threads that run a kernel: those of `num_threads`, else NUMBA_NUM_THREADS, else one per core."""
    return _number.get() or int(numba.config.NUMBA_NUM_THREADS)


class num_threads:
    """Set the number of threads of compiled kernels, permanently or for a `with` block.

        num_threads(4)
        with num_threads(1): ...

    Results do not depend on it.
    """

    def __init__(self, number: int) -> None:
        self._token: Token[int | None] = _number.set(max(1, number))

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        _number.reset(self._token)


class _Crew:
    """Waiting threads, started as needed."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Any] = SimpleQueue()
        self._lock, self._size = threading.Lock(), 0

    def __call__(self, run: Callable[..., None], arguments: tuple[Any, ...], done: SimpleQueue[Any]) -> None:
        self._work.put((run, arguments, done))

    def grow(self, size: int) -> None:
        """Have at least `size` threads."""
        with self._lock:
            for _ in range(self._size, size):
                threading.Thread(target=self._wait_for_work, name="ca_numpy kernel", daemon=True).start()
            self._size = max(self._size, size)

    def _wait_for_work(self) -> None:
        while True:
            run, arguments, done = self._work.get()
            try:
                run(*arguments)
                done.put(None)
            except BaseException as error:
                done.put(error)
            del run, arguments, done  # or their memory stays in use until the next task


_crew = _Crew()


def _forget() -> None:
    global _crew
    _crew = _Crew()  # a forked process has none of the threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def share(run: Callable[..., None], arguments: tuple[Any, ...], tasks: int, *, threads: int) -> float:
    """run(*arguments, first, last) for equal ranges of 0 … tasks − 1, one per thread. Raises the first error.

    Returns the seconds that one task took.
    """
    threads, began = min(threads, tasks), time.perf_counter()
    if threads < 2:
        if tasks > 0:
            run(*arguments, 0, tasks)
        return (time.perf_counter() - began) / max(tasks, 1)
    edges = [tasks * i // threads for i in range(threads + 1)]
    crew, done = _crew, SimpleQueue[Any]()
    crew.grow(threads - 1)
    for first, last in pairwise(edges[1:]):
        crew(run, (*arguments, first, last), done)
    error: BaseException | None = None
    try:
        run(*arguments, 0, edges[1])
    except BaseException as e:
        error = e
    seconds = (time.perf_counter() - began) / edges[1]
    waiting = threads - 1
    while waiting:  # even if interrupted: the others still write to the arrays
        try:
            error = done.get() or error
            waiting -= 1
        except KeyboardInterrupt as e:
            error = e
    if error is not None:
        raise error
    return seconds
