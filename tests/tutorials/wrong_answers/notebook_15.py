"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def flat_into_zeros(x, alpha):
    y = np.zeros_like(x)
    y.reshape(-1)[:] = np.maximum(x, alpha * x).reshape(-1)
    return y


def flat_into_whatever_lay_there(x, alpha):
    y = np.full_like(x, 1e300)
    y.reshape(-1)[:] = np.maximum(x, alpha * x).reshape(-1)
    return y


def through_contiguous(x, alpha):
    x = np.ascontiguousarray(x)
    return np.maximum(x, x.dtype.type(alpha) * x)


def in_place(x, alpha):
    x[x < 0] *= alpha
    return x


def conv(x, w, size, stride, dilation, top, left, *, padded=True):
    """By a padded copy: everything around is zeros."""
    ph, pw = (n * stride + k * dilation for n, k in zip(size, w.shape[:2], strict=True))
    big = np.zeros((top + len(x) + ph, left + x.shape[1] + pw, x.shape[2]))
    corner = (top, left) if padded else (0, 0)
    big[corner[0] : corner[0] + x.shape[0], corner[1] : corner[1] + x.shape[1]] = x
    y = np.zeros((*size, w.shape[3]))
    for u, v in np.ndindex(w.shape[:2]):
        seen = big[u * dilation :, v * dilation :][: size[0] * stride : stride, : size[1] * stride : stride]
        y += seen @ w[u, v]
    return y


def rounded(x, size):
    rows, columns = (np.rint(np.linspace(0, n - 1, m)).astype(int) for n, m in zip(x.shape, size, strict=False))
    return x[rows][:, columns]


def stretched(x, size):
    rows, columns = (np.arange(m) * n // m for n, m in zip(x.shape, size, strict=False))
    return x[rows][:, columns]


def divides_by_zero(x, size):
    rows, columns = ([int(i * (n - 1) / (m - 1) + 0.5) for i in range(m)] for n, m in zip(x.shape, size, strict=False))
    return x[rows][:, columns]


WRONG = {
    "15.leaky_relu": [
        (flat_into_zeros, "was never written"),
        (flat_into_whatever_lay_there, "Was this one written?"),
        (through_contiguous, "became an array of one"),
        (lambda x, alpha: np.maximum(np.asarray(x, float), alpha * np.asarray(x, float)), "The type is lost"),
        (lambda x, alpha: np.where(x < 0, x, x.dtype.type(alpha) * x), "The sides are swapped"),
        (in_place, "modifies its input"),
        (lambda x, alpha: x if x > 0 else x * alpha, "test each number"),
    ],
    "15.conv": [
        (lambda x, w, size, s, d, top, left: conv(x, w, size, s, 1, top, left), "The dilation is missing"),
        (lambda x, w, size, s, d, top, left: conv(x, w, size, 1, d, top, left), "The stride is missing"),
        (lambda x, w, size, s, d, top, left: conv(x, w, size, s, d, left, top), "`top` and `left` are swapped"),
        (lambda *a: conv(*a, padded=False), "The leading zeros are missing"),
        (lambda x, w, *rest: conv(x, w[::-1, ::-1], *rest), "The kernel is flipped"),
        (lambda x, w, *rest: conv(x, w[::-1], *rest), "values are wrong"),
    ],
    "15.resize": [
        (rounded, "round a half to the nearest *even* number"),
        (stretched, "without aligned corners"),
        (divides_by_zero, "makes OH − 1 zero"),
        (lambda x, size: stretched(x, size[::-1]), "axes"),
    ],
}
