"""The sliced Wasserstein distance between the patches of two pictures: the arithmetic of `metrics.swd`.

A picture is split into a Laplacian pyramid (Burt and Adelson 1983), whose levels hold details of one scale each:

    G_0 = image,   G_{k+1} = every second pixel of blur(G_k)
    L_k = G_k − up(G_{k+1}),   and the last level is the rest, G_k

`blur` is the binomial kernel (1, 4, 6, 4, 1)/16 along both axes. Beyond the border the picture is mirrored without
repeating its last pixel (d c b | a b c d | c b a). `up` inserts zeros and blurs, times 4. The sum of the levels, each
brought to full size by `up`, is the picture.

Patches are compared as sets: where a patch lies does not matter. See `metrics.swd` for the distance.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Values = NDArray[np.float64]

#: Side of a patch in pixels, and the maximum number of levels.
SIDE, LEVELS = 7, 3
#: Number of random directions to project patches onto.
DIRECTIONS = 128
#: Maximum number of patches per picture and level; of more, these are drawn. It bounds time and memory.
MOST_PATCHES = 2048
#: Least standard deviation to divide by, one step of 8 bits: a plain surface has none of its own.
SMALLEST_SPREAD = 1 / 255


def laplacian_pyramid(images: Values) -> list[Values]:
    """The levels, fine to coarse: N H W C -> N H W C, N H/2 W/2 C, …, sizes rounded up.

    At most `LEVELS`, as long as a patch fits.
    """
    bands: list[Values] = []
    while len(bands) < LEVELS - 1 and (min(images.shape[1:3]) + 1) // 2 >= SIDE:
        coarse = _blur(images)[:, ::2, ::2]
        spread = np.zeros_like(images)
        spread[:, ::2, ::2] = 4 * coarse
        bands.append(images - _blur(spread))
        images = coarse
    return [*bands, images]


def distances(x: Values, y: Values, holes: NDArray[np.bool_], rng: np.random.Generator) -> Values:
    """Distance of the patches of x to those of y, in y's standard deviations: N H W C, holes N H W -> N L.

    All pictures of a batch share directions and the order in which patches are drawn, so each is measured as if alone.
    """
    directions = rng.standard_normal((DIRECTIONS, x.shape[-1] * SIDE**2))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    levels = []
    for a, b in zip(laplacian_pyramid(x), laplacian_pyramid(y), strict=True):
        order = rng.permutation((a.shape[1] - SIDE + 1) * (a.shape[2] - SIDE + 1))
        levels.append([_distance(*one, order, directions) for one in zip(a, b, holes, strict=True)])
        holes = _halved(holes)
    return np.array(levels).T


def _distance(x: Values, y: Values, hole: NDArray[np.bool_], order: NDArray[np.int64], directions: Values) -> float:
    """Mean over directions of the Wasserstein-1 distance between the projections: of as many numbers, sorted."""
    edge = SIDE // 2
    centred = hole[edge:-edge, edge:-edge]
    if not centred.any():  # a hole along the border, narrower than half a patch: take the patches that touch it
        centred = np.asarray(sliding_window_view(hole, (SIDE, SIDE)).any((2, 3)))
    corners = np.divmod(order[centred.ravel()[order]][:MOST_PATCHES], centred.shape[1])
    p, q = (sliding_window_view(image, (SIDE, SIDE), axis=(0, 1))[corners] for image in (x, y))
    spread = np.maximum(q.std((0, 2, 3), keepdims=True), SMALLEST_SPREAD)
    p, q = (np.sort(directions @ (z / spread).reshape(len(z), -1).T) for z in (p, q))
    return float(np.abs(p - q).mean())


def _blur(images: Values) -> Values:
    from scipy.ndimage import correlate1d  # slow to load

    for axis in (1, 2):
        images = correlate1d(images, np.array([1, 4, 6, 4, 1]) / 16, axis=axis, mode="mirror")
    return images


def _halved(holes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """N H W -> N H/2 W/2, rounded up: hole where any of 2 × 2 pixels is."""
    n, h, w = holes.shape
    even = np.pad(holes, ((0, 0), (0, h % 2), (0, w % 2)))
    return np.asarray(even.reshape(n, (h + 1) // 2, 2, (w + 1) // 2, 2).any((2, 4)))
