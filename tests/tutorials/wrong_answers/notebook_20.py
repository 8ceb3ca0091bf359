"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def softmax(x, axis=1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def underflowing(d, temperature):
    with np.errstate(invalid="ignore"):
        e = np.exp(-d / temperature)
        return e / e.sum(axis=1, keepdims=True)


def sums(z, field, divide=1):
    h, w = field.shape[:2]
    total = np.zeros((h + 2, w + 2))
    for i, j in np.ndindex(h, w):
        v, u = field[i, j]
        total[i : i + 3, j : j + 3] += z[v - 1 : v + 2, u - 1 : u + 2]
    return total / divide


def the_last_one(z, field):
    h, w = field.shape[:2]
    y = np.zeros((h + 2, w + 2))
    for i, j in np.ndindex(h, w):
        v, u = field[i, j]
        y[i : i + 3, j : j + 3] = z[v - 1 : v + 2, u - 1 : u + 2]
    return y


def same_place(field):
    pairs = [(field[:, 1:] == field[:, :-1]).all(2).ravel(), (field[1:] == field[:-1]).all(2).ravel()]
    return np.concatenate(pairs).mean()


def beside_only(field):
    return ((field[:, 1:] - field[:, :-1]) == (0, 1)).all(2).mean()


WRONG = {
    "20.weights": [
        (lambda d, t: softmax(d / t), "The sign is wrong"),
        (lambda d, t: softmax(-d * t), "multiplies by the temperature"),
        (lambda d, t: softmax(-d / t, axis=0), "over the first axis"),
        (lambda d, t: softmax(-d), "no effect"),
        (underflowing, "not finite"),
        (lambda d, t: np.eye(d.shape[1])[d.argmin(1)], "values are wrong"),
    ],
    "20.votes": [
        (sums, "These are sums"),
        (lambda z, field: sums(z, field, 9), "Divided by 9"),
        (the_last_one, "overwrites"),
        (lambda z, field: z[tuple(field.transpose(2, 0, 1))], "Only the patches' centres"),
    ],
    "20.coherent": [
        (same_place, "*same* place"),
        (beside_only, "Only pairs side by side"),
        (lambda field: (same_place(field) > 0) * 1.0, "wrong"),
    ],
}
