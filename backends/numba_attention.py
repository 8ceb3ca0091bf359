"""Contextual attention in bands of foreground rows: the same sums as `numpy_attention`, in linear memory, compiled.

Position x of the foreground and x' of the background, L and L' of them; D_Δ sums along diagonals as in the textbook:

    P = f bᵀ                       plain products                                        one matrix product
    S = D_window(P) / ‖patch b‖    match
    Z = D_columns(D_rows(S))       propagate
    A = softmax(scale · valid · Z) · valid
    Q[c, c'] = Σ_ε A[c − ε, c' − ε],   ε ∈ {0, 1}²,  c a *corner* between cells          one short diagonal sum
    y_blocks = ¼ Q · b_blocks                                                            one matrix product

The last two lines rebuild the picture without its four phases. Raw patches of 2·rate pixels at steps of rate consist of
four blocks of rate × rate pixels, and each block lies around one corner of the grid of cells: the patches that cover
it belong to the four cells which meet there. So with the picture cut into the (h + 1)(w + 1) blocks around corners
(half a block of zeros at its border) all pixels of a block take the same weights Q.

**Bands.** Every line but the softmax is linear, and the softmax is taken row by row. So y is a sum over bands of
attention rows, each band's part computed alone, and the gradients are sums over the same bands. Which rows a band needs
is read from right to left: for A on picture rows [y₀, y₁) the scores S at every position that a walk of the propagation
reaches (± fuse_k//2 rows, wrapping from the bottom of a column to the top of the next, and as many steps along the
row), and for these the products P at all positions of their windows. Such a set of positions is a sorted array, `slot`
says where a position's row is kept; what two bands share is computed twice rather than stored. Backwards, the same sets
hold every row that a band's gradient reaches.

**Memory.** With B picture rows to a band, about (2·(B + 2·(fuse_k//2 + ksize//2)) + 2·B) · w · L' numbers, B chosen so
that this stays within `memory` bytes (at least one row): linear in L' for a given width, never L × L'.

Kernels sum in a fixed order whatever the number of threads; the matrix products are NumPy's. No case falls back.
"""

# Compiled functions take their types from their arguments.
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange, types
from numba.extending import overload
from numpy.typing import NDArray

from ca_numpy.backends.numba_math import FASTMATH, exp_nonpositive
from ca_numpy.backends.numpy_attention import SMALLEST_NORM, Geometry, _picked, box_sum, downscale, shifts

Array = NDArray[Any]
#: Bytes that the bands of one call may take.
MEMORY = 64 << 20
_COLUMNS = 512  # of the background, that one task sums over all rows


def forward(f: Array, b: Array, valid: Array, geometry: Geometry, *, memory: int = MEMORY) -> Array:
    """N H W C, N H' W' C, N L' -> N H W C"""
    y = np.empty(f.shape, f.dtype)
    for n in range(len(f)):
        image = _Image(f[n], b[n], valid[n], geometry)
        b_blocks = to_blocks(b[n], geometry.rate)
        y_blocks = np.zeros((image.h + 1, image.w + 1, b_blocks.shape[-1]), f.dtype)
        for band in image.bands(memory):
            weights = image.corners(band, image.attend(band))
            part = weights @ b_blocks.reshape(-1, b_blocks.shape[-1])
            y_blocks[band.y0 : band.y1 + 1] += part.reshape(-1, *y_blocks.shape[1:])
        y[n] = from_blocks(y_blocks, geometry.rate, f.shape[1:]) / 4
    return y


def backward(
    g: Array, f: Array, b: Array, valid: Array, geometry: Geometry, *, memory: int = MEMORY
) -> tuple[Array, Array]:
    """(∂/∂f, ∂/∂b) of ⟨forward(f, b, valid), g⟩"""
    df, db = np.zeros(f.shape, f.dtype), np.empty(b.shape, b.dtype)
    for n in range(len(f)):
        image = _Image(f[n], b[n], valid[n], geometry)
        g_blocks, b_blocks = to_blocks(g[n] / 4, geometry.rate), to_blocks(b[n], geometry.rate)
        b_flat = b_blocks.reshape(-1, b_blocks.shape[-1])
        d_blocks = np.zeros_like(b_flat)
        small = _SmallGradients(np.zeros_like(image.f), np.zeros_like(image.b), np.zeros_like(image.norm))
        for band in image.bands(memory):
            attention = image.attend(band)
            g_band = g_blocks[band.y0 : band.y1 + 1].reshape(-1, g_blocks.shape[-1])
            d_blocks += image.corners(band, attention).T @ g_band
            image.attend_vjp(band, attention, np.matmul(g_band, b_flat.T, out=image.corner_rows(band)), small)
        db[n] = from_blocks(d_blocks.reshape(b_blocks.shape), geometry.rate, b.shape[1:])
        for target, d, size in ((df[n], small.f, (image.h, image.w)), (db[n], image.finish(small), image.b_grid)):
            rows, columns = _picked(target.shape, geometry.rate)
            target[rows[:, None], columns] += d.reshape(*size, -1)
    return df, db


class _Band(NamedTuple):
    """Attention rows [y0, y1) of the picture and the positions whose scores and products they need."""

    y0: int
    y1: int
    scores: Array
    products: Array


class _SmallGradients(NamedTuple):
    """Sums over bands, for the downscaled features and the norms of b's patches."""

    f: Array
    b: Array
    norm: Array


class _Image:
    """One sample, downscaled, with the memory that all its bands share."""

    def __init__(self, f: Array, b: Array, valid: Array, geometry: Geometry) -> None:
        f, b = downscale(f, geometry.rate), downscale(b, geometry.rate)
        self.h, self.w, self.b_grid = *f.shape[:2], b.shape[:2]
        self.grids = self.h, self.w, *self.b_grid
        self.window = shifts(geometry.ksize)
        self.steps = shifts(geometry.fuse_k) if geometry.fuse_k else [0]
        norm = np.maximum(np.sqrt(box_sum((b * b).sum(2), self.window)), SMALLEST_NORM)
        self.norm = norm.ravel().astype(f.dtype)
        self.f, self.b = f.reshape(-1, f.shape[2]), np.ascontiguousarray(b.reshape(-1, b.shape[2]))
        self.valid = np.array(valid, f.dtype)
        self.scale = f.dtype.type(geometry.softmax_scale)
        self._memory: dict[str, Array] = {}

    def bands(self, memory: int) -> list[_Band]:
        """As few bands of equal height as fit."""
        halo = 2 * (len(self.steps) // 2 + len(self.window) // 2) * (self.w + 1)
        row_bytes = len(self.b) * self.f.itemsize
        height = (memory // row_bytes - 2 * halo) // (4 * self.w)
        number = -(-self.h // min(max(height, 1), self.h))
        edges = [self.h * i // number for i in range(number + 1)]
        return [self._band(*edge) for edge in pairwise(edges)]

    def _band(self, y0: int, y1: int) -> _Band:
        i = np.arange(y0 * self.w, y1 * self.w)
        down = np.add.outer((i % self.w) * self.h + i // self.w, self.steps)
        down = down[(down >= 0) & (down < len(self.f))]
        along = np.add.outer(down % self.h * self.w + down // self.h, self.steps)
        scores = np.unique(along[(along >= 0) & (along < len(self.f))])
        wanted = np.zeros((self.h, self.w), bool)
        for dy in self.window:
            for dx in self.window:
                y, x = scores // self.w + dy, scores % self.w + dx
                inside = (y >= 0) & (y < self.h) & (x >= 0) & (x < self.w)
                wanted[y[inside], x[inside]] = True
        return _Band(y0, y1, scores, np.flatnonzero(wanted))

    def attend(self, band: _Band) -> Array:
        """A on the band's rows; its scores stay in memory for the backward pass."""
        products = self._rows("wide", len(band.products))
        np.matmul(self.f[band.products], self.b.T, out=products)
        scores = self._rows("scores", len(band.scores))
        _window_sums(products, self._slot(band.products), band.scores, (self.window[0], self.window[-1]), self.grids,
                     1 / self.norm, scores)  # fmt: skip
        attention = self._rows("attention", (band.y1 - band.y0) * self.w)
        _attend(scores, self._slot(band.scores), band.y0, (self.steps[0], self.steps[-1]), self.grids, self.valid,
                self.scale, attention)  # fmt: skip
        return attention

    def corners(self, band: _Band, attention: Array) -> Array:
        """The band's part of Q."""
        weights = self.corner_rows(band)
        _corner_sums(attention, band.y1 - band.y0, self.grids, weights)
        return weights

    def corner_rows(self, band: _Band) -> Array:
        """Room for numbers between the band's corners and all of the background's."""
        return self._reuse("wide", ((band.y1 - band.y0 + 1) * (self.w + 1), (self.grids[2] + 1) * (self.grids[3] + 1)))

    def attend_vjp(self, band: _Band, attention: Array, d_weights: Array, d: _SmallGradients) -> None:
        """Backward from Q's gradient to the features: adds to d. Expects the scores that `attend` left."""
        d_logits = self._rows("d_logits", len(attention))
        _softmax_vjp(d_weights, attention, self.grids, self.valid, self.scale, d_logits)
        d_scores = self._rows("wide", len(band.scores))
        steps = self.steps[0], self.steps[-1]
        _propagate_adjoint(d_logits, band.y0, band.y1, band.scores, steps, self.grids, d_scores)
        _divide_by_norm_vjp(d_scores, self._rows("scores", len(band.scores)), self.norm, d.norm)
        d_products = self._rows("scores", len(band.products))
        back, ones = (-self.window[-1], -self.window[0]), np.ones_like(self.norm)
        _window_sums(d_scores, self._slot(band.scores), band.products, back, self.grids, ones, d_products)
        d.f[band.products] += d_products @ self.b
        d.b[...] += d_products.T @ self.f[band.products]

    def finish(self, d: _SmallGradients) -> Array:
        """∂/∂b (downscaled) with the norm's part: norm = √(box sum of ‖b‖²), a constant below SMALLEST_NORM."""
        square = np.where(self.norm > SMALLEST_NORM, d.norm / (2 * self.norm), 0).astype(self.b.dtype)
        boxed: Array = box_sum(square.reshape(self.b_grid), [-s for s in self.window]).reshape(-1, 1)
        return np.asarray(d.b + 2 * self.b * boxed)

    def _slot(self, positions: Array) -> Array:
        """Where each position's row is kept, −1 for nowhere."""
        slot = np.full(len(self.f), -1)
        slot[positions] = np.arange(len(positions))
        return slot

    def _rows(self, name: str, n: int) -> Array:
        return self._reuse(name, (n, len(self.b)))

    def _reuse(self, name: str, shape: tuple[int, int]) -> Array:
        """An array in the memory of that name, over what it held before."""
        size = shape[0] * shape[1]
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = np.empty(size, self.f.dtype)
        return self._memory[name][:size].reshape(shape)


def to_blocks(x: Array, rate: int) -> Array:
    """H W C -> h + 1, w + 1, rate·rate·C: the pixels around each corner of the grid of cells, zero outside."""
    before, behind = rate // 2, rate - rate // 2
    h, w, c = x.shape[0] // rate + 1, x.shape[1] // rate + 1, x.shape[2]
    padded = np.pad(x, ((before, behind), (before, behind), (0, 0)))
    return padded.reshape(h, rate, w, rate, c).transpose(0, 2, 1, 3, 4).reshape(h, w, rate * rate * c)


def from_blocks(blocks: Array, rate: int, shape: tuple[int, ...]) -> Array:
    """The adjoint of `to_blocks`, for H W C = shape."""
    h, w = blocks.shape[:2]
    whole = blocks.reshape(h, w, rate, rate, -1).transpose(0, 2, 1, 3, 4).reshape(h * rate, w * rate, -1)
    before = rate // 2
    return whole[before : before + shape[0], before : before + shape[1]]


# ---- kernels: one row of the result to a task, contiguous background positions inside ------------------------------
def _exp(x):
    """eˣ for x ≤ 0: a polynomial in float32, the library's in float64. Only compiled code calls it."""
    raise NotImplementedError


@overload(_exp)
def _compiled_exp(x):
    if x == types.float32:
        return lambda x: exp_nonpositive(x)
    return lambda x: np.exp(x)


@njit(cache=True, fastmath=FASTMATH)
def _add(to, start, source, source_start, n):
    """to[start + i] += source[source_start + i]"""
    a, b = to[start : start + n], source[source_start : source_start + n]
    for i in range(n):
        a[i] += b[i]


@njit(cache=True)
def _down(y, x, t, h):
    """t steps down a column-major walk: the position reached, whose column may lie outside."""
    columns = (y + t) // h
    return y + t - columns * h, x + columns


@njit(cache=True, fastmath=FASTMATH)
def _add_walked(to, source, t, s, to_shift, h2, w2):
    """to[m + to_shift] += source[down(m, t) + s] for all background positions m where both exist."""
    length = h2 * w2
    for turn in range(t // h2, (h2 - 1 + t) // h2 + 1):  # how many columns on the walk has wrapped
        first, last = max(0, turn * h2 - t), min(h2, (turn + 1) * h2 - t)
        if turn == 0:  # these lines follow one another without a gap
            _add_clipped(to, first * w2 + to_shift, source, (first + t) * w2 + s, (last - first) * w2, length)
        else:
            skip, n = max(0, -turn), max(0, w2 - abs(turn))
            for y in range(first, last):
                start = (y + t - turn * h2) * w2 + skip + turn + s
                _add_clipped(to, y * w2 + skip + to_shift, source, start, n, length)


@njit(cache=True, fastmath=FASTMATH)
def _add_clipped(to, start, source, source_start, n, length):
    """`_add` for those of the n positions that lie in 0 … length − 1 on both sides."""
    skip = max(0, -start, -source_start)
    end = min(n, length - start, length - source_start)
    if end > skip:
        _add(to, start + skip, source, source_start + skip, end - skip)


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _window_sums(source, slot, wanted, window, grids, factor, out):
    """out[x, x'] = factor[x'] · Σ_δ source[x + δ, x' + δ] for the wanted x, δ from window[0] to window[1] each way"""
    h, w, h2, w2 = grids
    low, high = window
    for k in prange(len(wanted)):
        y, x = wanted[k] // w, wanted[k] % w
        row = out[k]
        row[:] = 0
        for dy in range(max(low, -y), min(high, h - 1 - y) + 1):
            for dx in range(max(low, -x), min(high, w - 1 - x) + 1):
                kept = slot[(y + dy) * w + x + dx]
                if kept >= 0:
                    left, n = max(0, -dx), max(0, w2 - abs(dx))
                    for y2 in range(max(0, -dy), min(h2, h2 - dy)):
                        _add(row, y2 * w2 + left, source[kept], (y2 + dy) * w2 + left + dx, n)
        for j in range(len(row)):
            row[j] *= factor[j]


@njit(cache=True, fastmath={"contract", "nnan", "nsz"})
def _largest(row):
    """Told that there is no NaN, or it would not vectorise; where there is one, the sum of exponentials becomes NaN."""
    largest = row[0]
    for v in row:
        largest = max(largest, v)
    return largest


@njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def _dot(a, b):
    total = a[0] * b[0]
    for j in range(1, len(a)):
        total += a[j] * b[j]
    return total


@njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def _sum(a):
    total = a[0]
    for j in range(1, len(a)):
        total += a[j]
    return total


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _attend(scores, slot, y0, steps, grids, valid, scale, out):
    """Propagate, softmax, mask."""
    h, w, h2, w2 = grids
    low, high = steps
    for k in prange(len(out)):
        row = out[k]
        row[:] = 0
        for t in range(low, high + 1):
            y, x = _down(y0 + k // w, k % w, t, h)
            for s in range(low, high + 1):
                if 0 <= x < w and 0 <= y * w + x + s < h * w:
                    _add_walked(row, scores[slot[y * w + x + s]], t, s, 0, h2, w2)
        for j in range(len(row)):
            row[j] *= valid[j] * scale
        largest = _largest(row)
        for j in range(len(row)):
            row[j] = _exp(row[j] - largest)
        total = _sum(row)
        for j in range(len(row)):
            row[j] = row[j] / total * valid[j]


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _propagate_adjoint(d_logits, y0, y1, wanted, steps, grids, out):
    """Both walks of `_attend` undone in the opposite order: first back along the row, then up the column."""
    h, w, h2, w2 = grids
    low, high = steps
    for k in prange(len(wanted)):
        row = out[k]
        row[:] = 0
        for s in range(low, high + 1):
            before = wanted[k] - s
            if 0 <= before < h * w:
                for t in range(low, high + 1):
                    y, x = _down(before // w, before % w, -t, h)
                    if 0 <= x < w and y0 <= y < y1:
                        _add_walked(row, d_logits[(y - y0) * w + x], -t, 0, s, h2, w2)


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _corner_sums(attention, rows, grids, out):
    """Q: the attention of the four cells that meet at a corner, each at its own place around it."""
    _, w, h2, w2 = grids
    for k in prange(len(out)):
        y, x = k // (w + 1), k % (w + 1)
        row = out[k]
        row[:] = 0
        for ey in range(max(0, y - rows + 1), min(1, y) + 1):
            for ex in range(max(0, x - w + 1), min(1, x) + 1):
                source = attention[(y - ey) * w + x - ex]
                for y2 in range(h2):
                    _add(row, (y2 + ey) * (w2 + 1) + ex, source, y2 * w2, w2)


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _softmax_vjp(d_weights, attention, grids, valid, scale, out):
    """dZ = scale · a · (valid · dA − Σ a · dA), with dA the corners' gradient gathered around each cell"""
    _, w, h2, w2 = grids
    for k in prange(len(out)):
        row, a = out[k], attention[k]
        row[:] = 0
        for ey in range(2):
            for ex in range(2):
                source = d_weights[(k // w + ey) * (w + 1) + k % w + ex]
                for y2 in range(h2):
                    _add(row, y2 * w2, source, (y2 + ey) * (w2 + 1) + ex, w2)
        mean = _dot(row, a)
        for j in range(len(row)):
            row[j] = scale * a[j] * (valid[j] * row[j] - mean)


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _divide_by_norm_vjp(d_scores, scores, norm, d_norm):
    """d_scores becomes the gradient before division; d_norm[x'] −= Σ_x of it times the scores"""
    for block in prange((len(norm) + _COLUMNS - 1) // _COLUMNS):
        first, last = block * _COLUMNS, min((block + 1) * _COLUMNS, len(norm))
        for k in range(len(scores)):
            d, s = d_scores[k], scores[k]
            for j in range(first, last):
                d[j] /= norm[j]
                d_norm[j] -= d[j] * s[j]
