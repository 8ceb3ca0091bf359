"""Exercises of notebook 13, Algorithm 1: the number of crops, the local critic's gradient, and reconstruction's."""

from __future__ import annotations

from collections.abc import Callable
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


# ---- the gradient of reconstruction ------------------------------------------------------------------------------
def _reconstruction(
    refined: Array, truth: Array, mask: Array, box: Box, discount: Array, w1: float, w2: float
) -> Array:
    """Value by value."""
    top, left, height, width = box
    known = sum(1 for m in mask.ravel() if m == 0)
    out = np.zeros(refined.shape)
    for i, j, c in np.ndindex(refined.shape):
        sign = 1 if refined[i, j, c] > truth[i, j, c] else -1
        if top <= i < top + height and left <= j < left + width:
            out[i, j, c] += w1 * sign * discount[i - top, j - left, 0] / (height * width * refined.shape[2])
        if mask[i, j, 0] == 0:
            out[i, j, c] += w2 * sign / (known * refined.shape[2])
    return out


def _pulled(
    *,
    box_term: Callable[[Array, Array], Array] = lambda discount, hole: discount,
    known_term: Callable[[Array], Array] = lambda known: known,
    over_known: bool = True,
    over_channels: bool = True,
    sign: Callable[[Array], Array] = np.sign,
) -> Callable[..., Array]:
    def answer(refined: Array, truth: Array, mask: Array, box: Box, discount: Array, w1: float, w2: float) -> Array:
        top, left, height, width = box
        channels = refined.shape[2] if over_channels else 1
        inside = np.s_[top : top + height, left : left + width]
        weight = w2 * known_term(1 - mask) / (((1 - mask).sum() if over_known else mask.size) * channels)
        weight[inside] += w1 * box_term(discount, mask[inside]) / (height * width * channels)
        return weight * sign(refined - truth)

    return answer


def _reconstruction_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(1313)

    def drawn(box: Box, hole: tuple[slice, slice], w1: float, w2: float) -> tuple[Any, ...]:
        mask = np.zeros((8, 9, 1))
        mask[hole] = 1
        refined, truth = rng.uniform(-1, 1, (2, 8, 9, 3))
        return refined, truth, mask, box, rng.uniform(0.1, 1, (*box[2:], 1)), w1, w2

    return {
        "a hole smaller than its box": drawn((1, 3, 4, 5), (slice(2, 4), slice(4, 8)), 1.2, 1.2),
        "a hole as large as its box": drawn((2, 4, 4, 5), (slice(2, 6), slice(4, 9)), 1.2, 1.2),
        "two different weights": drawn((3, 0, 5, 4), (slice(4, 7), slice(1, 3)), 2.0, 0.6),
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
        "13.reconstruction",
        "Differentiate both terms of the reconstruction loss by each value of the refined result.",
        right=_reconstruction,
        inputs=_reconstruction_inputs,
        mistakes={
            "The term over the known pixels is missing.": _pulled(known_term=np.zeros_like),
            "The term over the box is missing.": _pulled(box_term=lambda discount, hole: 0 * discount),
            "The box's term covers all of the box, including its known pixels.": _pulled(
                box_term=lambda discount, hole: discount * hole
            ),
            "The discount M is missing in the box's term.": _pulled(
                box_term=lambda discount, hole: np.ones_like(discount)
            ),
            "The mask is inverted: 1 is the hole, so 1 − mask are the known pixels.": _pulled(
                known_term=lambda known: 1 - known
            ),
            "ℓ_known is a mean over the known pixels: divide by their number, not by that of all.": _pulled(
                over_known=False
            ),
            "Both are means over pixels and channels: divide by the number of channels, too.": _pulled(
                over_channels=False
            ),
            "The derivative of |d| is the sign of d, whatever its size.": _pulled(sign=lambda d: d),
        },
    ),
]
