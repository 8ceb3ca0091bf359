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

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.geometry import ConvGeometry
from ca_numpy.jit import parallel, serial
from ca_numpy.threads import get_num_threads

from .numba_elementwise import FASTMATH, bias_elu, copy_line, frozen, repeated
from .numba_gemm import ROWS, WIDTH, copy_vectors, linear_map, multiply, padded
from .numba_memory import POOL

Array = NDArray[Any]

#: Numbers in V and M of one block of tiles, at least and at most: 0.8 and 2 MB, as second-level caches.
BLOCK = 200_000, 500_000
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
def tiles_along(length: int, dilation: int) -> tuple[int, int]:
    """(interleaved pictures, tiles in each) along an axis of the output."""
    return min(dilation, length), (-(-length // dilation) + 3) // 4


def count_tiles(images: int, height: int, width: int, dilation: int) -> int:
    """Tiles that cover a batch of outputs of this size."""
    return images * prod(tiles_along(height, dilation)) * prod(tiles_along(width, dilation))


@serial()
def tile_at(t, place):
    """(image, row, column) of the first output of tile t; its outputs are `dilation` apart. place: see `_place`."""
    row_phases, rows, column_phases, columns, dilation, _, _, _ = place
    t, column = t // columns, t % columns
    t, row = t // rows, t % rows
    t, column_phase = t // column_phases, t % column_phases
    image, row_phase = t // row_phases, t % row_phases
    return image, row_phase + 4 * dilation * row, column_phase + 4 * dilation * column


@serial(fastmath=FASTMATH)
def read_tile(x, image, row, column, step, zoom, room, at, side, wide):
    """A tile of side × side pixels at room[at], `wide` numbers each: x[image, row + i·step, column + j·step]

    0 outside x; for x magnified `zoom` times.
    """
    for i in range(side):
        for j in range(side):
            r, s, start = row + i * step, column + j * step, at + (i * side + j) * wide
            to = room[start : start + x.shape[3]]
            if 0 <= r < zoom * x.shape[1] and 0 <= s < zoom * x.shape[2]:
                copy_line(x[image, r // zoom, s // zoom], to)
            else:
                for k in range(len(to)):
                    to[k] = 0


@serial(fastmath=FASTMATH)
def write_tile(room, at, wide, y, image, row, column, step):
    """Write the part of a 4×4 tile inside y, from room[at] on, `wide` numbers per pixel."""
    k, flat = y.shape[3], y.reshape(-1)
    for i in range(4):
        for j in range(4):
            r, s, start = row + i * step, column + j * step, at + (4 * i + j) * wide
            if r < y.shape[1] and s < y.shape[2]:
                if k == wide:
                    copy_vectors(flat, ((image * y.shape[1] + r) * y.shape[2] + s) * k, 0, room, start, 0, k)
                else:
                    copy_line(room[start : start + k], y[image, r, s])


# ---- the transforms in two dimensions: along columns, then along rows --------------------------------------------
@serial(fastmath=FASTMATH)
def pixels_to_points(x, start, row_step, column_step, room, half, n, q, v_step):
    """room[q + s·v_step …] = Bᵀ d B, for n channels of 6×6 pixels d from x[start] on; room[half …] is scratch."""
    for j in range(6):
        _apply_b(room, half + j * n, 6 * n, x, start + j * column_step, row_step, n)
    for i in range(6):
        _apply_b(room, q + 6 * i * v_step, v_step, room, half + 6 * i * n, n, n)


@serial(fastmath=FASTMATH)
def doubled_to_points(x, start, row_step, column_step, room, half, n, q, v_step):
    """`pixels_to_points` of 6×6 pixels of x magnified twice, from the 4×4 pixels of x that they repeat."""
    for j in range(4):
        _apply_b_doubled(room, half + j * n, 4 * n, x, start + j * column_step, row_step, n)
    for i in range(6):
        _apply_b_doubled(room, q + 6 * i * v_step, v_step, room, half + 4 * i * n, n, n)


@serial(fastmath=FASTMATH)
def gradients_to_points(room, g, half, n, q, z_step):
    """room[q + s·z_step …] = A g Aᵀ, for n channels of 4×4 gradients at room[g]."""
    for j in range(4):
        _apply_a_back(room, half + j * n, 4 * n, room, g + j * n, 4 * n, n)
    for i in range(6):
        _apply_a_back(room, q + 6 * i * z_step, z_step, room, half + 4 * i * n, n, n)


@serial(fastmath=FASTMATH)
def points_to_outputs(room, q, m_step, half, n, y):
    """room[y …] = Aᵀ m A: n channels of 4×4 outputs from m = room[q + s·m_step …]."""
    for j in range(6):
        _apply_a(room, half + j * n, 6 * n, room, q + j * m_step, 6 * m_step, n)
    for i in range(4):
        _apply_a(room, y + 4 * i * n, n, room, half + 6 * i * n, n, n)


@parallel(fastmath=FASTMATH, _nrt=False)
def _transform_kernel(w, u, room, lower, upper):
    """u = G w Gᵀ. w 9 C K, u 36 K/WIDTH C WIDTH; a row of `room`, of zeros, for each panel of u."""
    columns, c = u.shape[1:3]
    flat, step = u.reshape(-1), columns * c * WIDTH
    for p in range(lower, upper):
        row, first = room[p], p * WIDTH
        n = min(WIDTH, w.shape[2] - first)
        for i in range(c):  # innermost: each of the 36 matrices is then written in order
            for t in range(len(w)):
                copy_line(w[t, i, first : first + n], row[t * WIDTH : t * WIDTH + n])
            for t in range(3):
                _apply_g(row, (9 + t) * WIDTH, 3 * WIDTH, row, t * WIDTH, 3 * WIDTH, WIDTH)
            for t in range(6):
                at = (6 * t * columns * c + p * c + i) * WIDTH
                _apply_g(flat, at, step, row, (9 + 3 * t) * WIDTH, WIDTH, WIDTH)


def transformed_kernel(w: Array) -> Array:
    """G w Gᵀ, its columns in panels: 3 3 C K -> 36 ⌈K/WIDTH⌉ C WIDTH"""
    c, k = w.shape[2:]
    u = POOL.empty((36, padded(k) // WIDTH, c, WIDTH), w.dtype)
    panels = u.shape[1]
    _transform_kernel(frozen(w).reshape(9, c, k), u, POOL.zeros((panels, 27 * WIDTH), w.dtype), tasks=panels)
    return u


# ---- all tiles ---------------------------------------------------------------------------------------------------
def _place(height: int, width: int, geometry: ConvGeometry, zoom: int) -> tuple[int, ...]:
    """Where tiles are: `tiles_along` both axes, dilation, top, left, zoom."""
    _, dilation, top, left = geometry.numbers
    return *tiles_along(height, dilation), *tiles_along(width, dilation), dilation, top, left, zoom


@serial(fastmath=FASTMATH)
def _transform_pixels(x, first, n, place, room, seen, v_row, v_step, pixels, half):
    """Rows 0 … n − 1 of V, at room[0], from tiles first … first + n − 1. `seen` is `room`, read-only like x."""
    dilation, top, left, zoom = place[4:]
    c, flat = x.shape[3], x.reshape(-1)
    reach = 5 * dilation
    for q in range(n):
        image, row, column = tile_at(first + q, place)
        row, column = row - top, column - left
        inside, odd = min(row, column) >= 0, row % 2 == column % 2 == 1
        if zoom == 2 and c == v_row and odd and inside and row + 5 < 2 * x.shape[1] and column + 5 < 2 * x.shape[2]:
            start = ((image * x.shape[1] + row // 2) * x.shape[2] + column // 2) * c
            doubled_to_points(flat, start, c * x.shape[2], c, room, half, c, q * v_row, v_step)
            continue
        source, start, row_step, step = flat, 0, dilation * c * x.shape[2], dilation * c
        if zoom == 1 and c == v_row and inside and row + reach < x.shape[1] and column + reach < x.shape[2]:
            start = ((image * x.shape[1] + row) * x.shape[2] + column) * c
        else:
            read_tile(x, image, row, column, dilation, zoom, room, pixels, 6, v_row)
            source, start, row_step, step = seen, pixels, 6 * v_row, v_row
        pixels_to_points(source, start, row_step, step, room, half, v_row, q * v_row, v_step)


@parallel(fastmath=FASTMATH, _nrt=False)
def _convolve(x, u, bias, activate, place, tiles, block, y, rooms, seen, lower, upper):
    """All tiles of y, in blocks of `block` tiles. The result does not depend on the number of workers."""
    workers, c = len(rooms), x.shape[3]
    c_wide, k_wide = (c + WIDTH - 1) // WIDTH * WIDTH, u.shape[1] * WIDTH
    v_step, m_step = block * c_wide + GAP, block * k_wide + GAP
    m = 36 * v_step
    pixels = m + 36 * m_step
    outputs = pixels + 36 * c_wide
    half = outputs + 16 * k_wide
    kernel = u.reshape(-1)
    for worker in range(lower, upper):
        room = rooms[worker]
        for first in range(worker * block, tiles, workers * block):
            n = min(block, tiles - first)
            _transform_pixels(x, first, n, place, room, seen[worker], c_wide, v_step, pixels, half)
            rows = (n + ROWS - 1) // ROWS * ROWS
            for s in range(36):
                multiply(room, m + s * m_step, k_wide, room, s * v_step, c_wide, 1, kernel, s * c * k_wide, WIDTH,
                         c * WIDTH, rows, k_wide, c, False)  # fmt: skip
            for q in range(n):
                image, row, column = tile_at(first + q, place)
                points_to_outputs(room, m + q * k_wide, m_step, half, k_wide, outputs)
                if activate:
                    bias_elu(room[outputs:half], bias, True, room[half : half + 16 * k_wide])
                write_tile(room, half if activate else outputs, k_wide, y, image, row, column, place[4])


@parallel(fastmath=FASTMATH, _nrt=False)
def _correlate(g, x, place, tiles, block, sums, rooms, seen, lower, upper):
    """sums[p] = Σ over the tiles of part p of (Bᵀ d B) ⊙ (A g Aᵀ): PARTS 36 C K, C and K padded."""
    parts, _, c_rows, k_wide = sums.shape
    c_wide = (x.shape[3] + WIDTH - 1) // WIDTH * WIDTH
    v_step, z_step = block * c_wide + GAP, block * k_wide + GAP
    z = 36 * v_step
    pixels = z + 36 * z_step
    gradients = pixels + 36 * c_wide
    half = gradients + 16 * k_wide
    for part in range(lower, upper):
        room, total = rooms[part], sums[part].reshape(-1)
        for first in range(part * block, tiles, parts * block):
            n = min(block, tiles - first)
            _transform_pixels(x, first, n, place, room, seen[part], c_wide, v_step, pixels, half)
            for q in range(n):
                image, row, column = tile_at(first + q, place)
                read_tile(g, image, row, column, place[4], 1, room, gradients, 4, k_wide)
                gradients_to_points(room, gradients, half, k_wide, z + q * k_wide, z_step)
            for s in range(36):
                multiply(total, s * c_rows * k_wide, k_wide, room, s * v_step, 1, c_wide, room, z + s * z_step, k_wide,
                         WIDTH, c_rows, k_wide, n, True)  # fmt: skip


def _rooms(number: int, c: int, k: int, block: int, dtype: Any) -> Array:
    """Memory of each worker: V and M, then the pixels and the outputs of a tile, and what is between its transforms."""
    c, k = padded(c), padded(k)
    return POOL.zeros((number, 36 * (block * (c + k) + 2 * GAP) + 36 * c + 16 * k + max(36 * c, 24 * k)), dtype)


def conv3x3(x: Array, w: Array, geometry: ConvGeometry, *, zoom: int = 1, bias: Array | None = None) -> Array:
    """conv2d(x, w) for 3×3 kernels at stride 1; with a bias, elu(conv2d(x, w) + bias). N H W C -> N OH OW K

    With `zoom`, x is first magnified that many times by repeating its pixels.
    """
    size = geometry.output_size((zoom * x.shape[1], zoom * x.shape[2]), (3, 3))
    c, k = w.shape[2:]
    y = POOL.empty((len(x), *size, k), x.dtype)
    b = repeated(bias, padded(k), x.dtype)
    block, workers = block_of_tiles(c, k), get_num_threads()
    tiles, rooms = count_tiles(len(x), *size, geometry.dilation), _rooms(workers, c, k, block, x.dtype)
    _convolve(frozen(x), transformed_kernel(w), b, bias is not None, _place(*size, geometry, zoom), tiles, block,
              y, rooms, frozen(rooms), tasks=workers)  # fmt: skip
    return y


def block_of_tiles(c: int, k: int) -> int:
    """Tiles per block, a multiple of ROWS: if BLOCK allows, so many that reading the kernel costs less than V and M."""
    c, k = padded(c), padded(k)
    least, most = (numbers // (36 * (c + k)) for numbers in BLOCK)
    return max(ROWS, min(max(least, 3 * c * k // (4 * (c + k))), most) // ROWS * ROWS)


@parallel(fastmath=FASTMATH, _nrt=False)
def _kernel_gradient(sums, dw, room, lower, upper):
    """dw = Gᵀ (Σ over parts) G. sums PARTS 36 C K, padded; dw 9 C K, K padded; a row of `room` for each C."""
    parts, k_wide = len(sums), sums.shape[3]
    flat, step, half = dw.reshape(-1), dw.shape[1] * k_wide, 36 * k_wide
    for i in range(lower, upper):
        points = room[i]
        for s in range(36):
            to = points[s * k_wide : (s + 1) * k_wide]
            copy_line(sums[0, s, i], to)
            for part in range(1, parts):
                source = sums[part, s, i]
                for k in range(k_wide):
                    to[k] += source[k]
        for t in range(6):
            _apply_g_back(points, half + t * k_wide, 6 * k_wide, points, t * k_wide, 6 * k_wide, k_wide)
        for t in range(3):
            _apply_g_back(flat, 3 * t * step + i * k_wide, step, points, half + 6 * t * k_wide, k_wide, k_wide)


def conv3x3_dw(g: Array, x: Array, geometry: ConvGeometry, *, zoom: int = 1) -> Array:
    """conv2d_dw for 3×3 kernels at stride 1: 3 3 C K"""
    (images, height, width, k), c = g.shape, x.shape[3]
    block, tiles = block_of_tiles(c, k), count_tiles(images, height, width, geometry.dilation)
    parts = min(PARTS_DW, -(-tiles // block))
    sums = POOL.zeros((parts, 36, padded(c, ROWS), padded(k)), x.dtype)
    dw, rooms = POOL.empty((9, c, padded(k)), x.dtype), _rooms(parts, c, k, block, x.dtype)
    place = _place(height, width, geometry, zoom)
    _correlate(frozen(g), frozen(x), place, tiles, block, sums, rooms, frozen(rooms), tasks=parts)
    _kernel_gradient(sums, dw, POOL.zeros((c, 54 * padded(k)), x.dtype), tasks=c)
    return dw[..., :k].reshape(3, 3, c, k)
