"""Worked solutions of notebook 11, the algebra that makes it cheaper."""

import numpy as np


def squared_norms(b, k):
    """‖b‖² at each pixel, then sums of k neighbours: along the columns, along the rows."""
    r, (h, w) = k // 2, b.shape[:2]
    square = np.pad(np.sum(b * b, axis=2), r)
    down = sum(square[u : u + h] for u in range(k))
    return sum(down[:, v : v + w] for v in range(k))


def diagonal_adjoint(g, steps):
    """y at (p, q) took s from (p + t, q + t); so s at (i, j) gets g from (i − t, j − t), where that exists."""
    r = max(abs(t) for t in steps)
    n, m = g.shape
    padded = np.pad(g, r)
    return sum(padded[r - t : r - t + n, r - t : r - t + m] for t in steps)


def multiplications(n_f, n_b, channels, ksize, rate):
    """Each pair, each channel: a product for each pixel of both patches; or one to match and one for each phase."""
    pairs = n_f * n_b * channels
    return pairs * (ksize**2 + (2 * rate) ** 2), pairs * (1 + rate**2)


def rebuild_line(A, b):
    """Phase 0 is also covered by the patch of the cell before, phase 1 by that of the cell after."""
    y = np.zeros(2 * len(A))
    padded = np.pad(A, 1)
    before, after = padded[:-2, :-2], padded[2:, 2:]
    y[0::2] = (A + before) @ b[0::2] / 2
    y[1::2] = (A + after) @ b[1::2] / 2
    return y


def rows_needed(y0, y1, h, ksize, propagated):
    """A row further for the phases; half a window more for the match, and a row more if propagated."""
    further = 1 + ksize // 2 + bool(propagated)
    return max(0, y0 - 1), min(h, y1 + 1), max(0, y0 - further), min(h, y1 + further)


SOLUTIONS = {
    "11.squared_norms": squared_norms,
    "11.diagonal_adjoint": diagonal_adjoint,
    "11.multiplications": multiplications,
    "11.rebuild_line": rebuild_line,
    "11.rows_needed": rows_needed,
}
