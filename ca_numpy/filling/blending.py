"""Poisson blending: what was filled in is shifted until it meets the known pixels at the hole's edge.

Not in the paper, which pastes the network's output as it is. The network gives the known pixels too, and gives them a
little off; the same error goes on into the hole, and shows as a seam. (Pérez, Gangnet, Blake: "Poisson image editing",
2003; here with the filled picture's own gradients, so that only a smooth shift is added.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def blend(image: NDArray[Any], filled: NDArray[Any], mask: NDArray[Any]) -> NDArray[np.float32]:
    """`filled` plus the smoothest shift that takes it to `image` on the known pixels beside the hole.

        Δc = 0 in the hole,   c = image − filled on the known pixels;   result = filled + c in the hole, image outside

    Δ is the sum of the differences to the four neighbours, those outside of the picture left out.

    image, filled   H W C in [-1, 1]; what `image` holds in the hole does not matter
    mask            H W 1, 1 = hole, some of it known

    -> H W C float32 in [-1, 1]. The shift lies between the least and the greatest difference at the hole's edge.
    Raises ValueError where nothing is known.
    """
    hole = np.asarray(mask)[:, :, 0] > 0.5
    if hole.all():
        raise ValueError("the whole picture is a hole: there is no edge to meet")
    result = np.array(image, np.float32)
    if hole.any():
        shift = _harmonic(np.asarray(image, np.float64) - filled, hole)
        result[hole] = (filled[hole] + shift).clip(-1, 1)
    return result


def _harmonic(known: NDArray[np.float64], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """c with Δc = 0 in the hole and c = known beside it: its values in the hole, n C."""
    from scipy import sparse  # a fifth of a second to load
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
