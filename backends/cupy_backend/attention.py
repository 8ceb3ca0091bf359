"""Contextual attention on the GPU in bands of rows: the host code. The kernels are in `kernels/attention.cu`.

`numba_attention.py` derives the equations and explains the bands. Here bands are higher, and each computes all the rows
of scores that it needs.

    P = f bᵀ  →  S = D_window(P) / ‖patch b‖  →  A = softmax(scale · valid · D_columns(D_rows(S))) · valid
    Q = corner sums of A  →  y_blocks = ¼ Q · b_blocks
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np

from ca_numpy.backend import promoted
from ca_numpy.geometry import AttentionGeometry

from ..attention_bands import Gradients, least_exponent, walked, windowed
from ..numpy_attention import SMALLEST_NORM, shifts
from .device import C_NAMES, NULL
from .launch import THREADS, Launcher

Array = Any
#: Memory for the matrices of one band, in bytes.
MEMORY = 2 << 30


class Rows(NamedTuple):
    """The positions of a matrix's rows, and the row of each position (−1 if none), on the device."""

    positions: Array
    slot: Array


class Band(NamedTuple):
    """Picture rows [y0, y1) of the attention: their cells, and the rows of scores and products that these need."""

    y0: int
    y1: int
    cells: Rows
    scored: Rows
    multiplied: Rows


class Resizing(Protocol):
    """The backend's resizing kernels."""

    def resize_nearest(self, x: Array, *, size: tuple[int, int], align_corners: bool) -> Array: ...

    def resize_nearest_adjoint(self, g: Array, *, size: tuple[int, int], align_corners: bool) -> Array: ...


class Attention:
    """The contract's two attention kernels on the device of `launcher`; `pixels` resizes."""

    def __init__(self, launcher: Launcher, pixels: Resizing, *, memory: int = MEMORY) -> None:
        self._device, self._pixels, self._memory = launcher, pixels, memory

    def forward(self, f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> Array:
        """N H W C, N H' W' C, N L' -> N H W C"""
        f, b, valid = promoted(f, b, valid)
        y = self._device.empty(f.shape, f.dtype)
        small_f, small_b = self._downscaled(f, geometry.rate), self._downscaled(b, geometry.rate)
        for n in range(len(f)):
            image = Image(self._device, small_f[n], small_b[n], valid[n], geometry)
            b_blocks = image.to_blocks(b[n])
            y_blocks = self._device.xp.zeros((image.corners_of_f, b_blocks.shape[1]), f.dtype)
            for band in image.bands(self._memory):
                weights, corners = image.corner_weights(band, image.attend(band, image.scores(band)))
                # Corners between two bands belong to both: each adds the part of its own cells.
                y_blocks[corners] += self._device.xp.matmul(weights, b_blocks)
            image.from_blocks(y_blocks, y[n], factor=1 / 4)
        return y

    def backward(self, g: Array, f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> tuple[Array, Array]:
        """(∂/∂f, ∂/∂b) of ⟨forward(f, b, valid), g⟩"""
        g, f, b, valid = promoted(g, f, b, valid)
        xp = self._device.xp
        small_f, small_b = self._downscaled(f, geometry.rate), self._downscaled(b, geometry.rate)
        d_f, d_b, db = xp.empty_like(small_f), xp.empty_like(small_b), xp.empty(b.shape, b.dtype)
        for n in range(len(f)):
            image = Image(self._device, small_f[n], small_b[n], valid[n], geometry)
            g_blocks, b_blocks = image.to_blocks(g[n] / 4), image.to_blocks(b[n])
            d_blocks = xp.zeros_like(b_blocks)
            d = Gradients(xp.zeros_like(image.f), xp.zeros_like(image.b), xp.zeros_like(image.norm))
            for band in image.bands(self._memory):
                scores = image.scores(band)
                attention = image.attend(band, scores)
                weights, corners = image.corner_weights(band, attention)
                d_blocks += xp.matmul(weights.T, g_blocks[corners])
                d_weights = xp.matmul(g_blocks[corners], b_blocks.T)
                image.attend_vjp(band, d_weights, attention, scores, d)
            image.from_blocks(d_blocks, db[n], factor=1.0)
            d_f[n], d_b[n] = d.f.reshape(d_f.shape[1:]), image.finish(d).reshape(d_b.shape[1:])
        return self._upscaled(d_f, f), db + self._upscaled(d_b, b)

    def _downscaled(self, x: Array, rate: int) -> Array:
        size = x.shape[1] // rate, x.shape[2] // rate
        return self._pixels.resize_nearest(x, size=size, align_corners=True)

    def _upscaled(self, d: Array, like: Array) -> Array:
        return self._pixels.resize_nearest_adjoint(d, size=like.shape[1:3], align_corners=True)


class Image:
    """One sample, f and b downscaled: the steps of one band, each a launch or a matrix product."""

    def __init__(self, device: Launcher, f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> None:
        self._device, self.rate = device, geometry.rate
        (self.h, self.w), (self.h2, self.w2) = f.shape[:2], b.shape[:2]
        self._grids = self.h, self.w, self.h2, self.w2
        self.corners_of_f, self._length = (self.h + 1) * (self.w + 1), self.h2 * self.w2
        self._type, self._c = np.dtype(f.dtype).type, C_NAMES[str(f.dtype)]
        self.f, self.b = f.reshape(-1, f.shape[2]), b.reshape(-1, b.shape[2])
        self.window, steps = shifts(geometry.ksize), shifts(geometry.fuse_k) if geometry.fuse_k else [0]
        self._steps = steps[0], steps[-1]
        xp = device.xp
        square = self._box_sum((self.b * self.b).sum(axis=1), self.window[0], self.window[-1])
        self.norm = xp.maximum(xp.sqrt(square), self._type(SMALLEST_NORM))
        self.valid = xp.ascontiguousarray(valid)
        self._scale = self._type(geometry.softmax_scale)
        self._least = least_exponent(f.dtype, self._length)

    # ---- bands ----
    def bands(self, memory: int) -> list[Band]:
        """The smallest number of equal bands for which P, S, A, Q and their gradients fit in `memory` bytes."""
        row = self.w * self._length * np.dtype(self._type).itemsize
        halo = 2 * (self._steps[1] - self._steps[0] + 1) + 2 * len(self.window)
        height = min(max((memory // row - 2 * halo) // 8, 1), self.h)
        number = -(-self.h // height)
        edges = [self.h * i // number for i in range(number + 1)]
        key = ("bands", self.h, self.w, self._steps, tuple(self.window), number)
        return self._device.once(key, lambda: [self._band(*edge) for edge in pairwise(edges)])

    def _band(self, y0: int, y1: int) -> Band:
        cells, grid = np.arange(y0 * self.w, y1 * self.w), (self.h, self.w)
        scored = walked(cells, grid, list(range(self._steps[0], self._steps[1] + 1)))
        return Band(y0, y1, *map(self._rows, (cells, scored, windowed(scored, grid, self.window))))

    def _rows(self, positions: Array) -> Rows:
        slot = np.full(self.h * self.w, -1)
        slot[positions] = np.arange(len(positions))
        return Rows(self._device.table(positions), self._device.table(slot))

    def _launch(self, kernel: str, grid: tuple[int, ...], *arguments: Any) -> None:
        self._device.launch("attention.cu", f"{kernel}<{self._c}>", grid, *arguments)

    def _per_row(self, rows: int, columns: int) -> tuple[int, int]:
        return rows, -(-columns // THREADS)

    # ---- forward ----
    def scores(self, band: Band) -> Array:
        """S at the positions in band.scored."""
        products = self._device.xp.matmul(self.f[band.multiplied.positions], self.b.T)
        out = self._device.empty((len(band.scored.positions), self._length), self._type)
        self._launch("window_sums", self._per_row(*out.shape), products, band.multiplied.slot,
                     band.scored.positions, self.window[0], self.window[-1], *self._grids, 1 / self.norm,
                     out)  # fmt: skip
        return out

    def attend(self, band: Band, scores: Array) -> Array:
        """A on the band's picture rows."""
        out = self._device.empty((len(band.cells.positions), self._length), self._type)
        self._launch("attend", (len(out),), scores, band.scored.slot, band.cells.positions, *self._steps, *self._grids,
                     self.valid, self._scale, self._least, out)  # fmt: skip
        return out

    def corner_weights(self, band: Band, attention: Array) -> tuple[Array, slice]:
        """Q of the band's cells, and the corners of its rows."""
        first, last = band.y0 * (self.w + 1), (band.y1 + 1) * (self.w + 1)
        out = self._device.empty((last - first, (self.h2 + 1) * (self.w2 + 1)), self._type)
        self._launch("corner_sums", self._per_row(*out.shape), attention, band.cells.slot, first, *self._grids, out)
        return out, slice(first, last)

    # ---- backward ----
    def attend_vjp(self, band: Band, d_weights: Array, attention: Array, scores: Array, d: Gradients) -> None:
        """Backward from the gradient of Q to the features: adds to d."""
        xp = self._device.xp
        d_logits = self._device.empty((len(band.cells.positions), self._length), self._type)
        self._launch("softmax_vjp", (len(d_logits),), d_weights, attention, band.y0 * self.w, band.y0 * (self.w + 1),
                     self.w, self.h2, self.w2, self.valid, self._scale, d_logits)  # fmt: skip
        d_scores = self._device.empty((len(band.scored.positions), self._length), self._type)
        self._launch("propagate_adjoint", self._per_row(*d_scores.shape), d_logits, band.cells.slot,
                     band.scored.positions, *self._steps, *self._grids, self.norm, d_scores)  # fmt: skip
        d.norm[...] -= self._device.sum_rows(d_scores * scores)
        positions = band.multiplied.positions
        d_products = self._device.empty((len(positions), self._length), self._type)
        self._launch("window_sums", self._per_row(*d_products.shape), d_scores, band.scored.slot, positions,
                     -self.window[-1], -self.window[0], *self._grids, NULL, d_products)  # fmt: skip
        d.f[positions] += xp.matmul(d_products, self.b)
        d.b[...] += xp.matmul(d_products.T, self.f[positions])

    def finish(self, d: Gradients) -> Array:
        """∂/∂b (downscaled), including that of norm = √(box sum of ‖b‖²), a constant below SMALLEST_NORM."""
        xp = self._device.xp
        square = xp.where(self.norm > SMALLEST_NORM, d.norm / (2 * self.norm), self._type(0))
        return d.b + 2 * self.b * self._box_sum(square, -self.window[-1], -self.window[0]).reshape(-1, 1)

    # ---- pixels ----
    def _box_sum(self, x: Array, low: int, high: int) -> Array:
        """Σ_δ x[x' + δ] for δ from low to high on both axes, zero outside."""
        out = self._device.empty((self._length,), self._type)
        arguments = (x, low, high, self.h2, self.w2, out)
        self._device.elementwise("attention.cu", "box_sums", self._length, out.dtype, *arguments)
        return out

    def to_blocks(self, x: Array) -> Array:
        """H W C -> corners, rate·rate·C"""
        height, width, c = x.shape
        corners = (height // self.rate + 1) * (width // self.rate + 1)
        out = self._device.empty((corners, self.rate * self.rate * c), self._type)
        self._device.elementwise("attention.cu", "to_blocks", out.size, out.dtype, x, height, width, c, self.rate, out)
        return out

    def from_blocks(self, blocks: Array, out: Array, *, factor: float) -> None:
        """The adjoint of to_blocks, times a factor."""
        self._device.elementwise(
            "attention.cu", "from_blocks", out.size, out.dtype, blocks, *out.shape, self.rate, self._type(factor), out
        )
