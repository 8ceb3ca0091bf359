"""Convolution, compiled: the same three kernels as in `numpy_conv`, each by the way that suits its shape.

    conv2d      3×3 at stride 1, channels enough   Winograd                 (`numba_winograd`)
                many channels to few               multiply, then fold      `_fold`
                everything else                    unfold, then multiply    `_unfold`
    conv2d_dx   stride 1                           conv2d with the kernel turned by 180°
                stride 2 and more                  multiply, then fold      `_fold`
    conv2d_dw   3×3 at stride 1, channels enough   Winograd
                everything else                    unfold, then multiply    `_unfold_dw`

What is compiled walks bands of rows, one core each, whose patches fit the cache: unlike in NumPy, patches are made
on all cores, zeros around the picture cost no copy of it, and bias and ELU are applied while a band is still in cache.
In a patch, a row of the kernel reads KW·C numbers that lie side by side in the picture if the dilation is 1, or else KW
runs of C numbers: `runs` below.

All of this is for float32. Other types, which serve to check derivatives, go to NumPy.
"""

# Compiled functions take their types from their arguments.
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

from ca_numpy.backend import Pads, output_size
from ca_numpy.backends import numpy_conv
from ca_numpy.backends.numba_math import FASTMATH, elu, elu_one, frozen, one_blas_thread
from ca_numpy.backends.numba_winograd import conv3x3, conv3x3_dw, count_tiles

Array = NDArray[Any]

#: Numbers in one band of patches: 2 MiB of float32, a few times the second-level cache of one core.
BAND = 1 << 19
#: Patches in a band, at least: BLAS rearranges the kernel for every band, which a few rows do not repay.
LEAST_PATCHES = 128
#: Partial sums of dw: a fixed number, so that their order does not depend on the number of threads.
PARTS = 4
#: Below this many channels on either side, Winograd's transforms cost more than the products that they save.
LEAST_CHANNELS = 8
#: Up to this many channels out, a product with all taps at once uses the machine better than a product with each patch.
FEW_CHANNELS = 4


# ---- which way ---------------------------------------------------------------------------------------------------
def compiled(*arrays: Array) -> bool:
    """Whether the compiled kernels take these arrays: float32 all, none of them empty."""
    return all(x.dtype == np.float32 and x.size for x in arrays)


def suits_winograd(
    shape: tuple[int, ...], ksize: tuple[int, int], stride: int, dilation: int, channels: tuple[int, int]
) -> bool:
    """Whether Winograd saves products for outputs of `shape`: 36 per tile against 9 per output, and some to spare."""
    if ksize != (3, 3) or stride != 1 or min(channels) < LEAST_CHANNELS:
        return False
    images, height, width = shape[:3]
    tiles = int(count_tiles(images, height, width, dilation))
    return tiles * 36 * 3 <= images * height * width * 9 * 2


def turned(w: Array) -> Array:
    """The kernel turned by 180°, inputs and outputs exchanged: KH KW I O -> KH KW O I"""
    return w[::-1, ::-1].transpose(0, 1, 3, 2)


def turned_pads(ksize: tuple[int, int], dilation: int, pads: Pads) -> Pads:
    """The zeros with which the turned kernel leads back: (k − 1)·d − pads. Less than none means that rows are cut."""
    (top, bottom), (left, right) = pads
    rows, columns = ((k - 1) * dilation for k in ksize)
    return (rows - top, rows - bottom), (columns - left, columns - right)


# ---- the three kernels, and the fused one ------------------------------------------------------------------------
def conv2d(x: Array, w: Array, stride: int, dilation: int, pads: Pads) -> Array:
    """y[n, i, j, o] = Σ_{u,v,c} x[n, i·s + u·d − top, j·s + v·d − left, c] · w[u, v, c, o], zero outside"""
    if not compiled(x, w):
        return numpy_conv.conv2d(x, w, stride, dilation, pads)
    return _conv2d(x, w, None, stride, dilation, pads)


def conv_bias_elu(x: Array, w: Array, b: Array, stride: int, dilation: int, pads: Pads) -> Array:
    """elu(conv2d(x, w) + b), bias and ELU applied to what has just been computed. b has one number per channel out."""
    if not compiled(x, w, b):
        return elu(numpy_conv.conv2d(x, w, stride, dilation, pads) + b)
    return _conv2d(x, w, np.broadcast_to(b.reshape(-1), w.shape[3:]), stride, dilation, pads)


def conv2d_dx(g: Array, w: Array, size: tuple[int, int], stride: int, dilation: int, pads: Pads) -> Array:
    """The x that pairs with g and w: ⟨conv2d(x, w), g⟩ = ⟨x, conv2d_dx(g, w)⟩"""
    if not compiled(g, w):
        return numpy_conv.conv2d_dx(g, w, size, stride, dilation, pads)
    if stride == 1:
        return _conv2d(g, turned(w), None, 1, dilation, turned_pads(w.shape[:2], dilation, pads))
    return multiply_then_fold(g, w, size, stride, dilation, pads)


def conv2d_dw(g: Array, x: Array, ksize: tuple[int, int], stride: int, dilation: int, pads: Pads) -> Array:
    """The w that pairs with g and x: ⟨conv2d(x, w), g⟩ = ⟨w, conv2d_dw(g, x)⟩"""
    if not compiled(g, x):
        return numpy_conv.conv2d_dw(g, x, ksize, stride, dilation, pads)
    if suits_winograd(g.shape, ksize, stride, dilation, (x.shape[3], g.shape[3])):
        return conv3x3_dw(g, x, dilation, pads)
    if stride == 1 and g.shape[3] <= FEW_CHANNELS < x.shape[3]:  # x and g in each other's place: shorter patches
        return turned(conv2d_dw(x, g, ksize, 1, dilation, turned_pads(ksize, dilation, pads)))
    (top, _), (left, _) = pads
    sums = np.zeros((PARTS, ksize[0] * ksize[1] * x.shape[3], g.shape[3]), x.dtype)
    with one_blas_thread():
        _unfold_dw(frozen(g), flat_rows(x), x.shape[3], ksize, stride, dilation, top, left, sums)
    dw: Array = sums.sum(axis=0).reshape(*ksize, x.shape[3], g.shape[3])
    return dw


def _conv2d(x: Array, w: Array, bias: Array | None, stride: int, dilation: int, pads: Pads) -> Array:
    """conv2d without a bias, elu(conv2d + bias) with one. Pads may be negative: rows and columns that are not read."""
    size = output_size(x.shape[1:3], w.shape[:2], stride=stride, dilation=dilation, pads=pads)
    shape = len(x), *size, w.shape[3]
    if suits_winograd(shape, w.shape[:2], stride, dilation, w.shape[2:]):
        return conv3x3(x, w, dilation, pads, bias=bias)
    if stride == 1 and w.shape[3] <= FEW_CHANNELS < w.shape[2]:
        y = multiply_then_fold(x, turned(w), size, 1, dilation, turned_pads(w.shape[:2], dilation, pads))
        return y if bias is None else elu(y + bias)
    return unfold_then_multiply(x, w, bias, size, stride, dilation, pads)


# ---- unfold, then multiply ---------------------------------------------------------------------------------------
def flat_rows(x: Array) -> Array:
    """N H W C -> N H W·C, read-only: a run of pixels is a run of numbers."""
    return frozen(x).reshape(*x.shape[:2], -1)


@njit(cache=True)
def runs(kernel_width, c, dilation):
    """(how many, how long): the pieces of one row of a patch that lie side by side in the picture."""
    return (1, kernel_width * c) if dilation == 1 else (kernel_width, c)


@njit(cache=True)
def rows_in_band(height, width, length):
    """Rows of outputs whose patches, `length` numbers each, make one band."""
    patches = max(LEAST_PATCHES, BAND // length)
    return max(1, min(height, patches // width))


@njit(cache=True)
def unfold_row(x, n, i, c, ksize, stride, dilation, top, left, patches):
    """The patches of output row i of image n, one in each row of `patches`; 0 outside the picture."""
    pieces, length = runs(ksize[1], c, dilation)
    for j in range(len(patches)):
        to = 0
        for u in range(ksize[0]):
            row = i * stride + u * dilation - top
            for piece in range(pieces):
                start = (j * stride + piece * dilation - left) * c
                low, high = max(0, -start), min(length, x.shape[2] - start)
                if row < 0 or row >= x.shape[1]:
                    high = low
                if high - low < length:
                    for e in range(length):
                        patches[j, to + e] = 0
                for e in range(low, high):
                    patches[j, to + e] = x[n, row, start + e]
                to += length


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _unfold(x, c, w, bias, activate, ksize, stride, dilation, top, left, y, workers):
    """y = patches · w, in bands of rows; with bias and ELU if asked for. w KH·KW·C K, y N OH OW K."""
    images, height, width, k = y.shape
    band = rows_in_band(height, width, len(w))
    per_image = (height + band - 1) // band
    flat = y.reshape(images * height, width, k)
    for worker in prange(workers):
        patches = np.empty((band * width, len(w)), x.dtype)
        for task in range(worker, images * per_image, workers):
            n, first = task // per_image, task % per_image * band
            rows = min(band, height - first)
            for r in range(rows):
                here = patches[r * width : (r + 1) * width]
                unfold_row(x, n, first + r, c, ksize, stride, dilation, top, left, here)
            start = n * height + first
            block = flat[start : start + rows].reshape(rows * width, k)
            np.dot(patches[: rows * width], w, block)
            if activate:
                for p in range(rows * width):
                    for o in range(k):
                        block[p, o] = elu_one(block[p, o] + bias[o])


def unfold_then_multiply(
    x: Array, w: Array, bias: Array | None, size: tuple[int, int], stride: int, dilation: int, pads: Pads
) -> Array:
    """conv2d, or with a bias elu(conv2d + bias), as a product of patches and kernel. `size` is the result's (H, W)."""
    (top, _), (left, _) = pads
    c, k = w.shape[2:]
    y = np.empty((len(x), *size, k), x.dtype)
    b = frozen(np.zeros(k, x.dtype) if bias is None else bias)
    kernel = frozen(w).reshape(-1, k)
    place = w.shape[:2], stride, dilation, top, left
    with one_blas_thread():
        _unfold(flat_rows(x), c, kernel, b, bias is not None, *place, y, get_num_threads())
    return y


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _unfold_dw(g, x, c, ksize, stride, dilation, top, left, sums):
    """sums[p] = patchesᵀ · g over the rows of part p. g N OH OW K, sums PARTS KH·KW·C K."""
    images, height, width, k = g.shape
    parts, taps = sums.shape[:2]
    band = rows_in_band(height, width, taps)
    per_image = (height + band - 1) // band
    flat = g.reshape(images * height, width, k)
    for part in prange(parts):
        patches, product = np.empty((band * width, taps), x.dtype), np.empty((taps, k), x.dtype)
        for task in range(part, images * per_image, parts):
            n, first = task // per_image, task % per_image * band
            rows = min(band, height - first)
            for r in range(rows):
                here = patches[r * width : (r + 1) * width]
                unfold_row(x, n, first + r, c, ksize, stride, dilation, top, left, here)
            start = n * height + first
            block = flat[start : start + rows].reshape(rows * width, k)
            np.dot(patches[: rows * width].T, block, product)
            for t in range(taps):
                for o in range(k):
                    sums[part, t, o] += product[t, o]


# ---- multiply, then fold -----------------------------------------------------------------------------------------
@njit(cache=True, fastmath=FASTMATH)
def fold_row(products, u, row, c, ksize, stride, dilation, left, x, n):
    """Tap row u of the products of one row of g, added to row `row` of image n."""
    pieces, length = runs(ksize[1], c, dilation)
    for j in range(len(products)):
        for piece in range(pieces):
            start = (j * stride + piece * dilation - left) * c
            tap = u * ksize[1] * c + piece * length
            for e in range(max(0, -start), min(length, x.shape[2] - start)):
                x[n, row, start + e] += products[j, tap + e]


@njit(cache=True, parallel=True, fastmath=FASTMATH)
def _fold(g, w, c, ksize, stride, dilation, top, left, band, x, workers):
    """patches += g · w, folded into bands of rows of x, zeros before. g N·OH·OW K rows, w K KH·KW·C, x N H W·C.

    Each band asks for the rows of g that reach into it. Those on its border are multiplied for both neighbours:
    then no two bands write to the same row.
    """
    images, height = g.shape[:2]
    width, k = g.shape[2:]
    per_image = (x.shape[1] + band - 1) // band
    reach = (ksize[0] - 1) * dilation
    most = (band + reach - 1) // stride + 1
    flat = g.reshape(images * height, width, k)
    for worker in prange(workers):
        products = np.empty((most * width, w.shape[1]), g.dtype)
        for task in range(worker, images * per_image, workers):
            n, begin = task // per_image, task % per_image * band
            end = min(begin + band, x.shape[1])
            first = max(0, -((reach - begin - top) // stride))
            last = min(height - 1, (end - 1 + top) // stride)
            if first > last:
                continue
            rows = last - first + 1
            block = flat[n * height + first : n * height + last + 1].reshape(rows * width, k)
            np.dot(block, w, products[: rows * width])
            for i in range(first, last + 1):
                here = products[(i - first) * width : (i - first + 1) * width]
                for u in range(ksize[0]):
                    row = i * stride + u * dilation - top
                    if begin <= row < end:
                        fold_row(here, u, row, c, ksize, stride, dilation, left, x, n)


def multiply_then_fold(g: Array, w: Array, size: tuple[int, int], stride: int, dilation: int, pads: Pads) -> Array:
    """conv2d_dx as a product of each pixel with all taps, which are then added where they belong."""
    (top, _), (left, _) = pads
    c, k = w.shape[2:]
    x = np.zeros((len(g), *size, c), g.dtype)
    taps = frozen(w.transpose(3, 0, 1, 2)).reshape(k, -1)
    place = w.shape[:2], stride, dilation, top, left
    # Bands at least as high as what neighbours share, so that no more than about half is multiplied twice.
    band = max(stride * BAND // (g.shape[2] * taps.shape[1]), 2 * (w.shape[0] - 1) * dilation, 1)
    with one_blas_thread():
        _fold(frozen(g), taps, c, *place, min(band, size[0]), x.reshape(*x.shape[:2], -1), get_num_threads())
    return x
