"""Tensor: an array that records how it was computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ca_numpy.backend import Array
from ca_numpy.engine.numpy_protocol import array_function, gradients_lost
from ca_numpy.engine.recording import is_recording
from ca_numpy.registry import current_backend

if TYPE_CHECKING:
    from ca_numpy.engine.autograd import Op

#: Arguments of operations: a Tensor, or an array or number, which is a constant.
TensorLike: TypeAlias = "Tensor | NDArray[Any] | float"

#: Every differentiable operation by name, filled by `ops/`.
OPS: dict[str, Callable[..., Tensor]] = {}


class Tensor:
    """An array and, if it was computed, the operation, inputs and parameters it came from.

    References point from results to inputs only, so there are no cycles, and dropping the last result frees the tape.
    `data` is the current backend's array. `tracked`: gradients can be requested, as for `tensor(array)` and everything
    computed from it, but not for constants. shape, dtype, ndim and size are as NumPy's.
    """

    __slots__ = ("__weakref__", "data", "inputs", "op", "params", "tracked")
    __array_ufunc__ = None  # ndarray * Tensor then calls Tensor.__rmul__
    __array_function__ = array_function

    def __init__(self, data: Any, *, tracked: bool = True) -> None:
        self.data: Array = data.data if isinstance(data, Tensor) else current_backend().asarray(data)
        self.tracked = tracked
        self.op: Op | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.params: dict[str, Any] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.data.dtype)  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(self.data.size)

    def detach(self) -> Tensor:
        """The same values and shape as a constant: gradients stop here."""
        return Tensor(self.data, tracked=False)

    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a NumPy array of the same shape, copied from the device if necessary."""
        return current_backend().to_numpy(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self.tracked and is_recording():
            raise gradients_lost("this")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self.numpy())

    def __repr__(self) -> str:
        made = f", from {self.op.name}" if self.op else ""
        return f"Tensor({np.array2string(self.numpy(), precision=4, threshold=20)}, {self.dtype}{made})"

    def __bool__(self) -> bool:
        return bool(self.numpy())

    def __len__(self) -> int:
        return len(self.data)

    def __add__(self, other: Any) -> Tensor:
        return OPS["add"](self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        return OPS["sub"](self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return OPS["sub"](other, self)

    def __mul__(self, other: Any) -> Tensor:
        return OPS["mul"](self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return OPS["div"](self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return OPS["div"](other, self)

    def __neg__(self) -> Tensor:
        return OPS["mul"](self, -1.0)

    def __pow__(self, exponent: float) -> Tensor:
        return OPS["power"](self, exponent=exponent)

    def __matmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](other, self)

    def __getitem__(self, index: Any) -> Tensor:
        return OPS["getitem"](self, index=index)

    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        """The same values in another shape; one length may be -1."""
        return OPS["reshape"](self, shape=shape)

    def transpose(self, *axes: int | tuple[int, ...]) -> Tensor:
        """Permute the axes; reversed without arguments."""
        return OPS["transpose"](self, axes=axes)

    def sum(self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Tensor:
        """Sum over the given axes, or all."""
        return OPS["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Tensor:
        """Mean over the given axes, or all."""
        return OPS["mean"](self, axis=axis, keepdims=keepdims)


def tensor(array: Any, /) -> Tensor:
    """A leaf of the tape, from an array of any shape: gradients with respect to it can be requested.

    Floating-point arrays keep their dtype; anything else (integers, lists) becomes float64.
    """
    x = Tensor(array)
    return x if x.dtype.kind == "f" else Tensor(current_backend().asarray(x.data, dtype=np.float64))
