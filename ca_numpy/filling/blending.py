"""Poisson blending: adds a smooth correction to the fill so that it matches the known pixels at the hole's boundary.

Not in the paper, which pastes the network's output directly. The network reconstructs known pixels with a small error,
which continues into the hole and shows as a seam. (Pérez, Gangnet, Blake: "Poisson image editing", 2003, with the
fill's own gradients.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.filling.patchmatch import Copies

#: A difference in colour, between copies from two places, that is half kept as an edge and half smoothed away as a seam
#: is 0.83 times this: the length of a vector of RGB in [-1, 1].
EDGE = 1.5
#: Conjugate gradients stop at this residual, or after this many steps.
TOLERANCE, MOST_STEPS = 1e-4, 1000


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


def joined(
    image: NDArray[Any], hole: NDArray[np.bool_], copies: Copies, colours: NDArray[Any], *, kept: float
) -> NDArray[np.float32]:
    """Copied pixels without seams: u has the gradients of the copies, and the known pixels as boundary.

        min_u  Σ (u[a] − u[b] − v[a, b])² + kept · Σ (u[a] − colours[a])²

    The first sum is over neighbours a, b in the hole or next to it, the second over the hole. v[a, b] is the copied
    gradient: the mean of image[s(a)] − image[s(a) + b − a] and image[s(b) + a − b] − image[s(b)], with s the source of
    a pixel. Within a copied region they agree. Across a seam each side continues its own, so that a small step between
    the copies disappears; a large step is an edge between two things, and stays: there v goes over to the difference of
    the copies, image[s(a)] − image[s(b)], as 1 − exp(−‖step‖² / EDGE²).

    image    H W C in [-1, 1]; arbitrary in the hole
    hole     H W
    copies   the source of each pixel of the hole
    colours  H W C: what the result keeps to, far from the boundary
    kept     how much, > 0

    -> H W C float32 in [-1, 1], `image` outside the hole. Solved by conjugate gradients.
    """
    from scipy import sparse  # slow to import

    pixels, sources = copies
    n = len(pixels)
    number = np.full(hole.shape, -1)
    number[tuple(pixels.T)] = np.arange(n)
    x = np.asarray(image, np.float32)
    degree, right = np.full(n, kept, np.float32), kept * np.asarray(colours, np.float32)[tuple(pixels.T)]
    pairs = []
    for step in np.array([(0, 1), (0, -1), (1, 0), (-1, 0)]):
        inside, (y, x_) = _inside(pixels + step, hole)
        neighbour = np.where(inside, number[y, x_], -1)
        own, (v, u) = _inside(sources + step, hole)
        mine = (x[tuple(sources.T)] - x[v, u]) * (own := own & ~hole[v, u])[:, None]
        other, (v, u) = _inside(sources[neighbour] - step, hole)
        other &= (neighbour >= 0) & ~hole[v, u]
        theirs = (x[v, u] - x[tuple(sources[neighbour].T)]) * other[:, None]
        gradient = (mine + theirs) / np.maximum(own.astype(np.float32) + other, 1)[:, None]
        jump = np.where((neighbour >= 0)[:, None], x[tuple(sources.T)] - x[tuple(sources[neighbour].T)], gradient)
        excess = ((jump - gradient) ** 2).sum(-1, keepdims=True)
        smooth = np.exp(-excess / EDGE**2)
        gradient = smooth * gradient + (1 - smooth) * jump
        degree += inside
        right += gradient * inside[:, None]
        edge = inside & (neighbour < 0)
        right[edge] += x[y[edge], x_[edge]]
        within = np.flatnonzero(neighbour >= 0)
        pairs.append((within, neighbour[within]))
    i, j = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    adjacency = sparse.csr_array((np.ones(len(i), np.float32), (i, j)), shape=(n, n))
    start = np.asarray(colours, np.float32)[tuple(pixels.T)]
    result = x.copy()
    result[tuple(pixels.T)] = _solved(adjacency, degree, right, start).clip(-1, 1)
    return result


def _inside(places: NDArray[Any], hole: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which of these places, n 2, are inside the image, and the places clipped to it, 2 n."""
    clipped = places.clip(0, np.array(hole.shape) - 1)
    return (clipped == places).all(-1), clipped.T


def _solved(adjacency: Any, degree: NDArray[Any], right: NDArray[Any], start: NDArray[Any]) -> NDArray[Any]:
    """u with degree u − adjacency u = right, all columns at once, by conjugate gradients to half an 8-bit level."""
    u = start.copy()
    residual = right - (degree[:, None] * u - adjacency @ u)
    direction, power = residual.copy(), (residual**2).sum(0)
    for _ in range(MOST_STEPS):
        if np.abs(residual).max() < TOLERANCE:
            break
        image = degree[:, None] * direction - adjacency @ direction
        rate = power / np.maximum((direction * image).sum(0), 1e-30)
        u += rate * direction
        residual -= rate * image
        power, before = (residual**2).sum(0), power
        direction = residual + power / np.maximum(before, 1e-30) * direction
    return u
