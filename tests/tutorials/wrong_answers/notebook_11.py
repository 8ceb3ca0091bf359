"""Common wrong answers, and part of the message each one gets."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def box(square, k):
    return sliding_window_view(np.pad(square, k // 2), (k, k)).sum(axis=(2, 3))


def one_axis(b, k):
    square = np.pad(np.sum(b * b, axis=2), ((0, 0), (k // 2, k // 2)))
    return sum(square[:, v : v + b.shape[1]] for v in range(k))


def shifted(g, moves):
    r = 4
    padded, (n, m) = np.pad(g, r), g.shape
    return sum(padded[r + i : r + i + n, r + j : r + j + m] for i, j in moves)


WRONG = {
    "11.squared_norms": [
        (lambda b, k: np.sqrt(box(np.sum(b * b, axis=2), k)), "These are the norms"),
        (lambda b, k: box(b.sum(axis=2) ** 2, k), "summed before squaring"),
        (one_axis, "sum vertically as well"),
        (lambda b, k: box(np.mean(b * b, axis=2), k), "mean over the channels"),
        (lambda b, k: sliding_window_view(np.sum(b * b, axis=2), (1, 1)).sum(axis=(2, 3)), "single pixels"),
        (lambda b, k: b * b, "The shape is wrong"),
    ],
    "11.diagonal_adjoint": [
        (lambda g, steps: shifted(g, [(t, t) for t in steps]), "the forward pass again"),
        (lambda g, steps: shifted(g, [(-t, t) for t in steps]), "move apart"),
        (lambda g, steps: sum(np.roll(g, (t, t), axis=(0, 1)) for t in steps), "wrap around"),
        (lambda g, steps: shifted(g, [(-steps[-1], -steps[-1])]), "Only the last step"),
        (lambda g, steps: shifted(g, [(-t, -t) for t in steps]).T, "axes are in the wrong order"),
    ],
    "11.multiplications": [
        (lambda f, b, c, k, r: (f * b * c * (k**2 + r**2), f * b * c * (1 + r**2)), "that is why they overlap"),
        (lambda f, b, c, k, r: (f * b * c * (k**2 + 4 * r**2), f * b * c * r**2), "Match is missing"),
        (lambda f, b, c, k, r: (f * b * c * 25, f * b * c * 5), "Wrong on: 5 × 5 patches; rate 4"),
        (lambda f, b, c, k, r: (f * b * c * (1 + r**2), f * b * c * (k**2 + 4 * r**2)), "in the wrong order"),
        (lambda f, b, c, k, r: (f * b * (k**2 + 4 * r**2), f * b * (1 + r**2)), "The channels are missing"),
    ],
}
