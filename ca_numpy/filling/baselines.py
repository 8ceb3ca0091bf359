"""Other ways to fill a hole, for comparison. None of them learns.

    ca_numpy.filling.fill("patchmatch", image, mask)      H W 3 in [-1, 1]

Each method is `method(image, mask) -> image` on checked arrays: H W 3 float32 in [-1, 1], and H W 1 with 1 = hole.
A method of your own takes one entry in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_image, check_mask, to_float, to_uint8
from ca_numpy.errors import UserError
from ca_numpy.filling.patchmatch import complete

Floats = NDArray[np.float32]
Fill = Callable[[Floats, Floats], Floats]

#: Pixels around the one to fill that OpenCV's two methods look at.
REACH = 5


def mean_colour(image: Floats, mask: Floats) -> Floats:
    """The mean of the known pixels, everywhere in the hole: what any method must beat."""
    known = image[mask[..., 0] < 0.5]
    return np.asarray(np.where(mask > 0.5, known.mean(0), image), np.float32)


def telea(image: Floats, mask: Floats) -> Floats:
    """Telea (2004): pixels are filled in the order of their distance from the rim (fast marching), each with a weighted
    mean of the known ones near it, carried on by their gradients. OpenCV's, which takes 8 bits a colour."""
    return _opencv(image, mask, "INPAINT_TELEA")


def navier_stokes(image: Floats, mask: Floats) -> Floats:
    """Bertalmio, Bertozzi and Sapiro (2001): brightness flows into the hole along its lines, as a fluid's
    vorticity does along its streamlines. OpenCV's, which takes 8 bits a colour."""
    return _opencv(image, mask, "INPAINT_NS")


def biharmonic(image: Floats, mask: Floats) -> Floats:
    """Damelin and Hoang (2018): Δ²u = 0 in the hole, the smoothest surface that meets the rim in value and slope.
    scikit-image's. A sparse system of all unknown pixels: slow for holes of more than some ten thousand."""
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as e:
        raise UserError("biharmonic inpainting is scikit-image's, which is not here: pip install scikit-image") from e
    filled = inpaint_biharmonic(image.astype(np.float64), mask[..., 0] > 0.5, channel_axis=-1)
    return np.asarray(filled.clip(-1, 1), np.float32)


def _opencv(image: Floats, mask: Floats, flag: str) -> Floats:
    cv2 = _cv2()
    hole = np.asarray(mask[..., 0] > 0.5, np.uint8)
    return to_float(cv2.inpaint(to_uint8(image), hole, REACH, getattr(cv2, flag)))


def _cv2() -> ModuleType | Any:
    try:
        import cv2
    except ImportError as e:
        raise UserError("telea and navier-stokes are OpenCV's, which is not here: pip install 'ca-numpy[peers]'") from e
    return cv2


#: What `fill` knows by name: each takes H W 3 in [-1, 1] and H W 1, 1 = hole, and gives H W 3.
METHODS: dict[str, Fill] = {
    "mean": mean_colour,
    "patchmatch": complete,
    "telea": telea,
    "navier-stokes": navier_stokes,
    "biharmonic": biharmonic,
}


def fill(method: str, image: NDArray[Any], mask: NDArray[Any]) -> Floats:
    """The picture with its holes filled by a method of `METHODS`: H W 3 float32, the known pixels untouched.

    image: H W 3, uint8 or float in [-1, 1]. mask: H W or H W 1, 1 = hole. The same input, the same output.

    Raises UserError for an unknown method, one whose library is not installed, and what is no picture or mask.
    """
    if method not in METHODS:
        raise UserError(f"there is no method {method!r}: choose from {', '.join(METHODS)}")
    x = check_image(image)
    m = check_mask(mask, x)
    return np.where(m > 0.5, METHODS[method](x, m), x)


def why_unavailable(method: str) -> str | None:
    """Why a method does not work here, in one line; None if it does."""
    try:
        fill(method, np.zeros((3, 3, 3), np.float32), np.eye(3, dtype=np.float32))
    except UserError as e:
        return str(e)
    return None
