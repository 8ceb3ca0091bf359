"""Functions composed of operations, which need no derivative rules of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ca_numpy.attention import contextual_attention
from ca_numpy.engine import ops
from ca_numpy.engine.autograd import as_tensor, as_tensors
from ca_numpy.engine.ops import clip, concat, exp, log, matmul, relu, softmax
from ca_numpy.engine.tensor import Tensor, TensorLike
from ca_numpy.geometry import ConvGeometry, Pads

Padding = Literal["same", "valid", "reflect", "symmetric"]
#: The critics' slope of leaky ReLU for negative numbers.
LEAK = 0.2

__all__ = [
    "bilinear_sample",
    "clip",
    "concat",
    "contextual_attention",
    "conv2d",
    "crop_boxes",
    "elu",
    "exp",
    "leaky_relu",
    "linear",
    "log",
    "matmul",
    "max_pool",
    "pad",
    "relu",
    "resize_nearest",
    "softmax",
    "softplus",
    "upsample",
]


def elu(x: TensorLike) -> Tensor:
    """x where x > 0, else eˣ − 1: the activation of every generator layer (section 3). Any shape -> the same shape."""
    return ops.elu(x)


def leaky_relu(x: TensorLike, *, alpha: float = LEAK) -> Tensor:
    """x where x > 0, else alpha·x, with 0 ≤ alpha < 1. The critics' activation. Any shape -> the same shape."""
    return ops.leaky_relu(x, alpha=alpha)


def softplus(x: TensorLike) -> Tensor:
    """log(1 + eˣ) without overflow: x/2 + |x|/2 + log(1 + e^−|x|). Slope ½ at 0. Any shape -> the same shape."""
    x = as_tensor(x)
    size = ops.abs_(x)
    return (x + size) * 0.5 + log(exp(-size) + 1.0)


def linear(x: TensorLike, w: TensorLike, b: TensorLike) -> Tensor:
    """x·w + b.   N I, I O, O -> N O"""
    return matmul(x, w) + b


def conv2d(
    x: TensorLike,
    w: TensorLike,
    b: TensorLike | None = None,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = "same",
    activation: Literal["elu", "leaky_relu"] | None = None,
    upsample_first: bool = False,
) -> Tensor:
    """2-D convolution (cross-correlation, as is conventional).

        y[n, i, j, o] = b[o] + Σ_{u,v,c} x[n, i·s + u·d − top, j·s + v·d − left, c] · w[u, v, c, o]

    x N H W I, w KH KW I O, b O or None -> N OH OW O.

    padding     "same"       ⌈H/stride⌉ outputs; zeros, an odd one at the end (as in TensorFlow and the released code)
                "valid"      no padding
                "reflect"    as "same", but mirrored, excluding the border pixel
                "symmetric"  as "same", but mirrored, including the border pixel
    activation  "elu" or "leaky_relu" (of slope 0.2), fused into the kernel if there is a bias: the tape keeps one array
                instead of three
    upsample_first  convolve `upsample(x)`; fused, without keeping it, for "same" with a bias and "elu"

    Raises ValueError for incompatible shapes, an unknown padding, or a kernel larger than a "valid" image.
    Section 3 of the paper uses mirror padding; the default is the released code's zero padding.
    """
    x, w = as_tensors([x, w])
    if x.ndim != 4 or w.ndim != 4 or x.shape[3] != w.shape[2]:
        raise ValueError(f"conv2d needs x as N H W I and w as KH KW I O with the same I, got {x.shape} and {w.shape}")
    geometry, ksize = ConvGeometry(stride=stride, dilation=dilation), w.shape[:2]
    if upsample_first:
        if padding == "same" and activation == "elu" and b is not None:
            geometry = geometry.same((2 * x.shape[1], 2 * x.shape[2]), ksize)
            return ops.upsample_conv_bias_elu(x, w, b, geometry=geometry)
        x = upsample(x)
    if padding == "same":
        geometry = geometry.same(_hw(x), ksize)
    elif padding in ("reflect", "symmetric"):
        x = pad(x, geometry.same(_hw(x), ksize).pads, mode=padding)
    elif padding != "valid":
        raise ValueError(f'padding must be "same", "valid", "reflect" or "symmetric", got {padding!r}')
    elif min(geometry.output_size(_hw(x), ksize)) < 1:
        kernel = f"a {w.shape[0]}×{w.shape[1]} kernel with dilation {dilation}"
        raise ValueError(f'{kernel} does not fit in {_hw(x)}: use padding="same"')
    if b is not None and activation == "elu":
        return ops.conv_bias_elu(x, w, b, geometry=geometry)
    if b is not None and activation == "leaky_relu":
        return ops.conv_bias_leaky_relu(x, w, b, alpha=LEAK, geometry=geometry)
    y = ops.conv2d(x, w, geometry=geometry)
    y = y if b is None else y + b
    return y if activation is None else elu(y) if activation == "elu" else leaky_relu(y)


def pad(x: TensorLike, pads: Pads, *, mode: Literal["constant", "reflect", "symmetric"] = "constant") -> Tensor:
    """Pad H and W with zeros, or mirrored excluding ("reflect") or including ("symmetric") the border pixel.

    N H W C -> N (top + H + bottom) (left + W + right) C, pads = ((top, bottom), (left, right)); as `np.pad`.
    """
    x = as_tensor(x)
    if mode == "constant":
        shape = (x.shape[0], *(n + sum(p) for n, p in zip(_hw(x), pads, strict=True)), x.shape[3])
        inside = tuple(slice(p[0], p[0] + n) for n, p in zip(_hw(x), pads, strict=True))
        return ops.put(x, index=(slice(None), *inside), shape=shape)
    for axis, p in ((1, pads[0]), (2, pads[1])):
        if any(p):
            x = ops.gather(x, index=np.pad(np.arange(x.shape[axis]), p, mode=mode), axis=axis)
    return x


def resize_nearest(x: TensorLike, *, size: tuple[int, int], align_corners: bool = True) -> Tensor:
    """Nearest-neighbour resizing, N H W C -> N h w C.

    align_corners   output row i is input row min(⌊i·(H − 1)/(h − 1) + ½⌋, H − 1), as throughout the released code.
                    Otherwise ⌊i·H/h⌋. For doubling, both repeat each pixel.

    Raises ValueError for an x that is not N H W C or a size below 1×1.
    """
    x = as_tensor(x)
    if min(size) < 1 or x.ndim != 4:
        raise ValueError(f"resize_nearest needs N H W C and a size of at least 1×1, got {x.shape} and {size}")
    if size == _hw(x):
        return x
    return ops.resize_nearest(x, size=(int(size[0]), int(size[1])), align_corners=align_corners)


def upsample(x: TensorLike) -> Tensor:
    """Repeat each pixel 2 × 2 times: N H W C -> N 2H 2W C."""
    x = as_tensor(x)
    return resize_nearest(x, size=(2 * x.shape[1], 2 * x.shape[2]))


def max_pool(x: TensorLike) -> Tensor:
    """2 × 2 max pooling, N H W C -> N ⌊H/2⌋ ⌊W/2⌋ C; on ties the first pixel gets the gradient.

    An odd last row or column is dropped, as in VGG.
    """
    x = as_tensor(x)
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    rows = _larger(x[:, 0:h:2, :w], x[:, 1:h:2, :w])
    return _larger(rows[:, :, 0::2], rows[:, :, 1::2])


def _larger(a: Tensor, b: Tensor) -> Tensor:
    """max(a, b); the selection is a constant."""
    second = ops.sign(relu(b.detach() - a.detach()))
    return a * (1.0 - second) + b * second


def bilinear_sample(x: TensorLike, positions: TensorLike) -> Tensor:
    """Bilinear interpolation, N H W C at positions N h w 2 (row, column) -> N h w C.   (for section 5.1)

        y = (1 − u)·(1 − v)·x[i, j] + (1 − u)·v·x[i, j + 1] + u·(1 − v)·x[i + 1, j] + u·v·x[i + 1, j + 1]

    with i = ⌊row⌋, u = row − i, and j, v likewise for the column. Positions are in pixels from 0 and clamped to the
    image. Differentiable with respect to x and the positions (whose gradient is discontinuous at integers).
    Raises ValueError for incompatible shapes.
    """
    x, positions = as_tensors([x, positions])
    if x.ndim != 4 or positions.ndim != 4 or positions.shape[3] != 2 or len(positions) != len(x):
        raise ValueError(f"bilinear_sample needs N H W C and positions N h w 2, got {x.shape} and {positions.shape}")
    n, h, w, c = x.shape
    pixels = x.reshape(n * h * w, c)
    first = np.arange(n)[:, None, None] * (h * w)
    (top, bottom, u), (left, right, v) = (
        _neighbours(positions[:, :, :, axis : axis + 1], length) for axis, length in enumerate((h, w))
    )

    def along_row(row: NDArray[np.intp]) -> Tensor:
        a, b = (pixels[first + row * w + column] for column in (left, right))
        return a + v * (b - a)

    above, below = along_row(top), along_row(bottom)
    return above + u * (below - above)


def _neighbours(position: Tensor, length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Tensor]:
    """The pixels before and after each position on an axis, N h w, and its distance from the first, N h w 1.

    The last pixel is at distance 1 from the last but one, so that the gradient there involves two pixels. NaN positions
    give NaN distances, so that divergence shows.
    """
    inside = clip(position, low=0.0, high=float(length - 1))
    before = np.nan_to_num(np.floor(inside.numpy())).clip(0, max(length - 2, 0)).astype(np.intp)
    share = inside - ops.constant_like(before, inside)
    return before[..., 0], np.minimum(before + 1, length - 1)[..., 0], share


def crop_boxes(x: TensorLike, boxes: Sequence[tuple[int, int, int, int]]) -> Tensor:
    """Crop a box from each image: N H W C and N (top, left, height, width) -> N h w C, the local critic's input.

    Raises ValueError unless there is one box per image, inside it, and all have the same size. (section 3)
    """
    x = as_tensor(x)
    if len(boxes) != len(x):
        raise ValueError(f"crop_boxes needs one box per image, got {len(boxes)} boxes for {len(x)} images")
    if len({box[2:] for box in boxes}) > 1:
        raise ValueError(f"all boxes must have the same size, got {sorted({box[2:] for box in boxes})}")
    for t, l, h, w in boxes:
        if min(t, l) < 0 or t + h > x.shape[1] or l + w > x.shape[2]:
            raise ValueError(f"the box (top {t}, left {l}, height {h}, width {w}) does not lie inside {_hw(x)}")
    return ops.crop(x, corners=tuple((t, l) for t, l, _, _ in boxes), size=(boxes[0][2], boxes[0][3]))


def _hw(x: Tensor) -> tuple[int, int]:
    return x.shape[1], x.shape[2]
