"""Reverse-mode differentiation of any order: an operation is a name and one derivative rule per input.

    rule(g, y, *inputs, **params) -> gradient of one input        g = the gradient of the result y

A rule is a vector-Jacobian product, itself written in differentiable operations, so higher orders need no extra code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, overload

import numpy as np

from ca_numpy.engine.recording import is_recording, recording
from ca_numpy.engine.tensor import OPS, Tensor, TensorLike
from ca_numpy.registry import current_backend

Rule = Callable[..., Any]
Ready = Callable[[int, Tensor], object] | None


class Op:
    """A differentiable operation: calls the current backend's kernel of the same name and records the call.

    Arrays are positional, parameters are keywords. `reference`: an equivalent composite, for fused operations.
    """

    def __init__(self, name: str, *, reference: Callable[..., Tensor] | None = None) -> None:
        self.name = name
        self.reference = reference
        self.rules: tuple[Rule | None, ...] | Callable[[int], Rule] = ()
        self.shared: Rule | None = None
        OPS[name] = self

    def __call__(self, *inputs: TensorLike, **params: Any) -> Tensor:
        tensors = as_tensors(inputs)
        kernel = getattr(current_backend(), self.name)
        y = Tensor(kernel(*(x.data for x in tensors), **params), tracked=False)
        if is_recording() and any(x.tracked and self.rule(i) for i, x in enumerate(tensors)):
            y.op, y.inputs, y.params, y.tracked = self, tensors, params, True
        return y

    def rule(self, i: int) -> Rule | None:
        """The rule for input i; None if the derivative is zero almost everywhere."""
        return self.rules(i) if callable(self.rules) else self.rules[i]


def as_tensor(x: TensorLike) -> Tensor:
    """x itself if it is a Tensor, else x as a constant."""
    return as_tensors([x])[0]


def as_tensors(inputs: Sequence[TensorLike]) -> tuple[Tensor, ...]:
    """Wrap arrays and numbers as constants, in the dtype of the first floating-point Tensor among the inputs."""
    dtype = next((x.dtype for x in inputs if isinstance(x, Tensor) and x.dtype.kind == "f"), None)
    asarray = current_backend().asarray
    return tuple(x if isinstance(x, Tensor) else Tensor(asarray(x, dtype=dtype), tracked=False) for x in inputs)


def defvjp(op: Op, *rules: Rule | None, each: Callable[[int], Rule] | None = None, shared: Rule | None = None) -> None:
    """Set the rules of `op`, one per input; None where the derivative is zero almost everywhere.

    each     for operations with any number of inputs: input number -> rule
    shared   work common to all rules, done once: shared(g, y, *inputs, **params) replaces g in each rule
    """
    op.rules, op.shared = each or rules, shared


@overload
def grad(y: Tensor, xs: Tensor, *, create_graph: bool = False, seed: TensorLike | None = None) -> Tensor: ...
@overload
def grad(
    y: Tensor, xs: Sequence[Tensor], *, create_graph: bool = False, seed: TensorLike | None = None, ready: Ready = None
) -> list[Tensor]: ...
def grad(
    y: Tensor,
    xs: Tensor | Sequence[Tensor],
    *,
    create_graph: bool = False,
    seed: TensorLike | None = None,
    ready: Ready = None,
) -> Tensor | list[Tensor]:
    """Gradients of y with respect to each of xs.

        grad(y, xs)[i] = Σ_j seed_j · ∂y_j / ∂xs[i]          seed = 1 by default: the gradient of y's sum

    With `create_graph` the gradients are themselves differentiable (double backprop, as the WGAN-GP penalty needs).
    Only paths between y and xs are visited; no tensor is modified; y may have any shape. Returns one Tensor if xs is
    one, else a list, each of its x's shape, zero if y does not depend on it; calls `ready` with i and that of xs[i] as
    soon as it is complete. Raises TypeError if y or one of xs is no Tensor, ValueError for a seed without y's shape.
    """
    targets = [xs] if isinstance(xs, Tensor) else list(xs)
    for t in (y, *targets):
        if not isinstance(t, Tensor):
            raise TypeError(f"grad needs Tensors, got {type(t).__name__}: wrap arrays with ca_numpy.tensor(array)")
    wanted = {id(x): i for i, x in enumerate(targets)}
    if seed is None:
        seed = np.ones(y.shape) if y.shape else 1.0  # a number is copied to a GPU once and for all
    gradient = {id(y): as_tensors([y, seed])[1]}
    if gradient[id(y)].shape != y.shape:
        raise ValueError(f"the seed must have y's shape {y.shape}, got {gradient[id(y)].shape}")
    path = _path(y, set(wanted))
    uses = Counter(id(x) for _, _, through in path for x, _ in through)  # to come
    with recording(create_graph):
        for t, op, through in path:
            g = gradient[id(t)] if id(t) in wanted else gradient.pop(id(t))
            if op.shared is not None:
                g = op.shared(g, t, *t.inputs, **t.params)
            for x, rule in through:
                gx = rule(g, t, *t.inputs, **t.params)
                gradient[id(x)] = gradient[id(x)] + gx if id(x) in gradient else gx
                uses[id(x)] -= 1
                if ready is not None and id(x) in wanted and not uses[id(x)]:
                    ready(wanted[id(x)], gradient[id(x)])
    result = [gradient[id(x)] if id(x) in gradient else as_tensor(np.zeros(x.shape, x.dtype)) for x in targets]
    if ready is not None:
        for i in (i for place, i in wanted.items() if place not in gradient or place == id(y)):
            ready(i, result[i])
    return result[0] if isinstance(xs, Tensor) else result


def _path(y: Tensor, wanted: set[int]) -> list[tuple[Tensor, Op, list[tuple[Tensor, Rule]]]]:
    """The results through which y's gradient reaches `wanted`, last first: each with its inputs on the way."""
    order: list[Tensor] = []
    seen: set[int] = set()
    stack = [(y, False)]
    while stack:  # depth-first, without recursion: a tape may be deeper than Python's stack
        t, expanded = stack.pop()
        if expanded:
            order.append(t)
        elif id(t) not in seen:
            seen.add(id(t))
            stack.append((t, True))
            stack.extend((x, False) for x in t.inputs if x.tracked)
    useful = set(wanted)
    for t in order:
        if t.op is not None and any(id(x) in useful and t.op.rule(i) for i, x in enumerate(t.inputs)):
            useful.add(id(t))
    reached, path = useful & {id(y)}, []
    for t in reversed(order):
        if t.op is not None and id(t) in reached:
            through = [(x, rule) for i, x in enumerate(t.inputs) if id(x) in useful and (rule := t.op.rule(i))]
            reached.update(id(x) for x, _ in through)
            path.append((t, t.op, through))
    return path


def no_grad() -> AbstractContextManager[None]:
    """Context manager that disables recording, so no memory is held for a backward pass."""
    return recording(False)
