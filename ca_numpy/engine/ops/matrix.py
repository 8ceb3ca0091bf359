"""The matrix product."""

from __future__ import annotations

from ca_numpy.engine.autograd import Op, as_tensors, defvjp
from ca_numpy.engine.ops.shapes import sum_to, transpose
from ca_numpy.engine.tensor import OPS, Tensor, TensorLike

_matmul = Op("matmul")


def _swap(x: Tensor) -> Tensor:
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


defvjp(
    _matmul,
    lambda g, y, a, b: sum_to(_matmul(g, _swap(b)), shape=a.shape),
    lambda g, y, a, b: sum_to(_matmul(_swap(a), g), shape=b.shape),
)


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """… M K times … K N; a vector is a row on the left and a column on the right.

    Raises ValueError if the inner dimensions differ.
    """
    a, b = as_tensors([a, b])
    if min(a.ndim, b.ndim) == 0 or a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
        raise ValueError(f"cannot multiply {a.shape} by {b.shape}: the inner dimensions must agree")
    y = _matmul(a if a.ndim > 1 else a.reshape(1, -1), b if b.ndim > 1 else b.reshape(-1, 1))
    if a.ndim == 1:
        y = y.reshape(*y.shape[:-2], y.shape[-1])
    return y.reshape(y.shape[:-1]) if b.ndim == 1 else y


OPS["matmul"] = matmul
