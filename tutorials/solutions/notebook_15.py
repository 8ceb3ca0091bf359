"""Worked solutions of notebook 15, a kernel in Numba. Each loop compiles if you put @njit on it."""

import numpy as np


def leaky_relu(x, alpha):
    """Make x row-major first, and the result too: then flattening copies nothing. The result has the input's type."""
    x = np.require(x, requirements="C")
    y = np.empty(x.shape, x.dtype)
    flat, out = x.reshape(-1), y.reshape(-1)
    for i in range(len(flat)):
        out[i] = flat[i] if flat[i] > 0 else alpha * flat[i]
    return y


def conv(x, w, size, stride, dilation, top, left):
    """Output channels innermost, where they are contiguous."""
    y = np.zeros((*size, w.shape[3]))
    for i in range(size[0]):
        for u in range(w.shape[0]):
            r = i * stride + u * dilation - top
            if 0 <= r < x.shape[0]:
                for j in range(size[1]):
                    for v in range(w.shape[1]):
                        q = j * stride + v * dilation - left
                        if 0 <= q < x.shape[1]:
                            for c in range(x.shape[2]):
                                y[i, j] += x[r, q, c] * w[u, v, c]
    return y


def resize(x, size):
    """The source of each row and of each column; ⌊ … + ½⌋, since `round` would round ½ to even."""

    def taken(n, m):
        return [min(int(i * (n - 1) / max(m - 1, 1) + 0.5), n - 1) for i in range(m)]

    rows, columns = taken(x.shape[0], size[0]), taken(x.shape[1], size[1])
    return x[rows][:, columns]


SOLUTIONS = {
    "15.leaky_relu": leaky_relu,
    "15.conv": conv,
    "15.resize": resize,
}
