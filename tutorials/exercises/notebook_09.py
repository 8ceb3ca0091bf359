"""Exercises of notebook 09, contextual attention, step by step: known patches, diagonals, and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- known patches -----------------------------------------------------------------------------------------------
def _known(hole: Array, ksize: int) -> Array:
    """Each hole pixel excludes the patches that reach it."""
    known, r = np.ones(hole.shape), ksize // 2
    for i, j in np.argwhere(hole > 0):
        known[max(0, i - r) : i + r + 1, max(0, j - r) : j + r + 1] = 0
    return known


def _known_inside_only(hole: Array, ksize: int) -> Array:
    r = ksize // 2
    return _known(np.pad(hole, r, constant_values=1), ksize)[r : r + hole.shape[0], r : r + hole.shape[1]]


def _known_as_a_cross(hole: Array, ksize: int) -> Array:
    known, r = np.ones(hole.shape), ksize // 2
    for i, j in np.argwhere(hole > 0):
        known[max(0, i - r) : i + r + 1, j] = 0
        known[i, max(0, j - r) : j + r + 1] = 0
    return known


def _known_share(hole: Array, ksize: int) -> Array:
    """The share of known pixels; padding counts as known."""
    padded = np.pad(1.0 - hole, ksize // 2, constant_values=1)
    return np.asarray(sliding_window_view(padded, (ksize, ksize)).mean(axis=(2, 3)))


def _known_somewhere(hole: Array, ksize: int) -> Array:
    return (_known_share(hole, ksize) > 0).astype(float)


def _holes() -> dict[str, tuple[Any, ...]]:
    def holed(size: tuple[int, int], rows: slice, columns: slice) -> Array:
        hole = np.zeros(size)
        hole[rows, columns] = 1
        return hole

    return {
        "no hole": (np.zeros((4, 5)), 3),
        "one-pixel patches": (holed((5, 6), slice(1, 3), slice(2, 4)), 1),
        "a one-pixel hole": (holed((7, 8), slice(3, 4), slice(4, 5)), 3),
        "a box": (holed((8, 9), slice(2, 5), slice(3, 7)), 3),
        "a hole in the corner": (holed((7, 7), slice(0, 2), slice(0, 3)), 3),
        "5 × 5 patches": (holed((9, 9), slice(3, 6), slice(4, 6)), 5),
    }


# ---- diagonals ---------------------------------------------------------------------------------------------------
def _steps(k: int) -> range:
    return range(-(k // 2), k // 2 + 1)


def _moved(
    move: Callable[[int], tuple[int, int]] = lambda t: (t, t),
    *,
    steps: Callable[[int], Iterable[int]] = _steps,
    axes: tuple[int, int] = (1, 3),
    mean: bool = False,
) -> Callable[[Array, int], Array]:
    """Σ_t s with the two axes moved by move(t), zero outside."""

    def answer(s: Array, k: int) -> Array:
        out = np.zeros(s.shape)
        for t in steps(k):
            by = [0, 0, 0, 0]
            by[axes[0]], by[axes[1]] = move(t)
            for place in np.ndindex(*s.shape):
                source = tuple(p + d for p, d in zip(place, by, strict=True))
                if all(0 <= p < n for p, n in zip(source, s.shape, strict=True)):
                    out[place] += s[source]
        return out / k if mean else out

    return answer


def _rolled(s: Array, k: int) -> Array:
    return np.asarray(sum(np.roll(s, (-t, -t), axis=(1, 3)) for t in _steps(k)))


def _runs_on(s: Array, k: int) -> Array:
    h, w, h2, w2 = s.shape
    flat = s.reshape(h * w, 1, h2 * w2, 1)
    return _moved(axes=(0, 2))(flat, k).reshape(s.shape)


def _score_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(9)
    return {
        "one step": (rng.standard_normal((2, 3, 2, 3)), 1),
        "three steps along a row": (rng.standard_normal((1, 5, 1, 5)), 3),
        "three steps": (rng.standard_normal((3, 4, 3, 4)), 3),
        "a background of a different size": (rng.standard_normal((2, 4, 3, 5)), 3),
        "five steps": (rng.standard_normal((2, 6, 2, 5)), 5),
    }


# ---- bytes -------------------------------------------------------------------------------------------------------
def _starts(n: int, step: int) -> int:
    return len(range(0, n, step))


def _bytes(height: int, width: int, rate: int, stride: int) -> int:
    h, w = _starts(height, rate), _starts(width, rate)
    return 4 * h * w * _starts(h, stride) * _starts(w, stride)


def _bytes_rounded_down(height: int, width: int, rate: int, stride: int) -> int:
    h, w = height // rate, width // rate
    return 4 * h * w * (h // stride) * (w // stride)


def _bytes_strided_twice(height: int, width: int, rate: int, stride: int) -> int:
    return 4 * (_starts(_starts(height, rate), stride) * _starts(_starts(width, rate), stride)) ** 2


def _bytes_one_axis(height: int, width: int, rate: int, stride: int) -> int:
    h, w = _starts(height, rate), _starts(width, rate)
    return 4 * h * w * _starts(h, stride) * w


def _bytes_divided(height: int, width: int, rate: int, stride: int) -> float:
    return 4 * (height * width / rate**2) ** 2 / stride**2


def _size_inputs() -> dict[str, tuple[int, ...]]:
    return {
        "every position": (4, 5, 1, 1),
        "the paper's size": (64, 64, 2, 1),
        "stride 2": (8, 12, 1, 2),
        "both": (16, 24, 2, 2),
        "a size that is not divisible": (7, 10, 2, 1),
        "both, not divisible": (11, 9, 2, 4),
    }


EXERCISES = [
    Exercise(
        "09.known_patches",
        "Find the patches that may be copied.",
        right=_known,
        inputs=_holes,
        mistakes={
            "These are the known pixels: a patch next to the hole reaches into it.": lambda hole, k: 1.0 - hole,
            "A patch counts as known here if any of its pixels is: all have to be.": _known_somewhere,
            "This is inverted: it is 1 where a patch touches the hole.": lambda hole, k: 1 - _known(hole, k),
            "Patches at the border are lost: positions outside the picture are not hole.": _known_inside_only,
            "The patch reaches too far: it extends (k − 1)/2 on each side of its centre.": lambda hole, k: _known(
                hole, 2 * k + 1
            ),
            "The corners of the patch are missing: it is a square, not a cross.": _known_as_a_cross,
            "These are fractions of known pixels: the answer is 1 where all are known, else 0.": _known_share,
        },
    ),
    Exercise(
        "09.propagate_right",
        "Sum the scores along a diagonal, both positions moving to the right.",
        right=_moved(),
        inputs=_score_inputs,
        mistakes={
            "The positions move apart: both have to move by +t, not one by +t and the other by −t.": _moved(
                lambda t: (t, -t)
            ),
            "Only the foreground's position moves: this sums down a column, not along a diagonal.": _moved(
                lambda t: (t, 0)
            ),
            "Only the background's position moves: this sums along a row, not along a diagonal.": _moved(
                lambda t: (0, t)
            ),
            "Values wrap around from one end to the other, as in np.roll; they should count as 0.": _rolled,
            "The sum continues from the end of a row into the next: pad the two axes, not a flat matrix.": _runs_on,
            "Both positions move down: moving right is along axes 1 and 3.": _moved(axes=(0, 2)),
            "The step t = 0, the score itself, is missing.": _moved(
                steps=lambda k: [t for t in _steps(k) if t or k < 3]
            ),
            "Only the steps to one side are summed: t starts at −(k − 1)/2.": _moved(steps=lambda k: range(k // 2 + 1)),
            "The steps run from 0 to k − 1: they should be centred on 0.": _moved(steps=lambda k: range(k)),
            "These are k steps to each side: there should be k in total.": _moved(steps=lambda k: range(-k, k + 1)),
            "This is the mean: the scores should be summed.": _moved(mean=True),
        },
    ),
    Exercise(
        "09.attention_bytes",
        "Compute the size of the attention matrix in bytes.",
        right=_bytes,
        inputs=_size_inputs,
        mistakes={
            "Rounded down: positions that start before the end count, even if the size is not divisible.": (
                _bytes_rounded_down
            ),
            "This is the number of values: each takes four bytes.": lambda h, w, r, s: _bytes(h, w, r, s) // 4,
            "This is double precision: the values take four bytes each.": lambda h, w, r, s: _bytes(h, w, r, s) * 2,
            "The stride applies to the background only: every foreground position counts.": _bytes_strided_twice,
            "The stride is applied along one axis only: it applies to rows and columns.": _bytes_one_axis,
            "The stride is missing.": lambda h, w, r, s: _bytes(h, w, r, 1),
            "The stride applies to each axis: round up each one separately, not the total number of positions.": (
                lambda h, w, r, s: 4 * _starts(h, r) * _starts(w, r) * _starts(_starts(h, r) * _starts(w, r), s * s)
            ),
            "The rate is missing.": lambda h, w, r, s: _bytes(h, w, 1, s),
            "This is one entry per position: the attention has one per pair.": lambda h, w, r, s: (
                4 * _starts(h, r) * _starts(w, r)
            ),
            "This is not an integer, or not rounded: round up each axis before multiplying.": (_bytes_divided),
        },
    ),
]
