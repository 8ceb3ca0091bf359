"""Filling the holes of one image of any size (section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import resize
from ca_numpy.data.drawn import MaskKind
from ca_numpy.data.images import quoted
from ca_numpy.data.photo import Photo, photo_of, read_photo
from ca_numpy.errors import UserError
from ca_numpy.filling import baselines, guided, memory
from ca_numpy.filling.blending import blend as blended
from ca_numpy.filling.blending import harmonic
from ca_numpy.filling.holes import Box, hole_of
from ca_numpy.filling.network import predict
from ca_numpy.filling.patchmatch import Copies, Progress
from ca_numpy.filling.soon import soonest
from ca_numpy.filling.windows import Window, around, whole
from ca_numpy.models import BaseGenerator
from ca_numpy.models.io import opened

Picture = str | PathLike[str] | NDArray[Any]
#: How `inpaint` fills holes: the default, the network's direct output, and the methods of `filling.METHODS`.
Method = Literal[
    "guided", "network", "patchmatch", "telea", "navier-stokes", "biharmonic", "pypatchmatch", "mean"
]  # fmt: skip
#: Those that a backend's kernels compute.
COMPILED: tuple[Method, ...] = ("guided", "network", "patchmatch")

#: Pixels of the largest window that the network sees to guide copies: holes far apart are seen smaller.
GUESSED = 1 << 20


class Inpainted(NamedTuple):
    """A filled image and intermediate results.

    photo       the filled picture in the terms of its file
    result      the same as an array, as `inpaint` returns it
    coarse      h w 3 in [-1, 1]: the first stage's output for the window
    window      the part of the image given to the network, resized to (h, w)
    attention   `Generator.attention_map` of the window, or None
    """

    photo: Photo
    result: NDArray[Any]
    coarse: NDArray[np.float32]
    window: Window
    attention: tuple[NDArray[np.intp], tuple[int, int]] | None


def inpaint(
    image: Picture,
    mask: Picture | None = None,
    *,
    method: Method = "guided",
    model: str | PathLike[str] | BaseGenerator | None = None,
    backend: str = "auto",
    invert: bool = False,
    mask_kind: MaskKind = "auto",
    boxes: Sequence[Box] = (),
    grow: int = 0,
    largest_hole: int | None = None,
    blend: bool = True,
    max_pixels: int | None = None,
    quiet: bool = True,
) -> NDArray[Any]:
    """Fill the holes of an image: an array of the image's shape and dtype, with known pixels unchanged.

    image     a file; or H W grey, H W 3 RGB, H W 2 or H W 4 with an alpha channel last: uint8, uint16, or float in
              [0, 1]. Of a file, the result has the file's channels and depth
    mask      a file (white = hole), or H W or H W 1 of the image's size, 1 = hole; any number of holes of any shape.
              NaN in an image of floats marks holes too, alone or within the mask
    method    "guided": copied pixels, arranged by the network (`ca_numpy.filling.guided`), which the paper does not do;
              "network": the paper's direct output; others need no model: "patchmatch" copies, "telea" and
              "navier-stokes" (OpenCV), "biharmonic" (scikit-image), "pypatchmatch" (PyPatchMatch), "mean"
    model     a `Generator`, or an argument of `ca_numpy.load`: a run's folder or a weight file; by default the
              weights included in the package (docs/model_card.md)
    backend   "numpy", "numba" or another installed backend; "auto" selects the fastest available
    invert    treat black, or 0, as the hole
    mask_kind   what marks the hole in a mask's file: "white" on black; "transparent", as erased; "paint" of any colour
              on an empty layer; "difference": a copy of the picture with the hole painted over. "auto" tells the first
              three from each other, and refuses photographs and what could mean two things
    boxes     rectangles (left, top, width, height) to fill, with or without a mask
    grow      widen the hole by this many pixels, for masks that are too tight
    largest_hole   largest hole, in pixels, the model was trained on; by default from its file. The surroundings of the
              holes, twice that on each side, half that for "guided", are downscaled until the widest hole is no wider.
              The network's fill is upscaled again; a guided fill is copied at full size. 0, or unknown training data:
              the network sees the whole image at its own size
    blend     Poisson blending of the network's fill at the hole's boundary (`ca_numpy.filling.blend`), which the paper
              does not use
    max_pixels   of files, image and mask; by default 80 million, or the environment's CA_NUMPY_MAX_PIXELS
    quiet     show no progress bar

    Images are mirrored to multiples of 8, and the result cropped. Networks see sRGB; copies stay in the space of the
    image's colour profile. Raises UserError for unreadable files, a mask of another size, an empty or full mask, NaN
    outside the mask, floats outside [0, 1], a method whose library is missing, or a model for a method that uses none.
    """
    filled = inpaint_photo(
        image, mask, method=method, model=model, backend=backend, invert=invert, mask_kind=mask_kind,
        boxes=boxes, grow=grow, largest_hole=largest_hole, blend=blend, max_pixels=max_pixels,
        quiet=quiet,
    ).array()  # fmt: skip
    return filled if isinstance(image, (str, PathLike)) else filled.reshape(np.shape(image))


def inpaint_photo(
    image: Picture | Photo,
    mask: Picture | None = None,
    *,
    method: Method = "guided",
    model: str | PathLike[str] | BaseGenerator | None = None,
    backend: str = "auto",
    invert: bool = False,
    mask_kind: MaskKind = "auto",
    boxes: Sequence[Box] = (),
    grow: int = 0,
    largest_hole: int | None = None,
    blend: bool = True,
    max_pixels: int | None = None,
    quiet: bool = True,
) -> Photo:
    """As `inpaint`, with what a file says of its picture: profile, EXIF, resolution and text, for `Photo.save`.

    The image may also be a photograph that was read before, by `ca_numpy.data.read_photo`.

    Raises UserError as `inpaint`.
    """
    if method not in get_args(Method):
        raise UserError(f"there is no method {method!r}: choose from {', '.join(get_args(Method))}")
    if method in ("guided", "network"):
        return inpaint_details(
            image, mask, method=method, model=model, backend=backend, invert=invert, mask_kind=mask_kind,
            boxes=boxes, grow=grow, largest_hole=largest_hole, blend=blend, max_pixels=max_pixels,
        quiet=quiet,
        ).photo  # fmt: skip
    if model is not None:
        raise UserError(f"method {method!r} uses no model: leave out model, or choose guided or network")
    photo, hole = _read(image, mask, invert=invert, kind=mask_kind, boxes=boxes, grow=grow, max_pixels=max_pixels)
    unknown = hole[..., 0] > 0.5
    memory.check(unknown, full_size_steps(photo, unknown, copied=method == "patchmatch"))
    with soonest(backend, pixels=memory.pixels_around(unknown) if method in COMPILED else 0):
        filled = baselines.fill(method, photo.colours(), hole)
    return pasted(photo, hole, filled)


def inpaint_details(
    image: Picture | Photo,
    mask: Picture | None = None,
    *,
    method: Literal["guided", "network"] = "guided",
    model: str | PathLike[str] | BaseGenerator | None = None,
    backend: str = "auto",
    invert: bool = False,
    mask_kind: MaskKind = "auto",
    boxes: Sequence[Box] = (),
    grow: int = 0,
    largest_hole: int | None = None,
    blend: bool = True,
    max_pixels: int | None = None,
    attention: bool = False,
    quiet: bool = True,
) -> Inpainted:
    """As `inpaint`, with the coarse stage's output and, with `attention`, the attention map. Raises UserError."""
    if largest_hole is not None and largest_hole < 0:
        raise UserError(f"largest_hole={largest_hole}: give the largest hole's width in pixels, or 0 for no limit")
    photo, hole = _read(image, mask, invert=invert, kind=mask_kind, boxes=boxes, grow=grow, max_pixels=max_pixels)
    with soonest(backend, pixels=hole.size if largest_hole == 0 else memory.pixels_around(hole[..., 0] > 0.5)):
        generator = opened(model)
        view = view_of(photo, hole, generator, method=method, largest_hole=largest_hole, blend=blend)
        done = predict(generator, view.seen[None], view.hole[None])
        looked = None
        if attention and generator.attention != "none":
            looked = generator.attention_map(view.seen[None], view.hole[None])
        filled, _ = filled_by(photo, hole, view, done.refined[0], method=method, blend=blend, quiet=quiet)
    return Inpainted(filled, filled.array(), done.coarse[0], view.window, looked and (looked[0][0], looked[1]))


class View(NamedTuple):
    """What the network is given of a picture.

    window   the part of the picture, and its size (h, w) for the network
    small    its pixels h w 3 in [-1, 1], in the file's space, with colours of known pixels in the hole
    seen     the same in sRGB
    hole     h w 1, 1 = hole
    """

    window: Window
    small: NDArray[np.float32]
    seen: NDArray[np.float32]
    hole: NDArray[np.float32]


def view_of(
    photo: Photo, hole: NDArray[np.float32], generator: BaseGenerator, *,
    method: Literal["guided", "network"], largest_hole: int | None = None, blend: bool = True,
) -> View:  # fmt: skip
    """The part of a picture that the network is given for a hole H W 1, as `inpaint` describes it.

    Raises UserError if it needs more memory than there is, or no known pixels are left in it.
    """
    pixels, space = photo.colours(), photo.space
    largest = generator.learnt.hole if largest_hole is None else largest_hole
    # Copies have all of the picture, at its own size; the network's fill is as seen in training.
    near: dict[str, Any] = {"margin": 0.5, "most": GUESSED} if method == "guided" else {"margin": 2.0}
    around_holes = around(pixels, hole, largest=largest, **near) if largest else None
    window, bare = around_holes or (whole(pixels.shape), pixels)
    unknown = hole[..., 0] > 0.5
    memory.check(unknown, {}, generator=generator, window=window.size)
    small = resize(bare, window.size)
    share = resize(hole[window.place], window.size)
    small_hole = (share > 0 if (share <= 0).any() else share >= 1).astype(np.float32)  # keeps a thin known border
    if small_hole.all():
        raise UserError(
            f"no known pixels are left when the holes are downscaled to {largest} pixels: "
            "give a larger largest_hole (--largest-hole), or 0"
        )
    blending = {"blend": memory.blending(small_hole[..., 0] > 0.5)} if blend else {}
    memory.check(unknown, blending | full_size_steps(photo, unknown, copied=method == "guided"))
    return View(window, small, space.to_srgb(small) if space else small, small_hole)


def filled_by(
    photo: Photo, hole: NDArray[np.float32], view: View, output: NDArray[np.float32], *,
    method: Literal["guided", "network"], blend: bool = True, quiet: bool = True, progress: Progress | None = None,
) -> tuple[Photo, Copies | None]:  # fmt: skip
    """The picture filled with a network's output for its view, h w 3; and what "guided" copied from where."""
    pixels, space, place = photo.colours(), photo.space, view.window.place
    fill = space.from_srgb(output) if space else output
    fill = blended(view.small, fill, view.hole) if blend else fill
    copies = None
    if method == "guided":
        guess = np.where(view.hole > 0.5, fill, view.small)
        filled, copies = guided.complete_with_copies(pixels, hole, guess, place=place, quiet=quiet, progress=progress)
    else:
        filled = pixels.copy()
        filled[place] = resize(fill, filled[place].shape[:2])
    return pasted(photo, hole, filled), copies


def full_size_steps(photo: Photo, unknown: NDArray[np.bool_], *, copied: bool) -> dict[str, int]:
    """The memory of the steps at the picture's own size."""
    steps = {"copy": memory.copying(unknown)} if copied else {}
    return steps if photo.alpha is None else steps | {"transparency": memory.blending(unknown)}


def pasted(photo: Photo, hole: NDArray[np.float32], filled: NDArray[np.float32]) -> Photo:
    """The photograph with `filled` in the hole. Transparency is continued smoothly, or sharply if the known one is."""
    unknown = hole[..., 0] > 0.5
    if photo.alpha is None:
        return photo.filled(unknown, filled)
    opacity = photo.opacity().astype(np.float64)
    continued = harmonic(opacity, unknown).clip(0, 1)
    sharp = bool(np.isin(opacity[~unknown], (0, 1)).all())
    return photo.filled(unknown, filled, opacity=np.rint(continued) if sharp else continued)


def read_pair(
    image: Picture, mask: Picture | None = None, *, invert: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """An image H W 3 in [-1, 1] and its mask H W 1 in {0, 1}, from files or arrays. Raises UserError as `inpaint`."""
    photo, hole = _read(image, mask, invert=invert)
    return photo.colours(), hole


def _read(
    image: Picture | Photo,
    mask: Picture | None,
    *,
    boxes: Sequence[Box] = (),
    max_pixels: int | None = None,
    **options: Any,
) -> tuple[Photo, NDArray[np.float32]]:
    """The photograph, with 0 for NaN, and the mask H W 1 in {0, 1}."""
    name = quoted(image) if isinstance(image, (str, PathLike)) else "the image"
    if isinstance(image, Photo):
        photo = image
    else:
        photo = read_photo(image, max_pixels=max_pixels) if isinstance(image, (str, PathLike)) else photo_of(image)
    missing = np.zeros(photo.samples.shape[:2], np.bool_)
    if photo.samples.dtype.kind == "f":
        missing |= np.isnan(photo.samples).any(-1)
    if mask is None and not len(boxes):
        if not missing.any():
            raise UserError(f"{name} has no hole: give a mask or boxes, or mark the hole by NaN in an image of floats")
        return _without(photo, missing), hole_of(photo, None, missing=missing, **options)
    hole = hole_of(photo, mask, boxes=boxes, max_pixels=max_pixels, **options)
    if (missing & (hole[..., 0] <= 0)).any():
        raise UserError(f"{name} has NaN outside the mask; enlarge the mask, or replace them")
    return _without(photo, missing), hole


def _without(photo: Photo, missing: NDArray[np.bool_]) -> Photo:
    return photo.filled(missing, np.zeros((*missing.shape, 3), np.float32)) if missing.any() else photo
