"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def directions(pf, pb):
    unit = pb / np.sqrt(np.sum(pb**2, axis=1))[:, None]
    return np.argmax(pf @ unit.T, axis=1)


def counts_once(best, n):
    counts = np.zeros(n)
    counts[best] += 1
    return counts


def by_channel_of_pixels(content, style):
    return style.mean(2, keepdims=True) + content - content.mean(2, keepdims=True)


WRONG = {
    "10.nearest": [
        (lambda pf, pb: np.argmax(pf @ pb.T, axis=1), "inner products, not distances"),
        (directions, "These are directions"),
        (lambda pf, pb: np.argmax(pf @ pb.T / np.linalg.norm(pb, axis=1), axis=1), "These are directions"),
        (lambda pf, pb: np.argmin(np.sum(pb**2, 1) - pf @ pb.T, axis=1), "A half is missing"),
        (lambda pf, pb: np.argmin(np.linalg.norm(pf[:, None] - pb, axis=2), axis=0), "This is reversed"),
        (lambda pf, pb: np.argmax(np.linalg.norm(pf[:, None] - pb, axis=2), axis=1), "This is the farthest"),
        (lambda pf, pb: np.argmin(np.abs(pf[:, None] - pb).sum(2), axis=1), "values are wrong"),
    ],
    "10.recoloured": [
        (lambda c, s: (c - c.mean()) / c.std() * s.std() + s.mean(), "One mean and one deviation"),
        (lambda c, s: c - c.mean((0, 1)) + s.mean((0, 1)), "Only the mean is shifted"),
        (lambda c, s: (c - c.mean((0, 1))) / c.var((0, 1)) * s.var((0, 1)) + s.mean((0, 1)), "take their roots"),
        (lambda c, s: (c - c.mean((0, 1))) / c.std((0, 1)) * s.std((0, 1)), "The style's mean is missing"),
        (lambda c, s: c / c.std((0, 1)) * s.std((0, 1)) + s.mean((0, 1)), "is not subtracted"),
        (lambda c, s: (c - c.mean((0, 1))) * s.std((0, 1)) + s.mean((0, 1)), "keeps its own deviation"),
        (by_channel_of_pixels, "raises ValueError"),
    ],
    "10.uses": [
        (counts_once, "np.bincount or np.add.at"),
        (lambda best, n: np.bincount(best.ravel()), "`minlength`"),
        (lambda best, n: np.bincount(best, minlength=n), "`best.ravel()`"),
        (lambda best, n: np.bincount(best.ravel(), minlength=n) / best.size, "These are fractions"),
        (lambda best, n: np.unique(best, return_counts=True)[1], "their count is 0"),
        (lambda best, n: np.bincount(best.ravel(), minlength=n + 1), "one too many"),
    ],
}
