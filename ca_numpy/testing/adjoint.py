"""Check that a linear map and its adjoint satisfy the definition."""

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

    x is a NumPy array of any shape, y one with the shape of Ax; both maps may return an array of the current backend or
    a Tensor. Random x and y detect a wrong adjoint with probability one.

    Raises AssertionError with both products if they differ, or if the shapes are not those of an adjoint.
    """
    ax, aty = on_host(forward(x)), on_host(backward(y))
    if ax.shape != y.shape or aty.shape != x.shape:
        raise AssertionError(
            f"an adjoint maps back: A maps {x.shape} to {ax.shape}, the supposed Aᵀ maps {y.shape} to {aty.shape}"
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
