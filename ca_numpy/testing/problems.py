"""Drawing each kernel's inputs and parameters: one function per kernel, or for several similar ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.geometry import ConvGeometry
from ca_numpy.testing import oracles
from ca_numpy.testing.generators import (
    MARGIN,
    Chooser,
    Problem,
    draw_attention,
    draw_away_from,
    draw_broadcastable,
    draw_channels,
    draw_conv,
    draw_images_shape,
    draw_nonzero,
    draw_normal,
    draw_patches,
    draw_positive,
    draw_shape,
    draw_side,
)

Array = NDArray[Any]


# ---- elementwise -------------------------------------------------------------------------------------------------
def draw_one(*kinks: float, low: float = -2.5, high: float = 2.5) -> Callable[[Chooser], Problem]:
    """One array, away from kinks."""

    def draw(pick: Chooser) -> Problem:
        return Problem((draw_away_from(pick, draw_shape(pick), *kinks, low=low, high=high),))

    return draw


def draw_two(
    first: Callable[..., Array] = draw_normal, second: Callable[..., Array] = draw_normal
) -> Callable[[Chooser], Problem]:
    """Two arrays with broadcastable shapes."""

    def draw(pick: Chooser) -> Problem:
        shape = draw_shape(pick)
        a, b = draw_broadcastable(pick, shape), draw_broadcastable(pick, shape)
        return Problem((first(pick, a), second(pick, b)))

    return draw


def draw_power(pick: Chooser) -> Problem:
    exponent = pick.choice([2.0, 1.0, 3.0, -1.0, 0.0, 0.5, -0.5, 1.7])
    values = draw_nonzero if exponent.is_integer() else draw_positive
    return Problem((values(pick, draw_shape(pick)),), {"exponent": exponent})


def draw_clip(pick: Chooser) -> Problem:
    low, high = pick.choice([(-1.0, 1.0), (None, 0.5), (-0.5, None), (None, None)])
    kinks = [k for k in (low, high) if k is not None]
    return Problem((draw_away_from(pick, draw_shape(pick), *kinks),), {"low": low, "high": high})


def draw_leaky(pick: Chooser) -> Problem:
    return Problem((draw_away_from(pick, draw_shape(pick), 0.0),), {"alpha": pick.choice([0.2, 0.01, 0.9])})


def with_gradient(drawing: Callable[[Chooser], Problem]) -> Callable[[Chooser], Problem]:
    """A gradient of the input's shape before the input."""

    def draw(pick: Chooser) -> Problem:
        problem = drawing(pick)
        return Problem((draw_normal(pick, problem.inputs[0].shape), *problem.inputs), problem.params)

    return draw


# ---- sums and shapes ---------------------------------------------------------------------------------------------
def draw_softmax(pick: Chooser) -> Problem:
    return Problem((draw_normal(pick, draw_shape(pick, least=1)),))


def draw_sum_to(pick: Chooser) -> Problem:
    shape = draw_shape(pick)
    return Problem((draw_normal(pick, shape),), {"shape": draw_broadcastable(pick, shape)})


def draw_broadcast_to(pick: Chooser) -> Problem:
    shape = draw_shape(pick)
    return Problem((draw_normal(pick, draw_broadcastable(pick, shape)),), {"shape": shape})


def draw_reshape(pick: Chooser) -> Problem:
    old = draw_shape(pick)
    size = math.prod(old)
    divisor = pick.choice([n for n in range(1, size + 1) if size % n == 0])
    new = pick.choice([(divisor, size // divisor), (size,), (1, size, 1)])
    return Problem((draw_normal(pick, old),), {"shape": new})


def draw_transpose(pick: Chooser) -> Problem:
    shape = draw_shape(pick)
    left, axes = list(range(len(shape))), []
    while left:
        axes.append(left.pop(pick.integer(0, len(left) - 1)))
    return Problem((draw_normal(pick, shape),), {"axes": tuple(axes)})


def draw_index(pick: Chooser, shape: tuple[int, ...]) -> Any:
    """Integers, slices with any step, an ellipsis, new axes, and at most one array of indices, which may repeat."""
    parts: list[Any] = []
    for n in shape[: pick.integer(0, len(shape))]:
        kind = pick.choice(["slice", "place", "backwards", "new", "places"])
        start = pick.integer(0, n - 1)
        if kind == "places" and not any(isinstance(part, np.ndarray) for part in parts):
            parts.append(np.array([pick.integer(-n, n - 1) for _ in range(pick.integer(1, 5))]))
        elif kind == "place":
            parts.append(pick.choice([start, start - n]))
        elif kind == "backwards":
            parts.append(slice(n - 1, None, -pick.integer(1, 2)))
        else:
            parts += [None] * (kind == "new") + [slice(start, pick.choice([None, n]), pick.integer(1, 3))]
    if pick.choice([False, True]):
        parts.append(Ellipsis)
    return tuple(parts) if len(parts) != 1 else parts[0]


def draw_getitem(pick: Chooser) -> Problem:
    shape = draw_shape(pick, least=1)
    return Problem((draw_normal(pick, shape),), {"index": draw_index(pick, shape)})


def draw_put(pick: Chooser) -> Problem:
    shape = draw_shape(pick, least=1)
    index = draw_index(pick, shape)
    g = draw_normal(pick, oracles.numbered(shape, index).shape)
    return Problem((g,), {"index": index, "shape": shape})


def draw_concat(pick: Chooser) -> Problem:
    shape = draw_shape(pick, least=1)
    axis = pick.integer(0, len(shape) - 1)
    shapes = [(*shape[:axis], draw_side(pick), *shape[axis + 1 :]) for _ in range(pick.integer(1, 3))]
    return Problem(tuple(draw_normal(pick, s) for s in shapes), {"axis": axis})


def draw_crop(pick: Chooser) -> Problem:
    n, h, w, _ = shape = draw_images_shape(pick)
    size = pick.integer(1, h), pick.integer(1, w)
    corners = tuple((pick.integer(0, h - size[0]), pick.integer(0, w - size[1])) for _ in range(n))
    return Problem((draw_normal(pick, shape),), {"corners": corners, "size": size})


def draw_uncrop(pick: Chooser) -> Problem:
    (x,), params = (problem := draw_crop(pick)).inputs, problem.params
    return Problem((draw_normal(pick, (len(x), *params["size"], x.shape[3])),), {**params, "size": x.shape[1:3]})


def draw_gather(pick: Chooser) -> Problem:
    shape = draw_shape(pick, least=1)
    axis = pick.integer(0, len(shape) - 1)
    index = np.array([pick.integer(0, shape[axis] - 1) for _ in range(draw_side(pick))])
    return Problem((draw_normal(pick, shape),), {"index": index, "axis": axis})


def draw_scatter_add(pick: Chooser) -> Problem:
    shape = draw_shape(pick, least=1)
    axis, length = pick.integer(0, len(shape) - 1), draw_side(pick)
    index = np.array([pick.integer(0, length - 1) for _ in range(shape[axis])])
    return Problem((draw_normal(pick, shape),), {"index": index, "axis": axis, "length": length})


def draw_resize(pick: Chooser) -> Problem:
    params = {"size": (draw_side(pick), 2 * draw_side(pick)), "align_corners": pick.choice([True, False])}
    return Problem((draw_normal(pick, draw_images_shape(pick)),), params)


# ---- patches and products ----------------------------------------------------------------------------------------
def draw_unfold(pick: Chooser) -> Problem:
    p = draw_conv(pick)
    return Problem((draw_normal(pick, p.x),), {"ksize": p.w[:2], "geometry": p.geometry})


def draw_fold(pick: Chooser) -> Problem:
    p = draw_conv(pick)
    g = draw_normal(pick, (*p.y[:3], *p.w[:3]))
    return Problem((g,), {"size": p.x[1:3], "geometry": p.geometry})


def draw_matmul(pick: Chooser) -> Problem:
    m, k, n = draw_side(pick), draw_channels(pick), draw_side(pick)
    lead = tuple(pick.integer(1, 3) for _ in range(pick.integer(0, 2)))
    a, b = (*draw_broadcastable(pick, lead), m, k), (*draw_broadcastable(pick, lead), k, n)
    return Problem((draw_normal(pick, a), draw_normal(pick, b)))


def draw_conv2d(pick: Chooser) -> Problem:
    p = draw_conv(pick)
    return Problem((draw_normal(pick, p.x), draw_normal(pick, p.w)), {"geometry": p.geometry})


def draw_conv2d_dx(pick: Chooser) -> Problem:
    p = draw_conv(pick)
    arrays = draw_normal(pick, p.y), draw_normal(pick, p.w)
    return Problem(arrays, {"size": p.x[1:3], "geometry": p.geometry})


def draw_conv2d_dw(pick: Chooser) -> Problem:
    p = draw_conv(pick)
    arrays = draw_normal(pick, p.y), draw_normal(pick, p.x)
    return Problem(arrays, {"ksize": p.w[:2], "geometry": p.geometry})


def draw_conv_bias_elu(pick: Chooser) -> Problem:
    p = draw_conv(pick)
    x = draw_normal(pick, p.x)
    w = draw_normal(pick, p.w) / math.sqrt(math.prod(p.w[:3]))
    b = draw_normal(pick, p.w[3:])
    if not pick.large:  # large ones are not differentiated: there a kink does no harm
        b = _biases_between(oracles.conv2d(x, w, p.geometry))
    return Problem((x, w, b), {"geometry": p.geometry})


def draw_conv_bias_leaky(pick: Chooser) -> Problem:
    p = draw_conv_bias_elu(pick)
    return Problem(p.inputs, {"alpha": pick.choice([0.2, 0.01, 0.9]), **p.params})


def draw_upsample_conv_bias_elu(pick: Chooser) -> Problem:
    """As the generator's decoder calls it, or with another kernel, stride or dilation."""
    k, most = pick.choice([3, 1, 2, 5]), 20 if pick.large else 3
    n, h, w = pick.integer(1, 2), pick.integer(1, most), pick.integer(1, most)
    c, o = pick.integer(1, most), pick.integer(1, most)
    x = draw_normal(pick, (n, h, w, c))
    kernel = draw_normal(pick, (k, k, c, o)) / math.sqrt(k * k * c)
    geometry = ConvGeometry(stride=pick.choice([1, 2]), dilation=pick.choice([1, 2])).same((2 * h, 2 * w), (k, k))
    b = np.zeros(o)
    if not pick.large:
        b = _biases_between(oracles.conv2d(x.repeat(2, axis=1).repeat(2, axis=2), kernel, geometry))
    return Problem((x, kernel, b), {"geometry": geometry})


def _biases_between(z: Array) -> Array:
    """A bias per channel of z that keeps z + bias away from 0."""
    return np.array([_bias_between(np.sort(z[..., o], axis=None)) for o in range(z.shape[-1])])


def _bias_between(z: Array) -> float:
    """The bias that puts 0 into the widest gap between the values z, or below all of them if no gap is wide enough."""
    gaps = np.diff(z)
    widest = int(np.argmax(gaps)) if len(gaps) else 0
    if len(gaps) and gaps[widest] > 4 * MARGIN:
        return float(-(z[widest] + z[widest + 1]) / 2)
    return float(2 * MARGIN - z[0])


# ---- attention, PatchMatch, optimiser ----------------------------------------------------------------------------
def draw_fused_attention(pick: Chooser) -> Problem:
    p = draw_attention(pick)
    rate = p.geometry.rate
    valid = 1 - p.mask[:, ::rate, ::rate].reshape(len(p.mask), -1)
    # Scores are divided by the norm of b's patches: nearer to 0 than this, float32's derivative is all rounding.
    return Problem((p.f, p.b + np.copysign(0.1, p.b), valid), {"geometry": p.geometry})


def draw_attention_vjp(pick: Chooser) -> Problem:
    problem = draw_fused_attention(pick)
    return Problem((draw_normal(pick, problem.inputs[0].shape), *problem.inputs), problem.params)


def draw_patch_distance(pick: Chooser) -> Problem:
    p = draw_patches(pick)
    return Problem((p.z, p.guide, p.guided, p.places, p.field), {"radius": p.radius})


def draw_improve_field(pick: Chooser) -> Problem:
    """Offsets may lead out of the picture, and a jump to no patch or beyond."""
    p, tries = draw_patches(pick), pick.integer(0, 3)
    distance = oracles.patch_distance(p.z, p.guide, p.guided, p.places, p.field, p.radius)
    offsets = pick.rng.integers(-8, 9, (tries, len(p.places), 2), np.int32)
    arrays = p.z, p.guide, p.guided, p.source, p.places, p.number, p.field, distance, offsets
    return Problem(arrays, {"radius": p.radius, "jump": pick.integer(1, 4)})


def draw_patch_vote(pick: Chooser) -> Problem:
    p = draw_patches(pick)
    return Problem((p.z, p.pixels, p.number, p.field, p.trust), {"radius": p.radius})


def draw_patch_source(pick: Chooser) -> Problem:
    p = draw_patches(pick)
    return Problem((p.pixels, p.number, p.field, p.trust), {"radius": p.radius})


def draw_adam(pick: Chooser) -> Problem:
    shape = draw_shape(pick)
    p, g, m = (draw_normal(pick, shape) for _ in range(3))
    params = {"rate": pick.choice([1e-4, 0.1]), "beta1": 0.5, "beta2": 0.9, "eps": 1e-8}
    return Problem((p, g, m, draw_positive(pick, shape)), params)
