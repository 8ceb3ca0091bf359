"""Contextual attention on the GPU in bands of rows: the host code. The kernels are in `kernels/attention.cu`.

`numba_attention.py` derives the equations and explains the bands. Here all images of a batch are computed at once, in
one band if memory suffices; bands are higher, and each computes all the rows of scores that it needs.

    P = f bᵀ  →  S = D_window(P) / ‖patch b‖  →  A = softmax(scale · valid · D_columns(D_rows(S))) · valid
    Q = corner sums of A  →  y_blocks = ¼ Q · b_blocks

On tensor cores, products are computed in TF32 but for P: the exponential would magnify its rounding errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np

from ca_numpy.backend import promoted
from ca_numpy.geometry import AttentionGeometry

from ..attention_bands import Gradients, least_exponent, neighbours, walk, walk_back, walked, windowed
from ..numpy_attention import SMALLEST_NORM, shifts
from .device import C_NAMES, NULL
from .launch import THREADS, Launcher

Array = Any
#: Rows per block of threads in the kernels diagonal_sums and column_products, as in `kernels/attention.cu`.
ROWS, PART = 16, 128
#: Most numbers of a matrix for which sums along diagonals are fast.
MOST_NUMBERS = 1 << 30
#: The part of the free memory that the matrices may take, and how many of them there are at once, forward and backward.
SHARE, FORWARD, BACKWARD = 1 / 4, 3, 6
#: The matrix whose rows each of the sums along diagonals adds up.
SOURCES = {"match": "multiplied", "propagate": "scored", "corners": "cells",
           "cells": "corners", "propagate back": "cells", "match back": "scored"}  # fmt: skip


class Band(NamedTuple):
    """Picture rows of the attention.

    rows         table of each sum along diagonals: the rows of its source that each of its rows adds up
    multiplied   positions of the rows of P, None for all
    corners      the corners around the band's cells
    first_part   number of the first part of its rows in sums over all rows of S
    """

    rows: dict[str, Array]
    multiplied: Array | None
    corners: slice
    first_part: int


class Resizing(Protocol):
    """The backend's resizing kernels."""

    def resize_nearest(self, x: Array, *, size: tuple[int, int], align_corners: bool) -> Array: ...

    def resize_nearest_adjoint(self, g: Array, *, size: tuple[int, int], align_corners: bool) -> Array: ...


class Attention:
    """The contract's two attention kernels on the device of `launcher`; `pixels` resizes. `precision` of products."""

    def __init__(self, launcher: Launcher, pixels: Resizing, precision: str) -> None:
        self._device, self._pixels, self._tensor_cores = launcher, pixels, precision != "float32"

    def forward(self, f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> Array:
        """N H W C, N H' W' C, N L' -> N H W C"""
        f, b, valid = promoted(f, b, valid)
        y = self._device.empty(f.shape, f.dtype)
        for part, some in self._parts(f, b, valid, geometry, FORWARD):
            b_blocks = part.to_blocks(b[some])
            y_blocks = part.blank((len(b_blocks), part.corners_of_f, b_blocks.shape[2]))
            for band in part.bands:
                weights = part.sum("corners", band, part.attend(band, part.scores(band)))
                # Corners between two bands belong to both: each adds the part of its own cells.
                part.product(weights, b_blocks, y_blocks[:, band.corners])
            part.from_blocks(y_blocks, y[some], factor=1 / 4)
        return y

    def backward(self, g: Array, f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> tuple[Array, Array]:
        """(∂/∂f, ∂/∂b) of ⟨forward(f, b, valid), g⟩"""
        g, f, b, valid = promoted(g, f, b, valid)
        db = self._device.empty(b.shape, b.dtype)
        small = [(len(x), x.shape[1] // geometry.rate, x.shape[2] // geometry.rate, x.shape[3]) for x in (f, b)]
        d_f, d_b = (self._device.empty(shape, f.dtype) for shape in small)
        for part, some in self._parts(f, b, valid, geometry, BACKWARD):
            g_blocks, b_blocks = part.to_blocks(g[some], factor=1 / 4), part.to_blocks(b[some])
            d_blocks, d = part.blank(b_blocks.shape), part.gradients(d_f[some], d_b[some])
            for band in part.bands:
                scores = part.scores(band)
                attention = part.attend(band, scores)
                here = g_blocks[:, band.corners]
                part.product(part.sum("corners", band, attention).swapaxes(1, 2), here, d_blocks)
                d_weights = part.product(here, b_blocks.swapaxes(1, 2))
                part.attend_vjp(band, d_weights, attention, scores, d)
            part.norms_vjp(d)
            part.from_blocks(d_blocks, db[some], factor=1.0)
        return self._upscaled(d_f, f), db + self._upscaled(d_b, b)

    def _parts(
        self, f: Array, b: Array, valid: Array, geometry: AttentionGeometry, matrices: int
    ) -> Iterator[tuple[Images, slice]]:
        """As many images at once as fit in memory, and which of them."""
        small_f = self._downscaled(f, geometry.rate)
        small_b = small_f if b is f else self._downscaled(b, geometry.rate)
        memory = SHARE * self._device.kernels.memory()
        groups, bands = divisions(small_f.shape, small_b.shape, geometry, memory / matrices / f.dtype.itemsize)
        for first, end in _edges(len(f), groups):
            some = slice(first, end)
            yield Images(self._device, small_f[some], small_b[some], valid[some], geometry, bands,
                         self._tensor_cores), some  # fmt: skip

    def _downscaled(self, x: Array, rate: int) -> Array:
        size = x.shape[1] // rate, x.shape[2] // rate
        return self._pixels.resize_nearest(x, size=size, align_corners=True)

    def _upscaled(self, d: Array, like: Array) -> Array:
        return self._pixels.resize_nearest_adjoint(d, size=like.shape[1:3], align_corners=True)


class Images:
    """Some samples, f and b downscaled: the steps of a band, each one launch or matrix product for all of them."""

    def __init__(self, device: Launcher, f: Array, b: Array, valid: Array, geometry: AttentionGeometry, bands: int,
                 tensor_cores: bool) -> None:  # fmt: skip
        self._device, self._rate, self._tensor_cores = device, geometry.rate, tensor_cores
        self._f_grid, self._b_grid = f.shape[1:3], b.shape[1:3]
        self.corners_of_f = (f.shape[1] + 1) * (f.shape[2] + 1)
        self._type = np.dtype(f.dtype).type
        self._f, self._b = (x.reshape(len(x), -1, x.shape[3]) for x in (f, b))
        self._valid = device.laid(valid)
        self._window, self._steps = shifts(geometry.ksize), steps_of(geometry)
        self._scale = self._type(geometry.softmax_scale)
        self._least = least_exponent(f.dtype, self._b.shape[1])
        key = "attention", self._f_grid, self._b_grid, geometry.ksize, geometry.fuse_k, bands
        self.bands, self._columns = device.once(key, lambda: self._tables(bands))
        self._inverse = device.empty(self._b.shape[:2], f.dtype)
        self._norms = *self._b_grid, b.shape[3], self._window[0], self._window[-1], self._type(SMALLEST_NORM)
        blocks = -(-32 * self._b.shape[1] // THREADS), len(b)
        self._launch("inverse_norms", blocks, self._b, *self._norms, self._inverse)

    # ---- tables ----
    def _tables(self, bands: int) -> tuple[list[Band], dict[str, Array]]:
        h, w = self._b_grid
        cells, corners = np.arange(h * w), np.arange((h + 1) * (w + 1))
        sums = self._sums(self._b_grid, cells, cells, cells, corners)
        columns = {name: np.ascontiguousarray(to.T) for name, to in sums.items()}
        # Columns of zeros: tensor cores multiply matrices fastest whose rows begin at multiples of 16 bytes.
        columns["corners"] = np.pad(columns["corners"], ((0, 0), (0, -len(corners) % 4)), constant_values=-1)
        found: list[Band] = []
        for y0, y1 in _edges(self._f_grid[0], bands):
            found.append(self._band(y0, y1, _after(found[-1]) if found else 0))
        return found, {name: self._device.table(to) for name, to in columns.items()}

    def _band(self, y0: int, y1: int, first_part: int) -> Band:
        h, w = self._f_grid
        cells, corners = np.arange(y0 * w, y1 * w), np.arange(y0 * (w + 1), (y1 + 1) * (w + 1))
        scored = walked(cells, self._f_grid, self._steps)
        multiplied = windowed(scored, self._f_grid, self._window)
        stored = {"cells": cells, "corners": corners, "scored": scored, "multiplied": multiplied}
        rows = {}
        for name, to in self._sums(self._f_grid, cells, scored, multiplied, corners).items():
            source = stored[SOURCES[name]]
            place = np.full((h + 1) * (w + 1) + 1, -1)  # the last is that of −1
            place[source] = np.arange(len(source))
            rows[name] = self._device.table(place[to])
        return Band(rows, self._device.table(multiplied) if len(multiplied) < h * w else None,
                    slice(corners[0], corners[-1] + 1), first_part)  # fmt: skip

    def _sums(
        self, grid: tuple[int, int], cells: Array, scored: Array, multiplied: Array, corners: Array
    ) -> dict[str, Array]:
        """The positions that each sum along diagonals adds up: its rows' (or columns') positions × terms."""
        around = grid[0] + 1, grid[1] + 1
        return {
            "match": neighbours(scored, grid, self._window),
            "propagate": walk(cells, grid, self._steps),
            "corners": neighbours(corners, around, [0, -1], onto=grid),
            "cells": neighbours(cells, grid, [0, 1], onto=around),
            "propagate back": walk_back(scored, grid, self._steps),
            "match back": neighbours(multiplied, grid, [-s for s in self._window]),
        }

    # ---- steps ----
    def _launch(self, kernel: str, grid: tuple[int, ...], *arguments: Any) -> None:
        self._device.launch("attention.cu", f"{kernel}<{C_NAMES[str(np.dtype(self._type))]}>", grid, *arguments)

    def blank(self, shape: tuple[int, ...]) -> Array:
        """For a sum over bands; if there is only one, it is stored."""
        return (self._device.empty if len(self.bands) == 1 else self._device.xp.zeros)(shape, self._type)

    def product(self, a: Array, b: Array, out: Array | None = None, *, exact: bool = False) -> Array:
        """a · b of each image; added to `out` if that is a sum over bands."""
        add = out is not None and len(self.bands) > 1
        if out is None:
            out = self._device.empty((*a.shape[:2], b.shape[2]), self._type)
        rounded = self._tensor_cores and self._type is np.float32 and not exact
        self._device.kernels.product(a, b, out, add=add, tf32=rounded)
        return out

    def sum(self, name: str, band: Band, source: Array, *, factor: Array = NULL, scale: Any = 1) -> Array:
        """scale · factor · the sum along diagonals of `source` with this name."""
        to_rows, to_columns = band.rows[name], self._columns[name]
        (terms, columns), rows = to_columns.shape, len(to_rows)
        out = self._device.empty((len(source), rows, columns), self._type)
        self._launch("diagonal_sums", (-(-rows // ROWS), -(-columns // THREADS), len(source)), source,
                     *source.shape[1:], to_rows, to_columns, terms, rows, columns, factor, self._type(scale),
                     out)  # fmt: skip
        return out

    def scores(self, band: Band) -> Array:
        """S at the positions that the band's cells need."""
        products = self.product(self._multiplied(band), self._b.swapaxes(1, 2), exact=True)
        return self.sum("match", band, products, factor=self._inverse)

    def _multiplied(self, band: Band) -> Array:
        return self._f if band.multiplied is None else self._device.xp.take(self._f, band.multiplied, axis=1)

    def attend(self, band: Band, scores: Array) -> Array:
        """A of the band's cells."""
        a = self.sum("propagate", band, scores, factor=self._valid, scale=self._scale)
        self._launch("softmax_rows", (a.shape[1], len(a)), a.shape[2], self._valid, self._least, a)
        return a

    def gradients(self, d_f: Array, d_b: Array) -> Gradients:
        """Room for the sums over the bands; those of the norms are sums over parts of the rows."""
        for d in (d_f, d_b) if len(self.bands) > 1 else ():
            d.fill(0)
        norm = self._device.empty((len(self._b), _after(self.bands[-1]), self._b.shape[1]), self._type)
        return Gradients(d_f.reshape(self._f.shape), d_b.reshape(self._b.shape), norm)

    def attend_vjp(self, band: Band, d_weights: Array, attention: Array, scores: Array, d: Gradients) -> None:
        """Backward from the gradient of Q to the features: adds to d."""
        d_logits = self.sum("cells", band, d_weights)
        self._launch("softmax_vjp", (d_logits.shape[1], len(d_logits)), attention, d_logits.shape[2], self._valid,
                     self._scale, d_logits)  # fmt: skip
        d_scores = self.sum("propagate back", band, d_logits, factor=self._inverse)
        rows, columns = scores.shape[1:]
        self._launch("column_products", (-(-rows // PART), -(-columns // THREADS), len(scores)), d_scores, scores, rows,
                     columns, band.first_part, d.norm.shape[1], d.norm)  # fmt: skip
        d_products = self.sum("match back", band, d_scores)
        if band.multiplied is None:
            self.product(d_products, self._b, d.f)
        else:
            d.f[:, band.multiplied] += self.product(d_products, self._b)
        self.product(d_products.swapaxes(1, 2), self._multiplied(band), d.b)

    def norms_vjp(self, d: Gradients) -> None:
        """Backward through norm = √(box sum of ‖b‖²), a constant below SMALLEST_NORM: adds to d.b."""
        images, positions, _ = self._b.shape
        dots = d.norm.sum(axis=1)
        self._launch("inverse_norms_vjp", (positions, images), self._b, self._inverse, dots, *self._norms, d.b)

    # ---- pixels ----
    def to_blocks(self, x: Array, *, factor: float = 1.0) -> Array:
        """N H W C -> N, corners and as many rows of zeros as make them a multiple of 4, rate·rate·C; times a factor."""
        images, height, width, c = x.shape
        corners = (height // self._rate + 1) * (width // self._rate + 1)
        out = self._device.empty((images, corners + -corners % 4, self._rate * self._rate * c), self._type)
        self._launch("to_blocks", (out.shape[1], images), x, height, width, c, self._rate, self._type(factor), out)
        return out

    def from_blocks(self, blocks: Array, out: Array, *, factor: float) -> None:
        """The adjoint of to_blocks, times a factor."""
        _, height, width, c = out.shape
        corners = (height // self._rate + 1) * (width // self._rate + 1)
        self._launch("from_blocks", (corners, len(out)), blocks, blocks.shape[1], height, width, c, self._rate,
                     self._type(factor), out)  # fmt: skip


def divisions(f_shape: tuple[int, ...], b_shape: tuple[int, ...], geometry: AttentionGeometry,
              most: float) -> tuple[int, int]:  # fmt: skip
    """Into how many groups images are divided, and each group into bands, so that matrices have `most` numbers each.

    Images are computed together if their whole matrices fit, else one by one, in bands: those overlap. Shapes are of
    the downscaled features.
    """
    images, h, w = f_shape[:3]
    row = w * b_shape[1] * b_shape[2]
    if h * row <= min(most, MOST_NUMBERS):
        return -(-images // max(int(most // (h * row)), 1)), 1
    overlap = geometry.ksize + len(steps_of(geometry))
    height = max(int(min(most, MOST_NUMBERS) // row) - overlap, 1)
    return images, -(-h // height)


def steps_of(geometry: AttentionGeometry) -> list[int]:
    """The steps of the propagation."""
    return shifts(geometry.fuse_k) if geometry.fuse_k else [0]


def _after(band: Band) -> int:
    """The number of the part after this band's."""
    return band.first_part + -(-len(band.rows["match"]) // PART)


def _edges(n: int, parts: int) -> list[tuple[int, int]]:
    return list(pairwise(n * i // parts for i in range(parts + 1)))
