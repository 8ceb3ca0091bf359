"""Exercises of notebook 13, Algorithm 1: the number of crops, the local critic's gradient, and Adam's step counter."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]
Box = tuple[int, int, int, int]


# ---- pictures ----------------------------------------------------------------------------------------------------
def _pictures(steps: int, pretrain: int, critic_steps: int, batch: int) -> int:
    """Step by step, like the loop."""
    drawn = 0
    for step in range(steps):
        if step >= pretrain:
            for _ in range(critic_steps):
                drawn += batch
        drawn += batch
    return drawn


def _pictures_inputs() -> dict[str, tuple[Any, ...]]:
    return {
        "critics from the start": (10, 0, 5, 16),
        "reconstruction first": (170, 150, 5, 8),
        "reconstruction alone": (20, 20, 5, 4),
        "one critic update": (7, 3, 1, 2),
    }


# ---- what the local critic tells ---------------------------------------------------------------------------------
def _local_gradient(g: Array, box: Box, mask: Array) -> Array:
    """Pixel by pixel."""
    top, left, height, width = box
    out = np.zeros((*mask.shape[:2], g.shape[2]))
    for i in range(height):
        for j in range(width):
            if mask[top + i, left + j, 0] > 0:
                out[top + i, left + j] = g[i, j]
    return out


def _placed(
    *, weight: Callable[[Array], Array] = lambda m: m, swap: bool = False, corner: bool = False
) -> Callable[[Array, Box, Array], Array]:
    def answer(g: Array, box: Box, mask: Array) -> Array:
        top, left, height, width = box
        top, left = (left, top) if swap else (0, 0) if corner else (top, left)
        out = np.zeros((*mask.shape[:2], g.shape[2]))
        out[top : top + height, left : left + width] = g
        return out * weight(mask)

    return answer


def _in_the_box(g: Array, box: Box, mask: Array) -> Array:
    top, left, height, width = box
    return g * mask[top : top + height, left : left + width]


def _local_gradient_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(13)

    def drawn(box: Box, hole: tuple[slice, slice]) -> tuple[Any, ...]:
        mask = np.zeros((9, 10, 1))
        mask[hole] = 1
        return rng.standard_normal((*box[2:], 3)), box, mask

    return {
        "a hole smaller than its box": drawn((1, 3, 4, 5), (slice(2, 4), slice(4, 8))),
        "a hole as large as its box": drawn((2, 4, 4, 5), (slice(2, 6), slice(4, 9))),
        "a second hole outside the box": drawn((4, 1, 4, 5), (slice(5, 9), slice(2, 10))),
    }


# ---- Adam's clock ------------------------------------------------------------------------------------------------
def _correction(n: int, critic_steps: int, shared: bool, beta1: float, beta2: float) -> float:
    """By counting, with powers as repeated products."""
    ticks = 0
    for _ in range(n):
        ticks += critic_steps if shared else 0
        ticks += 1
    power1 = power2 = 1.0
    for _ in range(ticks):
        power1, power2 = power1 * beta1, power2 * beta2
    return sqrt(1 - power2) / (1 - power1)


def _by_clock(
    ticks: Callable[[int, int, bool], int], *, root: bool = True, inverse: bool = False
) -> Callable[..., float]:
    def answer(n: int, critic_steps: int, shared: bool, beta1: float, beta2: float) -> float:
        t = ticks(n, critic_steps, shared)
        above, below = 1 - beta2**t, 1 - beta1**t
        factor = (sqrt(above) if root else above) / below
        return float(1 / factor if inverse else factor)

    return answer


def _right_clock(n: int, critic_steps: int, shared: bool) -> int:
    return n * (critic_steps + 1) if shared else n


def _correction_inputs() -> dict[str, tuple[Any, ...]]:
    return {
        "the first round, separate counters": (1, 5, False, 0.5, 0.9),
        "the first round, shared counter": (1, 5, True, 0.5, 0.9),
        "a later round, separate counters": (4, 5, False, 0.5, 0.9),
        "a later round, shared counter": (4, 3, True, 0.9, 0.999),
    }


EXERCISES = [
    Exercise(
        "13.pictures",
        "Count the crops drawn in a training run.",
        right=_pictures,
        inputs=_pictures_inputs,
        mistakes={
            "The generator's own batches are missing: its update draws one too.": (
                lambda steps, pretrain, critic_steps, batch: (steps - pretrain) * critic_steps * batch
            ),
            "Once the critics have joined, the generator's own batches are missing: its update draws one too.": (
                lambda steps, pretrain, critic_steps, batch: (pretrain + (steps - pretrain) * critic_steps) * batch
            ),
            "The critics count from the first step here: before `pretrain` they are not updated.": (
                lambda steps, pretrain, critic_steps, batch: steps * (critic_steps + 1) * batch
            ),
            "Reconstruction is missing: its updates also draw one batch each.": (
                lambda steps, pretrain, critic_steps, batch: (steps - pretrain) * (critic_steps + 1) * batch
            ),
            "Each critic update draws its own batch: they do not share one.": (
                lambda steps, pretrain, critic_steps, batch: (steps + (steps - pretrain) * (critic_steps > 0)) * batch
            ),
            "These are batches, not pictures.": (
                lambda steps, pretrain, critic_steps, batch: steps + (steps - pretrain) * critic_steps
            ),
        },
    ),
    Exercise(
        "13.local_gradient",
        "Compute the gradient of the local critic's score w.r.t. the generator's output.",
        right=_local_gradient,
        inputs=_local_gradient_inputs,
        mistakes={
            "The paste is missing: the generator's output at known pixels is discarded, so its gradient is 0 "
            "there.": _placed(weight=np.ones_like),
            "The mask is inverted: 1 is the hole, where the generator's output is kept.": _placed(
                weight=lambda m: 1 - m
            ),
            "Row and column of the box are swapped: it is (top, left, height, width).": _placed(swap=True),
            "The gradient is in the corner of the picture: it belongs where the box was.": _placed(corner=True),
            "This has the size of the box. Outside it the derivative is 0, not absent.": _in_the_box,
        },
    ),
    Exercise(
        "13.clock",
        "Compute the factor √(1 − β₂ᵗ) / (1 − β₁ᵗ) of the generator's update in round n.",
        right=_correction,
        inputs=_correction_inputs,
        mistakes={
            "The counter is not shared here: with `shared`, the critics' updates advance it too.": _by_clock(
                lambda n, c, shared: n
            ),
            "The counter is always shared here: without `shared`, only the generator's own updates count.": _by_clock(
                lambda n, c, shared: n * (c + 1)
            ),
            "This round's critic updates are missing: they come first.": _by_clock(
                lambda n, c, shared: (n - 1) * (c + 1) + 1 if shared else n
            ),
            "The generator's own updates are missing: they advance the shared counter too.": _by_clock(
                lambda n, c, shared: n * c if shared else n
            ),
            "Six updates per round assume five critic updates: here there are `critic_steps`.": _by_clock(
                lambda n, c, shared: 6 * n if shared else n
            ),
            "The root is missing: β₂ belongs to v, which is under a root.": _by_clock(_right_clock, root=False),
            "The factor is inverted: β₁'s part is the denominator.": _by_clock(_right_clock, inverse=True),
        },
    ),
]
