"""Exercises of notebook 11, the algebra that makes attention cheaper: boxes, transposed diagonals, and a count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- box sums ----------------------------------------------------------------------------------------------------
def _boxes(
    value: Callable[[Array], Any], *, down: bool = True, right: bool = True, reach: Callable[[int], int] | None = None
) -> Callable[[Array, int], Array]:
    """value(patch) at each position; without `down` or `right` the patch is a line."""

    def answer(b: Array, k: int) -> Array:
        out, r = np.zeros(b.shape[:2]), reach(k) if reach else k // 2
        padded = np.pad(b, ((r, r), (r, r), (0, 0)))
        for i, j in np.ndindex(*out.shape):
            rows = slice(i, i + 2 * r + 1) if down else slice(i + r, i + r + 1)
            columns = slice(j, j + 2 * r + 1) if right else slice(j + r, j + r + 1)
            out[i, j] = value(padded[rows, columns])
        return out

    return answer


def _square(patch: Array) -> Any:
    return np.sum(patch**2)


def _rolled_boxes(b: Array, k: int) -> Array:
    square = np.sum(b * b, axis=2)
    steps = range(-(k // 2), k // 2 + 1)
    return np.asarray(sum(np.roll(square, (s, t), axis=(0, 1)) for s in steps for t in steps))


def _pictures() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(11)
    return {
        "one-pixel patches": (rng.standard_normal((3, 4, 2)), 1),
        "one channel": (rng.standard_normal((4, 5, 1)), 3),
        "a line": (rng.standard_normal((1, 6, 2)), 3),
        "three channels": (rng.standard_normal((5, 6, 3)), 3),
        "5 × 5 patches": (rng.standard_normal((7, 8, 2)), 5),
    }


# ---- the transpose of a sum along diagonals ----------------------------------------------------------------------
def _sent_back(
    back: Callable[[int], tuple[int, int]] = lambda t: (t, t), *, last_only: bool = False, mean: bool = False
) -> Callable[[Array, tuple[int, ...]], Array]:
    """The gradient at (p, q) is added at (p, q) + back(t)."""

    def answer(g: Array, steps: tuple[int, ...]) -> Array:
        out = np.zeros(g.shape)
        for t in steps:
            if last_only:
                out[:] = 0
            for p, q in np.ndindex(*g.shape):
                i, j = p + back(t)[0], q + back(t)[1]
                if 0 <= i < g.shape[0] and 0 <= j < g.shape[1]:
                    out[i, j] += g[p, q]
        return out / len(steps) if mean else out

    return answer


def _rolled_back(g: Array, steps: tuple[int, ...]) -> Array:
    return np.asarray(sum(np.roll(g, (t, t), axis=(0, 1)) for t in steps))


def _gradients() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(12)
    return {
        "the step 0": (rng.standard_normal((4, 4)), (0,)),
        "one step forward": (rng.standard_normal((4, 4)), (1,)),
        "a step to each side": (rng.standard_normal((5, 5)), (-1, 0, 1)),
        "the steps of a phase": (rng.standard_normal((5, 4)), (-1, 0)),
        "unequal steps": (rng.standard_normal((6, 8)), (-2, 1, 3)),
    }


# ---- the count ---------------------------------------------------------------------------------------------------
Counts = tuple[int, int]


def _counts(n_f: int, n_b: int, channels: int, ksize: int, rate: int) -> Counts:
    """Pixel by pixel: each pair, each channel, each pixel of a patch; each pair, each channel, each phase."""
    window = sum(1 for _ in np.ndindex(ksize, ksize))
    pasted = sum(1 for _ in np.ndindex(2 * rate, 2 * rate))
    phases = sum(1 for _ in np.ndindex(rate, rate))
    each = n_f * n_b * channels
    return each * (window + pasted), each * (1 + phases)


def _counts_variant(
    patches: Callable[[int, int], int] = lambda k, r: k * k + 4 * r * r,
    diagonals: Callable[[int, int], int] = lambda k, r: 1 + r * r,
    *,
    each: Callable[[int, int, int], int] = lambda n_f, n_b, c: n_f * n_b * c,
) -> Callable[..., Counts]:
    def answer(n_f: int, n_b: int, channels: int, ksize: int, rate: int) -> Counts:
        n = each(n_f, n_b, channels)
        return n * patches(ksize, rate), n * diagonals(ksize, rate)

    return answer


def _sizes() -> dict[str, tuple[int, ...]]:
    return {
        "the paper's attention": (4096, 4096, 128, 3, 2),
        "one channel": (6, 6, 1, 3, 2),
        "a background of a different size": (10, 15, 4, 3, 2),
        "5 × 5 patches": (10, 15, 4, 5, 2),
        "rate 4": (10, 15, 4, 3, 4),
    }


EXERCISES = [
    Exercise(
        "11.squared_norms",
        "Compute the squared norms of all patches by box sums.",
        right=_boxes(_square),
        inputs=_pictures,
        mistakes={
            "These are the norms: return their squares.": _boxes(lambda p: np.sqrt(_square(p))),
            "Channels are summed before squaring: (a + b)² is not a² + b².": _boxes(
                lambda p: np.sum(p.sum(axis=2) ** 2)
            ),
            "Nothing is squared: these are the sums of the patches.": _boxes(np.sum),
            "The whole patch is summed before squaring: square each number.": _boxes(lambda p: np.sum(p) ** 2),
            "The box is a horizontal line: sum vertically as well.": _boxes(_square, down=False),
            "The box is a vertical line: sum horizontally as well.": _boxes(_square, right=False),
            "The box reaches too far: it extends (k − 1)/2 on each side of its centre.": _boxes(
                _square, reach=lambda k: k
            ),
            "Values wrap around from one end to the other: outside, there are zeros.": _rolled_boxes,
            "This is the mean over the channels: their squares should be summed.": _boxes(
                lambda p: np.sum(np.mean(p**2, axis=2))
            ),
            "These are the squares of single pixels: sum them over the box.": _boxes(_square, reach=lambda k: 0),
        },
    ),
    Exercise(
        "11.diagonal_adjoint",
        "Transpose a sum along diagonals.",
        right=_sent_back(),
        inputs=_gradients,
        mistakes={
            "This is the forward pass again: a value from p + t sends its gradient to p + t.": _sent_back(
                lambda t: (-t, -t)
            ),
            "The two positions move apart: on a diagonal both move by the same step.": _sent_back(lambda t: (t, -t)),
            "Only the rows move: both positions have to.": _sent_back(lambda t: (t, 0)),
            "Only the columns move: both positions have to.": _sent_back(lambda t: (0, t)),
            "Values wrap around from one end to the other: outside, there are zeros.": _rolled_back,
            "Only the last step counts: is there an = instead of a +=?": _sent_back(last_only=True),
            "This is the mean over the steps: they should be summed.": _sent_back(mean=True),
        },
    ),
    Exercise(
        "11.multiplications",
        "Count the multiplications, by patches and by diagonals.",
        right=_counts,
        inputs=_sizes,
        results=("by patches", "by diagonals"),
        mistakes={
            "A patch is a square: match takes ksize² products per channel, not ksize.": _counts_variant(
                lambda k, r: k + 4 * r * r
            ),
            "Raw patches are 2·rate pixels wide *and* high: (2·rate)² of them.": _counts_variant(
                lambda k, r: k * k + 2 * r
            ),
            "Raw patches are 2·rate wide, not rate: that is why they overlap.": _counts_variant(
                lambda k, r: k * k + r * r
            ),
            "Match is missing: by diagonals it still takes one product per pair.": _counts_variant(
                diagonals=lambda k, r: r * r
            ),
            "There is one phase per pixel of a cell: rate², not rate.": _counts_variant(diagonals=lambda k, r: 1 + r),
            "There are rate² phases, not (2·rate)²: each pixel belongs to one.": _counts_variant(
                diagonals=lambda k, r: 1 + 4 * r * r
            ),
            "Only match is counted: rebuilding multiplies as well.": _counts_variant(
                lambda k, r: k * k, lambda k, r: 1
            ),
            "The channels are missing.": _counts_variant(each=lambda n_f, n_b, c: n_f * n_b),
            "Each pair is a foreground and a background position: there are n_f·n_b.": _counts_variant(
                each=lambda n_f, n_b, c: n_f * n_f * c
            ),
        },
    ),
]
