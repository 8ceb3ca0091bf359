"""3×3 convolution with a quarter of the products: Winograd's F(4×4, 3×3), compiled (Lavin & Gray, CVPR 2016).

In one dimension, four outputs of a three-tap kernel w read six inputs d and cost twelve products. Multiplying
polynomials with these coefficients by their values at six points (0, ±α, ±β and ∞) takes six:

    y = Aᵀ [(G w) ⊙ (Bᵀ d)]                    ⊙ is the elementwise product

         ⎡1   0  −5/2  0  1  0⎤         ⎡  1      0     0 ⎤
         ⎢0 −2α   −2   α  1  0⎥         ⎢−2/3 −2/3·α −1/3⎥           ⎡1   1    1    1    1  0⎤
    Bᵀ = ⎢0  2α   −2  −α  1  0⎥     G = ⎢−2/3  2/3·α −1/3⎥      Aᵀ = ⎢0   α   −α    β   −β  0⎥
         ⎢0 −β/2 −1/2  β  1  0⎥         ⎢ 1/6   β/6   1/3⎥           ⎢0  1/2  1/2   2    2  0⎥
         ⎢0  β/2 −1/2 −β  1  0⎥         ⎢ 1/6  −β/6   1/3⎥           ⎣0  α/2 −α/2  2β  −2β  1⎦
         ⎣0   1    0 −5/2 0  1⎦         ⎣  0      0     1 ⎦

In two dimensions each acts on rows and columns: Y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A, 36 products instead of 144 for a
tile of 4×4 outputs. With channels, each of the 36 is a matrix product over n tiles:

    M[s] = V[s] · U[s],    V[s] n × C of transformed pixels,  U[s] C × K of the transformed kernel,   s = 0 … 35

The gradient with respect to w follows from the same trilinear form:  dw = Gᵀ [Σ_tiles (Bᵀ d B) ⊙ (A g Aᵀ)] G.

*Why 4×4.* F(4×4) saves a factor of 4, F(2×2) only 2.25; F(6×6) saves 5.1 but loses another digit.
*Why α = √½ and β = √2.* The usual points are ±1 and ±2, whose powers (8, and 5 in Bᵀ) enlarge rounding errors. With
αβ = 1 all numbers are near 1: in float32 the largest error is a quarter of that of the usual points, about five times
that of the direct sum.
*Why channels last.* All transforms run over the channels in the innermost loop, contiguous in memory.
*Dilation* d means d×d interleaved pictures, each with an ordinary convolution: only indices change.
*NaN and infinity* in the input make every output of the 4×4 tiles that read them NaN, not only the 3×3 outputs of a
direct sum. So do values within a factor of a hundred of overflow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.geometry import ConvGeometry
from ca_numpy.jit import parallel, serial
from ca_numpy.threads import get_num_threads

from .numba_elementwise import FASTMATH, copy_line, elu_one, frozen
from .numba_gemm import ROWS, WIDTH, linear_map, multiply, padded
from .numba_memory import POOL

Array = NDArray[Any]

#: Numbers in V and M of one block of tiles: they fit the second-level cache of a core together with the kernel.
BLOCK = 200_000
#: Partial sums of dw: fixed, so that the order of summation does not depend on the number of threads.
PARTS_DW = 4
#: Numbers between the 36 matrices of V, so that the same place in each does not map to the same cache lines. At least
#: ROWS: dw reads that far beyond the last channel, for sums that are discarded.
GAP = 16

_A, _B = np.sqrt(0.5), np.sqrt(2.0)
B_TRANSPOSED = np.array(
    [
        [1, 0, -5 / 2, 0, 1, 0],
        [0, -2 * _A, -2, _A, 1, 0],
        [0, 2 * _A, -2, -_A, 1, 0],
        [0, -_B / 2, -1 / 2, _B, 1, 0],
        [0, _B / 2, -1 / 2, -_B, 1, 0],
        [0, 1, 0, -5 / 2, 0, 1],
    ]
)
G = np.array(
    [
        [1, 0, 0],
        [-2 / 3, -2 / 3 * _A, -1 / 3],
        [-2 / 3, 2 / 3 * _A, -1 / 3],
        [1 / 6, _B / 6, 1 / 3],
        [1 / 6, -_B / 6, 1 / 3],
        [0, 0, 1],
    ]
)
A_TRANSPOSED = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, _A, -_A, _B, -_B, 0],
        [0, 1 / 2, 1 / 2, 2, 2, 0],
        [0, _A / 2, -_A / 2, 2 * _B, -2 * _B, 1],
    ]
)
#: Six neighbours in a picture magnified twice, from an odd position on, are four of its pixels: a b b c c d.
DOUBLED = np.eye(4)[[0, 1, 1, 2, 2, 3]]
_apply_b_doubled = linear_map(B_TRANSPOSED @ DOUBLED)
_apply_b, _apply_a, _apply_a_back = linear_map(B_TRANSPOSED), linear_map(A_TRANSPOSED), linear_map(A_TRANSPOSED.T)
_apply_g, _apply_g_back = linear_map(G), linear_map(G.T)


# ---- tiles: position, reading and writing ------------------------------------------------------------------------
@serial()
def tiles_along(length, dilation):
    """(interleaved pictures, tiles in each) along an axis of the output."""
    return min(dilation, length), ((length + dilation - 1) // dilation + 3) // 4


@serial()
def count_tiles(images, height, width, dilation):
    """Tiles that cover a batch of outputs of this size."""
    row_phases, rows = tiles_along(height, dilation)
    column_phases, columns = tiles_along(width, dilation)
    return images * row_phases * rows * column_phases * columns


@serial()
def tile_at(t, height, width, dilation):
    """(image, row, column) of the first output of tile t; its outputs are `dilation` apart."""
    row_phases, rows = tiles_along(height, dilation)
    column_phases, columns = tiles_along(width, dilation)
    t, column = t // columns, t % columns
    t, row = t // rows, t % rows
    t, column_phase = t // column_phases, t % column_phases
    image, row_phase = t // row_phases, t % row_phases
    return image, row_phase + 4 * dilation * row, column_phase + 4 * dilation * column


@serial()
def read_tile(x, image, row, column, step, zoom, tile):
    """tile[i, j] = x[image, row + i·step, column + j·step], 0 outside x, for x magnified `zoom` times."""
    for i in range(tile.shape[0]):
        for j in range(tile.shape[1]):
            r, s = row + i * step, column + j * step
            if 0 <= r < zoom * x.shape[1] and 0 <= s < zoom * x.shape[2]:
                copy_line(x[image, r // zoom, s // zoom], tile[i, j, : x.shape[3]])
            else:
                tile[i, j, : x.shape[3]] = 0


@serial(fastmath=FASTMATH)
def write_tile(tile, bias, activate, y, image, row, column, step):
    """Write the part of a 4×4 tile inside y, with `activate` after bias and ELU."""
    for i in range(4):
        for j in range(4):
            r, s = row + i * step, column + j * step
            if r < y.shape[1] and s < y.shape[2]:
                to, source = y[image, r, s], tile[i, j]
                if activate:
                    for k in range(len(to)):
                        to[k] = elu_one(source[k] + bias[k])
                else:
                    for k in range(len(to)):
                        to[k] = source[k]


# ---- the transforms in two dimensions: along columns, then along rows --------------------------------------------
@serial()
def pixels_to_points(x, start, row_step, column_step, half, n, v, q, v_step):
    """v[q + s·v_step …] = Bᵀ d B, for n channels of 6×6 pixels d from x[start] on."""
    for j in range(6):
        _apply_b(half, j * n, 6 * n, x, start + j * column_step, row_step, n)
    for i in range(6):
        _apply_b(v, q + 6 * i * v_step, v_step, half, 6 * i * n, n, n)


@serial()
def doubled_to_points(x, start, row_step, column_step, half, n, v, q, v_step):
    """`pixels_to_points` of 6×6 pixels of x magnified twice, from the 4×4 pixels of x that they repeat."""
    for j in range(4):
        _apply_b_doubled(half, j * n, 4 * n, x, start + j * column_step, row_step, n)
    for i in range(6):
        _apply_b_doubled(v, q + 6 * i * v_step, v_step, half, 4 * i * n, n, n)


@serial()
def gradients_to_points(g, half, n, z, q, z_step):
    """z[q + s·z_step …] = A g Aᵀ, for n channels of 4×4 gradients g."""
    for j in range(4):
        _apply_a_back(half, j * n, 4 * n, g, j * n, 4 * n, n)
    for i in range(6):
        _apply_a_back(z, q + 6 * i * z_step, z_step, half, 4 * i * n, n, n)


@serial()
def points_to_outputs(m, q, m_step, half, n, y):
    """y = Aᵀ m A: n channels of 4×4 outputs from m[q + s·m_step …]."""
    for j in range(6):
        _apply_a(half, j * n, 6 * n, m, q + j * m_step, 6 * m_step, n)
    for i in range(4):
        _apply_a(y, 4 * i * n, n, half, 6 * i * n, n, n)


@parallel()
def _transform_kernel(w, u, lower, upper):
    """u = G w Gᵀ. w 3 3 C K, u 36 K/WIDTH C WIDTH"""
    columns, c = u.shape[1:3]
    flat, step = u.reshape(-1), columns * c * WIDTH
    for i in range(lower, upper):
        row, half = np.zeros(9 * WIDTH, w.dtype), np.empty(18 * WIDTH, w.dtype)
        for p in range(columns):
            n = min(WIDTH, w.shape[3] - p * WIDTH)
            for t in range(9):
                for k in range(WIDTH):
                    row[t * WIDTH + k] = w[t // 3, t % 3, i, p * WIDTH + k] if k < n else 0
            for t in range(3):
                _apply_g(half, t * WIDTH, 3 * WIDTH, row, t * WIDTH, 3 * WIDTH, WIDTH)
            for t in range(6):
                at = (6 * t * columns * c + p * c + i) * WIDTH
                _apply_g(flat, at, step, half, 3 * t * WIDTH, WIDTH, WIDTH)


def transformed_kernel(w: Array) -> Array:
    """G w Gᵀ, its columns in panels: 3 3 C K -> 36 ⌈K/WIDTH⌉ C WIDTH"""
    u = POOL.empty((36, padded(w.shape[3]) // WIDTH, w.shape[2], WIDTH), w.dtype)
    _transform_kernel(w, u, tasks=w.shape[2])
    return u


@serial()
def _doubled_inside(row, column, x):
    """Whether the 6×6 pixels from (row, column) on are all inside x magnified twice."""
    return min(row, column) > 0 and row + 5 < 2 * x.shape[1] and column + 5 < 2 * x.shape[2]


# ---- all tiles ---------------------------------------------------------------------------------------------------
@serial()
def _transform_pixels(x, first, n, place, v, v_row, v_step, pixels, half):
    """Rows 0 … n − 1 of V from tiles first … first + n − 1. place: output size, dilation, top, left, zoom."""
    height, width, dilation, top, left, zoom = place
    c, flat = x.shape[3], x.reshape(-1)
    reach = 5 * dilation
    for q in range(n):
        image, row, column = tile_at(first + q, height, width, dilation)
        row, column = row - top, column - left
        whole = min(row, column) >= 0 and row + reach < x.shape[1] and column + reach < x.shape[2]
        if whole and zoom == 1 and c == v_row:
            start, step = ((image * x.shape[1] + row) * x.shape[2] + column) * c, dilation * c
            pixels_to_points(flat, start, step * x.shape[2], step, half, c, v, q * v_row, v_step)
        elif zoom == 2 and c == v_row and row % 2 == column % 2 == 1 and _doubled_inside(row, column, x):
            start = ((image * x.shape[1] + row // 2) * x.shape[2] + column // 2) * c
            doubled_to_points(flat, start, c * x.shape[2], c, half, c, v, q * v_row, v_step)
        else:
            read_tile(x, image, row, column, dilation, zoom, pixels)
            pixels_to_points(pixels.reshape(-1), 0, 6 * v_row, v_row, half, v_row, v, q * v_row, v_step)


@parallel(fastmath=FASTMATH)
def _convolve(x, u, bias, activate, dilation, top, left, zoom, block, y, workers, lower, upper):
    """All tiles of y, in blocks of `block` tiles. The result does not depend on the number of workers."""
    images, height, width, _ = y.shape
    c, c_wide, k_wide = x.shape[3], (x.shape[3] + WIDTH - 1) // WIDTH * WIDTH, u.shape[1] * WIDTH
    v_step, m_step = block * c_wide + GAP, block * k_wide + GAP
    place = height, width, dilation, top, left, zoom
    kernel = u.reshape(-1)
    tiles = count_tiles(images, height, width, dilation)
    for worker in range(lower, upper):
        v, m = np.zeros(36 * v_step, x.dtype), np.empty(36 * m_step, x.dtype)
        pixels, half_in = np.zeros((6, 6, c_wide), x.dtype), np.empty(36 * c_wide, x.dtype)
        outputs, half_out = np.empty((4, 4, k_wide), x.dtype), np.empty(24 * k_wide, x.dtype)
        for first in range(worker * block, tiles, workers * block):
            n = min(block, tiles - first)
            _transform_pixels(x, first, n, place, v, c_wide, v_step, pixels, half_in)
            rows = (n + ROWS - 1) // ROWS * ROWS
            for s in range(36):
                multiply(m, s * m_step, k_wide, v, s * v_step, c_wide, 1, kernel, s * c * k_wide, WIDTH, c * WIDTH,
                         rows, k_wide, c, False)  # fmt: skip
            for q in range(n):
                image, row, column = tile_at(first + q, height, width, dilation)
                points_to_outputs(m, q * k_wide, m_step, half_out, k_wide, outputs.reshape(-1))
                write_tile(outputs, bias, activate, y, image, row, column, dilation)


@parallel(fastmath=FASTMATH)
def _correlate(g, x, dilation, top, left, zoom, block, sums, lower, upper):
    """sums[p] = Σ over the tiles of part p of (Bᵀ d B) ⊙ (A g Aᵀ): PARTS 36 C K, C and K padded."""
    images, height, width, _ = g.shape
    parts, _, c_rows, k_wide = sums.shape
    c_wide = (x.shape[3] + WIDTH - 1) // WIDTH * WIDTH
    place = height, width, dilation, top, left, zoom
    v_step, z_step = block * c_wide + GAP, block * k_wide + GAP
    tiles = count_tiles(images, height, width, dilation)
    for part in range(lower, upper):
        total = sums[part].reshape(-1)
        v, z = np.empty(36 * v_step, x.dtype), np.empty(36 * z_step, x.dtype)
        pixels, half_x = np.zeros((6, 6, c_wide), x.dtype), np.empty(36 * c_wide, x.dtype)
        gradients, half_g = np.zeros((4, 4, k_wide), x.dtype), np.empty(24 * k_wide, x.dtype)
        for first in range(part * block, tiles, parts * block):
            n = min(block, tiles - first)
            _transform_pixels(x, first, n, place, v, c_wide, v_step, pixels, half_x)
            for q in range(n):
                image, row, column = tile_at(first + q, height, width, dilation)
                read_tile(g, image, row, column, dilation, 1, gradients)
                gradients_to_points(gradients.reshape(-1), half_g, k_wide, z, q * k_wide, z_step)
            for s in range(36):
                multiply(total, s * c_rows * k_wide, k_wide, v, s * v_step, 1, c_wide, z, s * z_step, k_wide, WIDTH,
                         c_rows, k_wide, n, True)  # fmt: skip


def conv3x3(x: Array, w: Array, geometry: ConvGeometry, *, zoom: int = 1, bias: Array | None = None) -> Array:
    """conv2d(x, w) for 3×3 kernels at stride 1; with a bias, elu(conv2d(x, w) + bias). N H W C -> N OH OW K

    With `zoom`, x is first magnified that many times by repeating its pixels.
    """
    size = geometry.output_size((zoom * x.shape[1], zoom * x.shape[2]), (3, 3))
    y = POOL.empty((len(x), *size, w.shape[3]), x.dtype)
    _, dilation, top, left = geometry.numbers
    b = np.zeros(w.shape[3], x.dtype) if bias is None else bias
    u = transformed_kernel(w)
    block = block_of_tiles(x.shape[3], w.shape[3])
    workers, activate = get_num_threads(), bias is not None
    _convolve(frozen(x), u, frozen(b), activate, dilation, top, left, zoom, block, y, workers, tasks=workers)
    return y


def block_of_tiles(c: int, k: int) -> int:
    """Tiles per block, a multiple of ROWS."""
    return max(ROWS, BLOCK // (36 * (padded(c) + padded(k))) // ROWS * ROWS)


@parallel()
def _kernel_gradient(sums, dw, lower, upper):
    """dw = Gᵀ (Σ over parts) G. sums PARTS 36 C K, padded; dw 9 C K, K padded."""
    parts, k_wide = len(sums), sums.shape[3]
    flat, step = dw.reshape(-1), dw.shape[1] * k_wide
    for i in range(lower, upper):
        points, half = np.empty((36, k_wide), dw.dtype), np.empty(18 * k_wide, dw.dtype)
        for s in range(36):
            copy_line(sums[0, s, i], points[s])
            for part in range(1, parts):
                for k in range(k_wide):
                    points[s, k] += sums[part, s, i, k]
        for t in range(6):
            _apply_g_back(half, t * k_wide, 6 * k_wide, points.reshape(-1), t * k_wide, 6 * k_wide, k_wide)
        for t in range(3):
            _apply_g_back(flat, 3 * t * step + i * k_wide, step, half, 6 * t * k_wide, k_wide, k_wide)


def conv3x3_dw(g: Array, x: Array, geometry: ConvGeometry, *, zoom: int = 1) -> Array:
    """conv2d_dw for 3×3 kernels at stride 1: 3 3 C K"""
    _, dilation, top, left = geometry.numbers
    (images, height, width, k), c = g.shape, x.shape[3]
    block = block_of_tiles(c, k)
    parts = min(PARTS_DW, -(-int(count_tiles(images, height, width, dilation)) // block))
    sums = POOL.zeros((parts, 36, padded(c, ROWS), padded(k)), x.dtype)
    dw = POOL.empty((9, c, padded(k)), x.dtype)
    _correlate(frozen(g), frozen(x), dilation, top, left, zoom, block, sums, tasks=parts)
    _kernel_gradient(sums, dw, tasks=c)
    return dw[..., :k].reshape(3, 3, c, k)
