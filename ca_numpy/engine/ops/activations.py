"""The activations: ELU throughout the generator, leaky ReLU in the critics, softmax in the attention.

A gradient is multiplied by the slope in one operation, `elu_vjp` or `leaky_relu_vjp`. It computes the slope from the
activation's *output*, so a fused kernel (`conv_bias_elu`) need not keep the input.
"""

from __future__ import annotations

from ca_numpy.engine.autograd import Op, defvjp
from ca_numpy.engine.tensor import Tensor

not_positive = Op("not_positive")
defvjp(not_positive, None)

elu_vjp = Op("elu_vjp")
defvjp(elu_vjp, lambda h, v, g, y: elu_vjp(h, y), lambda h, v, g, y: h * g * not_positive(y))

elu = Op("elu")
defvjp(elu, lambda g, y, x: elu_vjp(g, y))

leaky_relu_vjp = Op("leaky_relu_vjp")
defvjp(leaky_relu_vjp, lambda h, v, g, y, alpha: leaky_relu_vjp(h, y, alpha=alpha), None)

leaky_relu = Op("leaky_relu")
defvjp(leaky_relu, lambda g, y, x, alpha: leaky_relu_vjp(g, y, alpha=alpha))

relu = Op("relu")
defvjp(relu, lambda g, y, x: leaky_relu_vjp(g, y, alpha=0.0))


def _softmax_rule(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """y·(g − Σ g·y) along the last axis"""
    gy = g * y
    return gy - y * gy.sum(-1, keepdims=True)


softmax = Op("softmax")
defvjp(softmax, _softmax_rule)
