"""Exercises of notebook 01, a tape in forty lines: rules of derivatives, written in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.testing import oracles
from exercises.exercise import Exercise

Array = NDArray[Any]


def _division(g: Array, u: Array, w: Array) -> tuple[Array, Array]:
    return g / w, -g * u / w**2


def _division_inputs() -> dict[str, tuple[Array, ...]]:
    rng = np.random.default_rng(0)
    g, u = rng.standard_normal((2, 3, 4))
    w = rng.uniform(0.5, 2, (3, 4))
    return {
        "numbers": (np.array(1.0), np.array(3.0), np.array(2.0)),
        "a gradient of ones": (np.ones_like(u), u, w),
        "any gradient": (g, u, w),
        "negative divisors": (g, u, -w),
    }


def _sum_to(g: Array, shape: tuple[int, ...]) -> Array:
    return oracles.sum_to(g, shape)


def _sum_to_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(1)
    return {
        "nothing to sum": (rng.standard_normal((4, 3)), (4, 3)),
        "a missing axis": (rng.standard_normal((4, 3)), (3,)),
        "a missing axis before others of its length": (rng.standard_normal((3, 3)), (3,)),
        "an axis of length 1": (rng.standard_normal((4, 3)), (4, 1)),
        "both": (rng.standard_normal((2, 4, 3)), (4, 1)),
        "a number": (rng.standard_normal((4, 3)), ()),
    }


def _sum_of_last_axes(g: Array, shape: tuple[int, ...]) -> Array:
    """Looks for missing axes at the end instead of the front."""
    g = g.sum(axis=tuple(range(len(shape), g.ndim)))
    result: Array = g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)
    return result


def _first_of(g: Array, shape: tuple[int, ...]) -> Array:
    """One of the repeated gradients instead of their sum."""
    g = g[(0,) * (g.ndim - len(shape))]
    result: Array = g[tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]
    return result


def _mean_to(g: Array, shape: tuple[int, ...]) -> Array:
    mean: Array = _sum_to(g, shape) * (math.prod(shape) / g.size)
    return mean


def _leading_only(g: Array, shape: tuple[int, ...]) -> Array:
    result: Array = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return result


def _softmax(g: Array, v: Array) -> Array:
    """By the Jacobian, ∂vᵢ/∂uⱼ = vᵢ·(δᵢⱼ − vⱼ)."""
    table = v[..., :, None] * (np.eye(v.shape[-1]) - v[..., None, :])
    result: Array = np.einsum("...i,...ij->...j", g, table)
    return result


def _softmax_inputs() -> dict[str, tuple[Array, ...]]:
    rng = np.random.default_rng(2)
    u, g = rng.standard_normal((2, 3, 5))
    v = np.exp(u) / np.exp(u).sum(-1, keepdims=True)
    return {
        "one row": (g[0], v[0]),
        "a gradient that is the same everywhere": (np.ones(5), v[0]),
        "three rows": (g, v),
        "two images of three rows": (np.stack([g, -2 * g]), np.stack([v, v[::-1]])),
    }


EXERCISES = [
    Exercise(
        "01.division",
        "Give the two rules of v = u / w, as a pair.",
        right=_division,
        inputs=_division_inputs,
        results=("the gradient of u", "the gradient of w"),
        mistakes={
            "The gradient of w has the wrong sign: a larger divisor makes a smaller quotient.": lambda g, u, w: (
                g / w,
                g * u / w**2,
            ),
            "The gradient of w lacks u: the derivative of u / w w.r.t. w is −u / w².": lambda g, u, w: (
                g / w,
                -g / w**2,
            ),
            "The gradient of w is divided by w only once: the derivative of 1 / w is −1 / w².": lambda g, u, w: (
                g / w,
                -g * u / w,
            ),
            "`a / w * w` is `(a / w) * w` in Python: put w * w in parentheses, or write w**2.": lambda g, u, w: (
                g / w,
                -g * u / w * w,
            ),
            "The gradient of w lacks g: each rule multiplies by the gradient of v.": lambda g, u, w: (
                g / w,
                -u / w**2,
            ),
            "These are the derivatives themselves: a rule multiplies them by g, the gradient of v.": lambda g, u, w: (
                1 / w,
                -u / w**2,
            ),
        },
    ),
    Exercise(
        "01.sum_to",
        "Sum a gradient over what broadcasting repeated.",
        right=_sum_to,
        inputs=_sum_to_inputs,
        mistakes={
            "Missing axes are leading, not trailing: NumPy aligns shapes at their last axes.": _sum_of_last_axes,
            "This takes one of the repeated gradients: each use contributes, so they are summed.": _first_of,
            "This is the mean of the repeated gradients: each use contributes, so they are summed.": _mean_to,
            "Leading axes are summed, but axes of length 1 are not: they were repeated too.": _leading_only,
            "This reshapes g but sums nothing.": lambda g, shape: g.reshape(shape),
        },
    ),
    Exercise(
        "01.softmax",
        "Give the rule of a softmax along the last axis.",
        right=_softmax,
        inputs=_softmax_inputs,
        mistakes={
            "This is only the diagonal of the Jacobian: each vᵢ also depends on every other uⱼ.": lambda g, v: (
                g * v * (1 - v)
            ),
            "This is the rule of exp: the effect of the denominator is missing.": lambda g, v: g * v,
            "The sum runs over the whole array: each row has its own sum (axis −1, keepdims).": lambda g, v: (
                v * (g - (g * v).sum())
            ),
            "The sum runs down the columns: rows lie along the last axis.": lambda g, v: (
                v * (g - (g * v).sum(0, keepdims=True))
            ),
            "The sum is of g, not of g·v.": lambda g, v: v * (g - g.sum(-1, keepdims=True)),
        },
    ),
]
