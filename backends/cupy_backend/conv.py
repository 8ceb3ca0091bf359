"""Convolution on the GPU: the lists of taps and the launches. The kernels are in `kernels/conv.cu`."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.backend import promoted
from ca_numpy.geometry import ConvGeometry

from .launch import Launcher
from .tiles import BUSY, tile_for, vector_for

Array = Any
#: (dy, dx) of each tap.
Taps = tuple[tuple[int, int], ...]
#: Activations, as `kernels/conv.cu` numbers them.
ELU, LEAKY_RELU = 1, 2
#: Minimum number of pixels per block in the sum for dw.
FEWEST_PIXELS = 1024


class Activation(NamedTuple):
    """What is applied to a convolution's result, after the bias."""

    bias: Array | None = None
    kind: int = 0
    alpha: float = 0.0


NONE = Activation()


class Convolution:
    """The contract's convolution kernels. `precision` of float32 products: "float32", "tf32" or "bf16"."""

    def __init__(self, launcher: Launcher, precision: str) -> None:
        self._device, self._precision = launcher, precision

    def forward(self, x: Array, w: Array, geometry: ConvGeometry, activation: Activation = NONE) -> Array:
        """conv2d; with an activation, of conv2d + bias."""
        x, w, bias = promoted(x, w, activation.bias)
        y = self._device.empty((len(x), *geometry.output_size(x.shape[1:3], w.shape[:2]), w.shape[3]), x.dtype)
        taps = self._tables(taps_of(w.shape[:2], geometry))
        self._convolve(x, w, y, taps, activation._replace(bias=bias), stride=geometry.stride)
        return y

    def upsampled(self, x: Array, w: Array, bias: Array, geometry: ConvGeometry) -> Array:
        """elu(conv2d + bias) of x magnified twice, in a phase for each parity of the output's rows and columns.

        Taps of one parity that meet the same pixel of x become one, of the sum of their weights: for a kernel of 3×3,
        2×2 remain.
        """
        x, w, bias = promoted(x, w, bias)
        size = geometry.output_size((2 * x.shape[1], 2 * x.shape[2]), w.shape[:2])
        y = self._device.empty((len(x), *size, w.shape[3]), x.dtype)
        lists, sums = merged_taps(w.shape[:2], geometry)
        key = "merged", w.shape[:2], geometry, str(w.dtype)
        sums = self._device.once(key, lambda: self._device.xp.asarray(sums, dtype=w.dtype))
        merged = self._device.xp.matmul(sums, w.reshape(w.shape[0] * w.shape[1], -1)).reshape(-1, *w.shape[2:])
        self._convolve(x, merged, y, self._tables(*lists), Activation(bias, ELU), stride=geometry.stride, step=2)
        return y

    def dx(self, g: Array, w: Array, size: tuple[int, int], geometry: ConvGeometry) -> Array:
        """conv2d_dx: for each phase of x, a convolution of g with the taps that reach it."""
        g, w = promoted(g, w)
        dx = self._device.empty((len(g), *size, w.shape[2]), g.dtype)
        lists, order = reaching_taps(w.shape[:2], geometry)
        order = self._device.once(("order", order), lambda: self._device.table(order))
        turned = self._device.empty((len(order), w.shape[3], w.shape[2]), w.dtype)
        self._device.elementwise(
            "pixels.cu", "turn_kernels", turned.size, w.dtype, w, order, len(order), *w.shape[2:], turned
        )
        self._convolve(g, turned, dx, self._tables(*lists), step=geometry.stride)
        return dx

    def dw(self, g: Array, x: Array, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
        """conv2d_dw."""
        return self._correlate(g, x, ksize, geometry).reshape(*ksize, x.shape[3], g.shape[3])

    def dw_db(self, g: Array, x: Array, ksize: tuple[int, int], geometry: ConvGeometry) -> tuple[Array, Array]:
        """conv2d_dw_db: views of one array."""
        both = self._correlate(g, x, ksize, geometry, bias=True)
        return both[:-1].reshape(*ksize, x.shape[3], g.shape[3]), both[-1]

    def _correlate(
        self, g: Array, x: Array, ksize: tuple[int, int], geometry: ConvGeometry, *, bias: bool = False
    ) -> Array:
        """The sums over parts of the pixels, added up: KH·KW·I rows of O numbers, and with `bias` a last one of Σ g."""
        g, x = promoted(g, x)
        taps = taps_of(ksize, geometry)
        (images, rows, columns, k), c = g.shape, x.shape[3]
        depth, pixels = len(taps) * c, images * rows * columns
        x, g = self._device.laid(x), self._device.laid(g)
        tile = tile_for(x.dtype, self._precision, pixels, k)
        blocks = -(-depth // tile.rows), -(-k // tile.columns)
        parts = max(1, min(BUSY // max(blocks[0] * blocks[1], 1), pixels // FEWEST_PIXELS))
        to_a_part = -(-pixels // parts)
        sums = self._device.empty((parts, depth + bias, k), x.dtype)
        self._device.launch(
            "conv.cu", f"correlate<{tile.name}, {self._vectors(x, g)}>", (*blocks, parts),
            x, g, sums, self._tables(taps)[0], len(taps), images, *x.shape[1:], rows, columns, geometry.stride, k,
            to_a_part, int(bias),
        )  # fmt: skip
        return self._device.sum_rows(sums.reshape(parts, -1)).reshape(-1, k)

    def _vectors(self, a: Array, b: Array) -> str:
        """Numbers loaded at once of each factor."""
        addresses = self._device.addresses(a, b)
        return ", ".join(
            str(vector_for(x.dtype, length=x.shape[-1], address=at)) for x, at in zip((a, b), addresses, strict=True)
        )

    def _tables(self, *lists: Taps) -> tuple[Array, Array]:
        """The taps of all phases, and where each phase begins and the last ends."""
        starts = np.cumsum([0, *map(len, lists)])
        return self._device.once(
            ("taps", lists),
            lambda: (self._device.table([tap for taps in lists for tap in taps]), self._device.table(starts)),
        )

    def _convolve(
        self, x: Array, w: Array, y: Array, tables: tuple[Array, Array], activation: Activation = NONE, *,
        stride: int = 1, step: int = 1,
    ) -> None:  # fmt: skip
        """One launch for all of y, in step × step phases."""
        images, height, width, channels = x.shape
        (rows, columns), k = (-(-n // step) for n in y.shape[1:3]), y.shape[3]
        x, w, bias = self._device.laid(x), self._device.laid(w), activation.bias
        tile = tile_for(y.dtype, self._precision, images * rows * columns * step**2, k)
        grid = -(-images * rows * columns // tile.rows), -(-k // tile.columns), step**2
        self._device.launch(
            "conv.cu", f"convolve<{tile.name}, {self._vectors(x, w)}>", grid,
            x, w, w if bias is None else bias, y, *tables, images, height, width, channels, rows, columns, stride, k,
            y.shape[1], y.shape[2], step, activation.kind, y.dtype.type(activation.alpha),
        )  # fmt: skip


def taps_of(ksize: tuple[int, int], geometry: ConvGeometry) -> Taps:
    """(dy, dx) of each position of a kernel, in the order of its weights."""
    _, dilation, top, left = geometry.numbers
    return tuple((u * dilation - top, v * dilation - left) for u in range(ksize[0]) for v in range(ksize[1]))


@cache
def merged_taps(ksize: tuple[int, int], geometry: ConvGeometry) -> tuple[tuple[Taps, ...], NDArray[np.float64]]:
    """The taps of a convolution of x magnified twice, in pixels of x, for each parity (p, q) of rows and columns of y.

    And the matrix, (all these taps) × (KH·KW), that sums the weights of each.

    Row 2i + p of y reads row (2i + p)·s + u·d − top of the magnified x: row i·s + ⌊(p·s + u·d − top) / 2⌋ of x.
    """
    stride, dilation, top, left = geometry.numbers

    def along(parity: int, k: int, before: int) -> list[int]:
        return [(parity * stride + u * dilation - before) // 2 for u in range(k)]

    lists, sums = [], []
    for p, q in product((0, 1), repeat=2):
        met = [(dy, dx) for dy in along(p, ksize[0], top) for dx in along(q, ksize[1], left)]
        lists.append(tuple(dict.fromkeys(met)))
        sums += [[float(here == tap) for here in met] for tap in lists[-1]]
    return tuple(lists), np.array(sums)


@cache
def reaching_taps(ksize: tuple[int, int], geometry: ConvGeometry) -> tuple[tuple[Taps, ...], tuple[int, ...]]:
    """The taps of conv2d_dx, in pixels of g, for each phase (p, q) of x. And the positions in w of all of them.

    Row i·s + p of x is read at tap u by row i + (p + top − u·d) / s of y, where that is an integer.
    """
    stride, dilation, top, left = geometry.numbers
    lists, order = [], []
    for p, q in product(range(stride), repeat=2):
        reached = [
            (u * ksize[1] + v, ((p + top - u * dilation) // stride, (q + left - v * dilation) // stride))
            for u, v in product(range(ksize[0]), range(ksize[1]))
            if (p + top - u * dilation) % stride == 0 and (q + left - v * dilation) % stride == 0
        ]
        lists.append(tuple(tap for _, tap in reached))
        order += [position for position, _ in reached]
    return tuple(lists), tuple(order)
