"""PatchMatch's kernels compiled: the equations of `numpy_patches.py`, patch by patch, on all cores.

A distance stops as soon as it exceeds the best one so far, row by row: most candidates are far worse. Each patch only
reads the field of the previous round, so results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.jit import parallel, serial

Array = NDArray[Any]

#: Sums may be reassociated, for vector instructions.
_FASTMATH = {"contract", "reassoc", "nsz"}


@serial(fastmath=_FASTMATH)
def _distance(numbers, width, channels, guide, weight, y, x, v, u, radius, limit):
    """The distance of the patches at (y, x) and (v, u), or a partial sum once one reaches `limit`.

    `numbers` are z's, flat: made once by the caller, since each view of an array counts references, which the threads
    would wait for.
    """
    total = np.float32(0)
    line, n = width * channels, (2 * radius + 1) * channels
    a, b = (y - radius) * line + (x - radius) * channels, (v - radius) * line + (u - radius) * channels
    for _ in range(2 * radius + 1):
        row = np.float32(0)
        for i in range(n):  # a patch row is contiguous
            e = numbers[np.uint64(a + i)] - numbers[np.uint64(b + i)]
            row += e * e
        total += row
        if total >= limit:
            return total
        a, b = a + line, b + line
    if weight > 0:
        guided = np.float32(0)
        for c in range(guide.shape[2]):
            e = guide[y, x, c] - guide[v, u, c]
            guided += e * e
        total += weight * guided
    return total


@parallel(fastmath=_FASTMATH)
def _patch_distance(z, guide, weight, places, field, radius, out, lower, upper):
    """weight ‖guide[p] − guide[q]‖² + Σ_δ ‖z[p + δ] − z[q + δ]‖²"""
    numbers, width, channels = z.reshape(-1), z.shape[1], z.shape[2]
    for i in range(lower, upper):
        y, x, v, u = np.int64(places[i, 0]), np.int64(places[i, 1]), np.int64(field[i, 0]), np.int64(field[i, 1])
        out[i] = _distance(numbers, width, channels, guide, weight[i], y, x, v, u, radius, np.float32(np.inf))


@parallel(fastmath=_FASTMATH)
def _improve_field(z, guide, weight, source, places, number, field, distance, offsets, radius, jump, found, least,
                   lower, upper):  # fmt: skip
    """Propagation from the neighbours at ± jump, then random offsets around the best match so far."""
    height, width = source.shape
    numbers, channels = z.reshape(-1), z.shape[2]
    for i in range(lower, upper):
        y, x = np.int64(places[i, 0]), np.int64(places[i, 1])
        best_v, best_u, best = np.int64(field[i, 0]), np.int64(field[i, 1]), distance[i]
        worse_v, worse_u = best_v, best_u  # the last one that was not nearer: neighbours often propose the same
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
            if (v == best_v and u == best_u) or (v == worse_v and u == worse_u):
                continue
            if 0 <= v < height and 0 <= u < width and source[v, u]:
                d = _distance(numbers, width, channels, guide, weight[i], y, x, v, u, radius, best)
                if d < best:
                    best_v, best_u, best = v, u, d
                else:
                    worse_v, worse_u = v, u
        found[i, 0], found[i, 1], least[i] = best_v, best_u, best


@parallel(fastmath=_FASTMATH)
def _patch_vote(z, pixels, number, field, weight, radius, out, lower, upper):
    """Σ_p weight[p] z[field[p] + x − p] / Σ_p weight[p]"""
    height, width, channels = z.shape
    numbers = z.reshape(-1)
    for i in range(lower, upper):
        y, x = np.int64(pixels[i, 0]), np.int64(pixels[i, 1])
        weights = np.float32(0)
        for py in range(max(0, y - radius), min(height, y + radius + 1)):
            for px in range(max(0, x - radius), min(width, x + radius + 1)):
                j = number[py, px]
                if j >= 0:
                    at = ((field[j, 0] + y - py) * width + field[j, 1] + x - px) * channels
                    w = weight[j]
                    weights += w
                    for c in range(channels):
                        out[i, c] += w * numbers[np.uint64(at + c)]
        for c in range(channels):
            out[i, c] /= weights


@parallel()
def _patch_source(pixels, number, field, weight, radius, out, lower, upper):
    """field[p] + x − p  for the patch p of largest weight; the first of equal ones"""
    height, width = number.shape
    for i in range(lower, upper):
        y, x = np.int64(pixels[i, 0]), np.int64(pixels[i, 1])
        heaviest = np.float32(-1)
        for py in range(max(0, y - radius), min(height, y + radius + 1)):
            for px in range(max(0, x - radius), min(width, x + radius + 1)):
                j = number[py, px]
                if j >= 0 and weight[j] > heaviest:
                    heaviest = weight[j]
                    out[i, 0], out[i, 1] = field[j, 0] + y - py, field[j, 1] + x - px


# ---- their results -----------------------------------------------------------------------------------------------
def patch_distance(z: Array, guide: Array, weight: Array, places: Array, field: Array, radius: int) -> Array:
    """As in `numpy_patches`."""
    out = np.empty(len(places), z.dtype)
    _patch_distance(*_contiguous(z, guide, weight, places, field), radius, out, tasks=len(out))
    return out


def improve_field(
    z: Array, guide: Array, weight: Array, source: Array, places: Array, number: Array, field: Array,
    distance: Array, offsets: Array, radius: int, jump: int,
) -> tuple[Array, Array]:  # fmt: skip
    """As in `numpy_patches`."""
    arrays = _contiguous(z, guide, weight, source, places, number, field, distance, offsets)
    found, least = np.empty(field.shape, field.dtype), np.empty(distance.shape, distance.dtype)
    _improve_field(*arrays, radius, jump, found, least, tasks=len(places))
    return found, least


def patch_vote(z: Array, pixels: Array, number: Array, field: Array, weight: Array, radius: int) -> Array:
    """As in `numpy_patches`."""
    out = np.zeros((len(pixels), z.shape[2]), z.dtype)
    _patch_vote(*_contiguous(z, pixels, number, field, weight), radius, out, tasks=len(out))
    return out


def patch_source(pixels: Array, number: Array, field: Array, weight: Array, radius: int) -> Array:
    """As in `numpy_patches`."""
    out = np.zeros(pixels.shape, pixels.dtype)
    _patch_source(*_contiguous(pixels, number, field, weight), radius, out, tasks=len(out))
    return out


def _contiguous(*arrays: Array) -> tuple[Array, ...]:
    """Copied where they are not contiguous: other layouts would be compiled for again."""
    return tuple(np.ascontiguousarray(a) for a in arrays)
