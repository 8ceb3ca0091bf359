"""Exercises of notebook 11, the algebra that makes attention cheaper: boxes, diagonals, a count, phases, bands."""

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


# ---- phases ------------------------------------------------------------------------------------------------------
def _laid_down(A: Array, b: Array) -> Array:
    """Patch by patch."""
    out, padded = np.zeros(2 * len(A) + 2), np.pad(b, 1)
    for x, x2 in np.ndindex(*A.shape):
        out[2 * x : 2 * x + 4] += A[x, x2] * padded[2 * x2 : 2 * x2 + 4]
    return np.asarray(out[1:-1] / 2)


def _by_phases(
    other: tuple[int, int] = (-1, 1), *, moved: tuple[bool, bool] = (True, True), share: float = 2.0, own: bool = True
) -> Callable[[Array, Array], Array]:
    """Each phase p adds the weights of cell x + other[p]; `moved`: by rows, by columns."""

    def answer(A: Array, b: Array) -> Array:
        y = np.zeros(2 * len(A))
        for p, t in enumerate(other):
            for x, x2 in np.ndindex(*A.shape):
                weight, i, j = A[x, x2] if own else 0.0, x + t * moved[0], x2 + t * moved[1]
                if 0 <= i < A.shape[0] and 0 <= j < A.shape[1] and t:
                    weight = weight + A[i, j]
                y[2 * x + p] += weight * b[2 * x2 + p] / share
        return y

    return answer


def _lines() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(13)
    shapes = {"one cell": (1, 1), "two cells": (2, 2), "a longer background": (3, 5), "a longer result": (5, 3)}
    return {name: (rng.random((n, m)), rng.standard_normal(2 * m)) for name, (n, m) in shapes.items()}


# ---- bands -------------------------------------------------------------------------------------------------------
Rows = tuple[int, int, int, int]


def _rows(y0: int, y1: int, h: int, ksize: int, propagated: bool) -> Rows:
    """Row by row: which rows of A reach the pixels, and which rows of P reach those."""
    of_a = {x for y in range(y0, y1) for x in (y - 1, y, y + 1) if 0 <= x < h}
    steps = (-1, 0, 1) if propagated else (0,)
    half = ksize // 2
    of_s = {x + t for x in of_a for t in steps if 0 <= x + t < h}
    of_p = {x + t for x in of_s for t in range(-half, half + 1) if 0 <= x + t < h}
    return min(of_a), max(of_a) + 1, min(of_p), max(of_p) + 1


def _rows_variant(
    further: Callable[[int, bool], int] = lambda k, p: 1 + k // 2 + p, *, a: int = 1, end: int = 0, clipped: bool = True
) -> Callable[..., Rows]:
    def answer(y0: int, y1: int, h: int, ksize: int, propagated: bool) -> Rows:
        n = further(ksize, propagated)
        found = (y0 - a, y1 + a - end, y0 - n, y1 + n - end)
        if not clipped:
            return found
        return max(0, found[0]), min(h - end, found[1]), max(0, found[2]), min(h - end, found[3])

    return answer


def _bands() -> dict[str, tuple[Any, ...]]:
    return {
        "a band in the middle": (10, 14, 32, 3, False),
        "propagated": (10, 14, 32, 3, True),
        "5 × 5 patches": (10, 12, 32, 5, False),
        "the first band": (0, 4, 32, 3, True),
        "the last band": (28, 32, 32, 5, True),
        "all rows": (0, 8, 8, 3, False),
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
    Exercise(
        "11.rebuild_line",
        "Rebuild a line in phases.",
        right=_laid_down,
        inputs=_lines,
        mistakes={
            "Overlaps are not divided by 2.": _by_phases(share=1.0),
            "Overlaps are divided by 2, not 4: on a line two patches cover a pixel.": _by_phases(share=4.0),
            "Only the patch of a pixel's own cell is counted: a second one covers it.": _by_phases((0, 0)),
            "Only the neighbour's patch is counted: that of the pixel's own cell covers it too.": _by_phases(own=False),
            "The phases are exchanged: the cell before covers phase 0, the cell after phase 1.": _by_phases((1, -1)),
            "Both phases take the cell before: phase 1 is covered by the cell after.": _by_phases((-1, -1)),
            "Both phases take the cell after: phase 0 is covered by the cell before.": _by_phases((1, 1)),
            "Only x moves: x′ has to move with it, along the diagonal.": _by_phases(moved=(True, False)),
            "Only x′ moves: x has to move with it, along the diagonal.": _by_phases(moved=(False, True)),
        },
    ),
    Exercise(
        "11.rows_needed",
        "Find the rows of A and of P that a band needs.",
        right=_rows,
        inputs=_bands,
        results=("first row of A", "end of A", "first row of P", "end of P"),
        mistakes={
            "Rows outside the picture are counted: cut at 0 and at h.": _rows_variant(clipped=False),
            "The phases are missing: pixels also need the rows of A next to theirs.": _rows_variant(
                lambda k, p: k // 2 + p, a=0
            ),
            "P has to reach further than A, by half a window: a patch takes its neighbours.": _rows_variant(
                lambda k, p: 1 + p
            ),
            "The window reaches (ksize − 1)/2 to each side, not ksize.": _rows_variant(lambda k, p: 1 + k + p),
            "The window of ksize × ksize patches is not always one row further: (ksize − 1)/2.": _rows_variant(
                lambda k, p: 2 + p
            ),
            "Propagation is missing: it needs one more row of P on each side.": _rows_variant(lambda k, p: 1 + k // 2),
            "A row of P is counted for propagation although scores are not propagated.": _rows_variant(
                lambda k, p: 2 + k // 2
            ),
            "P is counted from the band, not from the rows of A: the phases' row is missing.": _rows_variant(
                lambda k, p: k // 2 + p
            ),
            "These are the last rows: the end is one further.": _rows_variant(end=1),
        },
    ),
]
