"""Masks as people draw them: which pixels of a file mark the hole."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data.images import Source, check_mask, middle, quoted, upright
from ca_numpy.data.photo import Photo, read_photo
from ca_numpy.errors import UserError

Flags = NDArray[np.bool_]
#: What marks the hole in a file: "auto" decides from its contents, and refuses what could mean two things.
MaskKind = Literal["auto", "white", "transparent", "paint", "difference"]

#: A mask with a larger share of middle greys is taken for a photograph.
MOST_GREY = 0.2
#: Largest difference, of the full scale, between colours that are taken for the same.
SAME = 0.1


def load_mask(path: Source, *, invert: bool = False) -> NDArray[np.float32]:
    """Read a mask from a file: float32, H W 1, every value 0 or 1, with 1 = hole.

    White is the hole, above mid-grey, so JPEG noise is harmless; in a file of 0s and 1s, as written by labelling
    tools, 1 is white. If parts are transparent, they are the hole, as erased from a picture; or, if the rest has one
    colour, that is, as painted on an empty layer. `invert` swaps hole and known.

    Raises `UserError` as `load_image`, for a photograph, and for black on a transparent layer, which could mean either.
    `check_mask` rejects empty and full masks.
    """
    return np.asarray(marked(read_photo(path), None, "auto", quoted(path)) != invert, np.float32)


def marked(mask: Photo, photo: Photo | None, kind: MaskKind, name: str) -> Flags:
    """The pixels of a file that mark the hole, H W 1.

    photo   the picture it was drawn on, if that is known, as "difference" needs it
    """
    if photo is not None:
        mask = _as_shown(mask, photo)
    if kind == "difference":
        assert photo is not None
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


def _kind_of_layer(mask: Photo, photo: Photo | None, opaque: Flags, name: str) -> MaskKind:
    """Whether the opaque part is paint, or the picture of which the rest was erased."""
    colours = mask.samples[opaque[..., 0]] / mask.scale
    if (colours >= 0.875).all():
        return "paint"  # white
    if photo is not None and mask.samples.shape[:2] == photo.samples.shape[:2]:
        same = _difference(mask, photo, name)[opaque] <= SAME
        if same.mean() > 0.5:
            return "transparent"
    centre = np.median(colours, axis=0)
    single = (np.abs(colours - centre).max(-1) <= SAME).mean() > 0.9
    if single and centre.max() > 0.125:
        return "paint"  # one colour, not black
    if photo is None and not single:
        return "transparent"
    raise UserError(
        f'{name} could be paint on an empty layer, or a picture with a part erased: give mask_kind="paint" or '
        '"transparent" (--mask-kind)'
    )
