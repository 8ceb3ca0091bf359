"""Poisson's equation on the pixels of a hole, by conjugate gradients with a multigrid preconditioner.

    (degree(a) + kept) u[a] − Σ_b u[b] = right[a]           b: the neighbours of a in the hole

The neighbours are the four next to a pixel; the degree counts those inside the image, known ones too. Time and memory
are proportional to the size of the hole, whatever its shape: smoothed aggregation (Vaněk, Mandel, Brezina 1996) makes
coarser equations of blocks of pixels, and few steps suffice. Nothing of this is in the paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Steps stop at this residual (root mean square), or after this many.
TOLERANCE, MOST_STEPS = 1e-4, 100
#: Width of a block in pixels, and the most unknowns of the coarsest equation, which is solved directly.
BLOCK, FEWEST = 3, 300
#: Factor of a Jacobi step, which smooths errors and the blocks' interpolation.
DAMPING = 2 / 3

Array = NDArray[Any]


def solved(hole: NDArray[np.bool_], right: Array, *, kept: float, start: Array) -> Array:
    """u, n C, for the n hole pixels in row-major order, in the dtype of `right`.

    hole    H W
    right   n C
    kept    how much a pixel keeps to its own part of `right`, ≥ 0
    start   n C, a first guess

    The hole is not the whole image if kept = 0. Ends at TOLERANCE, which leaves errors of about a thousandth.
    """
    from scipy.sparse.linalg import splu  # slow to import

    pixels = np.argwhere(hole)
    if not len(pixels):
        return right.copy()
    matrix, levels = _matrix(hole, pixels, right.dtype.type(kept)), []
    while matrix.shape[0] > FEWEST:
        pixels, spread = _blocks(pixels, matrix)
        gather = spread.T.tocsr()
        levels.append((matrix, (DAMPING / matrix.diagonal()).astype(right.dtype)[:, None], spread, gather))
        matrix = (gather @ (matrix @ spread)).tocsr()
    direct = splu(matrix.tocsc().astype(np.float64))

    def coarsely(residual: Array, level: int = 0) -> Array:
        """A symmetric V-cycle: one Jacobi step before, and one after, the coarser equation's correction."""
        if level == len(levels):
            return np.asarray(direct.solve(residual.astype(np.float64)), right.dtype)
        matrix, step, spread, gather = levels[level]
        u = step * residual
        u += spread @ coarsely(gather @ (residual - matrix @ u), level + 1)
        u += step * (residual - matrix @ u)
        return np.asarray(u)

    return _conjugate_gradients(levels[0][0] if levels else matrix, right, start, coarsely)


def _matrix(hole: NDArray[np.bool_], pixels: Array, kept: Any) -> Any:
    from scipy import sparse

    n = len(pixels)
    number = np.full(np.add(hole.shape, 2), -1)  # with a margin
    number[1:-1, 1:-1][hole] = np.arange(n)
    inside = np.pad(np.ones_like(hole), 1)
    degree, pairs = np.full(n, kept), []
    for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        places = tuple((pixels + 1 + step).T)
        degree += inside[places]
        neighbour = number[places]
        own = np.flatnonzero(neighbour >= 0)
        pairs.append((own, neighbour[own]))
    i, j = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    neighbours = sparse.csr_array((np.ones(len(i), degree.dtype), (i, j)), shape=(n, n))
    return (sparse.diags_array(degree) - neighbours).tocsr()


def _blocks(pixels: Array, matrix: Any) -> tuple[Array, Any]:
    """Rows and columns of the blocks, m 2, and interpolation from them, n m: constant, smoothed by a Jacobi step."""
    from scipy import sparse

    n, size = len(pixels), tuple(pixels.max(0) // BLOCK + 1)
    coarse, block = np.unique(np.ravel_multi_index(tuple(pixels.T // BLOCK), size), return_inverse=True)
    constant = sparse.csr_array((np.ones(n, matrix.dtype), (np.arange(n), block)), shape=(n, len(coarse)))
    step = sparse.diags_array((DAMPING / matrix.diagonal()).astype(matrix.dtype))
    return np.stack(np.unravel_index(coarse, size), axis=-1), (constant - step @ (matrix @ constant)).tocsr()


def _conjugate_gradients(matrix: Any, right: Array, start: Array, precondition: Any) -> Array:
    """u with matrix u = right, all columns at once."""

    def dot(a: Array, b: Array) -> Array:
        return np.asarray(np.maximum(np.einsum("nc,nc->c", a, b), right.dtype.type(1e-30)))

    u = start.astype(right.dtype)
    residual = right - matrix @ u
    direction, power = np.zeros_like(u), np.ones(u.shape[1], right.dtype)
    for _ in range(MOST_STEPS):
        if (dot(residual, residual) <= len(u) * TOLERANCE**2).all():
            break
        close = precondition(residual)
        before, power = power, dot(residual, close)
        direction = close + direction * (power / before)
        image = matrix @ direction
        rate = power / dot(direction, image)
        u += rate * direction
        residual -= rate * image
    return u
