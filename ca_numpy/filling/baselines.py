"""Baselines without training.

    ca_numpy.filling.fill("patchmatch", image, mask)      H W 3 in [-1, 1]

A method is a function `method(image, mask) -> image` of checked arrays, H W 3 float32 in [-1, 1] and H W 1 with
1 = hole. To add one, add it to `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_image, check_mask, to_float, to_uint8
from ca_numpy.errors import UserError
from ca_numpy.filling.patchmatch import complete

Floats = NDArray[np.float32]
Fill = Callable[[Floats, Floats], Floats]

#: Neighbourhood radius of OpenCV's methods, and the patches' of PyPatchMatch, in pixels; the latter as in `complete`.
REACH, RADIUS = 5, 3


def mean_colour(image: Floats, mask: Floats) -> Floats:
    """Fill with the mean of the known pixels: what any method must beat."""
    known = image[mask[..., 0] < 0.5]
    return np.asarray(np.where(mask > 0.5, known.mean(0), image), np.float32)


def telea(image: Floats, mask: Floats) -> Floats:
    """Telea (2004): fills pixels by distance from the boundary (fast marching), each with a weighted mean of
    first-order extrapolations from known neighbours. OpenCV's, with 8 bits per channel."""
    return _opencv(image, mask, "INPAINT_TELEA")


def navier_stokes(image: Floats, mask: Floats) -> Floats:
    """Bertalmio, Bertozzi and Sapiro (2001): transports intensity along isophotes, as a fluid transports vorticity
    along streamlines. OpenCV's, with 8 bits per channel."""
    return _opencv(image, mask, "INPAINT_NS")


def biharmonic(image: Floats, mask: Floats) -> Floats:
    """Damelin and Hoang (2018): Δ²u = 0 in the hole, the smoothest surface matching the boundary's values and slopes.
    scikit-image's. Solves one sparse system: slow for holes of more than about ten thousand pixels."""
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as e:
        raise UserError("biharmonic inpainting needs scikit-image: pip install scikit-image") from e
    filled = inpaint_biharmonic(image.astype(np.float64), mask[..., 0] > 0.5, channel_axis=-1)
    return np.asarray(filled.clip(-1, 1), np.float32)


def pypatchmatch(image: Floats, mask: Floats) -> Floats:
    """Barnes et al. (2009): patches copied from the same image, by the C++ of the package PyPatchMatch, which is
    independent of our own `complete`. 8 bits per channel.

    Raises UserError where version 2.2.0 may leave black pixels: if the hole reaches further from the known pixels than
    half of the image's shorter side, or if that side is under 8 pixels."""
    try:
        import patchmatch
    except ImportError as e:
        raise UserError("pypatchmatch needs PyPatchMatch: pip install 'ca-numpy[peers]'") from e
    if not getattr(patchmatch, "patchmatch_available", False):  # pip installs it even where its C++ does not compile
        raise UserError(
            "PyPatchMatch lacks its compiled library, or is older than 2.2: install it as its page on PyPI says"
        )
    from scipy.ndimage import distance_transform_cdt  # slow to load

    side, depth = min(image.shape[:2]), distance_transform_cdt(mask[..., 0] > 0.5, metric="chessboard").max()
    if side < 8 or depth > side / 2:
        raise UserError(
            f"pypatchmatch cannot fill a hole {depth} pixels deep in an image {side} across: it needs 8 pixels across, "
            "and a depth of at most half of that; use patchmatch"
        )
    patchmatch.set_random_seed(0)  # one for the process, from which every call starts
    return to_float(patchmatch.inpaint(to_uint8(image), mask[..., 0] > 0.5, patch_size=RADIUS))


def _opencv(image: Floats, mask: Floats, flag: str) -> Floats:
    try:
        import cv2
    except ImportError as e:
        raise UserError("telea and navier-stokes need OpenCV: pip install 'ca-numpy[peers]'") from e
    hole = np.asarray(mask[..., 0] > 0.5, np.uint8)
    filled: Any = cv2.inpaint(to_uint8(image), hole, REACH, getattr(cv2, flag))
    return to_float(filled)


#: The methods of `fill`: image H W 3 in [-1, 1], mask H W 1 with 1 = hole -> H W 3.
METHODS: dict[str, Fill] = {
    "mean": mean_colour,
    "patchmatch": complete,
    "telea": telea,
    "navier-stokes": navier_stokes,
    "biharmonic": biharmonic,
    "pypatchmatch": pypatchmatch,
}


def fill(method: str, image: NDArray[Any], mask: NDArray[Any]) -> Floats:
    """Fill the holes of an image by a method of `METHODS`: H W 3 float32, with known pixels unchanged.

    image: H W 3, uint8 or float in [-1, 1]. mask: H W or H W 1, 1 = hole. Deterministic.
    Raises UserError for an unknown method, a missing library, or an invalid image or mask.
    """
    if method not in METHODS:
        raise UserError(f"there is no method {method!r}: choose from {', '.join(METHODS)}")
    x = check_image(image)
    m = check_mask(mask, x)
    return np.where(m > 0.5, METHODS[method](x, m), x)


def why_unavailable(method: str) -> str | None:
    """Why a method cannot be used on this machine, in one line; None if it can."""
    try:
        fill(method, np.zeros((8, 8, 3), np.float32), np.eye(8, dtype=np.float32))
    except UserError as e:
        return str(e)
    return None
