"""Methods that continue what lies around a hole: its mean, its gradients, its lines of equal brightness, its curvature.

Each is `fill(image, mask) -> image`, of checked arrays: H W 3 float32 in [-1, 1], and H W 1, 1 = hole.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import to_float, to_uint8
from ca_numpy.errors import UserError

Floats = NDArray[np.float32]

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
