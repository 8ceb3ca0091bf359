"""Exercises of notebook 19, the paper and its code: zeros in the denominator, dark borders, a shared clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- masked attention --------------------------------------------------------------------------------------------
def _masked_attention(s: Array, known: Array, scale: float) -> Array:
    """Pair by pair: each weight is one over the sum of all weights relative to it."""
    a = np.zeros(s.shape)
    for x, x2 in np.argwhere(np.broadcast_to(known > 0, s.shape)):
        logits = [scale * value * v for value, v in zip(s[x], known, strict=True)]
        with np.errstate(over="ignore"):
            a[x, x2] = 1 / np.sum(np.exp(np.array(logits) - logits[x2]))
    return a


def _softmax(logits: Array, axis: int = 1) -> Array:
    e = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def _excluded(s: Array, known: Array, scale: float) -> Array:
    if not known.any():
        return np.zeros(s.shape)
    return _softmax(np.where(known > 0, scale * s, -np.inf))


def _scores() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(19)
    some = np.array([1.0, 0, 0, 1, 1])
    return {
        "all are known": (rng.standard_normal((3, 4)), np.ones(4), 1.0),
        "some are known": (rng.standard_normal((3, 5)), some, 1.0),
        "a scale of 10": (rng.standard_normal((4, 5)), some, 10.0),
        "equally many rows and patches": (rng.standard_normal((5, 5)), some, 2.0),
        "nothing matches": (np.full((2, 5), -0.1), some, 1.0),
        "none is known": (rng.standard_normal((2, 3)), np.zeros(3), 1.0),
        "large scores": (1000 * rng.standard_normal((3, 5)), some, 10.0),
    }


# ---- attenuation -------------------------------------------------------------------------------------------------
def _attenuation(h: int, w: int, *, corner: int = -1) -> Array:
    """Patch by patch, on a canvas with a border, from which the picture is cropped."""
    border = 8
    canvas = np.zeros((h + 2 * border, w + 2 * border))
    for i in range(0, h, 2):
        for j in range(0, w, 2):
            top, left = border + i + corner, border + j + corner
            canvas[top : top + 4, left : left + 4] += 0.25
    return canvas[border : border + h, border : border + w]


def _overlaps_averaged(h: int, w: int) -> Array:
    return np.ones((h, w))


def _sums_of_axes(h: int, w: int) -> Array:
    along = [np.where((np.arange(n) == 0) | (np.arange(n) == n - 1), 1.0, 2.0) for n in (h, w)]
    return np.asarray((along[0][:, None] + along[1]) / 4)


def _no_corners(h: int, w: int) -> Array:
    return np.maximum(_attenuation(h, w), 0.5)


def _sizes() -> dict[str, tuple[int, int]]:
    return {"one position": (2, 2), "a row": (2, 8), "square": (6, 6), "tall": (10, 4), "wide": (4, 12)}


# ---- a shared clock ----------------------------------------------------------------------------------------------
def _correction(n: int, critic_steps: int, beta1: float, beta2: float) -> float:
    """By counting, update by update, as the code does with its running powers of β."""
    power1 = power2 = 1.0
    for _ in range(n):
        for _ in range(critic_steps + 1):
            power1, power2 = power1 * beta1, power2 * beta2
    return math.sqrt(1 - power2) / (1 - power1)


def _at(
    clock: Callable[[int, int], int], *, root: bool = True, inverse: bool = False, swapped: bool = False
) -> Callable[[int, int, float, float], float]:
    def answer(n: int, critic_steps: int, beta1: float, beta2: float) -> float:
        if swapped:
            beta1, beta2 = beta2, beta1
        t = clock(n, critic_steps)
        above = 1 - beta2**t
        value = (math.sqrt(above) if root else above) / (1 - beta1**t)
        return 1 / value if inverse else value

    return answer


def _shared(n: int, critic_steps: int) -> int:
    return n * (critic_steps + 1)


def _updates() -> dict[str, tuple[Any, ...]]:
    return {
        "the first update": (1, 5, 0.5, 0.9),
        "the second": (2, 5, 0.5, 0.9),
        "one critic update each": (3, 1, 0.5, 0.9),
        "Adam's usual betas": (4, 5, 0.9, 0.999),
        "late": (200, 5, 0.9, 0.999),
    }


EXERCISES = [
    Exercise(
        "19.masked_attention",
        "Compute the code's attention, with unknown patches in the denominator.",
        right=_masked_attention,
        inputs=_scores,
        mistakes={
            "This leaves unknown patches out of the denominator, as in the text. In the code they count there, "
            "with a score of 0; renormalising after dropping them is the same as leaving them out.": _excluded,
            "Unknown patches keep their weight: multiply by `known` after the softmax too.": lambda s, known, scale: (
                _softmax(scale * s * known)
            ),
            "Unknown patches keep their scores in the denominator: multiply by `known` before the softmax too.": (
                lambda s, known, scale: _softmax(scale * s) * known
            ),
            "The softmax is over the wrong axis: each row of s belongs to one position.": lambda s, known, scale: (
                _softmax(scale * s * known, axis=0) * known
            ),
            "The scale is missing.": lambda s, known, scale: _softmax(s * known) * known,
        },
    ),
    Exercise(
        "19.attenuation",
        "Compute the factor by which each pixel is multiplied.",
        right=_attenuation,
        inputs=_sizes,
        mistakes={
            "This is the number of patches: divide by 4.": lambda h, w: 4 * _attenuation(h, w),
            "This is the text's choice: overlaps averaged by their number. The code divides by 4 everywhere.": (
                _overlaps_averaged
            ),
            "The patches start one pixel before the picture, not at its first pixel.": lambda h, w: _attenuation(
                h, w, corner=0
            ),
            "In a corner both axes lose half: the factors of the axes multiply, they do not add.": _sums_of_axes,
            "In a corner both axes lose half: a quarter is left.": _no_corners,
        },
    ),
    Exercise(
        "19.correction",
        "Compute Adam's correction with the shared clock.",
        right=_correction,
        inputs=_updates,
        mistakes={
            "This is a separate clock for the generator: the critics' updates count too.": _at(lambda n, k: n),
            "The generator's own updates count too: t is a multiple of critic_steps + 1.": _at(lambda n, k: n * k),
            "The critics come first: before the generator's first update, t is already critic_steps.": _at(
                lambda n, k: (n - 1) * (k + 1) + 1
            ),
            "The generator's own update counts too: the clock is advanced before the step.": _at(
                lambda n, k: n * (k + 1) - 1
            ),
            "The root is missing: v has the scale of a square.": _at(_shared, root=False),
            "Inverted: √(1 − β₂ᵗ) is the numerator.": _at(_shared, inverse=True),
            "β₁ and β₂ are swapped.": _at(_shared, swapped=True),
        },
    ),
]
