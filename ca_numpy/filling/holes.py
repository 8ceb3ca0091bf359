"""Which pixels to fill: a mask, boxes, and missing pixels."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from os import PathLike
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_mask
from ca_numpy.data.drawn import MaskKind, marked
from ca_numpy.data.images import Source, quoted
from ca_numpy.data.photo import Photo, read_photo
from ca_numpy.errors import UserError

Flags = NDArray[np.bool_]
#: Left, top, width, height in pixels of the picture as shown.
Box = tuple[int, int, int, int]


def hole_of(
    photo: Photo,
    mask: Source | NDArray[Any] | None,
    *,
    kind: MaskKind = "auto",
    invert: bool = False,
    boxes: Sequence[Box] = (),
    grow: int = 0,
    missing: Flags | None = None,
    max_pixels: int | None = None,
) -> NDArray[np.float32]:
    """The hole of a photograph, float32 H W 1, 1 = hole: what the mask marks, the boxes, and the missing pixels.

    mask      a file; H W or H W 1 as `check_mask` takes it; or None
    kind      of a file: "white" on black, at mid-grey; "transparent", as erased; "paint" of any colour on an empty
              layer; "difference": a copy of the picture with the hole painted over
    invert    swap hole and known in the mask
    boxes     rectangles, which may reach over the border
    grow      widen the hole by this many pixels, for masks that are too tight
    missing   H W
    max_pixels   as for `read_photo`

    Raises UserError for an unreadable file, another size, an empty or full hole, a box outside the picture, a negative
    `grow`, and with "auto" for a photograph, and for alpha channels that could mean either.
    """
    if kind not in get_args(MaskKind):
        raise UserError(f"there is no kind of mask {kind!r}: choose from {', '.join(get_args(MaskKind))}")
    if grow < 0:
        raise UserError(f"grow={grow}: give 0 or more pixels")
    name, size = "mask", photo.samples.shape[:2]
    hole = np.zeros((*size, 1), np.bool_)
    if isinstance(mask, (str, PathLike, BytesIO)):
        name = quoted(mask)
        drawn = marked(read_photo(mask, max_pixels=max_pixels), photo, kind, name) != invert
        hole |= check_mask(drawn, photo.samples, name=name) > 0
    elif mask is not None:
        given = check_mask(mask, photo.samples, name=name) > 0
        hole |= given != invert
    for box in boxes:
        hole |= _box(box, size)
    if missing is not None:
        hole |= missing[..., None]
    if grow and hole.any():
        from scipy.ndimage import distance_transform_edt  # slow to import

        hole = np.asarray(distance_transform_edt(~hole[..., 0]) <= grow)[..., None]
    return check_mask(hole, photo.samples, name=name)


def _box(box: Box, size: tuple[int, ...]) -> Flags:
    left, top, width, height = box
    inside = np.zeros((*size, 1), np.bool_)
    inside[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = True
    if min(width, height) < 1 or not inside.any():
        raise UserError(
            f"the box {left},{top},{width},{height} (left, top, width, height) is outside the picture of "
            f"{size[1]}×{size[0]} pixels"
        )
    return inside
