"""Which pixels to fill: masks as people have them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from os import PathLike
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_mask
from ca_numpy.data.images import Source, middle, quoted, upright
from ca_numpy.data.photo import Photo, read_photo
from ca_numpy.errors import UserError

Flags = NDArray[np.bool_]
#: What marks the hole in a file: "auto" decides from its contents, and refuses what could mean two things.
MaskKind = Literal["auto", "white", "transparent", "paint", "difference"]
#: Left, top, width, height in pixels of the picture as shown.
Box = tuple[int, int, int, int]

#: A mask with a larger share of middle greys is taken for a photograph.
MOST_GREY = 0.2
#: Largest difference, of the full scale, between colours that are taken for the same.
SAME = 0.1


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
        drawn = _marked(read_photo(mask, max_pixels=max_pixels), photo, kind, name) != invert
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


def _marked(mask: Photo, photo: Photo, kind: MaskKind, name: str) -> Flags:
    """The pixels of a file that mark the hole, H W 1."""
    mask = _as_shown(mask, photo)
    if kind == "difference":
        return _difference(mask, photo, name) > SAME
    clear = None if mask.alpha is None else mask.opacity() < 0.5
    if clear is None or not clear.any() or clear.all():
        if kind in ("transparent", "paint"):
            raise UserError(f"{name} is nowhere transparent, or everywhere, so that it cannot be read as {kind!r}")
        return _white(mask, insist=kind == "white", name=name)
    if kind == "white":
        return _white(mask, insist=True, name=name) & ~clear
    if kind == "auto":
        kind = _kind_of_layer(mask, photo, ~clear, name)
    return ~clear if kind == "paint" else clear


def _as_shown(mask: Photo, photo: Photo) -> Photo:
    """A mask that was drawn on the picture as its camera stored it, turned as the picture is shown."""
    size, own = photo.samples.shape[:2], mask.samples.shape[:2]
    if own == size or own[::-1] != size or photo.orientation < 5:
        return mask
    alpha = None if mask.alpha is None else upright(mask.alpha, photo.orientation)
    return Photo(upright(mask.samples, photo.orientation), alpha, mask.scale)


def _white(mask: Photo, *, insist: bool, name: str) -> Flags:
    grey = mask.samples.astype(np.float64).mean(-1, keepdims=True)
    half = middle(np.rint(grey).astype(mask.samples.dtype) if mask.samples.dtype.kind != "f" else grey, name=name)
    greys = float(np.mean((grey > 0.3 * half) & (grey < 1.7 * half)))
    if greys > MOST_GREY and not insist:
        raise UserError(
            f"{name} looks like a photograph: {100 * greys:.0f} % of it is neither black nor white. Give the picture "
            'first and the mask second; mask_kind="difference" (--mask-kind) for a copy of the picture with the hole '
            'painted over, "white" to take its bright half'
        )
    return np.asarray(grey > half)


def _difference(mask: Photo, photo: Photo, name: str) -> NDArray[np.float32]:
    """The largest difference in any channel, H W 1, of the full scale."""
    if mask.samples.shape[:2] != photo.samples.shape[:2]:
        check_mask(mask.samples[..., :1] > 0, photo.samples, name=name)  # says how the sizes differ
    away = np.abs(mask.colours() - photo.colours()).max(-1, keepdims=True)
    return np.asarray(away / 2, np.float32)


def _kind_of_layer(mask: Photo, photo: Photo, opaque: Flags, name: str) -> MaskKind:
    """Whether the opaque part is paint, or the picture of which the rest was erased."""
    colours = mask.samples[opaque[..., 0]] / mask.scale
    if (colours >= 0.875).all():
        return "paint"  # white
    if mask.samples.shape[:2] == photo.samples.shape[:2]:
        same = _difference(mask, photo, name)[opaque] <= SAME
        if same.mean() > 0.5:
            return "transparent"
    centre = np.median(colours, axis=0)
    if (np.abs(colours - centre).max(-1) <= SAME).mean() > 0.9 and centre.max() > 0.125:
        return "paint"  # one colour, not black
    raise UserError(
        f'{name} could be paint on an empty layer, or a picture with a part erased: give mask_kind="paint" or '
        '"transparent" (--mask-kind)'
    )
