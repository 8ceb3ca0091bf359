"""The differentiable primitives and their derivative rules.

An operation is a primitive only if a backend might have a faster kernel for it, or if composing it would keep more than
one large intermediate. Everything else is a composite in `functional`.
"""

from ca_numpy.engine.ops.activations import (
    elu,
    elu_vjp,
    leaky_relu,
    leaky_relu_vjp,
    not_positive,
    relu,
    softmax,
)
from ca_numpy.engine.ops.attention import contextual_attention
from ca_numpy.engine.ops.convolution import (
    conv2d,
    conv2d_dw,
    conv2d_dx,
    conv_bias_elu,
    conv_bias_leaky_relu,
    upsample_conv_bias_elu,
)
from ca_numpy.engine.ops.elementwise import abs_, add, clip, clip_vjp, div, exp, log, mul, power, sign, sub
from ca_numpy.engine.ops.matrix import matmul
from ca_numpy.engine.ops.patches import (
    crop,
    fold,
    gather,
    resize_nearest,
    resize_nearest_adjoint,
    scatter_add,
    uncrop,
    unfold,
)
from ca_numpy.engine.ops.shapes import (
    broadcast_to,
    concat,
    constant_like,
    getitem,
    mean,
    put,
    reshape,
    sum_,
    sum_to,
    transpose,
)

__all__ = [
    "abs_",
    "add",
    "broadcast_to",
    "clip",
    "clip_vjp",
    "concat",
    "constant_like",
    "contextual_attention",
    "conv2d",
    "conv2d_dw",
    "conv2d_dx",
    "conv_bias_elu",
    "conv_bias_leaky_relu",
    "crop",
    "div",
    "elu",
    "elu_vjp",
    "exp",
    "fold",
    "gather",
    "getitem",
    "leaky_relu",
    "leaky_relu_vjp",
    "log",
    "matmul",
    "mean",
    "mul",
    "not_positive",
    "power",
    "put",
    "relu",
    "reshape",
    "resize_nearest",
    "resize_nearest_adjoint",
    "scatter_add",
    "sign",
    "softmax",
    "sub",
    "sum_",
    "sum_to",
    "transpose",
    "uncrop",
    "unfold",
    "upsample_conv_bias_elu",
]
