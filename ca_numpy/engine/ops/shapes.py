"""Sums, broadcasting and rearrangement: linear operations, each with its adjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from ca_numpy.engine.autograd import Op, as_tensor, as_tensors, defvjp
from ca_numpy.engine.tensor import OPS, Tensor, TensorLike
from ca_numpy.registry import current_backend

sum_to = Op("sum_to")
broadcast_to = Op("broadcast_to")
defvjp(sum_to, lambda g, y, x, shape: broadcast_to(g, shape=x.shape))
defvjp(broadcast_to, lambda g, y, x, shape: sum_to(g, shape=x.shape))

_reshape = Op("reshape")
defvjp(_reshape, lambda g, y, x, shape: _reshape(g, shape=x.shape))

_transpose = Op("transpose")
defvjp(_transpose, lambda g, y, x, axes: _transpose(g, axes=tuple(int(a) for a in np.argsort(axes))))

getitem = Op("getitem")
put = Op("put")
defvjp(getitem, lambda g, y, x, index: put(g, index=index, shape=x.shape))
defvjp(put, lambda h, y, g, index, shape: getitem(h, index=index))

_concat = Op("concat")


def _part_of(i: int) -> Any:
    def rule(g: Tensor, y: Tensor, *xs: Tensor, axis: int) -> Tensor:
        start = sum(x.shape[axis] for x in xs[:i])
        return getitem(g, index=(slice(None),) * axis + (slice(start, start + xs[i].shape[axis]),))

    return rule


defvjp(_concat, each=_part_of)


def reshape(x: TensorLike, shape: int | tuple[Any, ...]) -> Tensor:
    """The same values in row-major order in another shape; one length may be -1. Raises ValueError if sizes differ."""
    x = as_tensor(x)
    lengths = [int(n) for n in (shape if isinstance(shape, tuple) and shape != () else (shape,)) for n in _flat(n)]
    if -1 in lengths:
        rest = -math.prod(lengths)
        lengths[lengths.index(-1)] = x.size // rest if rest else 0
    if math.prod(lengths) != x.size:
        raise ValueError(f"cannot reshape {x.shape} to {shape}: {x.size} values do not fill it")
    return _reshape(x, shape=tuple(lengths))


def _flat(n: Any) -> tuple[Any, ...]:
    return tuple(n) if isinstance(n, (tuple, list)) else (n,)


def transpose(x: TensorLike, axes: tuple[Any, ...] = ()) -> Tensor:
    """Permute the axes; reversed if none are given. Raises ValueError unless each axis is given once."""
    x = as_tensor(x)
    order = [normalize_axis_index(a, x.ndim) for axis in axes for a in _flat(axis)] or list(reversed(range(x.ndim)))
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"transpose needs each of the {x.ndim} axes once, got {axes}")
    return _transpose(x, axes=tuple(order))


def concat(xs: Sequence[TensorLike], *, axis: int) -> Tensor:
    """Concatenate arrays along an axis."""
    tensors = as_tensors(xs)
    return _concat(*tensors, axis=normalize_axis_index(axis, tensors[0].ndim))


def constant_like(x: TensorLike, like: Tensor) -> Tensor:
    """x, of any shape, as a constant in the dtype of `like`."""
    return Tensor(current_backend().asarray(as_tensor(x).data, dtype=like.dtype), tracked=False)


def sum_(x: TensorLike, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Sum over the given axes, or all."""
    x = as_tensor(x)
    axes = range(x.ndim) if axis is None else {normalize_axis_index(a, x.ndim) for a in _flat(axis)}
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    y = sum_to(x, shape=kept)
    return y if keepdims else _reshape(y, shape=tuple(n for i, n in enumerate(x.shape) if i not in axes))


def mean(x: TensorLike, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Mean over the given axes, or all."""
    x = as_tensor(x)
    total = sum_(x, axis=axis, keepdims=keepdims)
    return total * (total.size / x.size) if x.size else total


OPS.update(sum=sum_, mean=mean, reshape=reshape, transpose=transpose)
