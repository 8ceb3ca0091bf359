"""Filling the holes of one image of any size (section 4)."""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_image, check_mask, load_image, load_mask, resize, to_uint8
from ca_numpy.errors import UserError
from ca_numpy.filling import baselines, guided
from ca_numpy.filling.blending import blend as blended
from ca_numpy.filling.network import predict
from ca_numpy.filling.windows import Window, around, whole
from ca_numpy.models import BaseGenerator
from ca_numpy.models.io import opened
from ca_numpy.registry import current_backend, use_backend

Picture = str | PathLike[str] | NDArray[Any]
#: How `inpaint` fills holes: the default, the network's direct output, and the methods of `filling.METHODS`.
Method = Literal[
    "guided", "network", "patchmatch", "telea", "navier-stokes", "biharmonic", "pypatchmatch", "mean"
]  # fmt: skip


class Inpainted(NamedTuple):
    """A filled image and intermediate results.

    result      H W 3 uint8, with known pixels unchanged
    coarse      h w 3 in [-1, 1]: the first stage's output for the window
    window      the part of the image given to the network, resized to (h, w)
    attention   `Generator.attention_map` of the window, or None
    """

    result: NDArray[np.uint8]
    coarse: NDArray[np.float32]
    window: Window
    attention: tuple[NDArray[np.intp], tuple[int, int]] | None


def inpaint(
    image: Picture,
    mask: Picture,
    *,
    method: Method = "guided",
    model: str | PathLike[str] | BaseGenerator | None = None,
    backend: str = "auto",
    invert: bool = False,
    largest_hole: int | None = None,
    blend: bool = True,
    quiet: bool = True,
) -> NDArray[np.uint8]:
    """Fill the holes of an image: H W 3 uint8, with known pixels unchanged.

    image     a file; or H W 3, uint8 or float in [-1, 1]
    mask      a file (white = hole), or H W or H W 1 of the image's size, 1 = hole; any number of holes of any shape
    method    "guided": copied pixels, arranged by the network (`ca_numpy.filling.guided`), which the paper does not do;
              "network": the paper's direct output; others need no model: "patchmatch" copies, "telea" and
              "navier-stokes" (OpenCV), "biharmonic" (scikit-image), "pypatchmatch" (PyPatchMatch), "mean"
    model     a `Generator`, or an argument of `ca_numpy.load`: a run's folder or a weight file; by default the
              weights included in the package (docs/model_card.md)
    backend   "numpy", "numba" or another installed backend; "auto" selects the fastest available
    invert    treat black, or 0, as the hole
    largest_hole   largest hole, in pixels, the model was trained on; by default from its file. The surroundings of the
              holes, twice that on each side, are downscaled until the widest hole is no wider. The network's fill is
              upscaled again; a guided fill is copied at full size. 0, or unknown training data: the network sees the
              whole image at its own size
    blend     Poisson blending of the network's fill at the hole's boundary (`ca_numpy.filling.blend`), which the paper
              does not use
    quiet     show no progress bar

    Images are mirrored to multiples of 8, and the result cropped. Raises UserError for unreadable files, a mask of
    another size, an empty or full mask, NaN in the image, or a method whose library is missing.
    """
    if method not in get_args(Method):
        raise UserError(f"there is no method {method!r}: choose from {', '.join(get_args(Method))}")
    if method in ("guided", "network"):
        return inpaint_details(
            image, mask, method=method, model=model, backend=backend, invert=invert, largest_hole=largest_hole,
            blend=blend, quiet=quiet,
        ).result  # fmt: skip
    pixels, hole = read_pair(image, mask, invert=invert)
    with use_backend(backend):
        filled = baselines.fill(method, pixels, hole)
    return _pasted(image, pixels, hole, filled)


def inpaint_details(
    image: Picture,
    mask: Picture,
    *,
    method: Literal["guided", "network"] = "guided",
    model: str | PathLike[str] | BaseGenerator | None = None,
    backend: str = "auto",
    invert: bool = False,
    largest_hole: int | None = None,
    blend: bool = True,
    attention: bool = False,
    quiet: bool = True,
) -> Inpainted:
    """As `inpaint`, with the coarse stage's output and, with `attention`, the attention map. Raises UserError."""
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
        small_hole = (share > 0 if (share <= 0).any() else share >= 1).astype(np.float32)  # keeps a thin known border
        if small_hole.all():
            raise UserError(
                f"no known pixels are left when the holes are downscaled to {largest} pixels: "
                "give a larger largest_hole (--largest-hole), or 0"
            )
        done = predict(generator, small[None], small_hole[None])
        looked = None
        if attention and generator.attention != "none":
            looked = generator.attention_map(small[None], small_hole[None])
        fill = blended(small, done.refined[0], small_hole) if blend else done.refined[0]
        place = window.place
        if method == "guided":
            guess = np.where(small_hole > 0.5, fill, small)
            filled = guided.complete(pixels[place], hole[place], guess, quiet=quiet)
        else:
            filled = resize(fill, bare.shape[:2])
    whole_fill = pixels.copy()
    whole_fill[place] = filled
    result = _pasted(image, pixels, hole, whole_fill)
    return Inpainted(result, done.coarse[0], window, looked and (looked[0][0], looked[1]))


def _pasted(
    image: Picture, pixels: NDArray[np.float32], hole: NDArray[np.float32], filled: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The image as bytes, with `filled` in the hole; an array of bytes keeps its known pixels exactly."""
    exact = isinstance(image, np.ndarray) and image.dtype == np.uint8
    result = np.array(image if exact else to_uint8(pixels))
    unknown = hole[..., 0] > 0.5
    result[unknown] = to_uint8(filled[unknown])
    return result


def read_pair(
    image: Picture, mask: Picture, *, invert: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """An image H W 3 in [-1, 1] and its mask H W 1 in {0, 1}, from files or arrays. Raises UserError as `inpaint`."""
    name, mask_name = (str(a) if isinstance(a, (str, PathLike)) else n for a, n in ((image, "image"), (mask, "mask")))
    x = load_image(image) if isinstance(image, (str, PathLike)) else np.asarray(image)
    m = load_mask(mask, invert=invert) if isinstance(mask, (str, PathLike)) else np.asarray(mask)
    x = check_image(x, name=name)
    m = check_mask(m, x, name=mask_name)
    return x, 1 - m if invert and not isinstance(mask, (str, PathLike)) else m


def _check_memory(window: Window, generator: BaseGenerator) -> None:
    """Raises UserError if the window needs more memory than there is."""
    height, width = window.size
    needed, there = generator.memory_needed(height, width), current_backend().memory()
    if there is not None and needed > 0.9 * there:
        raise UserError(
            f"an image of {width}×{height} pixels needs about {needed / 2**30:.0f} GiB of memory, of "
            f"{there / 2**30:.0f}: use a smaller image, or give largest_hole (--largest-hole) to process only the "
            "surroundings of the holes"
        )
