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


SOLUTIONS = {
    "11.squared_norms": squared_norms,
    "11.diagonal_adjoint": diagonal_adjoint,
    "11.multiplications": multiplications,
}
