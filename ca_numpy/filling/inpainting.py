"""Filling the holes of one picture: any size, any number of holes, direct output (section 4)."""

from __future__ import annotations

from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_image, check_mask, load_image, load_mask, resize, to_uint8
from ca_numpy.errors import UserError
from ca_numpy.filling.blending import blend as blended
from ca_numpy.filling.network import predict
from ca_numpy.filling.windows import Window, around, whole
from ca_numpy.models import BaseGenerator
from ca_numpy.models.io import opened
from ca_numpy.registry import current_backend, use_backend

Picture = str | PathLike[str] | NDArray[Any]


class Inpainted(NamedTuple):
    """A filled picture, and how it came about.

    result      H W 3 uint8, the known pixels untouched
    coarse      h w 3 in [-1, 1]: the first stage's picture of the window, at the size it was filled at
    window      the part of the picture that the network saw, and that size (h, w)
    attention   as `Generator.attention_map` gives it for the window: indices and the background's grid; or None
    """

    result: NDArray[np.uint8]
    coarse: NDArray[np.float32]
    window: Window
    attention: tuple[NDArray[np.intp], tuple[int, int]] | None


def inpaint(
    image: Picture,
    mask: Picture,
    *,
    model: str | PathLike[str] | BaseGenerator | None = None,
    backend: str = "auto",
    invert: bool = False,
    largest_hole: int | None = None,
    blend: bool = True,
) -> NDArray[np.uint8]:
    """Fill the hole of a picture: H W 3 uint8, the known pixels exactly as they were.

    image     a file; or H W 3, uint8 or float in [-1, 1]
    mask      a file (white = hole) or H W or H W 1 of the image's size, 1 = hole; may have several holes of any shape
    model     a `Generator`; or what `ca_numpy.load` takes: a run's folder, a weight file; if not given, the
              weights that come with the package (docs/model_card.md)
    backend   "numpy", "numba" or another that is installed; "auto" takes the best that works here
    invert    for masks in which black, or 0, is the hole
    largest_hole   the largest hole, in pixels across, that the model was trained on; if not given, as its file says.
              The surroundings of the holes, twice as far on each side, are shrunk until the widest hole is no wider,
              and the fill is enlarged again. 0, or a model whose training is not known: the whole picture as it is
    blend     shift the fill until it meets the known pixels at the hole's edge (`ca_numpy.filling.blend`). The paper
              does not

    Sizes that are not multiples of 8 are mirrored up to the next, and cut back. Raises UserError, one line, for files
    that cannot be read, a mask of another size, an empty or a full mask, or NaN in the image.
    """
    return inpaint_details(
        image, mask, model=model, backend=backend, invert=invert, largest_hole=largest_hole, blend=blend
    ).result


def inpaint_details(
    image: Picture,
    mask: Picture,
    *,
    model: str | PathLike[str] | BaseGenerator | None = None,
    backend: str = "auto",
    invert: bool = False,
    largest_hole: int | None = None,
    blend: bool = True,
    attention: bool = False,
) -> Inpainted:
    """As `inpaint`, with the coarse stage's picture and, if asked for, where the attention looked. Raises UserError."""
    if largest_hole is not None and largest_hole < 0:
        raise UserError(f"largest_hole={largest_hole}: give the largest hole's width in pixels, or 0 for no limit")
    pixels, hole = read_pair(image, mask, invert=invert)
    with use_backend(backend):
        generator = opened(model)
        largest = generator.learnt.hole if largest_hole is None else largest_hole
        window, bare = around(pixels, hole, largest=largest) if largest else (whole(pixels.shape), pixels)
        _check_memory(window, generator)
        small = resize(bare, window.size)
        share = resize(hole[window.place], window.size)
        small_hole = (share > 0 if (share <= 0).any() else share >= 1).astype(np.float32)  # a thin rim stays known
        if small_hole.all():
            raise UserError(
                f"at the size at which the holes are {largest} pixels across, nothing is known any more: "
                "give a larger largest_hole (--largest-hole), or 0"
            )
        done = predict(generator, small[None], small_hole[None])
        looked = generator.attention_map(small[None], small_hole[None]) if _attends(generator) and attention else None
    fill = blended(small, done.refined[0], small_hole) if blend else done.refined[0]
    result = _levels(image, pixels).copy()
    place = window.place
    result[place] = np.where(hole[place] > 0.5, to_uint8(resize(fill, bare.shape[:2])), result[place])
    return Inpainted(result, done.coarse[0], window, looked and (looked[0][0], looked[1]))


def read_pair(
    image: Picture, mask: Picture, *, invert: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A picture H W 3 in [-1, 1] and its mask H W 1 in {0, 1}, from files or arrays, checked against each other.

    Raises UserError as `inpaint` does.
    """
    name, mask_name = (str(a) if isinstance(a, (str, PathLike)) else n for a, n in ((image, "image"), (mask, "mask")))
    x = load_image(image) if isinstance(image, (str, PathLike)) else np.asarray(image)
    m = load_mask(mask, invert=invert) if isinstance(mask, (str, PathLike)) else np.asarray(mask)
    x = check_image(x, name=name)
    m = check_mask(m, x, name=mask_name)
    return x, 1 - m if invert and not isinstance(mask, (str, PathLike)) else m


def _attends(generator: BaseGenerator) -> bool:
    return generator.attention != "none"


def _levels(image: Picture, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return image if isinstance(image, np.ndarray) and image.dtype == np.uint8 else to_uint8(pixels)


def _check_memory(window: Window, generator: BaseGenerator) -> None:
    """Refuse what cannot fit, before the work."""
    height, width = window.size
    needed, there = generator.memory_needed(height, width), current_backend().memory()
    if there is not None and needed > 0.9 * there:
        raise UserError(
            f"a picture of {width}×{height} pixels needs about {needed / 2**30:.0f} GiB of memory "
            f"and there are {there / 2**30:.0f}: make the picture smaller, or give largest_hole (--largest-hole), with "
            "which only the surroundings of the holes are looked at"
        )
