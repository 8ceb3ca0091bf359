"""A linear map and its adjoint, held to their definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine.tensor import Tensor
from ca_numpy.registry import current_backend

Array = NDArray[Any]


def check_adjoint(
    forward: Callable[[Array], Any],
    backward: Callable[[Array], Any],
    x: Array,
    y: Array,
    *,
    tolerance: float = 1e-12,
) -> None:
    """Check that `backward` is the adjoint of the linear map `forward`.

        |⟨Ax, y⟩ − ⟨x, Aᵀy⟩| ≤ tolerance · max(‖Ax‖·‖y‖, ‖x‖·‖Aᵀy‖)

    x is a NumPy array of any shape, y one of the shape of Ax; both maps may return an array of the current backend or a
    Tensor. Random x and y find a wrong adjoint with probability one.

    Raises AssertionError, naming both products, where they differ; or where a shape is not what an adjoint has.
    """
    ax, aty = on_host(forward(x)), on_host(backward(y))
    if ax.shape != y.shape or aty.shape != x.shape:
        raise AssertionError(
            f"an adjoint maps back: A takes {x.shape} to {ax.shape}, what should be Aᵀ takes {y.shape} to {aty.shape}"
        )
    left, right = float(np.vdot(ax, y)), float(np.vdot(x, aty))
    size = max(np.linalg.norm(ax) * np.linalg.norm(y), np.linalg.norm(x) * np.linalg.norm(aty))
    if not abs(left - right) <= tolerance * size:
        raise AssertionError(
            f"not an adjoint: ⟨Ax, y⟩ = {left:.12g} and ⟨x, Aᵀy⟩ = {right:.12g} differ by {abs(left - right):.2g}, "
            f"allowed {tolerance * size:.2g}"
        )


def on_host(x: Any) -> Array:
    """A Tensor or an array of the current backend as a NumPy array."""
    return np.asarray(current_backend().to_numpy(x.data if isinstance(x, Tensor) else x))
