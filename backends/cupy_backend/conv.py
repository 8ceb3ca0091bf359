"""Convolution on the GPU: the lists of taps and the launches. The kernels are in `kernels/conv.cu`."""

from __future__ import annotations

from typing import Any

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

    def forward(self, x: Array, w: Array, geometry: ConvGeometry, *, bias: Array | None = None, zoom: int = 1) -> Array:
        """conv2d of x, magnified twice if `zoom` is 2; with a bias, elu(conv2d + bias)."""
        x, w, bias = promoted(x, w, bias)
        rows, columns = geometry.output_size((zoom * x.shape[1], zoom * x.shape[2]), w.shape[:2])
        y = self._device.empty((len(x), rows, columns, w.shape[3]), x.dtype)
        taps = taps_of(w.shape[:2], geometry)
        self._convolve(x, w, bias, y, taps, rows=rows, columns=columns, stride=geometry.stride, zoom=zoom)
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
        vector = vector_for(x.dtype, lengths=(c, k), addresses=self._device.addresses(x, g))
        blocks = -(-depth // tile.rows), -(-k // tile.columns)
        parts = max(1, min(BUSY // max(blocks[0] * blocks[1], 1), pixels // FEWEST_PIXELS))
        to_a_part = -(-pixels // parts)
        sums = self._device.empty((parts, depth, k), x.dtype)
        self._device.launch(
            "conv.cu", f"correlate<{tile.name}, {vector}, {vector}>", (*blocks, parts),
            x, g, sums, self._table(taps), len(taps), images, *x.shape[1:], 0, rows, columns, geometry.stride, k,
            to_a_part,
        )  # fmt: skip
        return self._device.sum_rows(sums.reshape(parts, -1)).reshape(*ksize, c, k)

    def _table(self, taps: tuple[tuple[int, int], ...]) -> Array:
        return self._device.once(("taps", taps), lambda: self._device.table(taps))

    def _convolve(
        self, x: Array, w: Array, bias: Array | None, y: Array, taps: tuple[tuple[int, int], ...], *,
        rows: int, columns: int, stride: int = 1, zoom: int = 1, step: int = 1, row0: int = 0, column0: int = 0,
    ) -> None:  # fmt: skip
        images, height, width, channels = x.shape
        k = y.shape[3]
        x, w = self._device.laid(x), self._device.laid(w)
        tile = tile_for(y.dtype, self._precision, images * rows * columns, k)
        vector = vector_for(y.dtype, lengths=(channels, k), addresses=self._device.addresses(x, w))
        grid = -(-images * rows * columns // tile.rows), -(-k // tile.columns)
        self._device.launch(
            "conv.cu", f"convolve<{tile.name}, {vector}, {vector}>", grid,
            x, w, w if bias is None else bias, y, self._table(taps), len(taps), images, height, width,
            channels, zoom - 1, rows, columns, stride, k, y.shape[1], y.shape[2], step, row0, column0,
            int(bias is not None),
        )  # fmt: skip


def taps_of(ksize: tuple[int, int], geometry: ConvGeometry) -> tuple[tuple[int, int], ...]:
    """(dy, dx) of each position of a kernel, in the order of its weights."""
    _, dilation, top, left = geometry.numbers
    return tuple((u * dilation - top, v * dilation - left) for u in range(ksize[0]) for v in range(ksize[1]))


def _slice(positions: list[int]) -> slice:
    """Equidistant positions as a slice."""
    if not positions:
        return slice(0, 0)
    step = positions[1] - positions[0] if len(positions) > 1 else 1
    return slice(positions[0], positions[-1] + 1, step)
