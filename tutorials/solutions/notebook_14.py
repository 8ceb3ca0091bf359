"""Worked solutions of notebook 14, reading attention maps."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def offsets_between(index, background):
    """The patch's place in the background's grid, minus the position."""
    i, j = np.indices(index.shape)
    row, column = np.divmod(index, background[1])
    return np.stack([row - i, column - j], axis=2)


def share_right(d, period):
    """NumPy's % is never negative for a positive period, so offsets up and left need no special case."""
    whole = (d % np.array(period) == 0).all(axis=2)
    itself = (d == 0).all(axis=2)
    return np.mean(whole & ~itself)


def light(weights):
    """Zeros outside; then every 3 × 3 window holds the patches that cover its middle."""
    return sliding_window_view(np.pad(weights, 1), (3, 3)).sum(axis=(2, 3))


SOLUTIONS = {
    "14.offsets_between": offsets_between,
    "14.share_right": share_right,
    "14.light": light,
}
