"""The rows of the attention's matrices that a band needs, for backends that compute the attention in bands.

Positions of a grid are numbered row by row. `walked` and `windowed` return them sorted, each once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Gradients(NamedTuple):
    """Gradients of the downscaled features and of the norms of b's patches, summed over bands."""

    f: Array
    b: Array
    norm: Array


def neighbours(
    positions: Array, grid: tuple[int, int], offsets: list[int], *, onto: tuple[int, int] | None = None
) -> Array:
    """Positions × (offsets down · offsets along): the positions there, on the grid `onto` if given; −1 outside."""
    (h, w), steps = onto or grid, np.array(offsets)
    rows = (positions // grid[1])[:, None, None] + steps[:, None]
    columns = (positions % grid[1])[:, None, None] + steps
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    return np.where(inside, rows * w + columns, -1).reshape(len(positions), len(offsets) ** 2)


def walk(positions: Array, grid: tuple[int, int], steps: list[int]) -> Array:
    """Positions × (steps · steps): the positions so many steps down the columns, then along the rows; −1 outside."""
    return _along(_down(positions, grid, steps), grid, steps).reshape(len(positions), len(steps) ** 2)


def walk_back(positions: Array, grid: tuple[int, int], steps: list[int]) -> Array:
    """The positions from which each of these is reached by `walk`; −1 for none."""
    back = [-s for s in steps]
    return _down(_along(positions, grid, back), grid, back).reshape(len(positions), len(steps) ** 2)


def _along(positions: Array, grid: tuple[int, int], steps: list[int]) -> Array:
    to = positions[..., None] + np.array(steps)
    return np.where((positions[..., None] >= 0) & (to >= 0) & (to < grid[0] * grid[1]), to, -1)


def _down(positions: Array, grid: tuple[int, int], steps: list[int]) -> Array:
    h, w = grid
    to = _along(np.where(positions < 0, -1, positions % w * h + positions // w), grid, steps)
    return np.where(to < 0, -1, to % h * w + to // h)


def walked(positions: Array, grid: tuple[int, int], steps: list[int]) -> Array:
    """The positions that the propagation reaches from these."""
    return _inside(walk(positions, grid, steps))


def windowed(positions: Array, grid: tuple[int, int], window: list[int]) -> Array:
    """The positions covered by the windows around these."""
    return _inside(neighbours(positions, grid, window))


def _inside(positions: Array) -> Array:
    found = np.unique(positions)
    return found[found >= 0]


def least_exponent(dtype: DTypeLike, length: int) -> Any:
    """How far below the largest of `length` logits the others are negligible: ln(2⁻²⁵ / length) in float32.

    Their exponentials then sum to less than half a rounding error.
    """
    return np.log(np.finfo(dtype).eps / 4 / max(length, 1)).astype(dtype)


def runs_of(positions: Array, width: int) -> Array:
    """R 3: line, first column and length of each run of neighbours among sorted positions of a grid."""
    starts = np.flatnonzero((np.diff(positions, prepend=-2) != 1) | (positions % width == 0))
    return _runs(positions, starts, width)


def _runs(positions: Array, starts: Array, width: int) -> Array:
    lengths = np.diff(starts, append=len(positions))
    return np.stack([positions[starts] // width, positions[starts] % width, lengths], axis=1)


def long_runs_of(positions: Array, grid: tuple[int, int], *, reach: int, longest: int = 1024) -> Array:
    """`runs_of`, but runs continue past the ends of lines, except in the first and last `reach` lines of the grid."""
    lines = positions // grid[1]
    wraps = (lines < reach) | (lines >= grid[0] - reach)
    starts = np.diff(positions, prepend=-2) != 1
    starts |= (positions % grid[1] == 0) & (wraps | np.roll(wraps, 1))
    first = np.maximum.accumulate(np.where(starts, np.arange(len(positions)), 0))
    starts |= (np.arange(len(positions)) - first) % longest == 0
    return _runs(positions, np.flatnonzero(starts), grid[1])
