"""Contextual attention in bands of foreground rows: the same sums as `numpy_attention`, compiled, in linear memory.

For positions x of the foreground (L) and x' of the background (L'), with D_Δ summing along diagonals as defined there:

    P = f bᵀ                       plain products                                        one matrix product
    S = D_window(P) / ‖patch b‖    match
    Z = D_columns(D_rows(S))       propagate
    A = softmax(scale · valid · Z) · valid
    Q[c, c'] = Σ_ε A[c − ε, c' − ε],   ε ∈ {0, 1}²,  c a *corner* between cells          one short diagonal sum
    y_blocks = ¼ Q · b_blocks                                                            one matrix product

The last two lines rebuild the picture without its four phases. Raw patches of 2·rate pixels at steps of rate consist of
four blocks of rate × rate pixels. Each block is centred on a corner of the grid of cells, and the patches that cover it
belong to the four cells that meet there. All pixels of a block therefore have the same weights Q. There are
(h + 1)(w + 1) blocks; those at the border are half zeros.

**Bands.** Everything but the softmax is linear, and the softmax is taken row by row. So y and the gradients are sums
over bands of attention rows, computed one at a time. For A on picture rows [y₀, y₁), a band needs the scores S at every
position that the propagation reaches (± fuse_k//2 rows, wrapping from the bottom of a column to the top of the next,
and as many steps along the row), and for these the products P at all positions of their windows. Scores and products
are kept, by picture rows, for as long as consecutive bands need them: each is computed once, except for the few rows at
the top and bottom that wrapping needs again. Bands may therefore be small enough for the third-level cache. In the
backward pass a band's gradient reaches the same positions, and the parts of different bands are added.

**Memory.** A band of B picture rows takes about (4·B + 4·(fuse_k//2 + 1) + 4·(ksize//2)) · w · L' numbers; B is the
largest for which this fits in `memory` bytes (at least 1). This is linear in L' for a given width, never L × L'.

**Negligible weights.** The softmax of ten times a sum of nine scores is peaked: most of A is far below the rounding
error of the largest weight in its row. Weights below 2⁻²⁵/L' of the largest (float32; 2⁻⁵⁴/L' in float64) are set to 0.
Together they would not change the last digit, and `matmul` skips columns that are 0 in neighbouring rows.

Kernels sum in a fixed order for any number of threads.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.backend import promoted
from ca_numpy.geometry import AttentionGeometry

from . import numba_attention_kernels as kernels
from .attention_bands import Gradients, least_exponent, walked, windowed
from .numba_gemm import WIDTH, matmul, panels
from .numba_memory import POOL
from .numpy_attention import SMALLEST_NORM, _picked, box_sum, downscale, shifts

Array = NDArray[Any]
#: Memory for the bands of one call, in bytes: about the size of a third-level cache.
MEMORY = 64 << 20


def numbers_at_once(h: int, w: int) -> int:
    """Upper bound of the numbers that `forward` holds for h × w foreground and background positions."""
    return max(MEMORY // 4, 20 * w * h * w)


def forward(f: Array, b: Array, valid: Array, geometry: AttentionGeometry, *, memory: int = MEMORY) -> Array:
    """N H W C, N H' W' C, N L' -> N H W C"""
    f, b, valid = promoted(f, b, valid)
    y = POOL.empty(f.shape, f.dtype)
    for n in range(len(f)):
        image = _Image(f[n], b[n], valid[n], geometry, memory, valid_only=True)
        b_blocks = to_blocks(b[n], geometry.rate)
        kept = image.corners_of_valid_cells()
        runs = runs_of(kept, image.b_grid[1] + 1)
        times_b = _Factor(b_blocks.reshape(-1, b_blocks.shape[-1])[kept])
        y_blocks = POOL.empty((image.h + 1, image.w + 1, b_blocks.shape[-1]), f.dtype)
        for band in image.bands:
            # The row of cells above the first corners belongs to the previous band, and is still stored.
            cells, corners = (max(band.y0 - 1, 0), band.y1), (band.y0, band.y1 + (band.y1 == image.h))
            image.attend(band, cells)
            weights = image.corners(cells, corners, runs)
            times_b(weights, y_blocks[slice(*corners)].reshape(len(weights), -1))
        kernels.from_blocks(y_blocks, geometry.rate, f.dtype.type(1 / 4), y[n], tasks=y.shape[1])
    return y


def backward(
    g: Array, f: Array, b: Array, valid: Array, geometry: AttentionGeometry, *, memory: int = MEMORY
) -> tuple[Array, Array]:
    """(∂/∂f, ∂/∂b) of ⟨forward(f, b, valid), g⟩"""
    g, f, b, valid = promoted(g, f, b, valid)
    df, db = POOL.zeros(f.shape, f.dtype), POOL.empty(b.shape, b.dtype)
    for n in range(len(f)):
        image = _Image(f[n], b[n], valid[n], geometry, memory)
        g_blocks, b_blocks = to_blocks(g[n] / 4, geometry.rate), to_blocks(b[n], geometry.rate)
        b_flat = b_blocks.reshape(-1, b_blocks.shape[-1])
        times_b_transposed = _Factor(b_flat.T)
        d_blocks, runs = np.zeros_like(b_flat), runs_of(np.arange(len(b_flat)), image.b_grid[1] + 1)
        small = Gradients(np.zeros_like(image.f), np.zeros_like(image.b), np.zeros_like(image.norm))
        for band in image.bands:
            cells, corners = (band.y0, band.y1), (band.y0, band.y1 + 1)
            image.attend(band, cells)
            g_band = g_blocks[slice(*corners)].reshape(-1, g_blocks.shape[-1])
            d_blocks += product(image.corners(cells, corners, runs).T, g_band)
            d_weights = times_b_transposed(g_band, image.reuse("wide", (len(g_band), len(b_flat))))
            image.attend_vjp(band, d_weights, small)
        kernels.from_blocks(d_blocks.reshape(b_blocks.shape), geometry.rate, b.dtype.type(1), db[n], tasks=db.shape[1])
        for target, d, size in ((df[n], small.f, (image.h, image.w)), (db[n], image.finish(small), image.b_grid)):
            rows, columns = _picked(target.shape, geometry.rate)
            target[rows[:, None], columns] += d.reshape(*size, -1)
    return df, db


class _Band(NamedTuple):
    """Attention rows [y0, y1) of the picture, the positions whose scores they need, and the picture rows of these."""

    y0: int
    y1: int
    scores: Array
    score_rows: list[int]


class _Factor:
    """The right-hand side of many products, rearranged once."""

    def __init__(self, b: Array) -> None:
        self.b, self.panels = b, panels(b) if b.dtype == np.float32 else None

    def __call__(self, a: Array, out: Array, *, chosen: Array | None = None) -> Array:
        """out = a · b, at least in the chosen panels of WIDTH columns."""
        if self.panels is None or not self.b.size:
            return np.matmul(a, self.b, out=out)
        return matmul(a, self.panels, out, chosen=chosen)


def product(a: Array, b: Array) -> Array:
    """a · b, once."""
    return _Factor(b)(np.ascontiguousarray(a), POOL.empty((len(a), b.shape[1]), a.dtype))


class _Rows:
    """Matrix rows of whole picture rows, stored while they are needed."""

    def __init__(self, grids: tuple[int, int, int, int], room: int, dtype: Any) -> None:
        self.w, self._places = grids[1], dict[int, int]()
        self._free = list(range(room))
        self.slot = np.full(grids[0] * grids[1], -1)
        self.values = POOL.empty((room * grids[1], grids[2] * grids[3]), dtype)

    def want(self, rows: list[int]) -> list[int]:
        """Discard all other rows, make room for these, and return those still to be computed."""
        for row in [row for row in self._places if row not in rows]:
            self._free.append(self._places.pop(row))
            self.slot[row * self.w : (row + 1) * self.w] = -1
        new = [row for row in rows if row not in self._places]
        for row in new:
            place = self._places[row] = self._free.pop()
            self.slot[row * self.w : (row + 1) * self.w] = np.arange(place * self.w, (place + 1) * self.w)
        return new

    def __getitem__(self, row: int) -> Array:
        start = self._places[row] * self.w
        return self.values[start : start + self.w]


class _Image:
    """One sample, downscaled, with memory shared by its bands.

    With `valid_only`, scores are computed only where the attention to valid positions needs them.
    """

    def __init__(
        self, f: Array, b: Array, valid: Array, geometry: AttentionGeometry, memory: int, *, valid_only: bool = False
    ) -> None:
        f, b = downscale(f, geometry.rate), downscale(b, geometry.rate)
        self.h, self.w, self.b_grid = *f.shape[:2], b.shape[:2]
        self.grids = self.h, self.w, *self.b_grid
        self.window = shifts(geometry.ksize)
        self.steps = shifts(geometry.fuse_k) if geometry.fuse_k else [0]
        norm = np.maximum(np.sqrt(box_sum((b * b).sum(2), self.window)), SMALLEST_NORM)
        self.norm = norm.ravel().astype(f.dtype)
        self.f, self.b = f.reshape(-1, f.shape[2]), np.ascontiguousarray(b.reshape(-1, b.shape[2]))
        self.times_b = _Factor(self.b.T)
        self.valid = np.array(valid, f.dtype)
        self.scale = f.dtype.type(geometry.softmax_scale)
        self._least = least_exponent(f.dtype, len(self.b))
        attended = np.flatnonzero(self.valid) if valid_only else np.arange(len(self.b))
        scored = walked(attended, self.b_grid, self.steps)
        self._scored = runs_of(scored, self.b_grid[1])
        self._attended = long_runs_of(attended, self.b_grid, reach=max(-self.steps[0], self.steps[-1]))
        self._multiplied = np.unique(windowed(scored, self.b_grid, self.window) // WIDTH)
        self.bands = self._bands(memory)
        room = max(len(band.score_rows) for band in self.bands)
        self._scores = _Rows(self.grids, room, f.dtype)
        self._products = _Rows(self.grids, len(self.window), f.dtype)
        self._attention = _Rows(self.grids, 1 + max(band.y1 - band.y0 for band in self.bands), f.dtype)
        self._attention.values.fill(0)  # stays 0 where nothing is attended to
        self._memory: dict[str, Array] = {}

    def _bands(self, memory: int) -> list[_Band]:
        """The smallest number of bands of equal height that fit in `memory` bytes."""
        kept = 4 * (len(self.steps) // 2 + 1) + 2 * len(self.window)
        row_bytes = self.w * len(self.b) * self.f.itemsize
        height = (memory // row_bytes - kept) // 3
        number = -(-self.h // min(max(height, 1), self.h))
        edges = [self.h * i // number for i in range(number + 1)]
        return [self._band(*edge) for edge in pairwise(edges)]

    def _band(self, y0: int, y1: int) -> _Band:
        scores = walked(np.arange(y0 * self.w, y1 * self.w), (self.h, self.w), self.steps)
        return _Band(y0, y1, scores, np.unique(scores // self.w).tolist())

    def _windows_of(self, row: int) -> list[int]:
        """The picture rows within the windows of one row's positions."""
        return [row + dy for dy in self.window if 0 <= row + dy < self.h]

    def attend(self, band: _Band, cells: tuple[int, int]) -> None:
        """Compute A on these picture rows, the band's and possibly the stored one before; keeps it and the scores."""
        for row in self._scores.want(band.score_rows):
            for other in self._products.want(self._windows_of(row)):
                some = self.f[other * self.w : (other + 1) * self.w]
                self.times_b(some, self._products[other], chosen=self._multiplied)
            here = np.arange(row * self.w, (row + 1) * self.w)
            kernels.window_sums(self._products.values, self._products.slot, here, (self.window[0], self.window[-1]),
                                self.grids, self._scored, 1 / self.norm, self._scores[row],
                                tasks=len(here))  # fmt: skip
        for row in self._attention.want(list(range(*cells))):
            kernels.attend(self._scores.values, self._scores.slot, row, (self.steps[0], self.steps[-1]), self.grids,
                           self._attended, self.valid, self.scale, self._least, self._attention[row],
                           tasks=self.w)  # fmt: skip

    def corners_of_valid_cells(self) -> Array:
        """Columns of Q that are not all 0: corners that touch a valid cell."""
        cells = np.pad(self.valid.reshape(self.b_grid) != 0, 1)
        return np.flatnonzero(cells[1:, 1:] | cells[1:, :-1] | cells[:-1, 1:] | cells[:-1, :-1])

    def corners(self, cells: tuple[int, int], corners: tuple[int, int], runs: Array) -> Array:
        """The columns `runs` of Q on these rows of corners, from the rows of A that `attend` stored."""
        weights = self.reuse("wide", ((corners[1] - corners[0]) * (self.w + 1), int(runs[:, 2].sum())))
        attention = self._attention
        kernels.corner_sums(attention.values, attention.slot, cells, corners, self.grids, runs, weights,
                            tasks=len(weights))  # fmt: skip
        return weights

    def attend_vjp(self, band: _Band, d_weights: Array, d: Gradients) -> None:
        """Backward from the gradient of Q to the features, after `attend`: adds to d."""
        length = len(self.b)
        d_logits = self.reuse("d_logits", ((band.y1 - band.y0) * self.w, length))
        attention = self._attention
        kernels.softmax_vjp(d_weights, attention.values, attention.slot, band.y0, self.grids, self.valid, self.scale,
                            d_logits, tasks=len(d_logits))  # fmt: skip
        d_scores = self.reuse("wide", (len(band.scores), length))
        steps = self.steps[0], self.steps[-1]
        kernels.propagate_adjoint(d_logits, band.y0, band.y1, band.scores, steps, self.grids, d_scores,
                                  tasks=len(band.scores))  # fmt: skip
        kernels.divide_by_norm_vjp(d_scores, self._scores.values, self._scores.slot[band.scores], self.norm, d.norm,
                                   tasks=-(-length // kernels.COLUMNS))  # fmt: skip
        products = np.array(sorted({row for other in band.score_rows for row in self._windows_of(other)}))
        positions = (products[:, None] * self.w + np.arange(self.w)).ravel()
        d_products = self.reuse("d_products", (len(positions), length))
        slot = np.full(len(self.f), -1)
        slot[band.scores] = np.arange(len(band.scores))
        back, ones = (-self.window[-1], -self.window[0]), np.ones_like(self.norm)
        everywhere = runs_of(np.arange(length), self.b_grid[1])
        kernels.window_sums(d_scores, slot, positions, back, self.grids, everywhere, ones,
                            d_products, tasks=len(positions))  # fmt: skip
        d.f[positions] += product(d_products, self.b)
        d.b[...] += product(d_products.T, self.f[positions])

    def finish(self, d: Gradients) -> Array:
        """∂/∂b (downscaled), including that of norm = √(box sum of ‖b‖²), a constant below SMALLEST_NORM."""
        square = np.where(self.norm > SMALLEST_NORM, d.norm / (2 * self.norm), 0).astype(self.b.dtype)
        boxed: Array = box_sum(square.reshape(self.b_grid), [-s for s in self.window]).reshape(-1, 1)
        return np.asarray(d.b + 2 * self.b * boxed)

    def reuse(self, name: str, shape: tuple[int, int]) -> Array:
        """An array in the memory of that name, whose previous contents are lost."""
        size = shape[0] * shape[1]
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = POOL.empty((size,), self.f.dtype)
        return self._memory[name][:size].reshape(shape)


def runs_of(positions: Array, width: int) -> Array:
    """R 3: line, first column and length of each run of neighbours among sorted positions of a grid."""
    starts = np.flatnonzero((np.diff(positions, prepend=-2) != 1) | (positions % width == 0))
    return _runs(positions, starts, width)


def _runs(positions: Array, starts: Array, width: int) -> Array:
    lengths = np.diff(starts, append=len(positions))
    return np.stack([positions[starts] // width, positions[starts] % width, lengths], axis=1)


def long_runs_of(positions: Array, grid: tuple[int, int], *, reach: int, longest: int = 1024) -> Array:
    """`runs_of`, but runs continue past the ends of lines, except in the first and last `reach` lines of the grid."""
    lines = positions // grid[1]
    wraps = (lines < reach) | (lines >= grid[0] - reach)
    starts = np.diff(positions, prepend=-2) != 1
    starts |= (positions % grid[1] == 0) & (wraps | np.roll(wraps, 1))
    first = np.maximum.accumulate(np.where(starts, np.arange(len(positions)), 0))
    starts |= (np.arange(len(positions)) - first) % longest == 0
    return _runs(positions, np.flatnonzero(starts), grid[1])


def to_blocks(x: Array, rate: int) -> Array:
    """H W C -> h + 1, w + 1, rate·rate·C: the pixels around each corner of the grid of cells, zero outside."""
    before, behind = rate // 2, rate - rate // 2
    h, w, c = x.shape[0] // rate + 1, x.shape[1] // rate + 1, x.shape[2]
    padded = np.pad(x, ((before, behind), (before, behind), (0, 0)))
    return padded.reshape(h, rate, w, rate, c).transpose(0, 2, 1, 3, 4).reshape(h, w, rate * rate * c)
