"""Convolution with products of bfloat16 (`numba_amx`): the same equations as `numba_conv`, sums in float32.

Pictures and kernels are rounded to bfloat16, so every product has a relative error of up to 2⁻⁸; sums, bias and ELU are
float32. Each product is 16 times as fast as in float32, so Winograd, which saves three in four and costs digits, is not
used: everything is the direct sum of `numba_conv`, in the same bands.

    conv2d             one matrix product per tap, or per row of the kernel where its taps are neighbours
    after doubling     four phases with 2×2 taps each, sums of the 3×3
    conv2d_dx          stride 1: conv2d with the kernel rotated; stride s: s×s phases
    conv2d_dw          xᵀ g with pixels as the terms: a band of x is stored channel by channel

*NaN and infinity* spread to outputs up to 31 numbers further along a row than in a direct sum: steps of 32 terms read
beyond the last tap, where weights are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.geometry import ConvGeometry
from ca_numpy.jit import parallel, serial
from ca_numpy.threads import get_num_threads

from . import numba_conv, numpy_conv
from .numba_amx import (
    BLOCK,
    DEPTH,
    LAYOUT,
    SIDE,
    configure,
    multiply_tiles,
    pairs,
    release,
    round_line,
    rounded,
    supported,
    transpose_tile,
)
from .numba_conv import (
    band_shape,
    compiled,
    in_rows,
    outputs,
    pieces_of,
    read_band,
    taps_in_band,
    turned,
    turned_geometry,
)
from .numba_elementwise import FASTMATH, elu, frozen, repeated, write_pixels
from .numba_gemm import padded
from .numba_memory import POOL

Array = NDArray[Any]

supported()  # the system must be asked before the first use

#: Numbers in a band of x and y: half a megabyte of x at most.
BAND = 1 << 18
#: Pixels whose sums come before their bias and ELU: few enough for the cache, enough to use parts of the kernel often.
GROUP = 8 * BLOCK
#: Numbers in a band of x and g for dw: a megabyte, half a second-level cache.
BAND_DW = 1 << 19


# ---- the kernels, and the fused ones -----------------------------------------------------------------------------
def conv2d(x: Array, w: Array, geometry: ConvGeometry) -> Array:
    """y[n, i, j, o] = Σ_{u,v,c} x[n, i·s + u·d − top, j·s + v·d − left, c] · w[u, v, c, o], zero outside"""
    if not compiled(x, w):
        return numpy_conv.conv2d(x, w, geometry)
    return _conv2d(x, w, None, geometry)


def conv_bias_elu(x: Array, w: Array, b: Array, geometry: ConvGeometry) -> Array:
    """elu(conv2d(x, w) + b). b has shape (O,)."""
    if not compiled(x, w, b):
        return elu(numpy_conv.conv2d(x, w, geometry) + b)
    return _conv2d(x, w, np.broadcast_to(b.reshape(-1), w.shape[3:]), geometry)


def upsample_conv_bias_elu(x: Array, w: Array, b: Array, geometry: ConvGeometry) -> Array:
    """elu(conv2d(u, w) + b), u[n, i, j] = x[n, ⌊i/2⌋, ⌊j/2⌋], in four phases of outputs

    Row 2q + a reads rows q + ⌊(a − top + u)/2⌋ of x: taps with the same row are added before rounding.
    """
    if not compiled(x, w, b) or (geometry.stride, geometry.dilation) != (1, 1):
        return conv_bias_elu(x.repeat(2, axis=1).repeat(2, axis=2), w, b, geometry)
    size = geometry.output_size((2 * x.shape[1], 2 * x.shape[2]), w.shape[:2])
    y = POOL.empty((len(x), *size, w.shape[3]), x.dtype)
    bias = np.broadcast_to(b.reshape(-1), w.shape[3:])
    for a in range(min(2, size[0])):
        for c in range(min(2, size[1])):
            phase, pads = w, []
            for axis, (first, (before, _)) in enumerate(zip((a, c), geometry.pads, strict=True)):
                rows = (first - before + np.arange(w.shape[axis])) // 2
                starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 1))
                groups = np.split(phase, starts[1:], axis)  # `np.add.reduceat` takes ten times as long
                phase = np.concatenate([group.sum(axis, keepdims=True) for group in groups], axis)
                pads.append((-int(rows[0]), 0))
            _direct(x, phase, bias, ConvGeometry(pads=(pads[0], pads[1])), y, (a, 2), (c, 2))
    return y


def conv2d_dx(g: Array, w: Array, size: tuple[int, int], geometry: ConvGeometry) -> Array:
    """The adjoint with respect to x: ⟨conv2d(x, w), g⟩ = ⟨x, conv2d_dx(g, w)⟩"""
    if not compiled(g, w) or (geometry.stride > 1 and geometry.dilation > 1):
        return numpy_conv.conv2d_dx(g, w, size, geometry)
    if geometry.stride == 1:
        return _conv2d(g, turned(w), None, turned_geometry(w.shape[:2], geometry))
    return numba_conv.dx_in_phases(g, w, size, geometry, _direct)


def conv2d_dw(g: Array, x: Array, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
    """The adjoint with respect to w: ⟨conv2d(x, w), g⟩ = ⟨w, conv2d_dw(g, x)⟩"""
    c, k = x.shape[3], g.shape[3]
    if not compiled(g, x) or min(c, k) < SIDE // 2:  # which would fill few rows or columns of a tile
        return numba_conv.conv2d_dw(g, x, ksize, geometry)
    c_wide, k_wide, workers = padded(c, BLOCK), padded(k, SIDE), get_num_threads()
    dw = POOL.zeros((ksize[0] * ksize[1], c_wide, k_wide), x.dtype)
    most, low, pitch = band_shape(g.shape[1:3], c_wide, k_wide, ksize, geometry, 1, BAND_DW)
    stride, dilation, _, _ = geometry.numbers
    # An odd number of cache lines, so that the same place in each channel does not map to the same lines.
    line = (-(-stride * stride * low * pitch // DEPTH) | 1) * DEPTH
    steps = -(-most * pitch // DEPTH)
    room = padded(c_wide * line + (ksize[0] * dilation + 1) * pitch + 2 * DEPTH, DEPTH)
    sizes = room, SIDE * c_wide, SIDE * SIDE, steps * DEPTH * k, -(-k_wide // BLOCK) * BLOCK * steps * DEPTH
    scratch = (POOL.zeros((workers, size), np.uint16) for size in sizes)
    _dw(frozen(g), frozen(x), ksize, most, low, pitch, line, *geometry.numbers, LAYOUT, np.arange(steps) * DEPTH, dw,
        *scratch, tasks=workers)  # fmt: skip
    return dw[:, :c, :k].reshape(*ksize, c, k)


def _conv2d(x: Array, w: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
    y = POOL.empty((len(x), *geometry.output_size(x.shape[1:3], w.shape[:2]), w.shape[3]), x.dtype)
    _direct(x, w, bias, geometry, y, (0, 1), (0, 1))
    return y


def _direct(
    x: Array, w: Array, bias: Array | None, geometry: ConvGeometry, y: Array,
    rows: tuple[int, int], columns: tuple[int, int],
) -> None:  # fmt: skip
    """conv2d, with a bias elu(conv2d + bias), to y at rows r, r + step, … for (r, step) = `rows`; likewise columns."""
    b = repeated(bias, padded(w.shape[3], SIDE), x.dtype)
    kernel = pairs(_steps(w, geometry.dilation))
    ksize, c, wide, workers = w.shape[:2], x.shape[3], padded(w.shape[3], SIDE), get_num_threads()
    size = outputs(y, rows, columns)
    most, low, pitch = band_shape(size, c, wide, ksize, geometry, -(-4 * workers // len(x)), BAND)
    stride, dilation, top, left = geometry.numbers
    taps = taps_in_band(c, low, pitch, ksize, geometry)
    steps = np.arange(-(-ksize[1] // pieces_of(ksize, geometry) * c // DEPTH)) * DEPTH
    room = low * pitch * stride * stride * c + (BLOCK * stride + ksize[1] * dilation) * c + DEPTH
    bands = POOL.zeros((workers, padded(room, DEPTH)), np.uint16)
    sums = POOL.zeros((workers, GROUP, wide), x.dtype)
    _bands(in_rows(x), c, kernel, b, bias is not None, most, low, pitch, stride, top, left,
           (taps[:, None] + steps).ravel(), LAYOUT, y, size, rows, columns, bands, sums, tasks=workers)  # fmt: skip


def _steps(w: Array, dilation: int) -> Array:
    """The kernel in steps of DEPTH terms; those of a row of taps are neighbours unless dilated. KH KW C K -> S 32 K"""
    runs = w.reshape(-1, *w.shape[2:]) if dilation > 1 else w.reshape(len(w), -1, w.shape[3])
    steps = -(-runs.shape[1] // DEPTH)
    wide = np.zeros((len(runs), steps * DEPTH, w.shape[3]), w.dtype)
    wide[:, : runs.shape[1]] = runs
    return wide.reshape(-1, DEPTH, w.shape[3])


# ---- bands -------------------------------------------------------------------------------------------------------
@parallel(fastmath=FASTMATH, _nrt=False)
def _bands(x, c, w, bias, activate, most, low, pitch, stride, top, left, places, layout, y, size, out_rows, out_columns,
           bands, sums, lower, upper):  # fmt: skip
    """y = elu(conv2d(x, w) + bias) in bands of rows. w is in `pairs` of `_steps`."""
    workers = len(bands)
    height, width = size
    kernel, wide = w.reshape(-1), sums.shape[2]
    per_image = (height + most - 1) // most
    for worker in range(lower, upper):
        band, total = bands[worker], sums[worker].reshape(-1)
        configure(layout)
        for task in range(worker, len(x) * per_image, workers):
            n, first = task // per_image, task % per_image * most
            rows = min(most, height - first)
            read_band(round_line, x, c, n, first * stride - top, low, pitch, stride, left, band)
            for start in range(0, rows * pitch, GROUP):
                blocks = (min(GROUP, rows * pitch - start) + BLOCK - 1) // BLOCK * BLOCK
                multiply_tiles(total, 0, wide, band, start * stride * c, stride * c, places, kernel, 0, w.shape[1],
                               len(places), blocks, wide // SIDE, False)  # fmt: skip
                p, end, i = 0, min(GROUP, rows * pitch - start), start // pitch
                j = start - i * pitch
                while p < end:
                    to, column = y[n, out_rows[0] + (first + i) * out_rows[1]], out_columns[0] + j * out_columns[1]
                    write_pixels(total, p * wide, min(end - p, width - j), bias, activate, to, column, out_columns[1])
                    p, i, j = p + pitch - j, i + 1, 0
        release()


@serial()
def _read_channels(x, n, first, low, pitch, stride, left, line, pixels, corner, band):
    """A band channel by channel, `line` numbers each: row r and column s of the band, as bfloat16, at

        ((r mod stride)·stride + s mod stride) · low · pitch + (r // stride) · pitch + s // stride,   0 outside x

    `pixels` takes SIDE of them with all their channels, and `corner` what they are at the right edge.
    """
    height, width, channels = x.shape[1:]
    flat, wide = x.reshape(-1), len(pixels) // SIDE
    for r in range(low * stride):
        row = first + r
        for s in range(stride):
            at = ((r % stride * stride + s) * low + r // stride) * pitch
            for start in range(0, pitch, SIDE):
                for j in range(SIDE):
                    column = (start + j) * stride + s - left
                    if 0 <= row < height and 0 <= column < width:
                        source = ((n * height + row) * width + column) * channels
                        for i in range(channels):
                            pixels[np.uint64(j * wide + i)] = rounded(flat[np.uint64(source + i)])
                    else:
                        for i in range(channels):
                            pixels[np.uint64(j * wide + i)] = 0
                for i in range(0, wide, SIDE):
                    if start + SIDE <= pitch:
                        transpose_tile(pixels, i, wide, band, i * line + at + start, line)
                    else:
                        transpose_tile(pixels, i, wide, corner, 0, SIDE)
                        for k in range(SIDE):
                            for j in range(pitch - start):
                                band[(i + k) * line + at + start + j] = corner[k * SIDE + j]


@serial()
def _read_gradients(g, n, first, rows, pitch, steps, panel, rough, out):
    """Gradients of `rows` rows of `pitch` positions, as the right-hand side of `multiply_tiles`; 0 where there is none.

    `rough` takes them as bfloat16, position by position. `out` holds pairs of them as uint32, `panel` in a panel of
    BLOCK columns.
    """
    height, width, k = g.shape[1:]
    flat = g.reshape(-1)
    for i in range(rows):
        start, source = i * pitch * k, (n * height + first + i) * width * k
        for o in range(width * k):
            rough[np.uint64(start + o)] = rounded(flat[np.uint64(source + o)])
        for o in range(width * k, pitch * k):
            rough[np.uint64(start + o)] = 0
    for o in range(rows * pitch * k, steps * DEPTH * k):
        rough[o] = 0
    tiles = (k + SIDE - 1) // SIDE
    for p in range(0, steps * DEPTH, 2):
        for tile in range(tiles):
            wide = 2 if tile // 2 * 2 + 1 < tiles else 1
            at = tile // 2 * panel + ((p // DEPTH * wide + tile % 2) * SIDE + p % DEPTH // 2) * SIDE
            source = p * k + tile * SIDE
            for o in range(min(SIDE, k - tile * SIDE)):
                one, two = rough[np.uint64(source + o)], rough[np.uint64(source + k + o)]
                out[np.uint64(at + o)] = np.uint32(one) | (np.uint32(two) << np.uint32(16))


@parallel(fastmath=FASTMATH, _nrt=False)
def _dw(g, x, ksize, most, low, pitch, line, stride, dilation, top, left, layout, places, dw, bands, pixels, corners,
        rough, gradients, lower, upper):  # fmt: skip
    """dw += Σ over pixels of x · g: KH·KW, C padded to BLOCK, K padded to SIDE. Each core sums its own blocks.

    Each therefore reads all of x and g, and the result does not depend on the number of cores.
    """
    images, height, _, _ = g.shape
    taps, c_wide, k_wide = dw.shape
    per_image, blocks, tiles, steps = (height + most - 1) // most, c_wide // BLOCK, k_wide // SIDE, len(places)
    panel, workers, total = steps * DEPTH * BLOCK // 2, len(bands), dw.reshape(-1)
    for worker in range(lower, upper):
        band, wide = bands[worker], gradients[worker]
        begin, end = worker * taps * blocks // workers, (worker + 1) * taps * blocks // workers
        configure(layout)
        for task in range(images * per_image):
            n, first = task // per_image, task % per_image * most
            rows = min(most, height - first)
            _read_channels(x, n, first * stride - top, low, pitch, stride, left, line, pixels[worker], corners[worker],
                           band)  # fmt: skip
            _read_gradients(g, n, first, rows, pitch, steps, panel, rough[worker], wide.view(np.uint32))
            for unit in range(begin, end):
                tap, block = unit // blocks, unit % blocks * BLOCK
                u, v = tap // ksize[1] * dilation, tap % ksize[1] * dilation
                plane = (u % stride * stride + v % stride) * low * pitch
                start = block * line + plane + u // stride * pitch + v // stride
                multiply_tiles(total, (tap * c_wide + block) * k_wide, k_wide, band, start, line, places, wide, 0,
                               2 * panel, steps, BLOCK, tiles, True)  # fmt: skip
        release()
