"""Other ways of filling holes, to compare the networks with: none of them learns anything.

    ca_numpy.peers.fill("patchmatch", image, mask)      H W 3 in [-1, 1]

A method of your own takes one entry in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_image, check_mask
from ca_numpy.errors import UserError
from ca_numpy.peers.classical import biharmonic, mean_colour, navier_stokes, telea
from ca_numpy.peers.patchmatch import complete, nearest_field

Fill = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]

#: What `fill` knows by name: each takes H W 3 in [-1, 1] and H W 1, 1 = hole, and gives H W 3.
METHODS: dict[str, Fill] = {
    "mean": mean_colour,
    "patchmatch": complete,
    "telea": telea,
    "navier-stokes": navier_stokes,
    "biharmonic": biharmonic,
}


def fill(method: str, image: NDArray[Any], mask: NDArray[Any]) -> NDArray[np.float32]:
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


__all__ = ["METHODS", "Fill", "complete", "fill", "nearest_field", "why_unavailable"]
