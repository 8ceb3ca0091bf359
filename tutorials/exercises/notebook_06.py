"""Exercises of notebook 06, from loops to Winograd: products saved, tiles counted, and the kernel's gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.geometry import ConvGeometry
from ca_numpy.testing import oracles
from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- products saved ----------------------------------------------------------------------------------------------
def _saving(m: int, r: int) -> float:
    """By counting: pairs of an output and a tap, and positions in the tile."""
    direct = sum(1 for _ in np.ndindex(m, m, r, r))
    nested = sum(1 for _ in np.ndindex(m + r - 1, m + r - 1))
    return direct / nested


def _sizes() -> dict[str, tuple[int, int]]:
    return {
        "one output: the direct sum": (1, 3),
        "F(2×2, 3×3)": (2, 3),
        "F(4×4, 3×3)": (4, 3),
        "F(6×6, 3×3)": (6, 3),
        "a 5 × 5 kernel": (4, 5),
        "a one-pixel kernel": (4, 1),
    }


# ---- tiles -------------------------------------------------------------------------------------------------------
def _count_tiles(height: int, width: int, m: int) -> int:
    """By counting the corners where one starts."""
    return len(range(0, height, m)) * len(range(0, width, m))


def _pictures() -> dict[str, tuple[int, int, int]]:
    return {
        "whole tiles": (8, 12, 4),
        "tiles of one output": (3, 5, 1),
        "a row left over": (9, 12, 4),
        "a column left over": (8, 13, 4),
        "both left over": (10, 11, 4),
        "a picture smaller than a tile": (2, 3, 4),
        "F(2×2)": (7, 8, 2),
    }


# ---- the kernel's gradient ---------------------------------------------------------------------------------------
def _matrices(m: int, r: int, points: tuple[float, ...]) -> tuple[Array, Array, Array]:
    def values(k: int) -> Array:
        return np.vstack([np.power.outer(np.array(points, np.float64), np.arange(k)), np.eye(k)[-1]])

    return values(m).T, values(r), np.linalg.inv(values(m + r - 1)).T


def _kernel_gradient(At: Array, G: Array, Bt: Array, d: Array, g: Array) -> Array:
    """By the definition; the matrices only give the size of the kernel."""
    r = G.shape[1]
    d, g = d[None, :, :, None], g[None, :, :, None]
    dw = oracles.conv2d_dw(g, d, (r, r), ConvGeometry())
    return np.asarray(dw[:, :, 0, 0])


def _gradient_inputs() -> dict[str, tuple[Array, ...]]:
    rng = np.random.default_rng(6)

    def draw(m: int, r: int, *points: float) -> tuple[Array, ...]:
        n = m + r - 1
        return *_matrices(m, r, points), rng.standard_normal((n, n)), rng.standard_normal((m, m))

    return {
        "F(2×2, 3×3)": draw(2, 3, 0, 1, -1),
        "F(4×4, 3×3)": draw(4, 3, 0, 1, -1, 2, -2),
        "F(3×3, 3×3): as many outputs as taps": draw(3, 3, 0, 1, -1, 2),
        "F(2×2, 2×2)": draw(2, 2, 0, 1),
    }


def _gradient_variant(
    change: Callable[[Array, Array], Array], *, pixels: Callable[[Array, Array], Array] | None = None
) -> Callable[..., Array]:
    """A wrong gradient: change(the product n × n, G) -> r × r; pixels(Bt, d) if not Bᵀ d B."""

    def answer(At: Array, G: Array, Bt: Array, d: Array, g: Array) -> Array:
        v = Bt @ d @ Bt.T if pixels is None else pixels(Bt, d)
        return change(v * (At.T @ g @ At), G)

    return answer


EXERCISES = [
    Exercise(
        "06.saving",
        "Compute the factor by which F(m×m, r×r) reduces the number of products.",
        right=_saving,
        inputs=_sizes,
        mistakes={
            "Inverted: the saving is the direct sum's products over Winograd's.": lambda m, r: (
                (m + r - 1) ** 2 / (m * r) ** 2
            ),
            "This is for one dimension: nested, it saves along rows and columns.": lambda m, r: m * r / (m + r - 1),
            "A tile has m + r − 1 pixels along each side, not m + r: the windows overlap.": lambda m, r: (
                (m * r / (m + r)) ** 2
            ),
            "These are the direct sum's products for one output: a tile has m × m outputs.": lambda m, r: (
                (r / (m + r - 1)) ** 2
            ),
            "The factor is not an integer in general: divide with /.": lambda m, r: (m * r) ** 2 // (m + r - 1) ** 2,
            "This is the number of products saved, not the factor.": lambda m, r: (m * r) ** 2 - (m + r - 1) ** 2,
            "This is the limit for large m: each output needs more than one product.": lambda m, r: r * r,
        },
    ),
    Exercise(
        "06.count_tiles",
        "Count the tiles that cover the outputs.",
        right=_count_tiles,
        inputs=_pictures,
        mistakes={
            "Rounded down: outputs that do not fill a tile need one too.": lambda h, w, m: (h // m) * (w // m),
            "Rounded up once, at the end: rows and columns have to be rounded separately.": lambda h, w, m: (
                -(-h * w // (m * m))
            ),
            "One too many where tiles fit exactly: add m − 1, not m, before dividing.": lambda h, w, m: (
                (h // m + 1) * (w // m + 1)
            ),
            "A tile reads m + 2 pixels, but yields m outputs, and the next starts m further on.": lambda h, w, m: (
                -(-h // (m + 2)) * -(-w // (m + 2))
            ),
            "This is not an integer: part of a tile costs a whole one.": lambda h, w, m: h * w / (m * m),
            "This has a tile at every output: they start m apart.": lambda h, w, m: h * w,
        },
    ),
    Exercise(
        "06.kernel_gradient",
        "Compute the gradient of the kernel with one product per position in the tile.",
        right=_kernel_gradient,
        inputs=_gradient_inputs,
        mistakes={
            "The result is still n × n: G maps w to the points, and its transpose maps the gradient back.": (
                _gradient_variant(lambda product, G: product)
            ),
            "The kernel is flipped: w is evaluated by G, and nothing has to be flipped.": _gradient_variant(
                lambda product, G: (G.T @ product @ G)[::-1, ::-1]
            ),
            "Transposed: Gᵀ goes on the left, G on the right, as in all nested forms.": _gradient_variant(
                lambda product, G: (G.T @ product @ G).T
            ),
            "The pixels are not transformed: multiply the gradient by Bᵀ d B.": _gradient_variant(
                lambda product, G: G.T @ product @ G, pixels=lambda Bt, d: d
            ),
            "Bᵀ is transposed once too often: transform the pixels as in the forward pass, Bᵀ d B.": (
                _gradient_variant(lambda product, G: G.T @ product @ G, pixels=lambda Bt, d: Bt.T @ d @ Bt)
            ),
            "The pixels are transformed along one axis only: B acts on rows and columns.": _gradient_variant(
                lambda product, G: G.T @ product @ G, pixels=lambda Bt, d: Bt @ d
            ),
        },
    ),
]
