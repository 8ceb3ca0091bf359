"""PatchMatch's kernels in NumPy: distances, one round of search, and two ways to set a pixel from the field.

The contract, `ca_numpy/backend.py`, gives the equations. Everything is a list of patches, so that each step is one
indexing operation for all patches at once: `places` are their centres, `number` leads from a centre back to its index.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]

#: Patches that are copied at a time, to bound the memory.
PATCHES = 4096


def patch_distance(z: Array, guide: Array, weight: Array, places: Array, field: Array, radius: int) -> Array:
    """weight ‖guide[p] − guide[q]‖² + Σ_δ ‖z[p + δ] − z[q + δ]‖²  for p in places and q in field"""
    width = 2 * radius + 1
    patches = sliding_window_view(z, (width, width), axis=(0, 1))  # [y − radius, x − radius] is centred at (y, x)
    distance = np.empty(len(places), z.dtype)
    for start in range(0, len(places), PATCHES):
        some = slice(start, start + PATCHES)
        (y, x), (v, u) = places[some].T, field[some].T
        apart = patches[y - radius, x - radius] - patches[v - radius, u - radius]
        guided = ((guide[y, x] - guide[v, u]) ** 2).sum(-1)
        distance[some] = weight[some] * guided + (apart**2).sum((1, 2, 3))
    return distance


def improve_field(
    z: Array, guide: Array, weight: Array, source: Array, places: Array, number: Array, field: Array,
    distance: Array, offsets: Array, radius: int, jump: int,
) -> tuple[Array, Array]:  # fmt: skip
    """Propagation from the neighbours at ± jump, then random offsets around the best match so far."""
    before, field, distance = field, field.copy(), distance.copy()

    def attempt(candidates: Array, possible: Array) -> None:
        """Accept the candidates that are other sources and nearer."""
        v, u = candidates.T
        inside = (v >= 0) & (u >= 0) & (v < source.shape[0]) & (u < source.shape[1])
        tried = np.flatnonzero(possible & inside & (candidates != field).any(1))
        tried = tried[source[v[tried], u[tried]]]
        found = patch_distance(z, guide, weight[tried], places[tried], candidates[tried], radius)
        nearer = found < distance[tried]
        field[tried[nearer]], distance[tried[nearer]] = candidates[tried[nearer]], found[nearer]

    for down, right in ((jump, 0), (-jump, 0), (0, jump), (0, -jump)):
        step = np.array([down, right], places.dtype)
        neighbour = _number_at(number, places + step)
        attempt(before[neighbour] - step, neighbour >= 0)
    for offset in offsets:
        attempt(field + offset, np.ones(len(field), bool))
    return field, distance


def patch_vote(z: Array, pixels: Array, number: Array, field: Array, weight: Array, radius: int) -> Array:
    """Σ_p weight[p] z[field[p] + x − p] / Σ_p weight[p]  over the patches p around each pixel x"""
    total, weights = np.zeros((len(pixels), z.shape[2]), z.dtype), np.zeros((len(pixels), 1), z.dtype)
    for covered, patch, step in _around(pixels, number, radius):
        v, u = (field[patch] - step).T
        total[covered] += weight[patch, None] * z[v, u]
        weights[covered] += weight[patch, None]
    return total / weights


def patch_source(pixels: Array, number: Array, field: Array, weight: Array, radius: int) -> Array:
    """field[p] + x − p  for the patch p of largest weight around each pixel x; the first of equal ones"""
    chosen, heaviest = np.zeros_like(pixels), np.full(len(pixels), -1, weight.dtype)
    for covered, patch, step in _around(pixels, number, radius):
        heavier = weight[patch] > heaviest[covered]
        covered, patch = covered[heavier], patch[heavier]
        chosen[covered], heaviest[covered] = field[patch] - step, weight[patch]
    return chosen


def _around(pixels: Array, number: Array, radius: int) -> Iterator[tuple[Array, Array, Array]]:
    """For each step from a pixel to a patch around it: the pixels that have a patch there, that patch, and the step."""
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            step = np.array([down, right], pixels.dtype)
            patch = _number_at(number, pixels + step)
            covered = np.flatnonzero(patch >= 0)
            yield covered, patch[covered], step


def _number_at(number: Array, places: Array) -> Array:
    """number at these places, −1 outside the image."""
    y, x = places.T
    inside = (y >= 0) & (x >= 0) & (y < number.shape[0]) & (x < number.shape[1])
    return np.where(inside, number[np.where(inside, y, 0), np.where(inside, x, 0)], -1)
