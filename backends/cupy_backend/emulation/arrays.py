"""A substitute on NumPy for the part of CuPy's array module that the backend uses, which refuses what CuPy refuses.

An array here holds a NumPy array but is not one: NumPy cannot convert it, it does not mix with arrays of the host, and
it has only the functions and methods listed here, all of which CuPy has. In one respect it is stricter than CuPy, which
copies an index that is a list or an array of the host to the GPU at every use.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

#: The functions, methods and attributes that the emulation offers: CuPy 14.2 has them all.
FUNCTIONS = {
    "abs", "absolute", "add", "all", "any", "arange", "ascontiguousarray", "bitwise_and", "bitwise_or", "broadcast_to",
    "clip", "concatenate", "divide", "empty", "empty_like", "equal", "exp", "expm1", "floor_divide", "full", "greater",
    "greater_equal", "invert", "isfinite", "less", "less_equal", "log", "matmul", "max", "maximum", "mean", "min",
    "minimum", "moveaxis", "multiply", "negative", "not_equal", "ones", "ones_like", "power", "prod", "remainder",
    "reshape", "sign", "sqrt", "stack", "subtract", "sum", "take", "tanh", "tensordot", "transpose", "where", "zeros",
    "zeros_like",
}  # fmt: skip
METHODS = {
    "all", "any", "argmax", "argmin", "astype", "copy", "dot", "fill", "max", "mean", "min", "prod", "ravel", "repeat",
    "reshape", "squeeze", "std", "sum", "swapaxes", "take", "transpose", "var", "view",
}  # fmt: skip
ATTRIBUTES = {"dtype", "itemsize", "nbytes", "ndim", "shape", "size", "strides"}


class Flags(NamedTuple):
    """The layout of an array."""

    c_contiguous: bool
    f_contiguous: bool
    owndata: bool


class ndarray(NDArrayOperatorsMixin):
    """An array on the emulated device."""

    __slots__ = ("_memory",)

    def __init__(self, memory: NDArray[Any]) -> None:
        self._memory = memory

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Any:
        """Operators, and NumPy's functions of arrays of the device."""
        if method != "__call__" or ufunc.__name__ not in FUNCTIONS:
            return NotImplemented  # then NumPy raises TypeError
        result = call(ufunc, *operands, **options)
        return options["out"][0] if "out" in options else result

    def __array_function__(self, function: Any, _: Any, arguments: Any, options: Any) -> Any:
        return call(function, *arguments, **options) if function.__name__ in FUNCTIONS else NotImplemented

    def __getattr__(self, name: str) -> Any:
        if name in ATTRIBUTES:
            return getattr(self._memory, name)
        if name in METHODS:
            return Function(getattr(self._memory, name))
        raise AttributeError(f"emulated CuPy arrays have no {name!r}: if CuPy's have, list it in {__name__}")

    @property
    def flags(self) -> Flags:
        return Flags(*(getattr(self._memory.flags, name) for name in Flags._fields))

    @property
    def T(self) -> ndarray:
        return ndarray(self._memory.T)

    @property
    def data(self) -> SimpleNamespace:
        return SimpleNamespace(ptr=int(self._memory.ctypes.data))

    def get(self) -> NDArray[Any]:
        """A copy on the host."""
        return np.array(self._memory)

    def item(self) -> Any:
        return self.get().item()

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(np.asarray(self._memory[_index(index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._memory[_index(index)] = _here(value)

    def __len__(self) -> int:
        return len(self._memory)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __repr__(self) -> str:
        return f"on the device: {self._memory!r}"


class Function:
    """A function or method of arrays on the device."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return call(self._function, *arguments, **options)

    def at(self, x: ndarray, index: Any, value: Any) -> None:
        """As in `numpy.add.at`."""
        self._function.at(x._memory, _index(index), _here(value))


def call(function: Any, *arguments: Any, **options: Any) -> Any:
    """The result on the device of NumPy's `function`. Raises TypeError for arrays of the host."""
    if isinstance(function, np.ufunc):
        for x in arguments:
            if not isinstance(x, (ndarray, np.generic, int, float, complex)):
                raise TypeError(_refusal(x))
    return _there(function(*map(_here, arguments), **{name: _here(x) for name, x in options.items()}))


def _here(x: Any) -> Any:
    """The memory of device arrays, also of those in a list or tuple."""
    if isinstance(x, np.ndarray):
        raise TypeError(_refusal(x))
    if isinstance(x, (list, tuple)):
        return type(x)(map(_here, x))
    return x._memory if isinstance(x, ndarray) else x


def _there(x: Any) -> Any:
    return ndarray(np.asarray(x)) if isinstance(x, (np.ndarray, np.generic)) else x


def _refusal(x: Any) -> str:
    return f"Unsupported type {type(x)}: of the host, not of the device"


def _index(index: Any) -> Any:
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, (list, np.ndarray)):
            raise TypeError(f"{_refusal(part)}. CuPy would copy such an index to the GPU at every use")
    return _here(index)


def asarray(x: Any, dtype: Any = None) -> ndarray:
    """x on the device; host arrays are copied."""
    if isinstance(x, ndarray):
        return x.astype(dtype, copy=False) if dtype is not None and x.dtype != dtype else x
    return ndarray(np.array(x if isinstance(x, np.ndarray) else _here(x), dtype))


def asnumpy(x: Any) -> NDArray[Any]:
    """A copy on the host."""
    return x.get() if isinstance(x, ndarray) else np.array(x)


def __getattr__(name: str) -> Function:
    if name in FUNCTIONS:
        return Function(getattr(np, name))
    raise AttributeError(f"the emulated CuPy has no {name!r}: if CuPy has, list it in {__name__}")
