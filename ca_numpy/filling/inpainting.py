"""Filling the holes of one picture: any size, any number of holes, direct output (section 4)."""

from __future__ import annotations

from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_image, check_mask, load_image, load_mask, resize, to_float, to_uint8
from ca_numpy.engine.autograd import no_grad
from ca_numpy.errors import UserError
from ca_numpy.filling import blending
from ca_numpy.models import OFFICIAL, Generator
from ca_numpy.models.generator import MULTIPLE
from ca_numpy.models.io import opened
from ca_numpy.registry import current_backend, use_backend

Picture = str | PathLike[str] | NDArray[Any]


class Inpainted(NamedTuple):
    """A filled picture, and how it came about.

    result      H W 3 uint8, the known pixels untouched
    coarse      H W 3 in [-1, 1], the first stage's guess
    attention   as `Generator.attention_map` gives it: h w indices and the background's grid; or None
    """

    result: NDArray[np.uint8]
    coarse: NDArray[np.float32]
    attention: tuple[NDArray[np.intp], tuple[int, int]] | None


def inpaint(
    image: Picture,
    mask: Picture,
    *,
    model: str | PathLike[str] | Generator | None = None,
    backend: str = "auto",
    invert: bool = False,
    largest_hole: int | None = None,
    blend: bool = False,
) -> NDArray[np.uint8]:
    """Fill the hole of a picture: H W 3 uint8, the known pixels exactly as they were.

    image     a file; or H W 3, uint8 or float in [-1, 1]
    mask      a file (white = hole) or H W or H W 1 of the image's size, 1 = hole; may have several holes of any shape
    model     a `Generator`; or what `ca_numpy.load` takes: a run's folder, a weight file; if not given, the
              weights that come with the package (docs/model_card.md)
    backend   "numpy", "numba" or another that is installed; "auto" takes the best that works here
    invert    for masks in which black, or 0, is the hole
    largest_hole   how many pixels across the holes were that the model learnt from: 128 for the package's weights. The
              holes' surroundings, twice as far on each side, are then shrunk until the widest hole is no wider, and
              what is filled in is enlarged again. None: the whole picture as it is
    blend     shift what is filled in until it meets the known pixels at the edge (`ca_numpy.filling.blend`); the
              paper does not

    Sizes that are not multiples of 8 are mirrored up to the next, and cut back. Raises UserError, one line, for files
    that cannot be read, a mask of another size, an empty or a full mask, or NaN in the image.
    """
    if largest_hole is None:
        return inpaint_details(image, mask, model=model, backend=backend, invert=invert, blend=blend).result
    if largest_hole < 1:
        raise UserError(f"largest_hole={largest_hole}; give the pixels across a hole that the model knows, 1 or more")
    pixels, hole = read_pair(image, mask, invert=invert)
    window, size, bare = _around(pixels, hole, largest_hole)
    small, small_hole = resize(bare, size), resize(hole[window], size) > 0  # with all that has a part in a hole
    filled = inpaint_details(small, small_hole, model=model, backend=backend, blend=blend).result
    result = _levels(image, pixels).copy()
    result[window] = np.where(hole[window] > 0.5, to_uint8(resize(to_float(filled), bare.shape[:2])), result[window])
    return result


def inpaint_details(
    image: Picture,
    mask: Picture,
    *,
    model: str | PathLike[str] | Generator | None = None,
    backend: str = "auto",
    invert: bool = False,
    blend: bool = False,
    attention: bool = False,
) -> Inpainted:
    """As `inpaint`, with the coarse stage's guess and, if asked for, where the attention looked. Raises UserError."""
    pixels, hole = read_pair(image, mask, invert=invert)
    with use_backend(backend), no_grad():
        generator = opened(model)
        _check_memory(pixels.shape, generator)
        rgb = generator.variant.channel_order == "rgb"
        x, m = (_to_multiple(a) for a in (pixels if rgb else pixels[:, :, ::-1], hole))
        x = generator.erase(x, m).numpy()
        coarse, refined = (y.numpy()[0, : len(pixels), : pixels.shape[1]] for y in generator(x, m))
        looked = generator.attention_map(x, m) if attention and generator.attention != "none" else None
    if not rgb:
        coarse, refined = coarse[:, :, ::-1], refined[:, :, ::-1]
    if not np.isfinite(refined).all():
        raise UserError("the model's output is not finite: its weights are damaged, or training had diverged")
    if blend:
        refined = blending.blend(pixels, refined, hole)
    result = np.where(hole > 0.5, to_uint8(refined), _levels(image, pixels))
    return Inpainted(result, coarse, looked and (looked[0][0], looked[1]))


def read_pair(
    image: Picture, mask: Picture, *, invert: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A picture H W 3 in [-1, 1] and its mask H W 1 in {0, 1}, from files or arrays, checked against each other."""
    name, mask_name = (str(a) if isinstance(a, (str, PathLike)) else n for a, n in ((image, "image"), (mask, "mask")))
    x = load_image(image) if isinstance(image, (str, PathLike)) else np.asarray(image)
    m = load_mask(mask, invert=invert) if isinstance(mask, (str, PathLike)) else np.asarray(mask)
    x = check_image(x, name=name)
    m = check_mask(m, x, name=mask_name)
    return x, 1 - m if invert and not isinstance(mask, (str, PathLike)) else m


def _levels(image: Picture, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return image if isinstance(image, np.ndarray) and image.dtype == np.uint8 else to_uint8(pixels)


def _around(
    pixels: NDArray[np.float32], hole: NDArray[np.float32], largest: int
) -> tuple[tuple[slice, slice], tuple[int, int], NDArray[np.float32]]:
    """The window around all holes, the size at which the widest is `largest` across, and the window's pixels.

    A hole is twice as wide as its innermost pixel is away from the nearest known one. That one's colour stands in the
    hole, so that shrinking mixes nothing into the known pixels that is to be removed.
    """
    from scipy.ndimage import distance_transform_edt  # a fifth of a second to load

    away, (y, x) = distance_transform_edt(hole[:, :, 0], return_indices=True)
    shrink = max(2 * float(away.max()) / largest, 1.0)
    margin = round(2 * largest * shrink)
    rows, columns = (np.flatnonzero((hole[:, :, 0] > 0.5).any(axis)) for axis in (1, 0))
    window = tuple(slice(max(int(n[0]) - margin, 0), int(n[-1]) + 1 + margin) for n in (rows, columns))
    bare = pixels[y, x][window]
    height, width = (max(round(n / shrink), 1) for n in bare.shape[:2])
    return (window[0], window[1]), (height, width), bare


def _to_multiple(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """H W C mirrored at the bottom and right up to multiples of 8, as a batch of one."""
    down, right = (-n % MULTIPLE for n in x.shape[:2])
    return np.pad(x, ((0, down), (0, right), (0, 0)), mode="symmetric")[None]


def _check_memory(shape: tuple[int, ...], generator: Generator) -> None:
    """Refuse what cannot fit: attention over H/8 × W/8 positions, as a composite 20 matrices of all pairs, and more."""
    h, w = shape[0] // 8 + 1, shape[1] // 8 + 1
    fused = generator.variant.attention == OFFICIAL.attention
    attention = current_backend().attention_numbers(h, w) if fused else 20 * (h * w) ** 2
    attention = attention if generator.attention == "contextual" else 0
    needed = 4 * attention + 1500 * shape[0] * shape[1]
    there = current_backend().memory()
    if there is not None and needed > 0.9 * there:
        raise UserError(
            f"a picture of {shape[1]}×{shape[0]} pixels needs about {needed / 2**30:.0f} GiB of memory "
            f"and there are {there / 2**30:.0f}: make the picture smaller, or give largest_hole (--largest-hole), with "
            "which only the surroundings of the holes are looked at"
        )
