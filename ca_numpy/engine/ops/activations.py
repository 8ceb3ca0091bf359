"""The activations: ELU throughout the generator, leaky ReLU in the critics, softmax in the attention.

Slopes are operations too, computed from the *output* where possible, so a fused kernel (`conv_bias_elu`) need not keep
the activation's input.
"""

from __future__ import annotations

from ca_numpy.engine.autograd import Op, defvjp
from ca_numpy.engine.tensor import Tensor

not_positive = Op("not_positive")
defvjp(not_positive, None)

elu_slope = Op("elu_slope")
defvjp(elu_slope, lambda g, s, y: g * not_positive(y))

elu = Op("elu")
defvjp(elu, lambda g, y, x: g * elu_slope(y))

leaky_relu_slope = Op("leaky_relu_slope")
defvjp(leaky_relu_slope, None)

leaky_relu = Op("leaky_relu")
defvjp(leaky_relu, lambda g, y, x, alpha: g * leaky_relu_slope(y, alpha=alpha))

relu = Op("relu")
defvjp(relu, lambda g, y, x: g * leaky_relu_slope(y, alpha=0.0))


def _softmax_rule(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """y·(g − Σ g·y) along the last axis"""
    gy = g * y
    return gy - y * gy.sum(-1, keepdims=True)


softmax = Op("softmax")
defvjp(softmax, _softmax_rule)
