"""Exercises of notebook 16, CUDA without a GPU: index arithmetic, and prefix sums with barriers."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]
Thread = Generator[None, None, Any]


# ---- whose number ------------------------------------------------------------------------------------------------
def _numbers_of(block: int, thread: int, blocks: int, threads: int, n: int) -> list[int]:
    """By finding the thread of each number."""
    return [i for i in range(n) if (i % (blocks * threads)) // threads == block and i % threads == thread]


def _launches() -> dict[str, tuple[int, ...]]:
    return {
        "one number per thread": (0, 3, 1, 8, 8),
        "the second block": (1, 2, 3, 4, 12),
        "more threads than numbers": (2, 3, 3, 4, 10),
        "two rounds": (1, 0, 3, 4, 28),
        "an incomplete last round": (2, 1, 3, 4, 22),
        "one block only": (0, 5, 1, 8, 30),
    }


# ---- prefix sums -------------------------------------------------------------------------------------------------
class Shared:
    """A block's shared memory: an earlier block's values are still there, and reads are counted per thread."""

    LEFT_OVER = 1000.0

    def __init__(self, n: int) -> None:
        self._numbers = [self.LEFT_OVER] * n
        self.reads = [0] * n
        self.thread = 0  # whose turn it is

    def __getitem__(self, i: Any) -> float:
        n, found = len(self._numbers), self._numbers[self._place(i)]
        self.reads[self.thread] += 1
        if self.reads[self.thread] > 2 * math.ceil(math.log2(n)) + 1:
            raise ValueError(f"thread {self.thread} of {n} reads more than 2·log₂({n}) + 1 numbers: use doubling steps")
        return found

    def __setitem__(self, i: Any, value: Any) -> None:
        self._numbers[self._place(i)] = float(value)

    def _place(self, i: Any) -> int:
        if not isinstance(i, (int, np.integer)):
            raise TypeError("a thread reads and writes one number at a time")
        if not 0 <= i < len(self._numbers):
            raise IndexError(f"thread {self.thread} accesses index {i} of {len(self._numbers)}")
        return int(i)


def _run_block(answer: Callable[..., Any], numbers: Array, *, backwards: bool) -> list[float]:
    n = len(numbers)
    shared = Shared(n)
    running = {t: answer(t, n, float(numbers[t]), shared) for t in (reversed(range(n)) if backwards else range(n))}
    results: list[Any] = [None] * n
    while running:
        waiting = {}
        for t, steps in running.items():
            shared.thread = t
            if not isinstance(steps, Generator):
                raise TypeError("a thread needs a barrier, which is a `yield`")
            try:
                next(steps)
                waiting[t] = steps
            except StopIteration as ended:
                results[t] = ended.value
        if 0 < len(waiting) < len(running):
            raise RuntimeError("some threads wait at a barrier that others never reach")
        running = waiting
    if any(r is None for r in results):
        raise ValueError(f"thread {results.index(None)} returns nothing")
    return results


def _ask_block(answer: Callable[..., Any], numbers: Array) -> Any:
    if answer is _prefix_sums:
        return np.cumsum(numbers), np.cumsum(numbers)
    return tuple(np.array(_run_block(answer, numbers, backwards=backwards)) for backwards in (False, True))


def _prefix_sums(t: int, n: int, mine: float, shared: Any) -> Thread:
    """Stands for np.cumsum; see `_ask_block`."""
    raise AssertionError("never run")


def _blocks() -> dict[str, tuple[Array]]:
    rng = np.random.default_rng(16)
    return {
        "one thread": (rng.standard_normal(1),),
        "two threads": (rng.standard_normal(2),),
        "eight": (rng.standard_normal(8),),
        "five, not a power of two": (rng.standard_normal(5),),
        "sixteen": (rng.standard_normal(16),),
    }


def _doubling(
    *, written: bool = True, read: bool = True, stored: bool = True, own: bool = True, steps: int | None = None
) -> Callable[..., Thread]:
    """Prefix sums with or without: barriers after the first write, after reading, after storing; the own number."""

    def thread(t: int, n: int, mine: float, shared: Any) -> Thread:
        total = shared[t] = mine
        if written:
            yield
        step, done = 1, 0
        while step < n and done != steps:
            left = shared[t - step] if t >= step else 0.0
            if read:
                yield
            total += left
            shared[t] = total
            if stored:
                yield
            step, done = 2 * step, done + 1
        return total if own else total - mine

    return thread


EXERCISES = [
    Exercise(
        "16.numbers_of",
        "List the numbers that a thread works on.",
        right=_numbers_of,
        inputs=_launches,
        mistakes={
            "Only the first number: if there are more numbers than threads, step on by the whole grid.": (
                lambda b, t, blocks, threads, n: [b * threads + t] if b * threads + t < n else []
            ),
            "The end is not checked: indices from n on do not exist.": lambda b, t, blocks, threads, n: list(
                range(b * threads + t, -(-n // (blocks * threads)) * blocks * threads, blocks * threads)
            ),
            "The step is a block: other blocks take those numbers too. Step by the whole grid.": (
                lambda b, t, blocks, threads, n: list(range(b * threads + t, n, threads))
            ),
            "A block starts after the threads of the previous blocks: block · threads, not block · blocks.": (
                lambda b, t, blocks, threads, n: list(range(b * blocks + t, n, blocks * threads))
            ),
            "The block is missing: all blocks would work on the same numbers.": (
                lambda b, t, blocks, threads, n: list(range(t, n, blocks * threads))
            ),
            "Consecutive numbers per thread give the same results; but here adjacent threads should read "
            "adjacent numbers, so that the grid advances together.": lambda b, t, blocks, threads, n: list(
                range(n)[(b * threads + t) * (-(-n // (blocks * threads))) :][: -(-n // (blocks * threads))]
            ),
        },
    ),
    Exercise(
        "16.prefix_sums",
        "Let each thread of a block return the sum of its number and all previous ones.",
        right=_prefix_sums,
        inputs=_blocks,
        ask=_ask_block,
        results=("forwards", "backwards"),
        mistakes={
            "A barrier is missing after the first write: the neighbour's number may not be written yet.": _doubling(
                written=False
            ),
            "A barrier is missing between reading and writing: a neighbour may read the next sum.": (
                _doubling(read=False)
            ),
            "A barrier is missing at the end of a step: the next step reads before all have written.": _doubling(
                stored=False
            ),
            "The thread's own number is missing from its sum.": _doubling(own=False),
            "This is only one step: the steps double until they reach n.": _doubling(steps=1),
        },
    ),
]
