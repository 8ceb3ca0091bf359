"""3×3 convolution with a quarter of the products: Winograd's F(4×4, 3×3), compiled (Lavin & Gray, CVPR 2016).

In one dimension, four outputs of a three-tap kernel w read six inputs d, and cost twelve products. Read them as the
coefficients of polynomials, multiplied by their values at six points (0, ±α, ±β and ∞), and it takes six:

    y = Aᵀ [(G w) ⊙ (Bᵀ d)]                    ⊙ is the product element by element

         ⎡1   0  −5/2  0  1  0⎤         ⎡  1      0     0 ⎤
         ⎢0 −2α   −2   α  1  0⎥         ⎢−2/3 −2/3·α −1/3⎥           ⎡1   1    1    1    1  0⎤
    Bᵀ = ⎢0  2α   −2  −α  1  0⎥     G = ⎢−2/3  2/3·α −1/3⎥      Aᵀ = ⎢0   α   −α    β   −β  0⎥
         ⎢0 −β/2 −1/2  β  1  0⎥         ⎢ 1/6   β/6   1/3⎥           ⎢0  1/2  1/2   2    2  0⎥
         ⎢0  β/2 −1/2 −β  1  0⎥         ⎢ 1/6  −β/6   1/3⎥           ⎣0  α/2 −α/2  2β  −2β  1⎦
         ⎣0   1    0 −5/2 0  1⎦         ⎣  0      0     1 ⎦

In two dimensions each acts on rows and on columns: Y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A, 36 products in place of 144 for
a tile of 4×4 outputs. Channels make each of the 36 a matrix product: with n tiles side by side,

    M[s] = V[s] · U[s],    V[s] n × C of transformed pixels,  U[s] C × K of the transformed kernel,   s = 0 … 35

The gradient by w is the same trilinear form read another way:  dw = Gᵀ [Σ_tiles (Bᵀ d B) ⊙ (A g Aᵀ)] G.

*Why 4×4.* F(2×2) saves a factor of 2.25 only; F(6×6) saves 5.1 but loses another digit. F(4×4) saves 4.
*Why α = √½ and β = √2.* The usual points are ±1 and ±2, whose powers (8, and 5 in Bᵀ) enlarge rounding errors. The
product αβ = 1 keeps all numbers near 1: in float32 the largest error is a quarter of the usual points', about five
times that of the direct sum.
*Why channels last.* All transforms run over the channels in the innermost loop, contiguous in memory.
*Dilation* d reads every d-th pixel: d×d interleaved pictures, each with an ordinary convolution. Only indices change.
*NaN and infinity* in the input make NaN of the whole tile of 4×4 outputs that reads them: none is lost, but more than
the 3×3 outputs that a direct sum would spoil. So does what is within a factor of a hundred of overflow.
"""

# Compiled functions take their types from their arguments.
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

from ca_numpy.backend import Pads, output_size
from ca_numpy.backends.numba_math import FASTMATH, elu_one, frozen, one_blas_thread

Array = NDArray[Any]

#: Tiles whose products are taken together, times the channels in and out: enough rows for BLAS to run well, few enough
#: for V and M, 36 times as many numbers, to stay in cache.
BLOCK = 1 << 14
#: For dw the matrix products are summed over blocks of tiles: larger blocks, fewer sums.
TILES_DW = 256
#: dw's partial sums: a fixed number, so that their order does not depend on the number of threads.
PARTS_DW = 4

_ALPHA, _BETA = np.sqrt(0.5), np.sqrt(2.0)
G = np.array(
    [
        [1, 0, 0],
        [-2 / 3, -2 / 3 * _ALPHA, -1 / 3],
        [-2 / 3, 2 / 3 * _ALPHA, -1 / 3],
        [1 / 6, _BETA / 6, 1 / 3],
        [1 / 6, -_BETA / 6, 1 / 3],
        [0, 0, 1],
    ]
)
# What compiled code multiplies by is float32, lest the products be float64.
_A, _B, _HALF, _TWO, _FIVE_HALVES = (np.float32(x) for x in (_ALPHA, _BETA, 0.5, 2, 2.5))


# ---- the transforms in one dimension -----------------------------------------------------------------------------
@njit(cache=True, fastmath=FASTMATH)
def b_transposed(d0, d1, d2, d3, d4, d5):
    """Bᵀ d: six inputs to six points."""
    even_a, odd_a = d4 - _TWO * d2, _A * (d3 - _TWO * d1)
    even_b, odd_b = d4 - _HALF * d2, _B * (d3 - _HALF * d1)
    at_zero, at_infinity = d0 - _FIVE_HALVES * d2 + d4, d1 - _FIVE_HALVES * d3 + d5
    return at_zero, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, at_infinity


@njit(cache=True, fastmath=FASTMATH)
def a_transposed(m0, m1, m2, m3, m4, m5):
    """Aᵀ m: six points to four outputs."""
    even_a, odd_a = m1 + m2, _A * (m1 - m2)
    even_b, odd_b = m3 + m4, _B * (m3 - m4)
    return m0 + even_a + even_b, odd_a + odd_b, _HALF * even_a + _TWO * even_b, _HALF * odd_a + _TWO * odd_b + m5


@njit(cache=True, fastmath=FASTMATH)
def a(g0, g1, g2, g3):
    """A g: four gradients to six points."""
    even_a, odd_a = g0 + _HALF * g2, _A * (g1 + _HALF * g3)
    even_b, odd_b = g0 + _TWO * g2, _B * (g1 + _TWO * g3)
    return g0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g3


def transformed_kernel(w: Array) -> Array:
    """G w Gᵀ = (G ⊗ G) w: 3 3 C K -> 36 C K, computed in float64 and rounded once."""
    u = np.kron(G, G) @ w.reshape(9, -1).astype(np.float64)
    return u.astype(w.dtype).reshape(36, *w.shape[2:])


# ---- tiles: where they lie, how they are read and written --------------------------------------------------------
@njit(cache=True, error_model="numpy")
def tiles_along(length, dilation):
    """(interleaved pictures, tiles in each) along an axis of the output."""
    return min(dilation, length), ((length + dilation - 1) // dilation + 3) // 4


@njit(cache=True, error_model="numpy")
def count_tiles(images, height, width, dilation):
    """Tiles that cover a batch of outputs of this size."""
    row_phases, rows = tiles_along(height, dilation)
    column_phases, columns = tiles_along(width, dilation)
    return images * row_phases * rows * column_phases * columns


@njit(cache=True, error_model="numpy")
def tile_at(t, height, width, dilation):
    """(image, row, column) of the first output of tile t; its others follow `dilation` apart."""
    row_phases, rows = tiles_along(height, dilation)
    column_phases, columns = tiles_along(width, dilation)
    t, column = t // columns, t % columns
    t, row = t // rows, t % rows
    t, column_phase = t // column_phases, t % column_phases
    image, row_phase = t // row_phases, t % row_phases
    return image, row_phase + 4 * dilation * row, column_phase + 4 * dilation * column


@njit(cache=True)
def read_tile(x, image, row, column, step, tile):
    """tile[i, j] = x[image, row + i·step, column + j·step], 0 outside x."""
    for i in range(tile.shape[0]):
        for j in range(tile.shape[1]):
            r, s = row + i * step, column + j * step
            if 0 <= r < x.shape[1] and 0 <= s < x.shape[2]:
                for c in range(x.shape[3]):
                    tile[i, j, c] = x[image, r, s, c]
            else:
                for c in range(x.shape[3]):
                    tile[i, j, c] = 0


@njit(cache=True, fastmath=FASTMATH)
def write_tile(tile, bias, activate, y, image, row, column, step):
    """The part of a 4×4 tile that lies within y, to y; on its way there, bias and ELU if asked for."""
    for i in range(4):
        for j in range(4):
            r, s = row + i * step, column + j * step
            if r < y.shape[1] and s < y.shape[2]:
                if activate:
                    for k in range(y.shape[3]):
                        y[image, r, s, k] = elu_one(tile[i, j, k] + bias[k])
                else:
                    for k in range(y.shape[3]):
                        y[image, r, s, k] = tile[i, j, k]


# ---- the transforms in two dimensions: along columns, then along rows --------------------------------------------
@njit(cache=True, fastmath=FASTMATH)
def pixels_to_points(d, half, v, q):
    """v[:, q] = Bᵀ d B of 6×6 pixels d."""
    for j in range(6):
        for c in range(d.shape[2]):
            p = b_transposed(d[0, j, c], d[1, j, c], d[2, j, c], d[3, j, c], d[4, j, c], d[5, j, c])
            half[0, j, c], half[1, j, c], half[2, j, c], half[3, j, c], half[4, j, c], half[5, j, c] = p
    for i in range(6):
        for c in range(d.shape[2]):
            p = b_transposed(half[i, 0, c], half[i, 1, c], half[i, 2, c], half[i, 3, c], half[i, 4, c], half[i, 5, c])
            v[6 * i, q, c], v[6 * i + 1, q, c], v[6 * i + 2, q, c] = p[0], p[1], p[2]
            v[6 * i + 3, q, c], v[6 * i + 4, q, c], v[6 * i + 5, q, c] = p[3], p[4], p[5]


@njit(cache=True, fastmath=FASTMATH)
def gradients_to_points(g, half, z, q):
    """z[:, q] = A g Aᵀ of 4×4 gradients g."""
    for j in range(4):
        for k in range(g.shape[2]):
            p = a(g[0, j, k], g[1, j, k], g[2, j, k], g[3, j, k])
            half[0, j, k], half[1, j, k], half[2, j, k], half[3, j, k], half[4, j, k], half[5, j, k] = p
    for i in range(6):
        for k in range(g.shape[2]):
            p = a(half[i, 0, k], half[i, 1, k], half[i, 2, k], half[i, 3, k])
            z[6 * i, q, k], z[6 * i + 1, q, k], z[6 * i + 2, q, k] = p[0], p[1], p[2]
            z[6 * i + 3, q, k], z[6 * i + 4, q, k], z[6 * i + 5, q, k] = p[3], p[4], p[5]


@njit(cache=True, fastmath=FASTMATH)
def points_to_outputs(m, q, half, y):
    """y = Aᵀ m[:, q] A, 4×4 outputs."""
    for j in range(6):
        for k in range(y.shape[2]):
            p = a_transposed(
                m[j, q, k], m[6 + j, q, k], m[12 + j, q, k], m[18 + j, q, k], m[24 + j, q, k], m[30 + j, q, k]
            )
            half[0, j, k], half[1, j, k], half[2, j, k], half[3, j, k] = p
    for i in range(4):
        for k in range(y.shape[2]):
            p = a_transposed(half[i, 0, k], half[i, 1, k], half[i, 2, k], half[i, 3, k], half[i, 4, k], half[i, 5, k])
            y[i, 0, k], y[i, 1, k], y[i, 2, k], y[i, 3, k] = p


# ---- all tiles ---------------------------------------------------------------------------------------------------
@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _convolve(x, u, bias, activate, dilation, top, left, block, y, workers):
    """All tiles of y, in blocks of `block`. Which worker takes a block does not change what comes out of it."""
    images, height, width, k = y.shape
    c = x.shape[3]
    tiles = count_tiles(images, height, width, dilation)
    for worker in prange(workers):
        v, m = np.empty((36, block, c), x.dtype), np.empty((36, block, k), x.dtype)
        pixels, half_in = np.empty((6, 6, c), x.dtype), np.empty((6, 6, c), x.dtype)
        outputs, half_out = np.empty((4, 4, k), x.dtype), np.empty((4, 6, k), x.dtype)
        for first in range(worker * block, tiles, workers * block):
            n = min(block, tiles - first)
            for q in range(n):
                image, row, column = tile_at(first + q, height, width, dilation)
                read_tile(x, image, row - top, column - left, dilation, pixels)
                pixels_to_points(pixels, half_in, v, q)
            for s in range(36):
                np.dot(v[s, :n], u[s], m[s, :n])
            for q in range(n):
                image, row, column = tile_at(first + q, height, width, dilation)
                points_to_outputs(m, q, half_out, outputs)
                write_tile(outputs, bias, activate, y, image, row, column, dilation)


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _correlate(g, x, dilation, top, left, sums):
    """sums[p] = Σ over the tiles of part p of (Bᵀ d B) ⊙ (A g Aᵀ): PARTS 36 C K."""
    images, height, width, k = g.shape
    parts, c = len(sums), x.shape[3]
    tiles = count_tiles(images, height, width, dilation)
    for part in prange(parts):
        v, z = np.empty((36, TILES_DW, c), x.dtype), np.empty((36, TILES_DW, k), x.dtype)
        pixels, half_x = np.empty((6, 6, c), x.dtype), np.empty((6, 6, c), x.dtype)
        gradients, half_g = np.empty((4, 4, k), x.dtype), np.empty((6, 4, k), x.dtype)
        product = np.empty((c, k), x.dtype)
        for first in range(part * TILES_DW, tiles, parts * TILES_DW):
            n = min(TILES_DW, tiles - first)
            for q in range(n):
                image, row, column = tile_at(first + q, height, width, dilation)
                read_tile(x, image, row - top, column - left, dilation, pixels)
                pixels_to_points(pixels, half_x, v, q)
                read_tile(g, image, row, column, dilation, gradients)
                gradients_to_points(gradients, half_g, z, q)
            for s in range(36):
                np.dot(v[s, :n].T, z[s, :n], product)
                for i in range(c):
                    for j in range(k):
                        sums[part, s, i, j] += product[i, j]


def conv3x3(x: Array, w: Array, dilation: int, pads: Pads, *, bias: Array | None = None) -> Array:
    """conv2d(x, w) for 3×3 kernels at stride 1; with a bias, elu(conv2d(x, w) + bias). N H W C -> N OH OW K"""
    size = output_size(x.shape[1:3], (3, 3), stride=1, dilation=dilation, pads=pads)
    y = np.empty((len(x), *size, w.shape[3]), x.dtype)
    (top, _), (left, _) = pads
    b = np.zeros(w.shape[3], x.dtype) if bias is None else bias
    u = frozen(transformed_kernel(w))
    block = max(1, BLOCK // (x.shape[3] + w.shape[3]))
    with one_blas_thread():
        _convolve(frozen(x), u, frozen(b), bias is not None, dilation, top, left, block, y, get_num_threads())
    return y


def conv3x3_dw(g: Array, x: Array, dilation: int, pads: Pads) -> Array:
    """conv2d_dw for 3×3 kernels at stride 1: 3 3 C K"""
    (top, _), (left, _) = pads
    images, height, width = g.shape[:3]
    blocks = -(-count_tiles(images, height, width, dilation) // TILES_DW)
    sums = np.zeros((min(PARTS_DW, blocks), 36, x.shape[3], g.shape[3]), x.dtype)
    with one_blas_thread():
        _correlate(frozen(g), frozen(x), dilation, top, left, sums)
    points = sums.sum(axis=0, dtype=np.float64)
    dw: Array = (np.kron(G, G).T @ points.reshape(36, -1)).astype(x.dtype)
    return dw.reshape(3, 3, *points.shape[1:])
