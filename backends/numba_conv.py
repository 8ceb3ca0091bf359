"""Compiled convolution: the three kernels of `numpy_conv`, each by the algorithm that suits its shape.

    conv2d      3×3 at stride 1, many channels     Winograd                                  (`numba_winograd`)
                5×5 at stride 2, large batches     Winograd, as 3×3 on blocks of 2×2 pixels
                everything else                    direct                                    (`_direct`)
    conv2d_dx   stride 1                           conv2d with the kernel rotated by 180°
                stride s                           s×s phases of it, each with some of the taps
    conv2d_dw   3×3 at stride 1, many channels     Winograd
                everything else                    direct                                    (`_direct_dw`)

*Direct* means without copying patches. They are the rows of a matrix, but overlap in memory: in the padded picture,
patch p + 1 begins s·C numbers after patch p, and the KW·C numbers under one row of the kernel are contiguous.
`multiply` accepts rows at any distance, so one product per row of the kernel is enough.

This requires pixels p = 0, 1, 2, … to be evenly spaced across rows of outputs too. A band of the picture is therefore
copied, with its padding, to rows of `pitch`·s pixels for `pitch` outputs each, the last few of which are unused. Rows
with the same remainder mod s are stored together, because a row of the kernel reads these in turn. A band fits the
second-level cache, and bias and ELU are applied while it is there.

All this is for float32. Other types, used to check derivatives, are computed by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.geometry import ConvGeometry, Pads
from ca_numpy.jit import parallel, serial
from ca_numpy.threads import get_num_threads

from . import numpy_conv
from .numba_elementwise import FASTMATH, copy_line, elu, frozen, repeated, write_pixels
from .numba_gemm import ROWS, WIDTH, multiply, padded, panels
from .numba_memory import POOL
from .numba_winograd import conv3x3, conv3x3_dw, count_tiles

Array = NDArray[Any]

#: Numbers in a band, inputs and outputs: half a second-level cache.
BAND = 1 << 17
#: Below this many channels on either side, Winograd's transforms cost more than they save.
LEAST_CHANNELS = 8
#: Minimum number of tiles to transform a 5×5 kernel to 36 matrices of four times its channels.
LEAST_TILES = 128


# ---- the choice of algorithm -------------------------------------------------------------------------------------
def compiled(*arrays: Array) -> bool:
    """Whether the compiled kernels accept these arrays: all float32, none empty."""
    return all(x.dtype == np.float32 and x.size for x in arrays)


def suits_winograd(
    shape: tuple[int, ...], ksize: tuple[int, int], geometry: ConvGeometry, channels: tuple[int, int]
) -> bool:
    """Whether Winograd saves products for outputs of `shape`: 36 per tile instead of 9 per output, with a margin."""
    if ksize != (3, 3) or geometry.stride != 1 or min(channels) < LEAST_CHANNELS:
        return False
    images, height, width = shape[:3]
    tiles = count_tiles(images, height, width, geometry.dilation)
    return tiles * 36 * 3 <= images * height * width * 9 * 2


def turned(w: Array) -> Array:
    """The kernel rotated by 180°, inputs and outputs exchanged: KH KW I O -> KH KW O I"""
    return w[::-1, ::-1].transpose(0, 1, 3, 2)


def turned_geometry(ksize: tuple[int, int], geometry: ConvGeometry) -> ConvGeometry:
    """The geometry of the adjoint, with pads (k − 1)·d − pads; negative ones crop."""
    (top, bottom), (left, right) = geometry.pads
    rows, columns = ((k - 1) * geometry.dilation for k in ksize)
    return replace(geometry, pads=((rows - top, rows - bottom), (columns - left, columns - right)))


# ---- the three kernels, and the fused one ------------------------------------------------------------------------
def conv2d(x: Array, w: Array, geometry: ConvGeometry) -> Array:
    """y[n, i, j, o] = Σ_{u,v,c} x[n, i·s + u·d − top, j·s + v·d − left, c] · w[u, v, c, o], zero outside"""
    if not compiled(x, w):
        return numpy_conv.conv2d(x, w, geometry)
    return _conv2d(x, w, None, geometry)


def conv_bias_elu(x: Array, w: Array, b: Array, geometry: ConvGeometry) -> Array:
    """elu(conv2d(x, w) + b), with bias and ELU applied while the result is in the cache. b has shape (O,)."""
    if not compiled(x, w, b):
        return elu(numpy_conv.conv2d(x, w, geometry) + b)
    return _conv2d(x, w, np.broadcast_to(b.reshape(-1), w.shape[3:]), geometry)


def upsample_conv_bias_elu(x: Array, w: Array, b: Array, geometry: ConvGeometry) -> Array:
    """elu(conv2d(u, w) + b), u[n, i, j] = x[n, ⌊i/2⌋, ⌊j/2⌋]: Winograd's tiles are read from x itself."""
    shape = len(x), *geometry.output_size((2 * x.shape[1], 2 * x.shape[2]), w.shape[:2]), w.shape[3]
    if compiled(x, w, b) and geometry.dilation == 1 and suits_winograd(shape, w.shape[:2], geometry, w.shape[2:]):
        return conv3x3(x, w, geometry, zoom=2, bias=np.broadcast_to(b.reshape(-1), w.shape[3:]))
    return conv_bias_elu(x.repeat(2, axis=1).repeat(2, axis=2), w, b, geometry)


def conv2d_dx(g: Array, w: Array, size: tuple[int, int], geometry: ConvGeometry) -> Array:
    """The adjoint with respect to x: ⟨conv2d(x, w), g⟩ = ⟨x, conv2d_dx(g, w)⟩"""
    if not compiled(g, w) or (geometry.stride > 1 and geometry.dilation > 1):
        return numpy_conv.conv2d_dx(g, w, size, geometry)
    if geometry.stride == 1:
        return _conv2d(g, turned(w), None, turned_geometry(w.shape[:2], geometry))
    if suits_halving(g.shape, w.shape[:2], geometry, w.shape[2:]):
        halves = conv3x3(g, turned(halved_kernel(w)), ConvGeometry(pads=((2, 2), (2, 2))))
        return depth_to_space(halves, size, geometry.pads)
    return dx_in_phases(g, w, size, geometry, direct)


def conv2d_dw(g: Array, x: Array, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
    """The adjoint with respect to w: ⟨conv2d(x, w), g⟩ = ⟨w, conv2d_dw(g, x)⟩"""
    if not compiled(g, x):
        return numpy_conv.conv2d_dw(g, x, ksize, geometry)
    if suits_winograd(g.shape, ksize, geometry, (x.shape[3], g.shape[3])):
        return conv3x3_dw(g, x, geometry)
    k, c, workers = g.shape[3], x.shape[3], get_num_threads()
    run = ksize[1] // pieces_of(ksize, geometry) * c
    stride, _, top, left = geometry.numbers
    most, low, pitch = band_shape(g.shape[1:3], c, padded(k), ksize, geometry, 1)
    taps = taps_in_band(c, low, pitch, ksize, geometry)
    dw = POOL.zeros((len(taps), padded(run, ROWS), padded(k)), x.dtype)
    bands = POOL.zeros((workers, band_size(c, low, pitch, ksize, geometry)), x.dtype)
    gradients = POOL.zeros((workers, most * pitch, padded(k)), x.dtype)
    _direct_dw(frozen(g), in_rows(x), c, most, low, pitch, stride, top, left, taps, dw, bands, gradients, tasks=workers)
    return dw[:, :run, :k].reshape(*ksize, c, k)


def _conv2d(x: Array, w: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
    """conv2d, with a bias elu(conv2d + bias). Negative pads crop."""
    size = geometry.output_size(x.shape[1:3], w.shape[:2])
    shape = len(x), *size, w.shape[3]
    if suits_winograd(shape, w.shape[:2], geometry, w.shape[2:]):
        return conv3x3(x, w, geometry, bias=bias)
    if suits_halving(shape, w.shape[:2], geometry, w.shape[2:]):
        return conv3x3(space_to_depth(x, size, geometry.pads), halved_kernel(w), ConvGeometry(), bias=bias)
    y = POOL.empty(shape, x.dtype)
    direct(x, w, bias, geometry, y, (0, 1), (0, 1))
    return y


def dx_in_phases(
    g: Array, w: Array, size: tuple[int, int], geometry: ConvGeometry, direct: Callable[..., None]
) -> Array:
    """conv2d_dx at stride s by `direct`, or by another kernel like it

    Rows a, a + s, … of x meet only the taps u ≡ a + top (mod s); likewise columns.

    x[a + s·q] = Σ_t g[q + base − t] · w[u₀ + s·t],   u₀ = (a + top) mod s,   base = (a + top − u₀)/s
    """
    stride, pads = geometry.stride, geometry.pads
    x = POOL.zeros((len(g), *size, w.shape[2]), g.dtype)
    for a in range(min(stride, size[0])):
        for b in range(min(stride, size[1])):
            starts = [(phase + before) % stride for phase, (before, _) in zip((a, b), pads, strict=True)]
            taps = w[starts[0] :: stride, starts[1] :: stride]
            if taps.size:
                bases = [(p + pad[0] - u) // stride for p, pad, u in zip((a, b), pads, starts, strict=True)]
                top, left = (k - 1 - base for k, base in zip(taps.shape, bases, strict=False))
                phase = ConvGeometry(pads=((top, 0), (left, 0)))
                direct(g, turned(taps), None, phase, x, (a, stride), (b, stride))
    return x


def direct(
    x: Array, w: Array, bias: Array | None, geometry: ConvGeometry, y: Array,
    rows: tuple[int, int], columns: tuple[int, int],
) -> None:  # fmt: skip
    """conv2d, with a bias elu(conv2d + bias), to y at rows r, r + step, … for (r, step) = `rows`; likewise columns."""
    b = repeated(bias, padded(w.shape[3]), x.dtype)
    kernel = panels(w.reshape(-1, w.shape[3]))
    ksize, c, wide, workers = w.shape[:2], x.shape[3], len(kernel) * WIDTH, get_num_threads()
    size = outputs(y, rows, columns)
    most, low, pitch = band_shape(size, c, wide, ksize, geometry, -(-4 * workers // len(x)))
    stride, _, top, left = geometry.numbers
    bands = POOL.zeros((workers, band_size(c, low, pitch, ksize, geometry)), x.dtype)
    sums = POOL.zeros((workers, padded(most * pitch, ROWS), wide), x.dtype)
    taps = taps_in_band(c, low, pitch, ksize, geometry)
    _direct(in_rows(x), c, kernel, b, bias is not None, most, low, pitch, stride, top, left, taps, y, size, rows,
            columns, bands, sums, tasks=workers)  # fmt: skip


# ---- stride 2 as stride 1 ----------------------------------------------------------------------------------------
def suits_halving(
    shape: tuple[int, ...], ksize: tuple[int, int], geometry: ConvGeometry, channels: tuple[int, int]
) -> bool:
    """Whether to merge 2×2 pixels into one with four times the channels: 5×5 at stride 2 becomes 3×3 at stride 1.

    This makes 36 taps of 25, but Winograd saves three in four. For dw it was no faster than direct.
    """
    fits = (geometry.stride, geometry.dilation) == (2, 1) and all(4 < k <= 6 for k in ksize)
    if not fits or min(channels) < LEAST_CHANNELS:
        return False
    tiles = count_tiles(shape[0], shape[1], shape[2], 1)
    return tiles >= LEAST_TILES and suits_winograd(shape, (3, 3), ConvGeometry(), channels)


def halved_kernel(w: Array) -> Array:
    """w[2a + p, 2b + q, c] at [a, b, (p, q, c)], 0 beyond the kernel: KH KW C K -> 3 3 4·C K"""
    wide = POOL.zeros((6, 6, *w.shape[2:]), w.dtype)
    wide[: w.shape[0], : w.shape[1]] = w
    return wide.reshape(3, 2, 3, 2, *w.shape[2:]).transpose(0, 2, 1, 3, 4, 5).reshape(3, 3, -1, w.shape[3])


def space_to_depth(x: Array, size: tuple[int, int], pads: Pads) -> Array:
    """x[2i + p − top, 2j + q − left, c] at [i, j, (p, q, c)], zero outside: the input of `size` outputs of 3×3."""
    z = POOL.empty((len(x), size[0] + 2, size[1] + 2, 4 * x.shape[3]), x.dtype)
    pixels = z.reshape(*z.shape[:3], 2, 2, -1)
    _space_to_depth(frozen(x), pads[0][0], pads[1][0], pixels, tasks=len(x) * z.shape[1])
    return z


def depth_to_space(z: Array, size: tuple[int, int], pads: Pads) -> Array:
    """The adjoint of `space_to_depth`: N … 4·C -> N *size C"""
    x = POOL.zeros((len(z), *size, z.shape[3] // 4), z.dtype)
    blocks = frozen(z).reshape(*z.shape[:3], 2, 2, -1)
    _depth_to_space(blocks, pads[0][0], pads[1][0], x, tasks=len(x) * size[0])
    return x


@parallel(fastmath=FASTMATH, _nrt=False)
def _space_to_depth(x, top, left, z, lower, upper):
    for row in range(lower, upper):
        n, i = row // z.shape[1], row % z.shape[1]
        for j in range(z.shape[2]):
            for p in range(2):
                for q in range(2):
                    r, s, to = 2 * i + p - top, 2 * j + q - left, z[n, i, j, p, q]
                    if 0 <= r < x.shape[1] and 0 <= s < x.shape[2]:
                        copy_line(x[n, r, s], to)
                    else:
                        for c in range(len(to)):
                            to[c] = 0


@parallel(fastmath=FASTMATH, _nrt=False)
def _depth_to_space(z, top, left, x, lower, upper):
    for row in range(lower, upper):
        n, i = row // x.shape[1], row % x.shape[1]
        for j in range(x.shape[2]):
            r, s = i + top, j + left
            if r // 2 < z.shape[1] and s // 2 < z.shape[2]:
                copy_line(z[n, r // 2, s // 2, r % 2, s % 2], x[n, i, j])


# ---- bands -------------------------------------------------------------------------------------------------------
def band_shape(
    size: tuple[int, int],
    c: int,
    k: int,
    ksize: tuple[int, int],
    geometry: ConvGeometry,
    least: int,
    numbers: int = BAND,
) -> tuple[int, int, int]:
    """Of a band: rows of outputs, rows of inputs per remainder mod s, and pitch, for pictures of `size` outputs.

    As many rows as fit into this many numbers, but few enough for `least` bands. Inputs are in rows of pitch·s pixels.
    """
    stride, (below, across) = geometry.stride, ((k - 1) * geometry.dilation + 1 for k in ksize)
    pitch = size[1] - 1 + -(-across // stride)
    most = max(1, min(numbers // (pitch * (stride * stride * c + k)), -(-size[0] // least)))
    return most, most - 1 + -(-below // stride), pitch


def outputs(y: Array, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[int, int]:
    """Rows r, r + step, … and likewise columns of y, for (r, step) = `rows`."""
    return len(range(rows[0], y.shape[1], rows[1])), len(range(columns[0], y.shape[2], columns[1]))


def taps_in_band(c: int, low: int, pitch: int, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
    """Offsets in a band of the numbers that each row of taps reads for pixel 0; with dilation, that each tap reads."""
    stride = geometry.stride
    u, v = (geometry.dilation * np.arange(k)[..., None] for k in (ksize[0], pieces_of(ksize, geometry)))
    return (((u % stride * low + u // stride) * pitch * stride + v.T) * c).ravel()


def pieces_of(ksize: tuple[int, int], geometry: ConvGeometry) -> int:
    """The products that a row of the kernel takes: its taps read neighbours unless dilated."""
    return 1 if geometry.dilation == 1 else ksize[1]


def band_size(c: int, low: int, pitch: int, ksize: tuple[int, int], geometry: ConvGeometry) -> int:
    """Numbers in a band, including those that blocks of ROWS patches read beyond its end."""
    stride = geometry.stride
    return padded(low * pitch * stride * stride * c + (ROWS * stride + ksize[1] * geometry.dilation) * c + ROWS)


def in_rows(x: Array) -> Array:
    """x read-only, as N, H, W·C."""
    return frozen(x).reshape(*x.shape[:2], -1)


@serial()
def read_band(copy, x, c, n, first, low, pitch, stride, left, band):
    """Copy rows of image n from `first` on to a band, `low` for each remainder mod s; 0 outside the picture.

    x is N, H, W·C; `copy` is `copy_line`, or another function like it.
    """
    length = pitch * stride * c
    start = min(max(left, 0) * c, length)
    skip = max(-left, 0) * c
    n_read = max(0, min(length - start, x.shape[2] - skip))
    for r in range(low * stride):
        at = (r % stride * low + r // stride) * length
        row = first + r
        begin = end = at
        if 0 <= row < x.shape[1]:
            begin, end = at + start, at + start + n_read
            copy(x[n, row, skip : skip + n_read], band[begin:end])
        for i in range(at, begin):
            band[i] = 0
        for i in range(end, at + length):
            band[i] = 0


@parallel(fastmath=FASTMATH, _nrt=False)
def _direct(x, c, w, bias, activate, most, low, pitch, stride, top, left, taps, y, size, out_rows, out_columns, bands,
            sums, lower, upper):  # fmt: skip
    """y = elu(conv2d(x, w) + bias) in bands of rows. w is in panels: K/WIDTH taps·run WIDTH."""
    workers, k_wide = len(bands), sums.shape[2]
    height, width = size
    kernel, w_panel, run = w.reshape(-1), w.shape[1] * WIDTH, w.shape[1] // len(taps)
    per_image = (height + most - 1) // most
    for worker in range(lower, upper):
        band, total = bands[worker], sums[worker].reshape(-1)
        for task in range(worker, len(x) * per_image, workers):
            n, first = task // per_image, task % per_image * most
            rows = min(most, height - first)
            read_band(copy_line, x, c, n, first * stride - top, low, pitch, stride, left, band)
            blocks = (rows * pitch + ROWS - 1) // ROWS * ROWS
            for t in range(len(taps)):
                multiply(total, 0, k_wide, band, taps[t], stride * c, 1, kernel, t * run * WIDTH, WIDTH, w_panel,
                         blocks, k_wide, run, t > 0)  # fmt: skip
            for i in range(rows):
                to = y[n, out_rows[0] + (first + i) * out_rows[1]]
                write_pixels(total, i * pitch * k_wide, width, bias, activate, to, out_columns[0], out_columns[1])


@parallel(fastmath=FASTMATH, _nrt=False)
def _direct_dw(g, x, c, most, low, pitch, stride, top, left, taps, dw, bands, gradients, lower, upper):
    """dw += patchesᵀ · g: taps, run·C padded to ROWS, K padded to WIDTH. Each core sums its own blocks.

    Each therefore reads all of x and g, and the result does not depend on the number of cores.
    """
    images, height, width, k = g.shape
    workers = len(bands)
    _, m_wide, k_wide = dw.shape
    per_image = (height + most - 1) // most
    blocks = m_wide // ROWS
    total = dw.reshape(-1)
    for worker in range(lower, upper):
        band, wide = bands[worker], gradients[worker].reshape(-1)
        begin, end = worker * len(taps) * blocks // workers, (worker + 1) * len(taps) * blocks // workers
        for task in range(images * per_image):
            n, first = task // per_image, task % per_image * most
            rows = min(most, height - first)
            read_band(copy_line, x, c, n, first * stride - top, low, pitch, stride, left, band)
            for i in range(rows):
                for j in range(width):
                    start = (i * pitch + j) * k_wide
                    copy_line(g[n, first + i, j], wide[start : start + k])
            for tap in range(begin // blocks, (end + blocks - 1) // blocks):
                one, last = max(begin - tap * blocks, 0) * ROWS, min(end - tap * blocks, blocks) * ROWS
                multiply(total, (tap * m_wide + one) * k_wide, k_wide, band, taps[tap] + one, 1, stride * c, wide, 0,
                         k_wide, WIDTH, last - one, k_wide, rows * pitch, True)  # fmt: skip
