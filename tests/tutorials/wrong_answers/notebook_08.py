"""Common wrong answers, and part of the message each one gets."""

import numpy as np

from ca_numpy import losses


def hole(box, dy, dx, size, *, below=1, value=1):
    top, left, height, width = box
    mask = np.full((size, size), 1 - value)
    mask[top + dy : top + height - below * dy, left + dx : left + width - below * dx] = value
    return mask


def other_corner(box, dy, dx, size):
    top, left, bottom, right = box
    mask = np.zeros((size, size))
    mask[top + dy : bottom - dy, left + dx : right - dx] = 1
    return mask


def steps(hole, join=np.add):
    i, j = np.indices(hole.shape)
    known = np.argwhere(~hole)
    return join(abs(i[..., None] - known[:, 0]), abs(j[..., None] - known[:, 1])).min(axis=-1)


def along_columns(hole):
    d = np.where(hole, 99.0, 0.0)
    for i in range(1, len(d)):
        d[i] = np.minimum(d[i], d[i - 1] + 1)
    for i in range(len(d) - 2, -1, -1):
        d[i] = np.minimum(d[i], d[i + 1] + 1)
    return d


def released(h, w, gamma):
    return losses.discount_by_box((h, w), gamma=gamma)[:, :, 0].astype(float)


def released_in_double(h, w, gamma):
    i, j = np.arange(h)[:, None], np.arange(w)[None, :]
    return np.maximum(gamma ** np.minimum(i, h - i), gamma ** np.minimum(j, w - j))


def by_sides(h, w, gamma, *, join):
    rows, columns = (gamma ** np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (h, w))
    return join(rows[:, None], columns[None, :])


WRONG = {
    "08.hole": [
        (lambda box, dy, dx, size: hole(box, dy, dx, size, below=0), "only at the top and the left"),
        (lambda box, dy, dx, size: hole(box, dy, dx, size, below=-1), "This moves the box"),
        (lambda box, dy, dx, size: hole(box, dx, dy, size), "dy and dx are swapped"),
        (lambda box, dy, dx, size: hole(box, dy, dx, size, value=0), "The mask is inverted"),
        (other_corner, "last two values are sizes"),
        (lambda box, dy, dx, size: hole((box[1], box[0], box[3], box[2]), dy, dx, size), "Rows and columns"),
        (lambda box, dy, dx, size: hole((box[1], box[0], *box[2:]), dy, dx, size), "top comes first"),
    ],
    "08.distance": [
        (steps, "steps along rows and columns"),
        (lambda hole: steps(hole, np.maximum), "a king's moves"),
        (lambda hole: steps(hole, lambda a, b: a**2 + b**2), "take the root"),
        (lambda hole: steps(~hole, np.hypot) if hole.any() else 0.0 * hole, "Right on: nothing missing"),
        (along_columns, "values are wrong"),
    ],
    "08.symmetric": [
        (released_in_double, "These are the released code's"),
        (released, "Wrong on"),
        (lambda h, w, gamma: by_sides(h, w, gamma, join=np.multiply), "are multiplied"),
        (lambda h, w, gamma: by_sides(h, w, gamma, join=np.minimum), "the side that is further away"),
        (lambda h, w, gamma: gamma * by_sides(h, w, gamma, join=np.maximum), "This counts from 1"),
    ],
}
