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


def phases(A, b, before, after):
    """Phase 0 with the weights `before`, phase 1 with `after`."""
    return np.stack([before(A) @ b[0::2], after(A) @ b[1::2]], axis=1).ravel() / 2


def previous(A):
    return np.pad(A, ((1, 0), (1, 0)))[:-1, :-1]


def following(A):
    return np.pad(A, ((0, 1), (0, 1)))[1:, 1:]


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
    "11.rebuild_line": [
        (lambda A, b: phases(A, b, lambda A: A, lambda A: A), "a second one covers it"),
        (lambda A, b: 2 * phases(A, b, lambda A: A + previous(A), lambda A: A + following(A)), "not divided by 2"),
        (lambda A, b: phases(A, b, lambda A: A + following(A), lambda A: A + previous(A)), "are exchanged"),
        (lambda A, b: phases(A, b, previous, following), "Only the neighbour's patch"),
    ],
    "11.rows_needed": [
        (lambda y0, y1, h, k, p: (y0 - 1, y1 + 1, y0 - 1 - k // 2 - p, y1 + 1 + k // 2 + p), "cut at 0 and at h"),
        (
            lambda y0, y1, h, k, p: (max(0, y0 - 1), min(h, y1 + 1), max(0, y0 - 2), min(h, y1 + 2)),
            "Wrong on",
        ),
        (
            lambda y0, y1, h, k, p: (max(y0 - 1, 0), min(h, y1 + 1), max(y0 - 1 - k // 2, 0), min(h, y1 + 1 + k // 2)),
            "Propagation is missing",
        ),
    ],
}
