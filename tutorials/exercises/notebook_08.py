"""Exercises of notebook 08, masks and the discounted ℓ1: a hole, distances, weights by distance to the sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]
Box = tuple[int, int, int, int]


# ---- the paper's hole --------------------------------------------------------------------------------------------
def _hole(box: Box, dy: int, dx: int, size: int) -> Array:
    """Pixel by pixel."""
    top, left, height, width = box
    mask = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            mask[i, j] = top + dy <= i < top + height - dy and left + dx <= j < left + width - dx
    return mask


def _hole_by_slices(*, once: bool = False, grow: bool = False, swap: bool = False, known: float = 0.0) -> Any:
    def answer(box: Box, dy: int, dx: int, size: int) -> Array:
        top, left, height, width = box
        dy, dx = (dx, dy) if swap else (dy, dx)
        below, beside = (0, 0) if once else (-dy, -dx) if grow else (dy, dx)
        mask = np.full((size, size), known)
        mask[top + dy : top + height - below, left + dx : left + width - beside] = 1 - known
        return mask

    return answer


def _to_height_and_width(box: Box, dy: int, dx: int, size: int) -> Array:
    top, left, height, width = box
    return _hole((top, left, height - top, width - left), dy, dx, size)


def _hole_inputs() -> dict[str, tuple[Any, ...]]:
    return {
        "a box that is not shrunk": ((2, 3, 6, 5), 0, 0, 12),
        "shrunk above and below": ((2, 3, 6, 5), 2, 0, 12),
        "shrunk on all sides": ((2, 3, 7, 8), 2, 1, 12),
    }


# ---- distances ---------------------------------------------------------------------------------------------------
def _distance(hole: Array) -> Array:
    """All missing pixels against all known."""
    return _all_pairs(lambda di, dj: np.hypot(di, dj))(hole)


def _all_pairs(length: Callable[[Array, Array], Array]) -> Callable[[Array], Array]:
    def answer(hole: Array) -> Array:
        known, l = np.argwhere(~hole), np.zeros(hole.shape)
        for i, j in np.argwhere(hole):
            l[i, j] = length(abs(known[:, 0] - i), abs(known[:, 1] - j)).min()
        return l

    return answer


def _with_a_known_border(hole: Array) -> Array:
    return _distance(np.pad(hole, 1))[1:-1, 1:-1]


def _to_the_hole(hole: Array) -> Array:
    return _distance(~hole)


def _distance_inputs() -> dict[str, tuple[Any, ...]]:
    square = np.zeros((7, 8), bool)
    square[1:6, 2:7] = True
    border = np.zeros((6, 6), bool)
    border[:4, 2:] = True
    single = np.ones((5, 7), bool)
    single[3, 1] = False
    return {
        "a hole inside": (square,),
        "a hole that reaches the border": (border,),
        "a single known pixel": (single,),
        "nothing missing": (np.zeros((3, 4), bool),),
    }


# ---- weights by the box's sides ----------------------------------------------------------------------------------
def _symmetric(h: int, w: int, gamma: float) -> Array:
    """Layer by layer, from outside."""
    m, layer = np.ones((h, w)), 0
    while min(h, w) > 2 * layer:
        m[layer : h - layer, layer : w - layer] = gamma**layer
        layer += 1
    return m


def _by_sides(*, last: int = 1, first: int = 0, join: Callable[[Array, Array], Array] = np.maximum) -> Any:
    """γ^min(i + first, h − last − i + first) of rows and columns, joined."""

    def answer(h: int, w: int, gamma: float) -> Array:
        rows, columns = (gamma ** (np.minimum(np.arange(n), n - last - np.arange(n)) + first) for n in (h, w))
        return join(rows[:, None], columns[None, :])

    return answer


def _symmetric_inputs() -> dict[str, tuple[Any, ...]]:
    return {
        "a square with even sides": (6, 6, 0.9),
        "odd sides": (5, 7, 0.8),
        "a single row": (1, 4, 0.5),
    }


EXERCISES = [
    Exercise(
        "08.hole",
        "Return the mask of a shrunk box.",
        right=_hole,
        inputs=_hole_inputs,
        mistakes={
            "It shrinks only at the top and the left: shrink the other ends too.": _hole_by_slices(once=True),
            "This moves the box: dy and dx must also come off the other ends.": _hole_by_slices(grow=True),
            "dy and dx are swapped: dy is taken off rows, dx off columns.": _hole_by_slices(swap=True),
            "The mask is inverted: 1 is the hole.": _hole_by_slices(known=1.0),
            "The box ends at top + height and left + width: its last two values are sizes.": _to_height_and_width,
            "Rows and columns of the box are swapped: it is (top, left, height, width).": (
                lambda box, dy, dx, size: _hole((box[1], box[0], box[3], box[2]), dy, dx, size)
            ),
            "left and top are swapped: top comes first in box.": (
                lambda box, dy, dx, size: _hole((box[1], box[0], box[2], box[3]), dy, dx, size)
            ),
        },
    ),
    Exercise(
        "08.distance",
        "Compute each pixel's distance to the nearest known pixel.",
        right=_distance,
        inputs=_distance_inputs,
        mistakes={
            "These are steps along rows and columns, |di| + |dj|: the distance is Euclidean, √(di² + dj²).": _all_pairs(
                lambda di, dj: di + dj
            ),
            "These are a king's moves, max(|di|, |dj|): the distance is Euclidean, √(di² + dj²).": _all_pairs(
                np.maximum
            ),
            "These are squared distances: take the root.": _all_pairs(lambda di, dj: di**2 + dj**2),
            "Pixels outside the picture are not known: a hole at the border gets no help from there.": (
                _with_a_known_border
            ),
            "The mask is inverted: missing pixels have a distance, known ones have 0.": _to_the_hole,
        },
    ),
    Exercise(
        "08.symmetric",
        "Compute the weights by the nearest side, the same for all four.",
        right=_symmetric,
        inputs=_symmetric_inputs,
        mistakes={
            "These are the released code's: the last of n rows is row n − 1, at distance 0.": _by_sides(last=0),
            "This counts from 1: the outermost pixels have distance 0 and weight 1.": _by_sides(first=1),
            "This uses the side that is further away: since γ < 1, the nearer side has the larger power.": (
                _by_sides(join=np.minimum)
            ),
            "The weights of rows and columns are multiplied: only the nearest side counts.": _by_sides(
                join=np.multiply
            ),
        },
    ),
]
