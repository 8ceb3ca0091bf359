"""Common wrong answers, and part of the message each one gets."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def windows(hole, k, outside=0):
    return sliding_window_view(np.pad(hole, k // 2, constant_values=outside), (k, k))


def known_without_padding(hole, ksize):
    return (sliding_window_view(hole, (ksize, ksize)).sum(axis=(2, 3)) == 0).astype(float)


def slices(s, move, k):
    r, w, w2 = k // 2, s.shape[1], s.shape[3]
    padded = np.pad(s, ((0, 0), (r, r), (0, 0), (r, r)))
    total = 0
    for t in range(-r, r + 1):
        a, b = move(t)
        total = total + padded[:, r + a : r + a + w, :, r + b : r + b + w2]
    return total


def flat_diagonal(s, k):
    h, w, h2, w2 = s.shape
    r, flat = k // 2, s.reshape(h * w, h2 * w2)
    padded = np.pad(flat, r)
    total = sum(padded[r + t : r + t + h * w, r + t : r + t + h2 * w2] for t in range(-r, r + 1))
    return total.reshape(s.shape)


WRONG = {
    "09.known_patches": [
        (lambda hole, ksize: 1.0 - hole, "These are the known pixels"),
        (lambda hole, ksize: (windows(hole, ksize).min(axis=(2, 3)) == 0).astype(float), "all have to be"),
        (lambda hole, ksize: windows(hole, ksize).max(axis=(2, 3)), "This is inverted"),
        (lambda hole, ksize: (windows(hole, ksize, 1).max(axis=(2, 3)) == 0).astype(float), "border are lost"),
        (lambda hole, ksize: windows(1 - hole, ksize, 1).mean(axis=(2, 3)), "fractions of known pixels"),
        (known_without_padding, "The shape is wrong"),
    ],
    "09.propagate_right": [
        (lambda s, k: slices(s, lambda t: (t, -t), k), "move apart"),
        (lambda s, k: slices(s, lambda t: (t, 0), k), "Only the foreground"),
        (lambda s, k: sum(np.roll(s, (t, t), axis=(1, 3)) for t in range(-(k // 2), k // 2 + 1)), "as in np.roll"),
        (flat_diagonal, "from the end of a row into the next"),
        (lambda s, k: slices(s, lambda t: (t, t), k) / k, "This is the mean"),
        (lambda s, k: slices(s, lambda t: (t, t), k) - s, "values are wrong"),
    ],
    "09.attention_bytes": [
        (lambda h, w, r, s: 4 * (h // r * (w // r)) * (h // r // s * (w // r // s)), "Rounded down"),
        (lambda h, w, r, s: 4 * (-(-h // r) * -(-w // r)) ** 2, "The stride is missing"),
        (lambda h, w, r, s: 4 * (h * w / r**2) ** 2 / s**2, "not an integer, or not rounded"),
        (lambda h, w, r, s: 4 * (n := -(-h // r) * -(-w // r)) * -(-n // s**2), "not the total number of positions"),
        (lambda h, w, r, s: -4 * (-(-h // r) * (-w // r)), "one per pair"),
    ],
}
