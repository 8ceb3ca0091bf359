"""Poisson blending: adds a smooth correction to the fill so that it matches the known pixels at the hole's boundary.

Not in the paper, which pastes the network's output directly. The network reconstructs known pixels with a small error,
which continues into the hole and shows as a seam. (Pérez, Gangnet, Blake: "Poisson image editing", 2003, with the
fill's own gradients.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def blend(image: NDArray[Any], filled: NDArray[Any], mask: NDArray[Any]) -> NDArray[np.float32]:
    """`filled` plus the harmonic correction that makes it equal `image` on the known pixels next to the hole.

        Δc = 0 in the hole,   c = image − filled on the known pixels;   result = filled + c in the hole, image outside

    Δ sums the differences to the four neighbours inside the image.

    image, filled   H W C in [-1, 1]; `image` is arbitrary in the hole
    mask            H W 1, 1 = hole, not all of it

    -> H W C float32 in [-1, 1]. The correction is bounded by its values at the boundary.
    Raises ValueError if no pixel is known.
    """
    hole = np.asarray(mask)[:, :, 0] > 0.5
    if hole.all():
        raise ValueError("the whole image is a hole: there is no boundary to match")
    result = np.array(image, np.float32)
    if hole.any():
        shift = _harmonic(np.asarray(image, np.float64) - filled, hole)
        result[hole] = (filled[hole] + shift).clip(-1, 1)
    return result


def _harmonic(known: NDArray[np.float64], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The values n C in the hole of c, with Δc = 0 there and c = known next to it."""
    from scipy import sparse  # slow to import
    from scipy.sparse.linalg import spsolve

    height, width = hole.shape
    rows, columns = np.nonzero(hole)
    n = len(rows)
    number = np.zeros(hole.shape, np.intp)
    number[hole] = np.arange(n)
    degree, right = np.zeros(n), np.zeros((n, known.shape[2]))
    pairs = []
    for down, across in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = rows + down, columns + across
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = y.clip(0, height - 1), x.clip(0, width - 1)
        degree += inside
        unknown, edge = inside & hole[y, x], inside & ~hole[y, x]
        pairs.append((np.flatnonzero(unknown), number[y[unknown], x[unknown]]))
        right[edge] += known[y[edge], x[edge]]
    i, j = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    laplacian = sparse.diags_array(degree) - sparse.coo_array((np.ones(len(i)), (i, j)), shape=(n, n))
    return np.asarray(spsolve(laplacian.tocsc(), right)).reshape(n, -1)
