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
from .numba_elementwise import FASTMATH, add_bias_elu, copy_line, elu, frozen, repeated
from .numba_gemm import ROWS, WIDTH, copy_vectors, multiply, padded, panels
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
    tiles = int(count_tiles(images, height, width, geometry.dilation))
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
    pieces, run = (1, ksize[1]) if geometry.dilation == 1 else (ksize[1], 1)
    c, k = x.shape[3], g.shape[3]
    dw = POOL.zeros((ksize[0] * pieces, padded(run * c, ROWS), padded(k)), x.dtype)
    workers = get_num_threads()
    _direct_dw(frozen(g), frozen(x), ksize, *geometry.numbers, dw, workers, tasks=workers)
    return dw[:, : run * c, :k].reshape(*ksize, c, k)


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
    b = repeated(np.zeros(1, x.dtype) if bias is None else bias, padded(w.shape[3]))
    kernel = panels(w.reshape(-1, w.shape[3]))
    place = w.shape[:2], *geometry.numbers
    workers = get_num_threads()
    _direct(frozen(x), kernel, b, bias is not None, *place, y, rows, columns, workers, tasks=workers)


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
    tiles = int(count_tiles(shape[0], shape[1], shape[2], 1))
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


@parallel()
def _space_to_depth(x, top, left, z, lower, upper):
    for row in range(lower, upper):
        n, i = row // z.shape[1], row % z.shape[1]
        for j in range(z.shape[2]):
            for p in range(2):
                for q in range(2):
                    r, s = 2 * i + p - top, 2 * j + q - left
                    if 0 <= r < x.shape[1] and 0 <= s < x.shape[2]:
                        z[n, i, j, p, q] = x[n, r, s]
                    else:
                        z[n, i, j, p, q] = 0


@parallel()
def _depth_to_space(z, top, left, x, lower, upper):
    for row in range(lower, upper):
        n, i = row // x.shape[1], row % x.shape[1]
        for j in range(x.shape[2]):
            r, s = i + top, j + left
            if r // 2 < z.shape[1] and s // 2 < z.shape[2]:
                copy_line(z[n, r // 2, s // 2, r % 2, s % 2], x[n, i, j])


# ---- bands -------------------------------------------------------------------------------------------------------
@serial()
def band_shape(rows, width, ksize, stride, dilation):
    """(rows per remainder mod s, pitch) of the input of `rows` rows of `width` outputs, in rows of pitch·s pixels."""
    height = (rows - 1) * stride + (ksize[0] - 1) * dilation + 1
    across = (width - 1) * stride + (ksize[1] - 1) * dilation + 1
    return (height + stride - 1) // stride, (across + stride - 1) // stride


@serial()
def rows_in_band(height, width, c, k_wide, ksize, stride, dilation, least_bands, numbers=BAND):
    """Output rows in a band: as many as fit into this many numbers, but few enough for `least_bands` bands."""
    pitch = band_shape(1, width, ksize, stride, dilation)[1]
    return max(1, min(numbers // (pitch * (stride * stride * c + k_wide)), (height + least_bands - 1) // least_bands))


@serial()
def read_band(x, n, first, low, pitch, stride, left, band):
    """Copy rows of image n from `first` on to a band, `low` for each remainder mod s; 0 outside the picture."""
    c = x.shape[3]
    length = pitch * stride * c
    start = min(max(left, 0) * c, length)
    skip = max(-left, 0) * c
    n_read = max(0, min(length - start, x.shape[2] * c - skip))
    for r in range(low * stride):
        at = (r % stride * low + r // stride) * length
        row = first + r
        if 0 <= row < x.shape[1]:
            source = x[n, row].reshape(-1)
            band[at : at + start] = 0
            copy_line(source[skip : skip + n_read], band[at + start : at + start + n_read])
            band[at + start + n_read : at + length] = 0
        else:
            band[at : at + length] = 0


@serial()
def band_size(low, pitch, c, ksize, stride, dilation):
    """Numbers in a band, including those that blocks of ROWS patches read beyond its end."""
    return low * pitch * stride * stride * c + (ROWS * stride + ksize[1] * dilation) * c + ROWS


@serial()
def tap_at(u, v, low, pitch, c, stride, dilation):
    """Offset in a band of the number that tap (u, v) reads for pixel 0."""
    u, v = u * dilation, v * dilation
    return ((u % stride * low + u // stride) * pitch * stride + v) * c


@serial()
def write_pixels(sums, start, count, bias, activate, row, column, step):
    """Rows start … start + count − 1 of `sums` to a row of pixels, with `activate` after bias and ELU."""
    k, k_wide, flat = row.shape[1], sums.shape[1], sums.reshape(-1)
    if activate:
        add_bias_elu(flat, start * k_wide, (start + count) * k_wide, bias)
    if k == k_wide and step == 1:
        copy_vectors(row.reshape(-1), column * k, 0, flat, start * k, 0, count * k)
    else:
        for j in range(count):
            copy_line(sums[start + j, :k], row[column + j * step])


@parallel(fastmath=FASTMATH)
def _direct(x, w, bias, activate, ksize, stride, dilation, top, left, y, out_rows, out_columns, workers, lower, upper):
    """y = elu(conv2d(x, w) + bias) in bands of rows. w is in panels: K/WIDTH KH·KW·C WIDTH."""
    images, c = len(x), x.shape[3]
    height = (y.shape[1] - out_rows[0] + out_rows[1] - 1) // out_rows[1]
    width = (y.shape[2] - out_columns[0] + out_columns[1] - 1) // out_columns[1]
    pieces, run = (1, ksize[1] * c) if dilation == 1 else (ksize[1], c)
    kernel, k_wide, w_panel = w.reshape(-1), len(w) * WIDTH, w.shape[1] * WIDTH
    most = rows_in_band(height, width, c, k_wide, ksize, stride, dilation, (4 * workers + images - 1) // images)
    per_image = (height + most - 1) // most
    for worker in range(lower, upper):
        low, pitch = band_shape(most, width, ksize, stride, dilation)
        band = np.zeros(band_size(low, pitch, c, ksize, stride, dilation), x.dtype)
        sums = np.empty(((most * pitch + ROWS - 1) // ROWS * ROWS, k_wide), x.dtype)
        for task in range(worker, images * per_image, workers):
            n, first = task // per_image, task % per_image * most
            rows = min(most, height - first)
            read_band(x, n, first * stride - top, low, pitch, stride, left, band)
            blocks = (rows * pitch + ROWS - 1) // ROWS * ROWS
            for u in range(ksize[0]):
                for v in range(pieces):
                    multiply(sums.reshape(-1), 0, k_wide, band, tap_at(u, v, low, pitch, c, stride, dilation),
                             stride * c, 1, kernel, (u * pieces + v) * run * WIDTH, WIDTH, w_panel, blocks, k_wide, run,
                             u + v > 0)  # fmt: skip
            for i in range(rows):
                to = y[n, out_rows[0] + (first + i) * out_rows[1]]
                write_pixels(sums, i * pitch, width, bias, activate, to, *out_columns)


@parallel()
def _direct_dw(g, x, ksize, stride, dilation, top, left, dw, workers, lower, upper):
    """dw += patchesᵀ · g: KH·pieces, run·C padded to ROWS, K padded to WIDTH. Each core sums its own blocks.

    Each therefore reads all of x and g, and the result does not depend on the number of cores.
    """
    images, height, width, k = g.shape
    c = x.shape[3]
    taps, m_wide, k_wide = dw.shape
    pieces = taps // ksize[0]
    most = rows_in_band(height, width, c, k_wide, ksize, stride, dilation, 1)
    per_image = (height + most - 1) // most
    blocks = m_wide // ROWS
    total = dw.reshape(-1)
    for worker in range(lower, upper):
        low, pitch = band_shape(most, width, ksize, stride, dilation)
        band = np.zeros(band_size(low, pitch, c, ksize, stride, dilation), x.dtype)
        gradients = np.zeros((most, pitch, k_wide), x.dtype)
        begin, end = worker * taps * blocks // workers, (worker + 1) * taps * blocks // workers
        for task in range(images * per_image):
            n, first = task // per_image, task % per_image * most
            rows = min(most, height - first)
            read_band(x, n, first * stride - top, low, pitch, stride, left, band)
            for i in range(rows):
                for j in range(width):
                    copy_line(g[n, first + i, j], gradients[i, j, :k])
            for tap in range(begin // blocks, (end + blocks - 1) // blocks):
                one, last = max(begin - tap * blocks, 0) * ROWS, min(end - tap * blocks, blocks) * ROWS
                start = tap_at(tap // pieces, tap % pieces, low, pitch, c, stride, dilation) + one
                multiply(total, (tap * m_wide + one) * k_wide, k_wide, band, start, 1, stride * c,
                         gradients.reshape(-1), 0, k_wide, WIDTH, last - one, k_wide, rows * pitch, True)  # fmt: skip
