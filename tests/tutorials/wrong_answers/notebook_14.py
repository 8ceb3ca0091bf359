"""Common wrong answers, and part of the message each one gets."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def offsets(index, length):
    row, column = np.divmod(index, length)
    return np.stack(np.array([row, column]) - np.indices(index.shape), axis=2)


def scaled(index, background):
    cell = np.array(index.shape) / background
    return np.stack(np.divmod(index, background[1]), axis=2) * cell - np.stack(np.indices(index.shape), axis=2)


def whole(d, period):
    return (d % np.array(period) == 0).all(axis=2)


def moving(d):
    return d.any(axis=2)


def windows(weights, **how):
    return sliding_window_view(np.pad(weights, 1, **how), (3, 3))


WRONG = {
    "14.offsets_between": [
        (lambda index, background: offsets(index, index.shape[1]), "the foreground's rows"),
        (lambda index, background: offsets(index, background[0]), "read down the columns"),
        (scaled, "Do not scale"),
        (lambda index, background: -offsets(index, background[1]), "relative to its patch"),
        (lambda index, background: offsets(index, background[1])[..., ::-1], "Right comes first"),
        (lambda index, background: np.stack(np.divmod(index, background[1]), axis=2), "subtract the position itself"),
        (lambda index, background: np.stack(np.unravel_index(index, background)), "axes are in the wrong order"),
        (lambda index, background: np.abs(offsets(index, background[1])), "magnitudes are right"),
    ],
    "14.share_right": [
        (lambda d, period: whole(d, period).mean(), "0 is a multiple of everything"),
        (lambda d, period: ((d % np.array(period) == 0).any(axis=2) & moving(d)).mean(), "One axis is enough"),
        (lambda d, period: (whole(d, period) & d.all(axis=2)).mean(), "directly below or beside"),
        (lambda d, period: (whole(d, period[::-1]) & moving(d)).mean(), "The periods are swapped"),
        (lambda d, period: whole(d[moving(d)][None], period).sum() / max(1, moving(d).sum()), "among all positions"),
        (lambda d, period: (whole(d, period) & moving(d)).sum(), "number of positions"),
        (lambda d, period: (np.abs(d) == np.array(period)).all(axis=2).mean(), "values are wrong"),
    ],
    "14.light": [
        (lambda weights: weights, "a patch lights nine positions"),
        (lambda weights: windows(weights).mean(axis=(2, 3)), "mean of nine"),
        (lambda weights: windows(weights).max(axis=(2, 3)), "largest weight around"),
        (lambda weights: windows(weights, mode="wrap").sum(axis=(2, 3)), "wrap around"),
        (lambda weights: windows(weights)[..., [0, 1, 1, 1, 2], [1, 0, 1, 2, 1]].sum(axis=2), "not a cross"),
        (lambda weights: sliding_window_view(weights, (3, 3)).sum(axis=(2, 3)), "raises ValueError"),
    ],
}
