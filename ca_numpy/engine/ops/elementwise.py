"""Elementwise arithmetic with NumPy's broadcasting, whose adjoint is `sum_to`."""

from __future__ import annotations

from typing import SupportsFloat

import numpy as np

from ca_numpy.engine.autograd import Op, defvjp
from ca_numpy.engine.ops.shapes import sum_to
from ca_numpy.engine.tensor import OPS, Tensor, TensorLike


def _like(g: Tensor, x: Tensor) -> Tensor:
    """g summed over the axes along which x was broadcast."""
    return g if g.shape == x.shape else sum_to(g, shape=x.shape)


add = Op("add")
defvjp(add, lambda g, y, a, b: _like(g, a), lambda g, y, a, b: _like(g, b))

sub = Op("sub")
defvjp(sub, lambda g, y, a, b: _like(g, a), lambda g, y, a, b: _like(-g, b))

mul = Op("mul")
defvjp(mul, lambda g, y, a, b: _like(g * b, a), lambda g, y, a, b: _like(g * a, b))

div = Op("div")
defvjp(div, lambda g, y, a, b: _like(g / b, a), lambda g, y, a, b: _like(-g * y / b, b))

_power = Op("power")


def _power_rule(g: Tensor, y: Tensor, x: Tensor, exponent: float) -> Tensor:
    """g·p·x^(p−1), without the power for p = 0 and p = 1, so that x = 0 stays finite, and for p = 2."""
    if exponent in (0, 1):
        return g * exponent
    return g * exponent * (x if exponent == 2 else power(x, exponent=exponent - 1))


defvjp(_power, _power_rule)


def power(x: TensorLike, *, exponent: SupportsFloat) -> Tensor:
    """x^exponent for a constant exponent, x of any shape.

    To differentiate with respect to the exponent, use exp(log(x) * p). Raises TypeError for a Tensor or array exponent.
    """
    if isinstance(exponent, (Tensor, np.ndarray)):
        raise TypeError("the exponent of ** must be a number: write exp(log(x) * p) to differentiate it")
    return _power(x, exponent=float(exponent))


OPS["power"] = power

exp = Op("exp")
defvjp(exp, lambda g, y, x: g * y)

log = Op("log")
defvjp(log, lambda g, y, x: g / x)

sign = Op("sign")
defvjp(sign, None)

abs_ = Op("abs")
defvjp(abs_, lambda g, y, x: g * sign(x))

clip_vjp = Op("clip_vjp")
defvjp(clip_vjp, lambda h, v, g, x, low, high: clip_vjp(h, x, low=low, high=high), None)

clip = Op("clip")
defvjp(clip, lambda g, y, x, low, high: clip_vjp(g, x, low=low, high=high))
