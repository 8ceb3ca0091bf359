"""Exercises of notebook 22, training that survives and scales: positions, means, buckets, efficiency."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- the position in the data ------------------------------------------------------------------------------------
def _generator(state: Any) -> np.random.Generator:
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    return rng


def _remaining(start: Any, position: int, pictures: int) -> Array:
    """By going through the epoch."""
    order = iter(_generator(start).permutation(pictures).tolist())
    for _ in range(position):
        next(order)
    return np.array(list(order))


def _positions() -> dict[str, tuple[Any, int, int]]:
    states = [np.random.default_rng(seed).bit_generator.state for seed in range(3)]
    return {
        "the middle of an epoch": (states[0], 5, 12),
        "its beginning": (states[1], 0, 7),
        "its last picture": (states[2], 8, 9),
    }


# ---- the mean ----------------------------------------------------------------------------------------------------
def _mean_gradient(gradients: Array, counts: Array) -> Array:
    """As a mean over pictures, each with its rank's gradient."""
    return np.concatenate([np.repeat(g[None], n, axis=0) for g, n in zip(gradients, counts, strict=True)]).mean(axis=0)


def _ranks() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    return {
        "equal parts": (rng.standard_normal((3, 4)), np.array([2, 2, 2])),
        "unequal parts": (rng.standard_normal((3, 5)), np.array([1, 2, 5])),
        "one rank": (rng.standard_normal((1, 3)), np.array([4])),
    }


# ---- buckets -----------------------------------------------------------------------------------------------------
def _buckets(sizes: list[int], limit: int, *, leftover: bool = True, split: bool = False) -> Array:
    sent, held = [], 0
    for size in sizes:
        if split and held and held + size > limit:
            sent.append(held)
            held = 0
        held += size
        if held >= limit and not split:
            sent.append(held)
            held = 0
    if leftover and held:
        sent.append(held)
    return np.array(sent)


def _sizes() -> dict[str, tuple[list[int], int]]:
    return {
        "some small, one large": ([300, 500, 400, 4000, 100, 100], 1000),
        "nothing left over": ([600, 600, 1000], 1000),
        "all in one": ([10, 20, 30], 1000),
        "exactly full": ([400, 600, 999, 1, 7], 1000),
    }


# ---- efficiency --------------------------------------------------------------------------------------------------
def _efficiency(n: Array, compute: float, hidden: float, size: float, bandwidth: float) -> Array:
    """One by one."""
    found = []
    for ranks in n.tolist():
        late = 2 * (ranks - 1) / ranks * size / bandwidth - hidden
        found.append(compute / (compute + late) if late > 0 else 1.0)
    return np.array(found)


def _sent(n: Array, size: float, bandwidth: float) -> Array:
    return 2 * (n - 1) / n * size / bandwidth


def _networks() -> dict[str, tuple[Array, float, float, float, float]]:
    ranks = np.array([1, 2, 4, 64])
    return {
        "a fast network": (ranks, 0.2, 0.05, 1.5e8, 1e10),
        "a slow network": (ranks, 0.2, 0.05, 1.5e8, 1e9),
        "nothing hidden": (ranks, 1.0, 0.0, 4e8, 1e9),
    }


EXERCISES = [
    Exercise(
        "22.remaining",
        "Find the pictures that are still to come in an epoch.",
        right=_remaining,
        inputs=_positions,
        mistakes={
            "These are the pictures already seen: take those from the position on.": (
                lambda start, position, pictures: _generator(start).permutation(pictures)[:position]
            ),
            "This is the whole epoch: leave out the pictures before the position.": (
                lambda start, position, pictures: _generator(start).permutation(pictures)
            ),
            "A shorter permutation is another one: permute all pictures, then leave some out.": (
                lambda start, position, pictures: _generator(start).permutation(pictures - position)
            ),
            "The pictures are visited in a random order: permute them with the generator at the epoch's start.": (
                lambda start, position, pictures: np.arange(position, pictures)
            ),
        },
    ),
    Exercise(
        "22.mean_gradient",
        "Average the ranks' gradients.",
        right=_mean_gradient,
        inputs=_ranks,
        mistakes={
            "Each rank counts the same here: weight it by its pictures.": lambda g, counts: g.mean(axis=0),
            "This is a sum over pictures: divide by the pictures of the batch.": lambda g, counts: counts @ g,
            "This is divided by the number of ranks: divide by the pictures of the batch.": (
                lambda g, counts: counts @ g / len(counts)
            ),
            "This is a sum over ranks: each is a mean already, so weight it by its share of the pictures.": (
                lambda g, counts: g.sum(axis=0)
            ),
        },
    ),
    Exercise(
        "22.bucket_sizes",
        "Find the bytes of each message.",
        right=_buckets,
        inputs=_sizes,
        mistakes={
            "What is left over at the end is never sent: all ranks would wait for it.": (
                lambda sizes, limit: _buckets(sizes, limit, leftover=False)
            ),
            "These buckets are sent before they would exceed the limit: the gradient that fills one goes with it.": (
                lambda sizes, limit: _buckets(sizes, limit, split=True)
            ),
            "Each gradient is a message of its own here.": lambda sizes, limit: np.array(sizes),
            "A bucket that holds exactly the limit is full.": lambda sizes, limit: _buckets(sizes, limit + 1),
        },
    ),
    Exercise(
        "22.ring_efficiency",
        "Find the share of a rank's speed that is left on many.",
        right=_efficiency,
        inputs=_networks,
        mistakes={
            "Each rank sends 2 (n − 1) / n times the bytes; the 2 is missing.": (
                lambda n, compute, hidden, size, bandwidth: (
                    compute / (compute + np.maximum(_sent(n, size, bandwidth) / 2 - hidden, 0))
                )
            ),
            "Nothing is hidden here: only what remains after the hidden part is waited for.": (
                lambda n, compute, hidden, size, bandwidth: compute / (compute + _sent(n, size, bandwidth))
            ),
            "Messages that are hidden completely do not make a step shorter: what remains is at least 0.": (
                lambda n, compute, hidden, size, bandwidth: compute / (compute + _sent(n, size, bandwidth) - hidden)
            ),
            "This is inverted: how many times as long a step takes.": (
                lambda n, compute, hidden, size, bandwidth: 1 / _efficiency(n, compute, hidden, size, bandwidth)
            ),
            "This is the speedup: the efficiency is that of one rank, so do not multiply by n.": (
                lambda n, compute, hidden, size, bandwidth: n * _efficiency(n, compute, hidden, size, bandwidth)
            ),
        },
    ),
]
