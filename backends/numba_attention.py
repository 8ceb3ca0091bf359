"""Contextual attention in parts of the foreground: the same sums as `numpy_attention`, compiled, in linear memory.

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

**Tiles** (`forward` in float32). All terms of a sum lie on one diagonal: if picture rows y and y' meet, so do y + 1 and
y' + 1. So `match_tile` goes down along these diagonals, in strips of at most ACROSS corners. The last ksize rows of
products and fuse_k rows of scores, all that the next sum needs, fit the second-level cache. They are kept from tile to
tile, so that a tile may be as low as `memory` demands; only a few columns are computed again for the next strip.

**Bands** (`backward`, float64, tiny pictures). Everything but the softmax is linear, and the softmax is taken row by
row. So the gradients are sums over bands of attention rows, computed one at a time. For A on picture rows [y₀, y₁), a
band needs the scores S at every position that the propagation reaches (± fuse_k//2 rows, wrapping from the bottom of a
column to the top of the next, and as many steps along the row), and for these the products P at all positions of their
windows. Scores and products are kept, by picture rows, for as long as consecutive bands need them: each is computed
once, except for the few rows at the top and bottom that wrapping needs again. A band's gradient reaches the same
positions, and the parts of different bands are added. A band of B picture rows takes about
(4·B + 4·(fuse_k//2 + 1) + 4·(ksize//2)) · w · L' numbers; B is the largest for which this fits in `memory` bytes (at
least 1). This is linear in L' for a given width, never L × L'.

**Negligible weights.** The softmax of ten times a sum of nine scores is peaked: most of A is far below the rounding
error of the largest weight in its row. Weights below 2⁻²⁵/L' of the largest (float32; 2⁻⁵⁴/L' in float64) are set to 0.
Together they would not change the last digit, and `matmul` skips columns that are 0 in neighbouring rows.

Kernels sum in a fixed order for any number of threads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.backend import promoted
from ca_numpy.geometry import AttentionGeometry

from . import numba_attention_kernels as kernels
from .attention_bands import Gradients, least_exponent, long_runs_of, runs_of, walked
from .numba_gemm import ROWS, WIDTH, matmul, padded, panels
from .numba_memory import POOL
from .numpy_attention import SMALLEST_NORM, _picked, box_sum, downscale, shifts

Array = NDArray[Any]
#: Memory for the bands of one call, in bytes: about the size of a third-level cache.
MEMORY = 64 << 20
#: Memory for the attention of a tile, in bytes. Half as much again holds its corner sums.
TILE = 32 << 20
#: Picture rows of a tile, and of its corner sums, whatever memory they need.
LEAST_ROWS, LEAST_CORNERS = 7, 3
#: Corners across a tile. With their neighbours, 72 positions are multiplied: a multiple of `numba_gemm.ROWS`.
ACROSS = 65


def numbers_at_once(h: int, w: int) -> int:
    """Upper bound of the numbers that `forward` holds for h × w foreground and background positions."""
    return max(TILE * 3 // 8, (LEAST_ROWS + LEAST_CORNERS) * (ACROSS + 1) * (h + 1) * (w + 1))


def forward(f: Array, b: Array, valid: Array, geometry: AttentionGeometry, *, memory: int = TILE) -> Array:
    """N H W C, N H' W' C, N L' -> N H W C"""
    f, b, valid = promoted(f, b, valid)
    y = POOL.empty(f.shape, f.dtype)
    for n in range(len(f)):
        image = (_Tiles if suits_tiles(f, b, geometry) else _Bands)(f[n], b[n], valid[n], geometry, memory)
        kept = image.corners_of_valid_cells()
        runs, times_b = runs_of(kept, image.b_grid[1] + 1), _Factor(block_rows(b[n], geometry.rate, kept))
        for cells, corners, columns in image.parts(len(kept)):
            weights = image.corners(cells, corners, columns, runs)
            blocks = times_b(weights, image.reuse("blocks", (len(weights), times_b.columns)))
            blocks = blocks.reshape(corners[1] - corners[0], columns[1] - columns[0], -1)
            kernels.from_blocks(blocks, (corners[0], columns[0]), geometry.rate, f.dtype.type(1 / 4), y[n],
                                tasks=len(blocks))  # fmt: skip
    return y


def backward(
    g: Array, f: Array, b: Array, valid: Array, geometry: AttentionGeometry, *, memory: int = MEMORY
) -> tuple[Array, Array]:
    """(∂/∂f, ∂/∂b) of ⟨forward(f, b, valid), g⟩"""
    g, f, b, valid = promoted(g, f, b, valid)
    df, db = POOL.zeros(f.shape, f.dtype), POOL.empty(b.shape, b.dtype)
    for n in range(len(f)):
        image = _Bands(f[n], b[n], valid[n], geometry, memory)
        g_blocks, b_flat = to_blocks(g[n] / 4, geometry.rate), block_rows(b[n], geometry.rate)
        times_b_transposed, columns = _Factor(b_flat.T), (0, image.w + 1)
        d_blocks, runs = np.zeros_like(b_flat), runs_of(np.arange(len(b_flat)), image.b_grid[1] + 1)
        small = Gradients(np.zeros_like(image.f), np.zeros_like(image.b), np.zeros_like(image.norm))
        for band in image.bands:
            cells, corners = (band.y0, band.y1), (band.y0, band.y1 + 1)
            image.attend(band, cells)
            g_band = g_blocks[slice(*corners)].reshape(-1, g_blocks.shape[-1])
            d_blocks += product(image.corners(cells, corners, columns, runs).T, g_band)
            d_weights = times_b_transposed(g_band, image.reuse("wide", (len(g_band), len(b_flat))))
            image.attend_vjp(band, d_weights, small)
        blocks = d_blocks.reshape(image.b_grid[0] + 1, image.b_grid[1] + 1, -1)
        kernels.from_blocks(blocks, (0, 0), geometry.rate, b.dtype.type(1), db[n], tasks=len(blocks))
        for target, d, size in ((df[n], small.f, (image.h, image.w)), (db[n], image.finish(small), image.b_grid)):
            down, across = _picked(target.shape, geometry.rate)
            target[down[:, None], across] += d.reshape(*size, -1)
    return df, db


def suits_tiles(f: Array, b: Array, geometry: AttentionGeometry) -> bool:
    """Whether no sum reaches beyond the next row or column when it wraps, and products are in float32."""
    reach = geometry.ksize + (geometry.fuse_k or 1)
    return f.dtype == np.float32 and f.shape[3] > 0 and min(f.shape[1:3] + b.shape[1:3]) >= reach * geometry.rate


class _Factor:
    """The right-hand side of many products, rearranged once."""

    def __init__(self, b: Array) -> None:
        self.columns, self._b = b.shape[1], b
        self._panels = panels(b) if b.dtype == np.float32 and b.size else None
        if self._panels is not None:
            del self._b  # as large again

    def __call__(self, a: Array, out: Array) -> Array:
        """out = a · b"""
        return np.matmul(a, self._b, out=out) if self._panels is None else matmul(a, self._panels, out)


def product(a: Array, b: Array) -> Array:
    """a · b, once."""
    return _Factor(b)(np.ascontiguousarray(a), POOL.empty((len(a), b.shape[1]), a.dtype))


class _Rows:
    """Matrix rows of the positions at columns x0 … x1 − 1 of picture rows, stored while they are needed."""

    def __init__(self, values: Array, grid: tuple[int, int], columns: tuple[int, int]) -> None:
        self.values, self._w, self._columns = values, grid[1], columns
        self._wide, self._places = columns[1] - columns[0], dict[int, int]()
        self._free = list(range(len(values) // self._wide))
        self.slot = np.full(grid[0] * grid[1], -1)

    def want(self, rows: list[int]) -> list[int]:
        """Discard all other rows, make room for these, and return those still to be computed."""
        for row in [row for row in self._places if row not in rows]:
            self._free.append(self._places.pop(row))
            self.slot[self._positions(row)] = -1
        new = [row for row in rows if row not in self._places]
        for row in new:
            self._places[row] = self._free.pop()
            self.slot[self._positions(row)] = self.at([row])
        return new

    def at(self, rows: list[int]) -> Array:
        """The numbers of these picture rows' matrix rows."""
        return np.concatenate([self._places[row] * self._wide + np.arange(self._wide) for row in rows])

    def __getitem__(self, row: int) -> Array:
        return self.values[self._places[row] * self._wide :][: self._wide]

    def _positions(self, row: int) -> slice:
        return slice(row * self._w + self._columns[0], row * self._w + self._columns[1])


#: Ranges of picture rows of A, and of rows and columns of corners.
Part = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class _Image(ABC):
    """One sample, downscaled, with memory shared by its parts."""

    _attention: _Rows

    def __init__(self, f: Array, b: Array, valid: Array, geometry: AttentionGeometry, memory: int) -> None:
        f, b = downscale(f, geometry.rate), downscale(b, geometry.rate)
        self.h, self.w, self.b_grid = *f.shape[:2], b.shape[:2]
        self.grids = self.h, self.w, *self.b_grid
        self.window = shifts(geometry.ksize)
        self.steps = shifts(geometry.fuse_k) if geometry.fuse_k else [0]
        self.ends = (self.window[0], self.window[-1]), (self.steps[0], self.steps[-1])
        norm = np.maximum(np.sqrt(box_sum((b * b).sum(2), self.window)), SMALLEST_NORM)
        self.norm = norm.ravel().astype(f.dtype)
        self.f, self.b = f.reshape(-1, f.shape[2]), np.ascontiguousarray(b.reshape(-1, b.shape[2]))
        self.valid = np.array(valid, f.dtype)
        self.scale = f.dtype.type(geometry.softmax_scale)
        self._limit, self._memory = memory, dict[str, Array]()

    @abstractmethod
    def parts(self, length: int) -> Iterator[Part]:
        """Parts that cover all corners, of `length` corner sums each; their A is stored until the next is asked for."""

    def corners_of_valid_cells(self) -> Array:
        """Columns of Q that are not all 0: corners that touch a valid cell."""
        cells = np.pad(self.valid.reshape(self.b_grid) != 0, 1)
        return np.flatnonzero(cells[1:, 1:] | cells[1:, :-1] | cells[:-1, 1:] | cells[:-1, :-1])

    def corners(self, cells: tuple[int, int], corners: tuple[int, int], columns: tuple[int, int], runs: Array) -> Array:
        """The columns `runs` of Q on these rows and columns of corners, from the stored rows of A."""
        count, attention = (corners[1] - corners[0]) * (columns[1] - columns[0]), self._attention
        weights = self.reuse("wide", (count, int(runs[:, 2].sum())))
        kernels.corner_sums(attention.values, attention.slot, cells, corners, columns, self.grids, runs, weights,
                            tasks=count)  # fmt: skip
        return weights

    def softmax(self, rows: list[int]) -> None:
        """A from Z on these picture rows, in place."""
        rows_of_matrix, least = self._attention.at(rows), least_exponent(self.f.dtype, len(self.b))
        kernels.softmax(self._attention.values, rows_of_matrix, self.valid, self.scale, least,
                        tasks=len(rows_of_matrix))  # fmt: skip

    def reuse(self, name: str, shape: tuple[int, int]) -> Array:
        """An array in the memory of that name, whose previous contents are lost."""
        size = shape[0] * shape[1]
        if name not in self._memory or self._memory[name].size < size:
            self._memory.pop(name, None)
            self._memory[name] = POOL.empty((size,), self.f.dtype)
        return self._memory[name][:size].reshape(shape)


class _Tiles(_Image):
    """A from Z in tiles: each strip of columns from top to bottom."""

    def __init__(self, f: Array, b: Array, valid: Array, geometry: AttentionGeometry, memory: int) -> None:
        super().__init__(f, b, valid, geometry, memory)
        channels = f.shape[2]
        self._f = self._extended(self.f, (self.h, self.w)).reshape(self.h + 3, -1, channels)
        b_panels = panels(self._extended(self.b, self.b_grid).T)
        self._b = b_panels.reshape(self.b_grid[0] + 3, -1, channels, WIDTH)
        self._inverse = np.pad(1 / self.norm, (-self.steps[0], self.steps[-1]))

    def _extended(self, x: Array, grid: tuple[int, int]) -> Array:
        """Rows −1 … h + 1 of the grid, each between the ends of its neighbours, with zeros in place of other columns.

        The zeros between them keep windows within their row. There are more at the end, up to a multiple of WIDTH.
        """
        (low, high), (back, ahead), (h, w) = *self.ends, grid
        outside = np.full(max(-low, high), h * w + 2 * w)
        row = np.concatenate([np.arange(back + low, 0), outside, np.arange(w), outside, np.arange(w, w + ahead + high)])
        row = np.pad(row, (0, -len(row) % WIDTH), constant_values=h * w + 2 * w)
        positions = np.arange(-1, h + 2)[:, None] * w + row
        inside = (positions >= 0) & (positions < h * w)
        return np.concatenate([x, np.zeros_like(x[:1])])[np.where(inside, positions, -1).ravel()]

    def parts(self, length: int) -> Iterator[Part]:
        across = min(ACROSS + 1, self.w)
        room = max(self._limit // (across * len(self.b) * self.f.itemsize), LEAST_ROWS)
        at_once = max(self._limit // (2 * across * max(length, 1) * self.f.itemsize), LEAST_CORNERS)
        for left, right in _shares(self.w + 1, ACROSS):
            columns = max(left - 1, 0), min(right, self.w)
            values = self.reuse("attention", (min(room, self.h) * (columns[1] - columns[0]), len(self.b)))
            self._attention = _Rows(values, (self.h, self.w), columns)
            strip, *diagonals = self._diagonals(columns)
            for y0, y1 in _shares(self.h, self.h if room >= self.h else room - 1):
                cells = max(y0 - 1, 0), y1  # the row of cells above the first corners is still stored
                new = self._attention.want(list(range(*cells)))
                kernels.match_tile(self._f, self._b, self._inverse, *self.ends, self.grids, (new[0], y1), strip,
                                   *diagonals, self._attention.slot, values, tasks=self.b_grid[0])  # fmt: skip
                self.softmax(new)
                for first, end in _shares(y1 - y0 + (y1 == self.h), at_once):
                    yield cells, (y0 + first, y0 + end), (left, right)

    def _diagonals(self, columns: tuple[int, int]) -> tuple[tuple[int, ...], Array, Array, Array]:
        """The arguments strip, held, products and scores of `match_tile` at the top of a strip."""
        (low, high), (back, ahead) = self.ends
        gap, wide = max(-low, high), self._b.shape[1] * WIDTH
        first, end = max(columns[0] - 1, 0) + back, min(columns[1] + 1, self.w) + ahead
        edge = first - back + (gap if first >= 0 else 0)
        multiplied = padded(end - first + high - low + gap * (int(first < 0) + int(end > self.w)), ROWS)
        products = self.reuse("products", (self.b_grid[0], len(self.window) * multiplied * wide))
        scores = self.reuse(
            "scores", (self.b_grid[0], len(self.steps) * (end - first) * (self.b_grid[1] + ahead - back))
        )
        held = np.full((self.b_grid[0], 1 + 2 * len(self.window)), -self.h)
        return (*columns, first, end, edge), held, products, scores


class _Band(NamedTuple):
    """Attention rows [y0, y1) of the picture, the positions whose scores they need, and the picture rows of these."""

    y0: int
    y1: int
    scores: Array
    score_rows: list[int]


class _Bands(_Image):
    """A and its gradient in bands of picture rows."""

    def __init__(self, f: Array, b: Array, valid: Array, geometry: AttentionGeometry, memory: int) -> None:
        super().__init__(f, b, valid, geometry, memory)
        self.times_b = _Factor(self.b.T)
        everywhere, reach = np.arange(len(self.b)), max(-self.steps[0], self.steps[-1])
        self._attended = long_runs_of(everywhere, self.b_grid, reach=reach)
        kept = 4 * (len(self.steps) // 2 + 1) + 2 * len(self.window)
        height = (memory // (self.w * len(self.b) * self.f.itemsize) - kept) // 3
        self.bands = [self._band(*edges) for edges in _shares(self.h, max(height, 1))]
        self._scores = self._rows(max(len(band.score_rows) for band in self.bands))
        self._products = self._rows(len(self.window))
        self._attention = self._rows(1 + max(band.y1 - band.y0 for band in self.bands))

    def _rows(self, room: int) -> _Rows:
        values = POOL.empty((room * self.w, len(self.b)), self.f.dtype)
        return _Rows(values, (self.h, self.w), (0, self.w))

    def _band(self, y0: int, y1: int) -> _Band:
        scores = walked(np.arange(y0 * self.w, y1 * self.w), (self.h, self.w), self.steps)
        return _Band(y0, y1, scores, np.unique(scores // self.w).tolist())

    def _windows_of(self, row: int) -> list[int]:
        """The picture rows within the windows of one row's positions."""
        return [row + dy for dy in self.window if 0 <= row + dy < self.h]

    def parts(self, length: int) -> Iterator[Part]:
        for band in self.bands:
            cells = max(band.y0 - 1, 0), band.y1  # the row of cells above the first corners is still stored
            self.attend(band, cells)
            yield cells, (band.y0, band.y1 + (band.y1 == self.h)), (0, self.w + 1)

    def attend(self, band: _Band, cells: tuple[int, int]) -> None:
        """Compute A on these picture rows, the band's and possibly the stored one before; keeps it and the scores."""
        window, steps = self.ends
        for row in self._scores.want(band.score_rows):
            for other in self._products.want(self._windows_of(row)):
                self.times_b(self.f[other * self.w : (other + 1) * self.w], self._products[other])
            here = np.arange(row * self.w, (row + 1) * self.w)
            kernels.window_sums(self._products.values, self._products.slot, here, window, self.grids, 1 / self.norm,
                                self._scores[row], tasks=len(here))  # fmt: skip
        for row in self._attention.want(list(range(*cells))):
            kernels.propagate(self._scores.values, self._scores.slot, row, steps, self.grids, self._attended,
                              self._attention[row], tasks=self.w)  # fmt: skip
            self.softmax([row])

    def attend_vjp(self, band: _Band, d_weights: Array, d: Gradients) -> None:
        """Backward from the gradient of Q to the features, after `attend`: adds to d."""
        length = len(self.b)
        d_logits = self.reuse("d_logits", ((band.y1 - band.y0) * self.w, length))
        attention = self._attention
        kernels.softmax_vjp(d_weights, attention.values, attention.slot, band.y0, self.grids, self.valid, self.scale,
                            d_logits, tasks=len(d_logits))  # fmt: skip
        d_scores = self.reuse("wide", (len(band.scores), length))
        kernels.propagate_adjoint(d_logits, band.y0, band.y1, band.scores, self.ends[1], self.grids, d_scores,
                                  tasks=len(band.scores))  # fmt: skip
        kernels.divide_by_norm_vjp(d_scores, self._scores.values, self._scores.slot[band.scores], self.norm, d.norm,
                                   tasks=-(-length // kernels.COLUMNS))  # fmt: skip
        products = np.array(sorted({row for other in band.score_rows for row in self._windows_of(other)}))
        positions = (products[:, None] * self.w + np.arange(self.w)).ravel()
        d_products = self.reuse("d_products", (len(positions), length))
        slot = np.full(len(self.f), -1)
        slot[band.scores] = np.arange(len(band.scores))
        back, ones = (-self.window[-1], -self.window[0]), np.ones_like(self.norm)
        kernels.window_sums(d_scores, slot, positions, back, self.grids, ones, d_products,
                            tasks=len(positions))  # fmt: skip
        d.f[positions] += product(d_products, self.b)
        d.b[...] += product(d_products.T, self.f[positions])

    def finish(self, d: Gradients) -> Array:
        """∂/∂b (downscaled), including that of norm = √(box sum of ‖b‖²), a constant below SMALLEST_NORM."""
        square = np.where(self.norm > SMALLEST_NORM, d.norm / (2 * self.norm), 0).astype(self.b.dtype)
        boxed: Array = box_sum(square.reshape(self.b_grid), [-s for s in self.window]).reshape(-1, 1)
        return np.asarray(d.b + 2 * self.b * boxed)


def _shares(n: int, most: int) -> list[tuple[int, int]]:
    """0 … n in the smallest number of equal ranges of at most `most`."""
    number = -(-n // most)
    return list(pairwise(n * i // number for i in range(number + 1)))


def to_blocks(x: Array, rate: int) -> Array:
    """H W C -> h + 1, w + 1, rate·rate·C: the pixels around each corner of the grid of cells, zero outside."""
    before, behind = rate // 2, rate - rate // 2
    h, w, c = x.shape[0] // rate + 1, x.shape[1] // rate + 1, x.shape[2]
    framed = POOL.zeros((h * rate, w * rate, c), x.dtype)
    framed[before : h * rate - behind, before : w * rate - behind] = x
    blocks = POOL.empty((h, w, rate, rate, c), x.dtype)
    blocks[...] = framed.reshape(h, rate, w, rate, c).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(h, w, rate * rate * c)


def block_rows(x: Array, rate: int, kept: Array | None = None) -> Array:
    """`to_blocks`, a row for each corner, or for those kept."""
    blocks = to_blocks(x, rate).reshape(-1, rate * rate * x.shape[2])
    if kept is None or len(kept) == len(blocks):
        return blocks
    return np.take(blocks, kept, axis=0, out=POOL.empty((len(kept), blocks.shape[1]), x.dtype), mode="clip")
