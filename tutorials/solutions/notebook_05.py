"""Worked solutions of notebook 05, ELU, padding and colour."""

import numpy as np


def elu_gradient(g, y):
    """The slope is y + 1 where y ≤ 0 and 1 above, so min(y, 0) + 1 everywhere."""
    return g * (np.minimum(y, 0) + 1)


def shift(n, k, stride, dilation):
    """The first window starts `before` pixels before the picture: count how many more the port has there.

    All windows of one rule are `stride` apart, so what holds for the first holds for all.
    """
    total = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
    return (k - 1) * dilation // 2 - total // 2


def to_rgb(kernel):
    """Swap red and blue among the inputs; ones and mask stay, and so do the outputs, which are not colours."""
    return kernel[:, :, [2, 1, 0, 3, 4]]


SOLUTIONS = {
    "05.elu_gradient": elu_gradient,
    "05.shift": shift,
    "05.to_rgb": to_rgb,
}
