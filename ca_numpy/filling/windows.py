"""The part of a picture that is looked at to fill its holes, and the size at which the network knows such holes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Window(NamedTuple):
    """Rows and columns of a picture, and the (height, width) to which they are resized before they are filled."""

    rows: slice
    columns: slice
    size: tuple[int, int]

    @property
    def place(self) -> tuple[slice, slice]:
        """The index of the window in a picture H W C."""
        return self.rows, self.columns


def whole(shape: tuple[int, ...]) -> Window:
    """All of a picture H W C, at its own size."""
    return Window(slice(0, shape[0]), slice(0, shape[1]), (shape[0], shape[1]))


def around(pixels: Floats, hole: Floats, *, largest: int) -> tuple[Window, Floats]:
    """The window around all holes, sized so that the widest is `largest` pixels across, and the window's pixels.

    pixels H W 3, hole H W 1 with 1 = hole -> the window, and its pixels h w 3. A hole is twice as wide as its innermost
    pixel is far from the nearest known one. The hole takes that pixel's colour, so shrinking cannot bleed what is to be
    removed outward. The surroundings reach twice as far as the hole on each side.
    """
    from scipy.ndimage import distance_transform_edt  # a fifth of a second to load

    away, (y, x) = distance_transform_edt(hole[:, :, 0], return_indices=True)
    shrink = max(2 * float(away.max()) / largest, 1.0)
    margin = round(2 * largest * shrink)
    rows, columns = (np.flatnonzero((hole[:, :, 0] > 0.5).any(axis)) for axis in (1, 0))
    place = [slice(max(int(n[0]) - margin, 0), int(n[-1]) + 1 + margin) for n in (rows, columns)]
    bare = pixels[y, x][place[0], place[1]]
    height, width = (max(round(n / shrink), 1) for n in bare.shape[:2])
    return Window(place[0], place[1], (height, width)), bare
