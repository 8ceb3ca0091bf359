"""Contextual attention in one kernel: the paper's section 4.1 with five times fewer products, and no patches.

Let P[x, x'] = ⟨f(x), b(x')⟩ be the plain products between the features at foreground position x and background
position x' (both downscaled by `rate`). All the rest is sums along *diagonals*, in which both positions move together:

    D_Δ(S)[x, x'] = Σ_{δ ∈ Δ} S[x + δ, x' + δ]                        terms outside either picture are 0

    match       a patch's inner product      Σ_δ ⟨f(x + δ), b(x' + δ)⟩ = D_Δ(P), Δ the ksize × ksize window:
                k²·N²·C products become N²·C, and ‖patch b(x')‖² is a box sum of ‖b‖².
    propagate   D over the fuse_k steps of a row-major walk, then of a column-major one (wrapping at the rows' ends).
    rebuild     raw patches of 2·rate pixels at steps of rate overlap fourfold. The output pixel of phase s in its
                rate × rate cell x is  ¼ Σ_x' D_Δ(s)(A)[x, x'] · b_s(x'), with b_s the background's pixels of phase s
                and Δ(s) the 2 × 2 shifts whose patch covers phase s: 4·N²·C products in place of 16·N²·C.

The adjoint of D_Δ is D_(−Δ), so the backward pass has the same structure. Sizes are multiples of `rate`.
Arrays are N × N, for one image at a time; other backends process them in bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.backend import promoted
from ca_numpy.geometry import AttentionGeometry, nearest_index

Array = NDArray[Any]
SMALLEST_NORM = 1e-4


class Matched(NamedTuple):
    """Results of the forward pass that the backward pass needs, for one image."""

    f: Array  # h w C, downscaled
    b: Array  # h' w' C, downscaled
    norm: Array  # L', norms of b's patches
    scores: Array  # L L', cosine scores before propagation
    softmax: Array  # L L', before the mask


def forward(f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> Array:
    """N H W C, N H' W' C, N L' -> N H W C"""
    f, b, valid = promoted(f, b, valid)
    y = np.empty_like(f, order="C")
    for n in range(len(f)):
        attention = match(f[n], b[n], valid[n], geometry).softmax * valid[n]
        rebuild(attention, b[n], geometry.rate, out=y[n])
    return y


def backward(g: Array, f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> tuple[Array, Array]:
    """(∂/∂f, ∂/∂b) of ⟨forward(f, b, valid), g⟩"""
    g, f, b, valid = promoted(g, f, b, valid)
    df, db = np.zeros_like(f, order="C"), np.zeros_like(b, order="C")
    for n in range(len(f)):
        m = match(f[n], b[n], valid[n], geometry)
        d_attention = rebuild_vjp(g[n], m.softmax * valid[n], b[n], geometry.rate, db=db[n])
        match_vjp(d_attention, m, valid[n], geometry, df=df[n], db=db[n])
    return df, db


# ---- match, propagate, softmax ----
def match(f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> Matched:
    """Scores of every background patch for every foreground patch, and their softmax, for one image."""
    f, b = downscale(f, geometry.rate), downscale(b, geometry.rate)
    window = shifts(geometry.ksize)
    products = f.reshape(-1, f.shape[2]) @ b.reshape(-1, b.shape[2]).T
    inner = diagonal_sums(products.reshape(*f.shape[:2], *b.shape[:2]), window, window)
    norm = np.maximum(np.sqrt(box_sum((b * b).sum(2), window)), SMALLEST_NORM).ravel()
    scores = inner.reshape(products.shape) / norm
    logits = propagate(scores, f.shape, b.shape, geometry.fuse_k)
    # Masked scores become 0, not −∞: hole patches stay in the denominator, as in the authors' code.
    logits = logits * (valid * f.dtype.type(geometry.softmax_scale))
    logits -= logits.max(axis=1, keepdims=True)
    softmax = np.exp(logits, out=logits)
    softmax /= softmax.sum(axis=1, keepdims=True)
    return Matched(f, b, norm, scores, softmax)


def match_vjp(
    d_attention: Array, m: Matched, valid: Array, geometry: AttentionGeometry, *, df: Array, db: Array
) -> None:
    """Backward through `match`: adds to df and db."""
    window = [-s for s in shifts(geometry.ksize)]
    d_softmax = d_attention * valid
    d_logits = m.softmax * (d_softmax - (d_softmax * m.softmax).sum(axis=1, keepdims=True))
    d_scores = d_logits * (valid * m.f.dtype.type(geometry.softmax_scale))
    d_scores = propagate_adjoint(d_scores, m.f.shape, m.b.shape, geometry.fuse_k)
    d_inner = d_scores / m.norm
    d_norm = -(d_inner * m.scores).sum(axis=0)
    # norm = √(box sum of ‖b‖²); below SMALLEST_NORM it is a constant
    d_square = np.where(m.norm > SMALLEST_NORM, d_norm / (2 * m.norm), 0).astype(df.dtype)
    d_b = 2 * m.b * box_sum(d_square.reshape(m.b.shape[:2]), window)[:, :, None]
    d_products = diagonal_sums(d_inner.reshape(*m.f.shape[:2], *m.b.shape[:2]), window, window).reshape(d_inner.shape)
    d_f = (d_products @ m.b.reshape(-1, m.b.shape[2])).reshape(m.f.shape)
    d_b += (d_products.T @ m.f.reshape(-1, m.f.shape[2])).reshape(m.b.shape)
    for target, d in ((df, d_f), (db, d_b)):
        rows, columns = _picked(target.shape, geometry.rate)
        target[rows[:, None], columns] += d


def propagate(scores: Array, f_shape: Sequence[int], b_shape: Sequence[int], fuse_k: int | None) -> Array:
    """Diagonal sums in row-major order, then in column-major order; both wrap from the end of a line to the next."""
    if fuse_k is None:
        return scores
    steps = shifts(fuse_k)
    by_rows = diagonal_sum(scores, steps)
    by_columns = diagonal_sum(_other_major(by_rows, *f_shape[:2], *b_shape[:2]), steps)
    return _other_major(by_columns, *f_shape[1::-1], *b_shape[1::-1])


def propagate_adjoint(d: Array, f_shape: Sequence[int], b_shape: Sequence[int], fuse_k: int | None) -> Array:
    """Adjoint of `propagate`: the two sums in reverse order."""
    if fuse_k is None:
        return d
    steps = [-s for s in shifts(fuse_k)]
    by_columns = diagonal_sum(_other_major(d, *f_shape[:2], *b_shape[:2]), steps)
    return diagonal_sum(_other_major(by_columns, *f_shape[1::-1], *b_shape[1::-1]), steps)


# ---- rebuild ----
def rebuild(attention: Array, b: Array, rate: int, *, out: Array) -> None:
    """out[rate·x + s] = ¼ Σ_x' D_Δ(s)(attention)[x, x'] · b[rate·x' + s]"""
    grid = _grid(attention, out, b, rate)
    for (p, q), dy, dx in phases(rate):
        weights = diagonal_sums(grid, dy, dx).reshape(attention.shape)
        pixels = b[p::rate, q::rate]
        out[p::rate, q::rate] = (weights @ pixels.reshape(-1, b.shape[2])).reshape(out[p::rate, q::rate].shape) / 4


def rebuild_vjp(g: Array, attention: Array, b: Array, rate: int, *, db: Array) -> Array:
    """Backward through `rebuild`: adds to db, returns the attention's gradient."""
    grid = _grid(attention, g, b, rate)
    d_grid = np.zeros_like(grid)
    for (p, q), dy, dx in phases(rate):
        g_phase = g[p::rate, q::rate].reshape(-1, g.shape[2]) / 4
        pixels = b[p::rate, q::rate]
        weights = diagonal_sums(grid, dy, dx).reshape(attention.shape)
        db[p::rate, q::rate] += (weights.T @ g_phase).reshape(pixels.shape)
        d_weights = (g_phase @ pixels.reshape(-1, b.shape[2]).T).reshape(grid.shape)
        d_grid += diagonal_sums(d_weights, [-s for s in dy], [-s for s in dx])
    return d_grid.reshape(attention.shape)


def phases(rate: int) -> Iterator[tuple[tuple[int, int], list[int], list[int]]]:
    """Each pixel (p, q) of a rate × rate cell, with the shifts to the cells whose raw patch covers it.

    A raw patch of cell x spans rate·x − ⌊rate/2⌋ … + 2·rate − 1 (TF's SAME rule): the patch of the previous cell
    also covers the first half of a cell, that of the next cell the second half.
    """
    covering = [[0, -1] if p + rate // 2 < rate else [0, 1] for p in range(rate)]
    for p in range(rate):
        for q in range(rate):
            yield (p, q), covering[p], covering[q]


# ---- sums along diagonals ----
def shifts(k: int) -> list[int]:
    """k consecutive offsets around 0, for an even k one more above: 3 -> −1, 0, 1 and 2 -> 0, 1."""
    return [i - (k - 1) // 2 for i in range(k)]


def diagonal_sums(s: Array, rows: Sequence[int], columns: Sequence[int]) -> Array:
    """D_Δ for Δ = rows × columns of S[y, x, y', x']: first along (y, y'), then along (x, x')."""
    h, w, h2, w2 = s.shape
    s = _diagonal_sum(s, rows)
    swapped = s.transpose(1, 0, 3, 2)
    return _diagonal_sum(swapped, columns).transpose(1, 0, 3, 2).reshape(h, w, h2, w2)


def diagonal_sum(s: Array, steps: Sequence[int]) -> Array:
    """Σ_t S[p + t, q + t] of a matrix."""
    return _diagonal_sum(s[:, None, :, None], steps)[:, 0, :, 0]


def _diagonal_sum(s: Array, steps: Sequence[int]) -> Array:
    """Σ_t S[p + t, :, q + t, :], zero outside."""
    out = np.zeros_like(s)
    for t in steps:
        to_p, from_p = _overlap(s.shape[0], t)
        to_q, from_q = _overlap(s.shape[2], t)
        out[to_p, :, to_q] += s[from_p, :, from_q]
    return out


def box_sum(x: Array, steps: Sequence[int]) -> Array:
    """Σ_{δ ∈ steps × steps} x[· + δ] of an h × w array, zero outside."""
    for _ in range(2):  # along one axis, then along the other
        total = np.zeros_like(x)
        for t in steps:
            to, source = _overlap(len(x), t)
            total[to] += x[source]
        x = total.T
    return x


def downscale(x: Array, rate: int) -> Array:
    """Nearest neighbour with aligned corners: h·rate × w·rate × C -> h × w × C."""
    rows, columns = _picked(x.shape, rate)
    return x[rows[:, None], columns]


def _picked(shape: Sequence[int], rate: int) -> tuple[Array, Array]:
    rows, columns = (nearest_index(n, n // rate, align_corners=True) for n in shape[:2])
    return rows, columns


def _overlap(n: int, t: int) -> tuple[slice, slice]:
    """Slices of the positions p and p + t for which both are in 0 … n − 1."""
    return slice(max(0, -t), max(0, min(n, n - t))), slice(max(0, t), max(0, min(n, n + t)))


def _other_major(s: Array, h: int, w: int, h2: int, w2: int) -> Array:
    """Row-major positions of both pictures renumbered in column-major order."""
    return s.reshape(h, w, h2, w2).transpose(1, 0, 3, 2).reshape(h * w, h2 * w2)


def _grid(attention: Array, foreground: Array, b: Array, rate: int) -> Array:
    """attention as h w h' w'."""
    return attention.reshape([n // rate for n in (*foreground.shape[:2], *b.shape[:2])])
