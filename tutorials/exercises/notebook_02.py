"""Exercises of notebook 02, gradients of gradients: what has to stay on the tape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy import functional as F
from ca_numpy.engine.autograd import Op, defvjp, grad
from ca_numpy.engine.tensor import OPS, Tensor, tensor
from exercises.exercise import Exercise

Array = NDArray[Any]


def must_be_tensor(x: Any, what: str) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{what} is a {type(x).__name__} but has to be a Tensor: do not use np. or .numpy() to compute it"
        )
    return x


# ---- a rule written in operations --------------------------------------------------------------------------------
def _orders_of_rule(rule: Callable[[Tensor, Tensor], Any], x: Array, g: Array, d: Array) -> tuple[Any, ...]:
    """The gradient w.r.t. x, and those of ⟨that gradient, d⟩ w.r.t. x and g, for softmax with the given rule."""
    before = OPS["softmax"]
    try:
        softmax = Op("softmax")
    finally:
        OPS["softmax"] = before  # registered for this check only
    defvjp(softmax, lambda g, y, x: must_be_tensor(rule(g, y), "the rule's result"))
    x_, g_ = tensor(x), tensor(g)
    first = grad(softmax(x_), x_, create_graph=True, seed=g_)
    return first, *grad((first * d).sum(), [x_, g_])


def _softmax_rule(g: Tensor, y: Tensor) -> Tensor:
    """v·(g − mean of g weighted by v): the same in another form."""
    return y * (g - (y * g).sum(-1, keepdims=True))


def _off_the_tape(g: Tensor, y: Tensor) -> Tensor:
    return _softmax_rule(g, y.detach())


def _all_off_the_tape(g: Tensor, y: Tensor) -> Tensor:
    return _softmax_rule(g.detach(), y.detach())


def _sum_off_the_tape(g: Tensor, y: Tensor) -> Tensor:
    return y * (g - (y * g).sum(-1, keepdims=True).detach())


def _sum_by_numpy(g: Any, y: Any) -> Any:
    return y * (g - np.sum(g * y, axis=-1, keepdims=True))


def _softmax_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(3)
    return {
        "one row": tuple(rng.standard_normal((3, 1, 4))),
        "three rows": tuple(rng.standard_normal((3, 3, 4))),
    }


# ---- the Hessian times a vector ----------------------------------------------------------------------------------
class _Function:
    """A function of Tensors, its gradient and its Hessian in NumPy, and a name."""

    def __init__(self, name: str, f: Any, hessian: Callable[[Array], Array]) -> None:
        self.name, self.f, self.hessian = name, f, hessian

    def __call__(self, x: Any) -> Tensor:
        y: Tensor = self.f(x)
        return y

    def __repr__(self) -> str:
        return f"f = {self.name}"


_M = np.array([[1.0, 2.0, 0.0], [0.0, 3.0, 0.0], [5.0, 0.0, -1.0]])
_FUNCTIONS = {
    "a square": _Function("Σ x²", lambda x: (x * x).sum(), lambda x: 2 * np.eye(len(x))),
    "a cube": _Function("Σ x³", lambda x: (x * x * x).sum(), lambda x: np.diag(6 * x)),
    "a matrix that is not symmetric": _Function("x·Mx", lambda x: (x * F.matmul(_M, x)).sum(), lambda x: _M + _M.T),
    "a line": _Function("Σ x", lambda x: x.sum(), lambda x: np.zeros((len(x), len(x)))),
}


def _hessian_vector(f: _Function, x: Array, v: Array) -> Array:
    product: Array = f.hessian(x) @ v
    return product


def _from_first(then: Callable[[Tensor, Array, Tensor], Any], *, graph: bool = True) -> Callable[..., Any]:
    """A wrong answer that begins with the gradient: then(gradient, v, x)."""

    def answer(f: _Function, x: Array, v: Array) -> Any:
        leaf = tensor(x)
        return then(grad(f(leaf), leaf, create_graph=graph), v, leaf)

    return answer


def _hessian_inputs() -> dict[str, tuple[Any, ...]]:
    x, v = np.array([1.0, -2.0, 0.5]), np.array([0.3, 1.0, -2.0])
    return {name: (f, x.copy(), v.copy()) for name, f in _FUNCTIONS.items()}


# ---- the penalty -------------------------------------------------------------------------------------------------
def _critic(w: Tensor, curved: bool) -> Callable[[Any], Tensor]:
    return lambda x: (F.elu(x @ w) if curved else x @ w).sum(1, keepdims=True)


def _penalty_and_gradient(answer: Callable[..., Any], x: Array, w: Array, curved: bool) -> tuple[Any, ...]:
    weights = tensor(w)
    p = must_be_tensor(answer(_critic(weights, curved), x), "the penalty")
    if p.shape != ():
        return p, np.zeros(w.shape)
    return p, grad(p, weights)


def _penalty(
    *,
    axis: int | tuple[int, ...] | None = 1,
    root: bool = True,
    mean: bool | None = True,
    graph: bool = True,
    square: bool = True,
    of_mean: bool = False,
) -> Callable[..., Tensor]:
    def answer(critic: Callable[[Tensor], Tensor], x: Array) -> Tensor:
        leaf = tensor(x)
        scores = critic(leaf)
        g = grad(scores.mean() if of_mean else scores.sum(), leaf, create_graph=graph)
        norm = (g * g).sum(axis)
        norm = norm**0.5 if root else norm
        rows = (norm - 1) ** 2 if square else norm - 1
        return rows if mean is None else rows.mean() if mean else rows.sum()

    return answer


def _root_by_numpy(critic: Callable[[Tensor], Tensor], x: Array) -> Any:
    leaf: Any = tensor(x)
    g: Any = grad(critic(leaf).sum(), leaf, create_graph=True)
    return ((np.sqrt((g * g).sum(1)) - 1) ** 2).mean()


def _penalty_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((5, 3)), rng.standard_normal((3, 4))
    return {
        "one sample": (x[:1], w, True),
        "a linear critic": (x, w, False),
        "five samples": (x, w, True),
    }


def _penalty_by_hand(critic: Callable[[Tensor], Tensor], x: Array) -> Tensor:
    """Row by row."""
    total: Any = 0.0
    for row in x:
        leaf = tensor(row[None])
        g = grad(critic(leaf).sum(), leaf, create_graph=True)
        total = total + ((g * g).sum() ** 0.5 - 1) ** 2
    result: Tensor = total / len(x)
    return result


EXERCISES = [
    Exercise(
        "02.softmax",
        "Write the softmax rule in operations on Tensors.",
        right=_softmax_rule,
        inputs=_softmax_inputs,
        ask=_orders_of_rule,
        results=("the gradient", "its gradient w.r.t. x", "its gradient w.r.t. g"),
        mistakes={
            "The values are right, but y was detached from the tape: its derivative is lost.": _off_the_tape,
            "The values are right, but g and y were detached from the tape: they have no gradient.": _all_off_the_tape,
            "The values are right, but the sum was detached from the tape: it depends on g and y.": _sum_off_the_tape,
            "NumPy's functions do not take Tensors: write t.sum(axis=-1, keepdims=True), not np.sum(t, …).": (
                _sum_by_numpy
            ),
            "The sum runs over the whole array: each row has its own sum (axis −1, keepdims).": lambda g, y: (
                y * (g - (g * y).sum())
            ),
            "This is only the diagonal: each yᵢ also depends on every other xⱼ.": lambda g, y: g * y * (1 - y),
        },
    ),
    Exercise(
        "02.hessian_vector",
        "Return the product of a function's Hessian and a vector.",
        right=_hessian_vector,
        inputs=_hessian_inputs,
        mistakes={
            "The first gradient is off the tape, so its gradient is 0: pass create_graph=True.": _from_first(
                lambda g, v, x: grad((g * v).sum(), x), graph=False
            ),
            "This is the gradient of the gradient's sum, H·1: weight the gradient by v before the sum.": _from_first(
                lambda g, v, x: grad(g.sum(), x)
            ),
            "This is v·(H·1): v must weight the gradient before it is differentiated, not the result.": _from_first(
                lambda g, v, x: grad(g.sum(), x) * v
            ),
            "This is the gradient times v, a first derivative: differentiate again.": _from_first(
                lambda g, v, x: g * v
            ),
            "This is H times the gradient: multiply the gradient by v, not by itself.": _from_first(
                lambda g, v, x: grad((g * g).sum(), x) / 2
            ),
            "This is twice H times the gradient: multiply the gradient by v, not by itself.": _from_first(
                lambda g, v, x: grad((g * g).sum(), x)
            ),
        },
    ),
    Exercise(
        "02.penalty",
        "Return the mean of (‖gradient w.r.t. a row‖ − 1)² as a Tensor.",
        right=_penalty_by_hand,
        inputs=_penalty_inputs,
        ask=_penalty_and_gradient,
        results=("the penalty", "its gradient w.r.t. the weights"),
        mistakes={
            "The penalty is right, but off the tape: pass create_graph=True.": _penalty(graph=False),
            "The norm is over the whole batch: each row has its own norm (axis 1).": _penalty(axis=None),
            "The norm is over the columns: each row has its own norm (axis 1).": _penalty(axis=0),
            "The root is missing: this compares the squared norm with 1.": _penalty(root=False),
            "This is the sum over the rows, not their mean.": _penalty(mean=False),
            "This is one value per row: take their mean.": _penalty(mean=None),
            "These are slopes of the critic's mean, smaller by the number of rows: differentiate its sum.": _penalty(
                of_mean=True
            ),
            "NumPy's functions do not take Tensors: write the root as ** 0.5.": _root_by_numpy,
            "The square is missing: slopes below and above 1 cancel.": _penalty(square=False),
        },
    ),
]
