"""Which rows of the attention's matrices a band of it needs: what backends that compute it in bands share.

Positions of a grid are numbered row by row. All functions return them sorted, each once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


def walked(positions: Array, grid: tuple[int, int], steps: list[int]) -> Array:
    """All that the propagation's walk reaches from these positions: so many steps down, and then along."""
    h, w = grid
    down = np.add.outer(positions % w * h + positions // w, steps)
    down = down[(down >= 0) & (down < h * w)]
    along = np.add.outer(down % h * w + down // h, steps)
    return np.unique(along[(along >= 0) & (along < h * w)])


def windowed(positions: Array, grid: tuple[int, int], window: list[int]) -> Array:
    """All that the windows around these positions cover."""
    rows, columns = np.add.outer(positions // grid[1], window), np.add.outer(positions % grid[1], window)
    rows, columns = np.broadcast_arrays(rows[:, :, None], columns[:, None, :])
    inside = (rows >= 0) & (rows < grid[0]) & (columns >= 0) & (columns < grid[1])
    return np.unique((rows * grid[1] + columns)[inside])


def least_exponent(dtype: DTypeLike, length: int) -> Any:
    """Below the largest of `length` exponents by more than this, e to all of them together changes no digit of its sum.

    ln(2⁻²⁵ / length) in float32: the rest sums to less than half a rounding.
    """
    return np.log(np.finfo(dtype).eps / 4 / max(length, 1)).astype(dtype)
