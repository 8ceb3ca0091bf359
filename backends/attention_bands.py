"""The rows of the attention's matrices that a band needs, for backends that compute the attention in bands.

Positions of a grid are numbered row by row. Functions return sorted, unique positions.
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


def walked(positions: Array, grid: tuple[int, int], steps: list[int]) -> Array:
    """Positions that the propagation reaches from these: each of `steps` down the columns, then along the rows."""
    h, w = grid
    down = np.add.outer(positions % w * h + positions // w, steps)
    down = down[(down >= 0) & (down < h * w)]
    along = np.add.outer(down % h * w + down // h, steps)
    return np.unique(along[(along >= 0) & (along < h * w)])


def windowed(positions: Array, grid: tuple[int, int], window: list[int]) -> Array:
    """Positions covered by the windows around these."""
    rows, columns = np.add.outer(positions // grid[1], window), np.add.outer(positions % grid[1], window)
    rows, columns = np.broadcast_arrays(rows[:, :, None], columns[:, None, :])
    inside = (rows >= 0) & (rows < grid[0]) & (columns >= 0) & (columns < grid[1])
    return np.unique((rows * grid[1] + columns)[inside])


def least_exponent(dtype: DTypeLike, length: int) -> Any:
    """How far below the largest of `length` logits the others are negligible: ln(2⁻²⁵ / length) in float32.

    Their exponentials then sum to less than half a rounding error.
    """
    return np.log(np.finfo(dtype).eps / 4 / max(length, 1)).astype(dtype)
