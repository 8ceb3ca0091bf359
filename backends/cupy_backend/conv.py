"""Convolution on the GPU: the lists of taps and the launches. The kernels are in `kernels/conv.cu`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.backend import promoted
from ca_numpy.geometry import ConvGeometry

from .launch import Launcher
from .tiles import BUSY, tile_for, vector_for

Array = Any
#: Minimum number of pixels per block in the sum for dw.
FEWEST_PIXELS = 1024


class Convolution:
    """The contract's convolution kernels. `precision` of float32 products: "float32", "tf32" or "bf16"."""

    def __init__(self, launcher: Launcher, precision: str) -> None:
        self._device, self._precision = launcher, precision

    def forward(self, x: Array, w: Array, geometry: ConvGeometry, *, bias: Array | None = None) -> Array:
        """conv2d; with a bias, elu(conv2d + bias)."""
        x, w, bias = promoted(x, w, bias)
        rows, columns = geometry.output_size(x.shape[1:3], w.shape[:2])
        y = self._device.empty((len(x), rows, columns, w.shape[3]), x.dtype)
        taps = taps_of(w.shape[:2], geometry)
        self._convolve(x, w, bias, y, taps, rows=rows, columns=columns, stride=geometry.stride)
        return y

    def upsampled(self, x: Array, w: Array, bias: Array, geometry: ConvGeometry) -> Array:
        """elu(conv2d + bias) of x magnified twice, for each parity of the output's rows and columns by itself.

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
        first = 0
        for (p, q), taps in lists.items():
            part = merged[first : first + len(taps)]
            first += len(taps)
            rows, columns = -(-(size[0] - p) // 2), -(-(size[1] - q) // 2)
            self._convolve(
                x, part, bias, y, taps, rows=rows, columns=columns, stride=geometry.stride, step=2, row0=p, column0=q
            )
        return y

    def dx(self, g: Array, w: Array, size: tuple[int, int], geometry: ConvGeometry) -> Array:
        """conv2d_dx: for each phase of x, a convolution of g with the taps that reach it."""
        g, w = promoted(g, w)
        dx = self._device.empty((len(g), *size, w.shape[2]), g.dtype)
        transposed = w.transpose(0, 1, 3, 2)
        stride, dilation, top, left = geometry.numbers
        for p in range(min(stride, size[0])):
            us = [u for u in range(w.shape[0]) if (p + top - u * dilation) % stride == 0]
            for q in range(min(stride, size[1])):
                vs = [v for v in range(w.shape[1]) if (q + left - v * dilation) % stride == 0]
                taps = tuple(
                    ((p + top - u * dilation) // stride, (q + left - v * dilation) // stride) for u in us for v in vs
                )
                part = transposed[_slice(us)][:, _slice(vs)]
                rows, columns = -(-(size[0] - p) // stride), -(-(size[1] - q) // stride)
                self._convolve(g, part, None, dx, taps, rows=rows, columns=columns, step=stride, row0=p, column0=q)
        return dx

    def dw(self, g: Array, x: Array, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
        """conv2d_dw, as a sum over parts of the pixels."""
        g, x = promoted(g, x)
        taps = taps_of(ksize, geometry)
        (images, rows, columns, k), c = g.shape, x.shape[3]
        depth, pixels = len(taps) * c, images * rows * columns
        x, g = self._device.laid(x), self._device.laid(g)
        tile = tile_for(x.dtype, self._precision, pixels, k)
        blocks = -(-depth // tile.rows), -(-k // tile.columns)
        parts = max(1, min(BUSY // max(blocks[0] * blocks[1], 1), pixels // FEWEST_PIXELS))
        to_a_part = -(-pixels // parts)
        sums = self._device.empty((parts, depth, k), x.dtype)
        self._device.launch(
            "conv.cu", f"correlate<{tile.name}, {self._vectors(x, g)}>", (*blocks, parts),
            x, g, sums, self._table(taps), len(taps), images, *x.shape[1:], rows, columns, geometry.stride, k,
            to_a_part,
        )  # fmt: skip
        return self._device.sum_rows(sums.reshape(parts, -1)).reshape(*ksize, c, k)

    def _vectors(self, a: Array, b: Array) -> str:
        """Numbers loaded at once of each factor."""
        addresses = self._device.addresses(a, b)
        return ", ".join(
            str(vector_for(x.dtype, length=x.shape[-1], address=at)) for x, at in zip((a, b), addresses, strict=True)
        )

    def _table(self, taps: tuple[tuple[int, int], ...]) -> Array:
        return self._device.once(("taps", taps), lambda: self._device.table(taps))

    def _convolve(
        self, x: Array, w: Array, bias: Array | None, y: Array, taps: tuple[tuple[int, int], ...], *,
        rows: int, columns: int, stride: int = 1, step: int = 1, row0: int = 0, column0: int = 0,
    ) -> None:  # fmt: skip
        images, height, width, channels = x.shape
        k = y.shape[3]
        x, w = self._device.laid(x), self._device.laid(w)
        tile = tile_for(y.dtype, self._precision, images * rows * columns, k)
        grid = -(-images * rows * columns // tile.rows), -(-k // tile.columns)
        self._device.launch(
            "conv.cu", f"convolve<{tile.name}, {self._vectors(x, w)}>", grid,
            x, w, w if bias is None else bias, y, self._table(taps), len(taps), images, height, width,
            channels, rows, columns, stride, k, y.shape[1], y.shape[2], step, row0, column0,
            int(bias is not None),
        )  # fmt: skip


def taps_of(ksize: tuple[int, int], geometry: ConvGeometry) -> tuple[tuple[int, int], ...]:
    """(dy, dx) of each position of a kernel, in the order of its weights."""
    _, dilation, top, left = geometry.numbers
    return tuple((u * dilation - top, v * dilation - left) for u in range(ksize[0]) for v in range(ksize[1]))


@cache
def merged_taps(
    ksize: tuple[int, int], geometry: ConvGeometry
) -> tuple[dict[tuple[int, int], tuple[tuple[int, int], ...]], NDArray[np.float64]]:
    """The taps of a convolution of x magnified twice, in pixels of x, by the parities (p, q) of rows and columns of y.

    And the matrix, (all these taps) × (KH·KW), that sums the weights of each.

    Row 2i + p of y reads row (2i + p)·s + u·d − top of the magnified x: row i·s + ⌊(p·s + u·d − top) / 2⌋ of x.
    """
    stride, dilation, top, left = geometry.numbers

    def along(parity: int, k: int, before: int) -> list[int]:
        return [(parity * stride + u * dilation - before) // 2 for u in range(k)]

    lists, sums = {}, []
    for p in (0, 1):
        for q in (0, 1):
            met = [(dy, dx) for dy in along(p, ksize[0], top) for dx in along(q, ksize[1], left)]
            lists[p, q] = tuple(dict.fromkeys(met))
            sums += [[float(here == tap) for here in met] for tap in lists[p, q]]
    return lists, np.array(sums)


def _slice(positions: list[int]) -> slice:
    """Equidistant positions as a slice."""
    if not positions:
        return slice(0, 0)
    step = positions[1] - positions[0] if len(positions) > 1 else 1
    return slice(positions[0], positions[-1] + 1, step)
