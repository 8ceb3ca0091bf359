"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def divides_without_parentheses(g, u, w):
    return g / w, -g * u / w * w


def gives_w_first(g, u, w):
    return -g * u / w**2, g / w


def forgets_to_keep_axes(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1))


def forgets_to_return(g, shape):
    g.sum(axis=0)


def overwrites_the_gradient(g, v):
    g *= v
    return g - v * g.sum(-1, keepdims=True)


def softmax_of_columns(g, v):
    gv = g * v
    return gv - v * gv.sum(0, keepdims=True)


WRONG = {
    "01.division": [
        (lambda g, u, w: (g / w, g * u / (w * w)), "wrong sign"),
        (lambda g, u, w: (1 / w, -u / w / w), "multiplies them by g"),
        (lambda g, u, w: (g / w, -g * (u / w)), "divided by w only once"),
        (lambda g, u, w: (g / w, -u / (w * w)), "The gradient of w lacks g"),
        (lambda g, u, w: g / w, "should be 2 results"),
        (divides_without_parentheses, "put w * w in parentheses"),
        (gives_w_first, "wrong order"),
        (lambda g, u, w: (-g / w, -g * u / w**2), "the gradient of u: The sign is wrong"),
        (lambda g, u, w: (2 * g / w, -g * u / w**2), "the gradient of u: A factor is wrong: everything is 2 times"),
    ],
    "01.sum_to": [
        (lambda g, shape: g.sum(axis=tuple(range(g.ndim - len(shape)))), "axes of length 1 are not"),
        (lambda g, shape: g, "is a sum over some axes missing"),
        (lambda g, shape: np.resize(g, shape), "Wrong on"),
        (forgets_to_keep_axes, "keepdims"),
        (forgets_to_return, "is a `return` missing"),
    ],
    "01.softmax": [
        (lambda g, v: g * (v - v**2), "only the diagonal"),
        (lambda g, v: g * v, "rule of exp"),
        (lambda g, v: g * v - v * np.sum(g * v), "each row has its own sum"),
        (softmax_of_columns, "down the columns"),
        (overwrites_the_gradient, "modifies its input number 0"),
    ],
}
