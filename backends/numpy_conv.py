"""Convolution as a matrix product, and its two gradients: three kernels of one trilinear form.

    T(x, w, g) = Σ  x[n, i·s + u·d − top, j·s + v·d − left, c] · w[u, v, c, o] · g[n, i, j, o]
               = ⟨conv2d(x, w), g⟩ = ⟨x, conv2d_dx(g, w)⟩ = ⟨w, conv2d_dw(g, x)⟩

All three use the same *view* of the picture, `windows`, as a matrix whose rows are the patches under the kernel:

    conv2d      y         = patches · w           unfold, then multiply
    conv2d_dw   w         = patchesᵀ · g
    conv2d_dx   patches  += g · wᵀ                multiply, then fold

The patches repeat each pixel k² times. The first two therefore process them in bands of a few rows that fit the cache;
the third proceeds tap by tap, because the patches it adds to overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ca_numpy.geometry import NO_PADS, ConvGeometry, Pads

Array = NDArray[Any]

#: Size of one band of patches: a few times the second-level cache of one core.
BAND_BYTES = 2 << 20


def zero_pad(x: Array, pads: Pads) -> Array:
    """x with zeros around its H and W."""
    return np.pad(x, ((0, 0), *pads, (0, 0))) if any(map(any, pads)) else x


def windows(x: Array, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
    """The patch under each position of the kernel, as a view: N H W C, already padded -> N OH OW KH KW C."""
    n, h, w, c = x.shape
    out = replace(geometry, pads=NO_PADS).output_size((h, w), ksize)
    stride, dilation = geometry.stride, geometry.dilation
    sn, sh, sw, sc = x.strides
    strides = (sn, stride * sh, stride * sw, dilation * sh, dilation * sw, sc)
    return as_strided(x, (n, *out, *ksize, c), strides)


def bands(patches: Array) -> Iterator[tuple[int, slice]]:
    """(image, rows) pairs that cover all output positions in bands of about BAND_BYTES."""
    images, height = patches.shape[:2]
    row_bytes = int(np.prod(patches.shape[2:])) * patches.itemsize
    rows = max(1, BAND_BYTES // max(row_bytes, 1))
    for n in range(images):
        for i in range(0, height, rows):
            yield n, slice(i, i + rows)


def conv2d(x: Array, w: Array, geometry: ConvGeometry) -> Array:
    """y[n, i, j, o] = Σ_{u,v,c} patch[n, i, j, u, v, c] · w[u, v, c, o]"""
    patches = windows(zero_pad(x, geometry.pads), w.shape[:2], geometry)
    matrix = w.reshape(-1, w.shape[3])
    y = np.empty((*patches.shape[:3], w.shape[3]), np.result_type(x, w))
    for n, rows in bands(patches):
        block = patches[n, rows].reshape(-1, len(matrix))
        y[n, rows] = (block @ matrix).reshape(y[n, rows].shape)
    return y


def conv2d_dw(g: Array, x: Array, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
    """w[u, v, c, o] = Σ_{n,i,j} patch[n, i, j, u, v, c] · g[n, i, j, o]"""
    patches = windows(zero_pad(x, geometry.pads), ksize, geometry)
    channels = x.shape[3], g.shape[3]
    matrix = np.zeros((ksize[0] * ksize[1] * channels[0], channels[1]), np.result_type(g, x))
    for n, rows in bands(patches):
        matrix += patches[n, rows].reshape(-1, len(matrix)).T @ g[n, rows].reshape(-1, channels[1])
    return matrix.reshape(*ksize, *channels)


def conv2d_dx(g: Array, w: Array, size: tuple[int, int], geometry: ConvGeometry) -> Array:
    """patch[n, i, j, u, v, c] += Σ_o g[n, i, j, o] · w[u, v, c, o], where the patches overlap in x

    One tap (u, v) of the kernel at a time: for a fixed tap, each position adds to a different pixel.
    """
    padded, inside = _padded_zeros(len(g), size, w.shape[2], geometry.pads, np.result_type(g, w))
    patches = windows(padded, w.shape[:2], geometry)
    for u, v in np.ndindex(w.shape[:2]):
        at_tap = g.reshape(-1, g.shape[3]) @ w[u, v].T
        patches[:, :, :, u, v] += at_tap.reshape(*g.shape[:3], w.shape[2])
    return inside


def fold(g: Array, size: tuple[int, int], geometry: ConvGeometry) -> Array:
    """Sum of overlapping patches N OH OW KH KW C, tap by tap, without the padding."""
    padded, inside = _padded_zeros(len(g), size, g.shape[5], geometry.pads, g.dtype)
    patches = windows(padded, (g.shape[3], g.shape[4]), geometry)
    for u, v in np.ndindex(g.shape[3:5]):
        patches[:, :, :, u, v] += g[:, :, :, u, v]
    return inside


def _padded_zeros(n: int, size: tuple[int, int], c: int, pads: Pads, dtype: Any) -> tuple[Array, Array]:
    """A padded picture of zeros, and the view without the padding."""
    (top, bottom), (left, right) = pads
    padded = np.zeros((n, top + size[0] + bottom, left + size[1] + right, c), dtype)
    return padded, padded[:, top : top + size[0], left : left + size[1]]
