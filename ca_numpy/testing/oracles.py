"""Expected results of each kernel, in plain Python: no array operations compute a value.

One loop per equation of the contract (`ca_numpy/backend.py`). Slow, and independent of all backends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.geometry import AttentionGeometry, ConvGeometry

Array = NDArray[Any]
Place = tuple[int, ...]


def places(shape: Sequence[int]) -> Iterator[Place]:
    """All indices of an array of this shape, in row-major order."""
    return product(*map(range, shape))


# ---- elementwise -------------------------------------------------------------------------------------------------
def elementwise(f: Callable[..., float]) -> Callable[..., Array]:
    """Apply f, a function of Python floats, elementwise with broadcasting."""

    def oracle(*xs: Array, **params: Any) -> Array:
        shape = broadcast_shape([x.shape for x in xs])
        y = np.empty(shape)
        for place in places(shape):
            y[place] = f(*(float(x[_within(place, x.shape)]) for x in xs), **params)
        return y

    return oracle


def broadcast_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Shapes are aligned at their last axes; a length of 1 matches any other."""
    axes = max(map(len, shapes))
    aligned = [(1,) * (axes - len(shape)) + shape for shape in shapes]
    return tuple(next((n for n in lengths if n != 1), 1) for lengths in zip(*aligned, strict=True))


def _within(place: Place, shape: tuple[int, ...]) -> Place:
    """The index of a broadcast array's element before broadcasting."""
    last = place[len(place) - len(shape) :]
    return tuple(0 if n == 1 else i for i, n in zip(last, shape, strict=True))


def clip(x: float, low: float | None, high: float | None) -> float:
    if low is not None and x < low:
        return low
    return high if high is not None and x > high else x


def clip_vjp(g: float, x: float, low: float | None, high: float | None) -> float:
    return g * float((low is None or x >= low) and (high is None or x <= high))


def elu(x: float) -> float:
    return x if x > 0 else math.expm1(x)


def sign(x: float) -> float:
    return 0.0 if x == 0 else math.copysign(1, x)


def softmax(x: Array) -> Array:
    y = np.empty(x.shape)
    for row in places(x.shape[:-1]):
        values = [float(v) for v in x[row]]
        powers = [math.exp(v - max(values)) for v in values]
        for i, p in enumerate(powers):
            y[(*row, i)] = p / math.fsum(powers)
    return y


# ---- sums and shapes ---------------------------------------------------------------------------------------------
def sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    y = np.zeros(shape)
    for place in places(x.shape):
        y[_within(place, shape)] += x[place]
    return y


def broadcast_to(x: Array, shape: tuple[int, ...]) -> Array:
    y = np.empty(shape)
    for place in places(shape):
        y[place] = x[_within(place, x.shape)]
    return y


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    y = np.empty(shape)
    for old, new in zip(places(x.shape), places(shape), strict=True):
        y[new] = x[old]
    return y


def transpose(x: Array, axes: tuple[int, ...]) -> Array:
    y = np.empty([x.shape[a] for a in axes])
    for place in places(y.shape):
        old = [0] * x.ndim
        for axis, i in zip(axes, place, strict=True):
            old[axis] = i
        y[place] = x[tuple(old)]
    return y


def numbered(shape: tuple[int, ...], index: Any) -> Array:
    """The row-major number of each element of x[index], defined by NumPy's indexing."""
    return np.asarray(np.arange(math.prod(shape)).reshape(shape)[index])


def getitem(x: Array, index: Any) -> Array:
    chosen = numbered(x.shape, index)
    y = np.empty(chosen.shape)
    for place in places(chosen.shape):
        y[place] = x[np.unravel_index(int(chosen[place]), x.shape)]
    return y


def put(g: Array, index: Any, shape: tuple[int, ...]) -> Array:
    chosen = numbered(shape, index)
    x = np.zeros(shape)
    for place in places(chosen.shape):
        x[np.unravel_index(int(chosen[place]), shape)] += g[place]
    return x


def concat(*xs: Array, axis: int) -> Array:
    shape = list(xs[0].shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    y = np.empty(shape)
    start = 0
    for x in xs:
        for place in places(x.shape):
            y[(*place[:axis], start + place[axis], *place[axis + 1 :])] = x[place]
        start += x.shape[axis]
    return y


def gather(x: Array, index: Array, axis: int) -> Array:
    y = np.empty((*x.shape[:axis], len(index), *x.shape[axis + 1 :]))
    for place in places(y.shape):
        y[place] = x[(*place[:axis], int(index[place[axis]]), *place[axis + 1 :])]
    return y


def scatter_add(g: Array, index: Array, axis: int, length: int) -> Array:
    x = np.zeros((*g.shape[:axis], length, *g.shape[axis + 1 :]))
    for place in places(g.shape):
        x[(*place[:axis], int(index[place[axis]]), *place[axis + 1 :])] += g[place]
    return x


def nearest(i: int, n_in: int, n_out: int, align_corners: bool) -> int:
    """The input row for output row i, in exact integers: for sides up to 20, float32 rounds no tie differently."""
    if not align_corners:
        return i * n_in // n_out
    return min((2 * i * (n_in - 1) + n_out - 1) // (2 * (n_out - 1)), n_in - 1) if n_out > 1 else 0


def resize_nearest(x: Array, size: tuple[int, int], align_corners: bool) -> Array:
    y = np.empty((x.shape[0], *size, x.shape[3]))
    for n, i, j in places(y.shape[:3]):
        row, column = nearest(i, x.shape[1], size[0], align_corners), nearest(j, x.shape[2], size[1], align_corners)
        y[n, i, j] = x[n, row, column]
    return y


def resize_nearest_adjoint(g: Array, size: tuple[int, int], align_corners: bool) -> Array:
    x = np.zeros((g.shape[0], *size, g.shape[3]))
    for n, i, j in places(g.shape[:3]):
        row, column = nearest(i, size[0], g.shape[1], align_corners), nearest(j, size[1], g.shape[2], align_corners)
        x[n, row, column] += g[n, i, j]
    return x


# ---- patches and products ----------------------------------------------------------------------------------------
def taps(
    x: Sequence[int], ksize: Sequence[int], y: Sequence[int], geometry: ConvGeometry
) -> Iterator[tuple[int, int, int, int, int, int, int]]:
    """(n, i, j, u, v, row, column): tap (u, v) of the kernel at position (i, j) sees pixel (row, column) of image n.

    x and y are N H W …; taps that see only padding are left out.
    """
    stride, dilation, pads = geometry.stride, geometry.dilation, geometry.pads
    for n, i, j, u, v in places((*y[:3], *ksize)):
        row = i * stride + u * dilation - pads[0][0]
        column = j * stride + v * dilation - pads[1][0]
        if 0 <= row < x[1] and 0 <= column < x[2]:
            yield n, i, j, u, v, row, column


def positions(size: Sequence[int], ksize: Sequence[int], geometry: ConvGeometry) -> tuple[int, int]:
    """How often a kernel fits, by trying."""
    stride, dilation = geometry.stride, geometry.dilation
    rows, columns = (
        sum(1 for start in range(0, n + sum(pad), stride) if start + (k - 1) * dilation < n + sum(pad))
        for n, k, pad in zip(size, ksize, geometry.pads, strict=True)
    )
    return rows, columns


def unfold(x: Array, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
    y = np.zeros((len(x), *positions(x.shape[1:3], ksize, geometry), *ksize, x.shape[3]))
    for n, i, j, u, v, row, column in taps(x.shape, ksize, y.shape, geometry):
        y[n, i, j, u, v] = x[n, row, column]
    return y


def fold(g: Array, size: tuple[int, int], geometry: ConvGeometry) -> Array:
    x = np.zeros((len(g), *size, g.shape[5]))
    for n, i, j, u, v, row, column in taps(x.shape, g.shape[3:5], g.shape, geometry):
        x[n, row, column] += g[n, i, j, u, v]
    return x


def conv2d(x: Array, w: Array, geometry: ConvGeometry) -> Array:
    y = np.zeros((len(x), *positions(x.shape[1:3], w.shape[:2], geometry), w.shape[3]))
    for n, i, j, u, v, row, column in taps(x.shape, w.shape[:2], y.shape, geometry):
        for c in range(x.shape[3]):
            y[n, i, j] += x[n, row, column, c] * w[u, v, c]
    return y


def conv2d_dx(g: Array, w: Array, size: tuple[int, int], geometry: ConvGeometry) -> Array:
    x = np.zeros((len(g), *size, w.shape[2]))
    for n, i, j, u, v, row, column in taps(x.shape, w.shape[:2], g.shape, geometry):
        for o in range(w.shape[3]):
            x[n, row, column] += g[n, i, j, o] * w[u, v, :, o]
    return x


def conv2d_dw(g: Array, x: Array, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
    w = np.zeros((*ksize, x.shape[3], g.shape[3]))
    for n, i, j, u, v, row, column in taps(x.shape, ksize, g.shape, geometry):
        for c in range(x.shape[3]):
            w[u, v, c] += x[n, row, column, c] * g[n, i, j]
    return w


def conv_bias_elu(x: Array, w: Array, b: Array, geometry: ConvGeometry) -> Array:
    return elementwise(lambda z, bias: elu(z + bias))(conv2d(x, w, geometry), b)


def upsample_conv_bias_elu(x: Array, w: Array, b: Array, geometry: ConvGeometry) -> Array:
    large = np.zeros((len(x), 2 * x.shape[1], 2 * x.shape[2], x.shape[3]))
    for n, i, j in places(large.shape[:3]):
        large[n, i, j] = x[n, i // 2, j // 2]
    return conv_bias_elu(large, w, b, geometry)


def matmul(a: Array, b: Array) -> Array:
    lead = broadcast_shape([a.shape[:-2], b.shape[:-2]])
    y = np.zeros((*lead, a.shape[-2], b.shape[-1]))
    for place in places(lead):
        left, right = a[_within(place, a.shape[:-2])], b[_within(place, b.shape[:-2])]
        for m, n in places(y.shape[-2:]):
            y[(*place, m, n)] = math.fsum(float(left[m, k]) * float(right[k, n]) for k in range(a.shape[-1]))
    return y


# ---- the paper's attention ---------------------------------------------------------------------------------------
def contextual_attention(f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> Array:
    """Section 4.1, patch by patch, as in the released code."""
    ksize, rate, fuse_k = geometry.ksize, geometry.rate, geometry.fuse_k
    y = np.zeros(f.shape)
    for n in range(len(f)):
        small_f, small_b = _downscale(f[n], rate), _downscale(b[n], rate)
        f_places, b_places = list(places(small_f.shape[:2])), list(places(small_b.shape[:2]))
        scores = np.empty((len(f_places), len(b_places)))
        for q, there in enumerate(b_places):
            candidate = _patch(small_b, there, ksize)
            norm = max(math.sqrt(math.fsum(float(v) ** 2 for v in candidate)), 1e-4)
            for p, here in enumerate(f_places):
                scores[p, q] = float(np.dot(_patch(small_f, here, ksize), candidate)) / norm
        if fuse_k is not None:
            scores = _along_lines(scores, f_places, b_places, fuse_k, by_column=False)
            scores = _along_lines(scores, f_places, b_places, fuse_k, by_column=True)
        attention = softmax(geometry.softmax_scale * scores * valid[n]) * valid[n]
        for (p, here), (q, there) in product(enumerate(f_places), enumerate(b_places)):
            for u, v in places((2 * rate, 2 * rate)):
                to = rate * here[0] + u - rate // 2, rate * here[1] + v - rate // 2
                source = rate * there[0] + u - rate // 2, rate * there[1] + v - rate // 2
                if _inside(to, f[n]) and _inside(source, b[n]):
                    y[n][to] += attention[p, q] * b[n][source] / 4
    return y


def _downscale(x: Array, rate: int) -> Array:
    small: Array = resize_nearest(x[None], (x.shape[0] // rate, x.shape[1] // rate), True)[0]
    return small


def _inside(place: Place, x: Array) -> bool:
    return place[0] in range(x.shape[0]) and place[1] in range(x.shape[1])


def _patch(x: Array, place: Place, k: int) -> Array:
    """The k × k pixels around a position as a vector, zeros outside."""
    around = [(place[0] + u - (k - 1) // 2, place[1] + v - (k - 1) // 2) for u, v in places((k, k))]
    return np.concatenate([x[p] if _inside(p, x) else np.zeros(x.shape[2]) for p in around])


def _along_lines(scores: Array, f_places: list[Place], b_places: list[Place], k: int, *, by_column: bool) -> Array:
    """Replace each score by the sum of k scores, with both positions moving along the lines together."""
    f_walk, b_walk = (sorted(p, key=lambda place: place[::-1] if by_column else place) for p in (f_places, b_places))
    total = np.zeros_like(scores)
    for (p, here), (q, there) in product(enumerate(f_walk), enumerate(b_walk)):
        for t in range(-(k // 2), k // 2 + 1):
            if 0 <= p + t < len(f_walk) and 0 <= q + t < len(b_walk):
                source = f_places.index(f_walk[p + t]), b_places.index(b_walk[q + t])
                total[f_places.index(here), b_places.index(there)] += scores[source]
    return total


# ---- PatchMatch --------------------------------------------------------------------------------------------------
def patch_distance(z: Array, guide: Array, weight: Array, places: Array, field: Array, radius: int) -> Array:
    y = np.empty(len(places))
    for i, (p, q) in enumerate(zip(places, field, strict=True)):
        y[i] = _apart(z, guide, float(weight[i]), p, q, radius)
    return y


def improve_field(
    z: Array, guide: Array, weight: Array, source: Array, places: Array, number: Array, field: Array,
    distance: Array, offsets: Array, radius: int, jump: int,
) -> tuple[Array, Array]:  # fmt: skip
    found, least = field.copy(), distance.copy()

    def attempt(i: int, v: int, u: int) -> None:
        if _inside((v, u), z) and source[v, u] and [v, u] != found[i].tolist():
            d = _apart(z, guide, float(weight[i]), places[i], (v, u), radius)
            if d < least[i]:
                found[i], least[i] = (v, u), d

    for i, (y, x) in enumerate(places.tolist()):
        for dy, dx in ((jump, 0), (-jump, 0), (0, jump), (0, -jump)):
            if _inside((y + dy, x + dx), z) and number[y + dy, x + dx] >= 0:
                v, u = field[number[y + dy, x + dx]].tolist()
                attempt(i, v - dy, u - dx)
        for dy, dx in offsets[:, i].tolist():
            v, u = found[i].tolist()
            attempt(i, v + dy, u + dx)
    return found, least


def patch_vote(z: Array, pixels: Array, number: Array, field: Array, weight: Array, radius: int) -> Array:
    y = np.empty((len(pixels), z.shape[2]))
    for i, pixel in enumerate(pixels.tolist()):
        votes = [(float(weight[j]), z[source]) for j, source in _sources(pixel, number, field, radius)]
        for c in range(z.shape[2]):
            y[i, c] = math.fsum(w * float(v[c]) for w, v in votes) / math.fsum(w for w, _ in votes)
    return y


def patch_source(pixels: Array, number: Array, field: Array, weight: Array, radius: int) -> Array:
    y = np.empty_like(pixels)
    for i, pixel in enumerate(pixels.tolist()):
        y[i] = max(_sources(pixel, number, field, radius), key=lambda vote: float(weight[vote[0]]))[1]
    return y


def _apart(z: Array, guide: Array, weight: float, p: Sequence[int], q: Sequence[int], radius: int) -> float:
    (y, x), (v, u) = p, q
    terms = [weight * float(a - b) ** 2 for a, b in zip(guide[y, x], guide[v, u], strict=True)]
    for dy, dx in places((2 * radius + 1, 2 * radius + 1)):
        here, there = z[y + dy - radius, x + dx - radius], z[v + dy - radius, u + dx - radius]
        terms += [float(a - b) ** 2 for a, b in zip(here, there, strict=True)]
    return math.fsum(terms)


def _sources(pixel: Sequence[int], number: Array, field: Array, radius: int) -> Iterator[tuple[int, Place]]:
    """(p, field[p] + x − p) for the patches p around a pixel x, in rows."""
    for dy, dx in places((2 * radius + 1, 2 * radius + 1)):
        centre = pixel[0] + dy - radius, pixel[1] + dx - radius
        if _inside(centre, number) and number[centre] >= 0:
            v, u = field[number[centre]].tolist()
            yield int(number[centre]), (v + radius - dy, u + radius - dx)


# ---- optimiser ---------------------------------------------------------------------------------------------------
def adam(
    p: Array, g: Array, m: Array, v: Array, rate: float, beta1: float, beta2: float, eps: float
) -> tuple[Array, Array, Array]:
    new_p, new_m, new_v = np.empty(p.shape), np.empty(p.shape), np.empty(p.shape)
    for place in places(p.shape):
        new_m[place] = beta1 * m[place] + (1 - beta1) * g[place]
        new_v[place] = beta2 * v[place] + (1 - beta2) * g[place] ** 2
        new_p[place] = p[place] - rate * new_m[place] / (math.sqrt(new_v[place]) + eps)
    return new_p, new_m, new_v
