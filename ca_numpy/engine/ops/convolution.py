"""Convolution: three bilinear maps of one trilinear form, whose rules refer to each other.

    T(x, w, g) = ⟨conv2d(x, w), g⟩ = ⟨x, conv2d_dx(g, w)⟩ = ⟨w, conv2d_dw(g, x)⟩

The derivatives of each are the other two. The family is closed under differentiation, so derivatives of every order
exist and double backprop through a critic needs no extra code.
"""

from __future__ import annotations

from collections.abc import Callable

from ca_numpy.engine.autograd import Op, as_tensor, defvjp
from ca_numpy.engine.ops.activations import elu, elu_vjp, leaky_relu, leaky_relu_vjp
from ca_numpy.engine.ops.elementwise import add
from ca_numpy.engine.ops.patches import resize_nearest, resize_nearest_adjoint
from ca_numpy.engine.ops.shapes import sum_to
from ca_numpy.engine.recording import is_recording
from ca_numpy.engine.tensor import Tensor, TensorLike
from ca_numpy.geometry import ConvGeometry
from ca_numpy.registry import current_backend

conv2d = Op("conv2d")
conv2d_dx = Op("conv2d_dx")
conv2d_dw = Op("conv2d_dw")

defvjp(
    conv2d,
    lambda g, y, x, w, geometry: conv2d_dx(g, w, size=x.shape[1:3], geometry=geometry),
    lambda g, y, x, w, geometry: conv2d_dw(g, x, ksize=w.shape[:2], geometry=geometry),
)
defvjp(
    conv2d_dx,
    lambda h, y, g, w, size, geometry: conv2d(h, w, geometry=geometry),
    lambda h, y, g, w, size, geometry: conv2d_dw(g, h, ksize=w.shape[:2], geometry=geometry),
)
defvjp(
    conv2d_dw,
    lambda h, y, g, x, ksize, geometry: conv2d(x, h, geometry=geometry),
    lambda h, y, g, x, ksize, geometry: conv2d_dx(g, h, size=x.shape[1:3], geometry=geometry),
)


def _conv_bias_elu(x: TensorLike, w: TensorLike, b: TensorLike, *, geometry: ConvGeometry) -> Tensor:
    return elu(add(conv2d(x, w, geometry=geometry), b))


def _conv_bias_leaky_relu(
    x: TensorLike, w: TensorLike, b: TensorLike, *, alpha: float, geometry: ConvGeometry
) -> Tensor:
    return leaky_relu(add(conv2d(x, w, geometry=geometry), b), alpha=alpha)


class _Before:
    """The gradient g of what the activation is applied to, conv2d(x, w) + b."""

    def __init__(self, g: Tensor) -> None:
        self.g = g
        self._both: tuple[Tensor, Tensor] | None = None

    def both(self, x: Callable[[], Tensor], w: Tensor, geometry: ConvGeometry) -> tuple[Tensor, Tensor]:
        """The gradients of w and b: one kernel, or two operations if they are recorded."""
        if self._both is None and is_recording():
            self._both = conv2d_dw(self.g, x(), ksize=w.shape[:2], geometry=geometry), sum_to(self.g, shape=w.shape[3:])
        elif self._both is None:
            ksize = w.shape[0], w.shape[1]
            dw, db = current_backend().conv2d_dw_db(self.g.data, x().data, ksize=ksize, geometry=geometry)
            self._both = Tensor(dw, tracked=False), Tensor(db, tracked=False)
        return self._both


# Fused in the backend only: the rules apply the chain rule through the activation once, then convolution's own rules.
_RULES = (
    lambda z, y, x, w, b, geometry, **_: conv2d_dx(z.g, w, size=x.shape[1:3], geometry=geometry),
    lambda z, y, x, w, b, geometry, **_: z.both(lambda: x, w, geometry)[0],
    lambda z, y, x, w, b, geometry, **_: z.both(lambda: x, w, geometry)[1],
)
conv_bias_elu = Op("conv_bias_elu", reference=_conv_bias_elu)
defvjp(conv_bias_elu, *_RULES, shared=lambda g, y, *_, geometry: _Before(elu_vjp(g, y)))

conv_bias_leaky_relu = Op("conv_bias_leaky_relu", reference=_conv_bias_leaky_relu)
defvjp(
    conv_bias_leaky_relu,
    *_RULES,
    shared=lambda g, y, *_, alpha, geometry: _Before(leaky_relu_vjp(g, y, alpha=alpha)),
)


def _doubled(x: TensorLike) -> Tensor:
    x = as_tensor(x)
    return resize_nearest(x, size=_twice(x.shape[1:3]), align_corners=False)


def _twice(size: tuple[int, ...]) -> tuple[int, ...]:
    return 2 * size[0], 2 * size[1]


def _upsample_conv_bias_elu(x: TensorLike, w: TensorLike, b: TensorLike, *, geometry: ConvGeometry) -> Tensor:
    return conv_bias_elu(_doubled(x), w, b, geometry=geometry)


# The same rules with upsampling and its adjoint. The upsampled input is recomputed, not kept.
upsample_conv_bias_elu = Op("upsample_conv_bias_elu", reference=_upsample_conv_bias_elu)
defvjp(
    upsample_conv_bias_elu,
    lambda z, y, x, w, b, geometry: resize_nearest_adjoint(
        conv2d_dx(z.g, w, size=_twice(x.shape[1:3]), geometry=geometry),
        size=x.shape[1:3],
        align_corners=False,
    ),
    lambda z, y, x, w, b, geometry: z.both(lambda: _doubled(x), w, geometry)[0],
    lambda z, y, x, w, b, geometry: z.both(lambda: _doubled(x), w, geometry)[1],
    shared=lambda g, y, *_, geometry: _Before(elu_vjp(g, y)),
)
