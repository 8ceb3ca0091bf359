"""What a fill needs in memory, counted whole before it starts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy import machine
from ca_numpy.errors import UserError
from ca_numpy.filling.pyramid import touching
from ca_numpy.filling.windows import surroundings
from ca_numpy.models import BaseGenerator
from ca_numpy.registry import current_backend

#: Bytes, measured and half as much again: of the arrays of a picture and its mask, per pixel;
PICTURE = 90
#: of copying, per pixel around the holes, per patch that touches a hole, and per pixel of a hole, joined;
AROUND, PATCH, JOINED = 230, 130, 500
#: of blending, per pixel of the network's window, and of a hole there.
WINDOW, BLENDED = 60, 750
#: The share of the memory that a fill may take.
SHARE = 0.9

Flags = NDArray[np.bool_]


def pixels_around(hole: Flags) -> int:
    """Pixels of the surroundings of all holes, H W, which copying reads."""
    return hole[surroundings(hole)].size


def copying(hole: Flags) -> int:
    """Bytes to copy pixels to a hole, H W, and to join them."""
    near = hole[surroundings(hole)]
    patches = np.count_nonzero(touching(near, radius=3))
    return int(AROUND * near.size + PATCH * patches + JOINED * np.count_nonzero(hole))


def blending(hole: Flags) -> int:
    """Bytes to blend the network's fill in a window, h w."""
    return int(WINDOW * hole.size + BLENDED * np.count_nonzero(hole))


def check(hole: Flags, steps: dict[str, int], *, generator: BaseGenerator | None = None, window: Any = ()) -> None:
    """Raises UserError, which names what would fit, if a fill needs more memory than there is.

    hole        H W
    steps       what its steps need beside the picture's arrays, in bytes; each frees it at its end
    generator   a network, and the (height, width) it is applied to, on the current backend
    """
    own, size = PICTURE * hole.size, hole.shape
    needed = [(own + max(steps.values(), default=0), machine.memory(), size)]
    if generator is not None:
        device = current_backend().memory()
        on_host = own if device == needed[0][1] else 0
        needed.append((generator.memory_needed(*window) + on_host, device, window))
    for total, there, (height, width) in needed:
        if there is not None and total > SHARE * there:
            less = (SHARE * there / total) ** 0.5
            raise UserError(
                f"an image of {width}×{height} pixels needs about {total / 2**30:.1f} GiB of memory, of "
                f"{there / 2**30:.1f}: use one of at most {int(width * less)}×{int(height * less)}, a smaller hole, or "
                "largest_hole (--largest-hole), with which the network sees only the surroundings of the holes"
            )
