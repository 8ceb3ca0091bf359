"""The part of an image that is given to the network, resized to the hole size the network was trained on."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Window(NamedTuple):
    """Rows and columns of an image, and the (height, width) they are resized to for the network."""

    rows: slice
    columns: slice
    size: tuple[int, int]

    @property
    def place(self) -> tuple[slice, slice]:
        """The index of the window in an image H W C."""
        return self.rows, self.columns


def whole(shape: tuple[int, ...]) -> Window:
    """All of an image H W C, at its own size."""
    return Window(slice(0, shape[0]), slice(0, shape[1]), (shape[0], shape[1]))


def around(
    pixels: Floats, hole: Floats, *, largest: int, margin: float = 2.0, most: int | None = None
) -> tuple[Window, Floats]:
    """The window around all holes, resized so that the widest has at most `largest` pixels, and the window's pixels.

    pixels H W 3, hole H W 1 with 1 = hole -> the window, and its pixels h w 3. `margin` is in units of `largest`. A
    hole's width is twice the largest distance from a known pixel. Hole pixels take the colour of the nearest known
    pixel, so shrinking cannot bleed the hole outward. A window of more than `most` pixels is shrunk to that.
    """
    from scipy.ndimage import distance_transform_edt  # slow to import

    away, (y, x) = distance_transform_edt(hole[:, :, 0], return_indices=True)
    shrink = max(2 * float(away.max()) / largest, 1.0)
    edge = round(margin * largest * shrink)
    rows, columns = (np.flatnonzero((hole[:, :, 0] > 0.5).any(axis)) for axis in (1, 0))
    place = [
        slice(max(int(n[0]) - edge, 0), min(int(n[-1]) + 1 + edge, size))
        for n, size in zip((rows, columns), hole.shape, strict=False)
    ]
    bare = pixels[y, x][place[0], place[1]]
    if most is not None:
        shrink = max(shrink, math.sqrt(bare.shape[0] * bare.shape[1] / most))
    height, width = (max(round(n / shrink), 1) for n in bare.shape[:2])
    return Window(place[0], place[1], (height, width)), bare


def surroundings(hole: NDArray[np.bool_], *, least: int = 64) -> tuple[slice, slice]:
    """Rows and columns around all holes, H W, with a margin of the widest hole's width, at least `least` pixels.

    A hole's width is twice the largest distance from a known pixel. Without a hole, or without a known pixel: all.
    """
    from scipy.ndimage import distance_transform_edt  # slow to import

    if not hole.any() or hole.all():
        return slice(None), slice(None)
    rows, columns = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
    close = slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)
    margin = max(least, round(2 * float(distance_transform_edt(hole[close]).max())))
    return slice(max(rows[0] - margin, 0), rows[-1] + 1 + margin), slice(
        max(columns[0] - margin, 0), columns[-1] + 1 + margin
    )
