"""The pyramid on which PatchMatch completes an image, and which patches of a level touch the hole or can be copied."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

#: Minimum shorter side, in pixels, and number of source patches of the coarsest level.
SMALLEST_SIDE, FEWEST_SOURCES = 32, 64
#: Weight of the two texture channels relative to the three colour channels.
VARIATION = 7.0


class Level(NamedTuple):
    """z H W 5, three colours and two texture channels, 0 in the hole; hole H W. Each level halves the previous."""

    z: Floats
    hole: Flags


def pyramid(x: Floats, hole: Flags, *, radius: int) -> list[Level]:
    """The levels of an image H W 3, finest first, down to SMALLEST_SIDE and FEWEST_SOURCES.

    The texture channels are the horizontal and vertical variation. Averaged in the coarser levels, they distinguish
    grass from a flat green of the same mean.
    """
    z = np.concatenate([x, VARIATION * variation(x.mean(-1), hole)], axis=-1)
    levels = [Level(np.where(hole[..., None], 0, z).astype(np.float32), hole)]
    while min(levels[-1].hole.shape) >= 2 * SMALLEST_SIDE:
        half = _halved(levels[-1])
        if np.count_nonzero(sources(half.hole, radius=radius)) < FEWEST_SOURCES:
            break
        levels.append(half)
    return levels


def sources(hole: Flags, *, radius: int) -> Flags:
    """Centres of patches inside the image without hole pixels: H W."""
    return _patches(hole, radius, touching=False)


def touching(hole: Flags, *, radius: int) -> Flags:
    """Centres of patches inside the image that touch the hole: H W."""
    return _patches(hole, radius, touching=True)


def _patches(hole: Flags, radius: int, *, touching: bool) -> Flags:
    """Counts hole pixels in all patches by cumulative sums."""
    width = 2 * radius + 1
    found = np.zeros_like(hole)
    if min(hole.shape) < width:
        return found
    sums = np.pad(hole, ((1, 0), (1, 0))).astype(np.int32).cumsum(0, np.int32).cumsum(1, np.int32)
    rows = sums[width:] - sums[:-width]
    inner = slice(radius, -radius or None)
    found[inner, inner] = (rows[:, width:] > rows[:, :-width]) == touching
    return found


def variation(grey: Floats, hole: Flags) -> Floats:
    """Mean |difference| to the known horizontal, and vertical, neighbours: H W 2."""
    channels = []
    for g, unknown in ((grey, hole), (grey.T, hole.T)):
        both = ~(unknown[:, 1:] | unknown[:, :-1])
        step = np.abs(np.diff(g)) * both
        total, pairs = np.zeros(g.shape, np.float32), np.zeros(g.shape, np.float32)
        for side in (slice(1, None), slice(-1)):
            total[:, side] += step
            pairs[:, side] += both
        channels.append(total / np.maximum(pairs, 1))
    return np.stack([channels[0], channels[1].T], axis=-1)


def _halved(level: Level) -> Level:
    """Half the size: a pixel is a hole if any of its 2 × 2 is, else a weighted mean of the known ones in 4 × 4."""
    hole = np.pad(level.hole, [(0, n % 2) for n in level.hole.shape], mode="edge")
    half: Flags = np.any(hole.reshape(len(hole) // 2, 2, -1, 2), axis=(1, 3))
    weight = _smoothed((~level.hole[..., None]).astype(np.float32))
    z = _smoothed(level.z) / np.maximum(weight, 1e-6)
    return Level(np.where(half[..., None], 0, z).astype(np.float32), half)


def _smoothed(a: Floats) -> Floats:
    """Convolution with (1 3 3 1) / 8 along both axes and stride 2: H W C -> ⌈H/2⌉ ⌈W/2⌉ C."""
    for axis in (0, 1):
        pads: Any = [(0, 0)] * 3
        pads[axis] = (1, 1 + a.shape[axis] % 2)
        lines = np.moveaxis(np.pad(a, pads, mode="edge"), axis, 0)
        n = len(lines) - 2
        half = (lines[0:n:2] + lines[3::2]) * np.float32(1 / 8)
        half += (lines[1 : n + 1 : 2] + lines[2::2]) * np.float32(3 / 8)
        a = np.moveaxis(half, 0, axis)
    return np.ascontiguousarray(a, np.float32)
