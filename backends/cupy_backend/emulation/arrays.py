"""A substitute on NumPy for the part of CuPy's array module that the backend uses.

Arrays "on the device" have a class of their own. As in CuPy, arithmetic with host arrays raises TypeError instead of
copying silently, and so do the functions of this module.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ndarray(np.ndarray):
    """An array on the emulated device."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        for x in inputs:
            _refuse_host(x)
        if out is not None:
            options["out"] = tuple(_plain(x) for x in out)
        result = getattr(ufunc, method)(*map(_plain, inputs), **options)
        return None if method == "at" else _to_device(result)

    def get(self) -> NDArray[Any]:
        """A copy on the host."""
        return np.array(self.view(np.ndarray))

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        """NumPy functions of device arrays are this module's, as in CuPy."""
        return _checked(function)(*arguments, **options)


def _refuse_host(x: Any) -> None:
    if isinstance(x, np.ndarray) and not isinstance(x, ndarray) and x.ndim > 0:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: an array of the host instead of one of the device")


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, ndarray) else x


def _to_device(x: Any) -> Any:
    return np.asarray(x).view(ndarray) if isinstance(x, (np.ndarray, np.generic)) else x


def asarray(x: Any, dtype: Any = None) -> Any:
    """x on the device; host arrays are copied."""
    if isinstance(x, ndarray):
        return x if dtype is None or x.dtype == dtype else x.astype(dtype)
    return np.array(x, dtype=dtype).view(ndarray)


def asnumpy(x: Any) -> NDArray[Any]:
    """A copy on the host."""
    return x.get() if isinstance(x, ndarray) else np.array(x)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    function = getattr(np, name)
    return function if name == "add" else _checked(function)  # `add` has the method `at`


def _checked(function: Any) -> Any:
    def on_device(*arguments: Any, **options: Any) -> Any:
        for x in arguments:
            for part in x if isinstance(x, (list, tuple)) else (x,):
                _refuse_host(part)
        plain = [type(x)(map(_plain, x)) if isinstance(x, (list, tuple)) else _plain(x) for x in arguments]
        return _to_device(function(*plain, **options))

    return on_device
