"""PatchMatch's kernels compiled: the equations of `numpy_patches.py`, patch by patch, on all cores.

A distance stops as soon as it exceeds the best one so far, row by row: most candidates are far worse. Each patch only
reads the field of the previous round, so results do not depend on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from ca_numpy.jit import parallel, serial

#: Sums may be reassociated, for vector instructions.
_FASTMATH = {"contract", "reassoc", "nsz"}


def _contiguous(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel on contiguous copies where arrays are not: other layouts would be compiled for again."""

    @functools.wraps(kernel)
    def call(*arguments: Any) -> Any:
        return kernel(*(np.ascontiguousarray(a) if isinstance(a, np.ndarray) else a for a in arguments))

    return call


@serial(fastmath=_FASTMATH)
def _distance(z, guide, weight, y, x, v, u, radius, limit):
    """The distance of the patches at (y, x) and (v, u), or a partial sum once one reaches `limit`."""
    total = np.float32(0)
    if weight > 0:
        for c in range(guide.shape[2]):
            e = guide[y, x, c] - guide[v, u, c]
            total += e * e
        total *= weight
        if total >= limit:
            return total
    width, n = z.shape[1] * z.shape[2], (2 * radius + 1) * z.shape[2]
    numbers = z.reshape(-1)
    a, b = (y - radius) * width + (x - radius) * z.shape[2], (v - radius) * width + (u - radius) * z.shape[2]
    for _ in range(2 * radius + 1):
        line = np.float32(0)
        for i in range(n):  # a patch row is contiguous
            e = numbers[np.uint64(a + i)] - numbers[np.uint64(b + i)]
            line += e * e
        total += line
        if total >= limit:
            return total
        a, b = a + width, b + width
    return total


@_contiguous
@parallel(fastmath=_FASTMATH)
def patch_distance(z, guide, weight, places, field, radius):
    """weight ‖guide[p] − guide[q]‖² + Σ_δ ‖z[p + δ] − z[q + δ]‖²"""
    out = np.empty(len(places), z.dtype)
    for i in prange(len(places)):
        y, x, v, u = np.int64(places[i, 0]), np.int64(places[i, 1]), np.int64(field[i, 0]), np.int64(field[i, 1])
        out[i] = _distance(z, guide, weight[i], y, x, v, u, radius, np.float32(np.inf))
    return out


@_contiguous
@parallel(fastmath=_FASTMATH)
def improve_field(z, guide, weight, source, places, number, field, distance, offsets, radius, jump):
    """Propagation from the neighbours at ± jump, then random offsets around the best match so far."""
    height, width = source.shape
    found, least = np.empty_like(field), np.empty_like(distance)
    for i in prange(len(places)):
        y, x = np.int64(places[i, 0]), np.int64(places[i, 1])
        best_v, best_u, best = np.int64(field[i, 0]), np.int64(field[i, 1]), distance[i]
        for k in range(4 + len(offsets)):
            if k < 4:
                down = jump if k == 0 else (-jump if k == 1 else 0)
                right = jump if k == 2 else (-jump if k == 3 else 0)
                if not (0 <= y + down < height and 0 <= x + right < width):
                    continue
                j = number[y + down, x + right]
                if j < 0:
                    continue
                v, u = field[j, 0] - down, field[j, 1] - right
            else:
                v, u = best_v + offsets[k - 4, i, 0], best_u + offsets[k - 4, i, 1]
            if 0 <= v < height and 0 <= u < width and source[v, u] and not (v == best_v and u == best_u):
                d = _distance(z, guide, weight[i], y, x, v, u, radius, best)
                if d < best:
                    best_v, best_u, best = v, u, d
        found[i, 0], found[i, 1], least[i] = best_v, best_u, best
    return found, least


@_contiguous
@parallel(fastmath=_FASTMATH)
def patch_vote(z, pixels, number, field, weight, radius):
    """Σ_p weight[p] z[field[p] + x − p] / Σ_p weight[p]"""
    height, width, channels = z.shape
    out = np.empty((len(pixels), channels), z.dtype)
    for i in prange(len(pixels)):
        y, x = np.int64(pixels[i, 0]), np.int64(pixels[i, 1])
        total, weights = np.zeros(channels, z.dtype), np.float32(0)
        for py in range(max(0, y - radius), min(height, y + radius + 1)):
            for px in range(max(0, x - radius), min(width, x + radius + 1)):
                j = number[py, px]
                if j >= 0:
                    v, u = field[j, 0] + y - py, field[j, 1] + x - px
                    weights += weight[j]
                    for c in range(channels):
                        total[c] += weight[j] * z[v, u, c]
        for c in range(channels):
            out[i, c] = total[c] / weights
    return out


@_contiguous
@parallel()
def patch_source(pixels, number, field, weight, radius):
    """field[p] + x − p  for the patch p of largest weight; the first of equal ones"""
    height, width = number.shape
    out = np.zeros_like(pixels)
    for i in prange(len(pixels)):
        y, x = np.int64(pixels[i, 0]), np.int64(pixels[i, 1])
        heaviest = np.float32(-1)
        for py in range(max(0, y - radius), min(height, y + radius + 1)):
            for px in range(max(0, x - radius), min(width, x + radius + 1)):
                j = number[py, px]
                if j >= 0 and weight[j] > heaviest:
                    heaviest = weight[j]
                    out[i, 0], out[i, 1] = field[j, 0] + y - py, field[j, 1] + x - px
    return out
