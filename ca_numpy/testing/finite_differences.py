"""Check derivatives of any order against finite differences.

For a scalar function L, a direction d and a small h,

    ⟨∂L/∂x, d⟩  =  (L(x + h·d) − L(x − h·d)) / 2h  +  O(h²)

A random seed makes a vector-valued function scalar: L = ⟨fn(x), seed⟩. The gradient along random directions is again
such a function, of x *and* of the seed, so its first derivative checks the second order, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine.autograd import grad
from ca_numpy.engine.tensor import Tensor, tensor

Array = NDArray[Any]
Function = Callable[..., Tensor]

#: The largest step, and the number of halvings. Inputs are in [-3, 3], at least 0.1 from any kink.
STEP, HALVINGS = 2.0**-7, 6


def gradcheck(
    fn: Function,
    inputs: Sequence[Array],
    *,
    rng: np.random.Generator,
    order: int = 2,
    tolerance: float = 1e-6,
) -> None:
    """Check every derivative of `fn` up to `order` against central differences along random directions.

    fn      maps Tensors, one per input, to a Tensor of any shape
    inputs  float64 NumPy arrays of any shape, at least 0.1 away from kinks of fn
    order   1 for the gradient, 2 for the gradient of the gradient (by all inputs and the seed), and so on

    The differences are extrapolated to h = 0 (Richardson), so their own error is far below the relative tolerance of
    1e-6; derivatives below 1e-10 count as 0. Also checks that gradients have their input's shape and dtype, and that
    inputs are unchanged.

    Raises AssertionError, with the input, order and both numbers, if they differ, or if the differences do not settle
    because a kink is near; ValueError for inputs that are not float64.
    """
    arrays = [np.array(x) for x in inputs]
    if any(x.dtype != np.float64 for x in arrays):
        raise ValueError(f"gradcheck needs float64 inputs, got {[str(x.dtype) for x in arrays]}")
    names = [f"input {i}" for i in range(len(arrays))]
    for n in range(1, order + 1):
        seed = rng.standard_normal(fn(*map(tensor, arrays)).shape)
        _check_gradient(fn, arrays, seed, names, rng=rng, order=n, tolerance=tolerance)
        fn = gradient_of(fn, [rng.uniform(-1, 1, x.shape) for x in arrays])
        arrays, names = [*arrays, seed], [*names, f"the seed of order {n}"]


def gradient_of(fn: Function, directions: Sequence[Array]) -> Function:
    """(x₁, x₂, …, seed) -> Σᵢ ⟨∂⟨fn(x), seed⟩/∂xᵢ, directionᵢ⟩: the gradient as a scalar function of Tensors.

    Each x has any shape, its direction the same shape, and the seed the shape of fn(x).
    """

    def gradient(*inputs: Tensor) -> Tensor:
        *xs, seed = inputs
        gradients = grad(fn(*xs), xs, create_graph=True, seed=seed)
        total = (gradients[0] * directions[0]).sum()
        for g, d in zip(gradients[1:], directions[1:], strict=True):
            total = total + (g * d).sum()
        return total

    return gradient


def _check_gradient(
    fn: Function,
    arrays: list[Array],
    seed: Array,
    names: list[str],
    *,
    rng: np.random.Generator,
    order: int,
    tolerance: float,
) -> None:
    """Check the first derivatives of ⟨fn(x), seed⟩, one input at a time."""
    given = [x.copy() for x in arrays]
    xs = [tensor(x) for x in arrays]
    y = fn(*xs)
    gradients = grad(y, xs, seed=seed)
    for x, before, name in zip(arrays, given, names, strict=True):
        if not np.array_equal(x, before):
            raise AssertionError(f"derivative of order {order}: {name} was changed while it was computed")
    for i, (name, x, gradient) in enumerate(zip(names, arrays, gradients, strict=True)):
        where = f"derivative of order {order} with respect to {name}"
        if (gradient.shape, gradient.dtype) != (x.shape, x.dtype):
            raise AssertionError(f"{where}: is {gradient.shape} {gradient.dtype}, and {name} is {x.shape} {x.dtype}")
        g, d = gradient.numpy(), rng.uniform(-1, 1, x.shape)

        def along(h: float, i: int = i, d: Array = d) -> float:
            moved = [tensor(x + h * d if j == i else x) for j, x in enumerate(arrays)]
            return float(np.vdot(fn(*moved).numpy(), seed))

        # The typical size of ⟨g, d⟩: errors are relative to this where it cancels by chance.
        usual = float(np.linalg.norm(g)) * float(np.sqrt(np.mean(d * d))) if d.size else 0.0
        # The effect on a difference of a few roundings of L, and of intermediate numbers near 1 that cancel.
        rounding = 1e-14 * max(float(np.vdot(abs(y.numpy()), abs(seed))), 1.0) / STEP * 2**HALVINGS
        claimed = float(np.vdot(g, d))
        found, unsure = _slope(along, good_enough=tolerance * usual / 100)
        size = max(abs(claimed), abs(found), usual)
        if not unsure <= 1e-3 * size + 1e-9:
            raise AssertionError(
                f"{where}: finite differences do not settle ({found:.6g} ± {unsure:.2g}): a kink nearby?"
            )
        allowed = tolerance * size + 4 * unsure + rounding
        if not abs(claimed - found) <= allowed:
            raise AssertionError(
                f"{where}: grad says {claimed:.10g} along a random direction, finite differences say {found:.10g}; "
                f"they differ by {abs(claimed - found):.2g}, allowed {allowed:.2g}"
            )


def _slope(f: Callable[[float], float], *, good_enough: float) -> tuple[float, float]:
    """f'(0) and its error estimate, by central differences with h, h/2, h/4, …, extrapolated to h = 0.

    Each step of the extrapolation (Richardson, Neville) removes one more power of h². The result is the entry that
    changed least, where neither truncation nor rounding dominates; its change is the error estimate.
    """
    best, best_change = 0.0, np.inf
    row: list[float] = []
    for level in range(HALVINGS + 1):
        h = STEP / 2**level
        above, row = row, [(f(h) - f(-h)) / (2 * h)]
        for k, previous in enumerate(above, start=1):
            row.append(row[-1] + (row[-1] - previous) / (4**k - 1))
            change = max(abs(row[-1] - row[-2]), abs(row[-1] - previous))
            if change < best_change:
                best, best_change = row[-1], change
        if best_change <= good_enough:
            break
    return best, best_change
