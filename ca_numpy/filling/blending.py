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
from ca_numpy.filling.poisson import solved

#: A difference in colour, between copies from two places, that is half kept as an edge and half smoothed away as a seam
#: is 0.83 times this: the length of a vector of RGB in [-1, 1].
EDGE = 2.0
#: To the four neighbours of a pixel.
STEPS = np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])


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
        shift = harmonic(np.asarray(image, np.float64) - filled, hole)
        result[hole] = (filled[hole] + shift).clip(-1, 1)
    return result


def harmonic(known: NDArray[np.float64], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The values n C in the hole of c, with Δc = 0 there and c = known, H W C, next to it."""
    pixels = np.argwhere(hole)
    right = np.zeros((len(pixels), known.shape[2]))
    for step in STEPS:
        inside, places = _inside(pixels + step, hole)
        edge = inside & ~hole[tuple(places)]
        right[edge] += known[tuple(places)][edge]
    return solved(hole, right, kept=0, start=np.zeros_like(right))


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

    -> H W C float32 in [-1, 1], `image` outside the hole.
    """
    pixels, sources = copies
    number = np.full(hole.shape, -1)
    number[tuple(pixels.T)] = np.arange(len(pixels))
    x = np.asarray(image, np.float32)
    start = np.asarray(colours, np.float32)[tuple(pixels.T)]
    right = kept * start
    for step in STEPS:
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
        right += gradient * inside[:, None]
        edge = inside & (neighbour < 0)
        right[edge] += x[y[edge], x_[edge]]
    result = x.copy()
    result[tuple(pixels.T)] = solved(hole, right, kept=kept, start=start).clip(-1, 1)
    return result


def _inside(places: NDArray[Any], hole: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which of these places, n 2, are inside the image, and the places clipped to it, 2 n."""
    clipped = places.clip(0, np.array(hole.shape) - 1)
    return (clipped == places).all(-1), clipped.T
