"""The emulated arrays refuse what CuPy's refuse, so that host code that passes here does not stop on a GPU."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ca_numpy.backends.cupy_backend.emulation import arrays

HERE = np.arange(3.0)


@pytest.fixture
def there() -> Any:
    return arrays.asarray(HERE)


#: CuPy refuses arrays of the host as operands and values, and conversions. Indices of the host it copies to the GPU.
REFUSED: dict[str, Callable[[Any], object]] = {
    "np.asarray": np.asarray,
    "np.array": np.array,
    "np.float64": np.float64,
    "host += device": lambda x: HERE.copy().__iadd__(x),
    "host + device": lambda x: HERE + x,
    "device * host": lambda x: x * HERE,
    "device < host": lambda x: x < HERE,
    "device += host": lambda x: x.__iadd__(HERE),
    "device + 0-d host": lambda x: x + np.array(1.0),
    "device * list": lambda x: x * [1.0, 2.0, 3.0],
    "device + None": lambda x: x + None,
    "out=host": lambda x: np.add(x, x, out=HERE.copy()),
    "xp.add(device, list)": lambda x: arrays.add(x, [1.0, 2.0, 3.0]),
    "xp.matmul(device, host)": lambda x: arrays.matmul(x, HERE),
    "xp.where(device, host)": lambda x: arrays.where(x > 0, HERE, x),
    "xp.concatenate([device, host])": lambda x: arrays.concatenate([x, HERE]),
    "device.dot(host)": lambda x: x.dot(HERE),
    "device[host]": lambda x: x[np.array([0, 1])],
    "device[mask of the host]": lambda x: x[HERE > 0],
    "device[list]": lambda x: x[[0, 1]],
    "device[slice, host]": lambda x: x.reshape(1, 3)[:, np.array([0])],
    "device[...] = host": lambda x: x.__setitem__(..., HERE),
    "device[host] = number": lambda x: x.__setitem__(np.array([0]), 1.0),
    "xp.add.at(device, host, device)": lambda x: arrays.add.at(x, np.array([0]), x[:1]),
    "np.add.at": lambda x: np.add.at(x, arrays.asarray([0]), 1.0),
    "np.add.reduce": np.add.reduce,
    "a ufunc that is not listed": np.spacing,
    "a function that is not listed": np.unwrap,
    "range": lambda x: range(x[0]),
    "hash": hash,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cupy_refuses_is_refused_and_changes_nothing(what: str, there: Any) -> None:
    with pytest.raises(TypeError):
        REFUSED[what](there)
    assert there.get().tolist() == [0, 1, 2]


def test_a_conversion_names_the_way_out(there: Any) -> None:
    with pytest.raises(TypeError, match=r"Implicit conversion to a NumPy array is not allowed.*\.get\(\)"):
        np.asarray(there)
    assert not isinstance(there, np.ndarray)


@pytest.mark.parametrize("name", ["put_along_axis", "spacing", "asfarray", "lib"])
def test_a_function_that_is_not_listed_is_missing(name: str, there: Any) -> None:
    with pytest.raises(AttributeError, match=f"the emulated CuPy has no '{name}'"):
        getattr(arrays, name)
    with pytest.raises(AttributeError, match="emulated CuPy arrays have no 'ctypes'"):
        _ = there.ctypes


#: Each, computed on the device, is what NumPy computes.
ALLOWED: dict[str, Callable[[Any, Any], Any]] = {
    "Python's numbers": lambda xp, x: 2 * x + 1 - x / 4 - (x**2 > 1) * True,
    "NumPy's numbers": lambda xp, x: np.float32(2) * x + x * np.float64(3) - np.int64(1),
    "operators": lambda xp, x: -x + abs(x) - x @ x + (x >= 1) * (x != 2),
    "functions": lambda xp, x: xp.where(x > 1, xp.exp(x), xp.maximum(x, 0.5)),
    "functions by NumPy's name": lambda xp, x: np.concatenate([np.sqrt(x), np.zeros_like(x)]),
    "methods": lambda xp, x: x.reshape(3, 1).T.sum(axis=0, keepdims=True).astype(np.float32),
    "basic indices": lambda xp, x: x[None, ::-1][..., 1:] + x[1] + x[np.int64(0)],
    "indices on the device": lambda xp, x: x[xp.asarray([2, 2, 0])] + xp.take(x, xp.asarray([0, 1, 1])),
    "masks on the device": lambda xp, x: x[x > 0],
    "arrays in a list": lambda xp, x: xp.stack([x, x + 1]),
    "cupy.asarray": lambda xp, x: xp.asarray(HERE) + xp.asarray([1.0, 2.0, 3.0]) + xp.asarray(2.0),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_what_cupy_computes_is_computed(what: str, there: Any) -> None:
    found, right = ALLOWED[what](arrays, there), ALLOWED[what](np, HERE)
    assert isinstance(found, arrays.ndarray)
    assert (found.dtype, found.shape) == (right.dtype, right.shape)
    np.testing.assert_array_equal(found.get(), right)


def test_arrays_are_written_in_place_from_the_device_and_from_numbers(there: Any) -> None:
    view, index = there[1:], arrays.asarray([0, 0])
    view[...] = 5
    view += 1
    there[0] = view[0] + np.float64(1)
    arrays.add.at(there, index, arrays.asarray([10.0, 20.0]))
    assert there.get().tolist() == [37, 6, 6]


def test_copies_between_host_and_device_are_copies(there: Any) -> None:
    for copied in (there.get(), arrays.asnumpy(there)):
        assert type(copied) is np.ndarray
        copied[...] = 7
    given = HERE.copy()
    moved = arrays.asarray(given)
    given[...] = 8
    assert moved.get().tolist() == copy.deepcopy(there).get().tolist() == [0, 1, 2]
    assert arrays.asarray(there) is there
    assert arrays.asarray(there, np.float32).dtype == np.float32
    assert (float(there[1]), int(there[2]), bool(there[0]), len(there)) == (1.0, 2, False, 3)
    assert [float(x) for x in there] == [0, 1, 2]


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="needs CuPy, not a GPU: pip install cupy-cuda12x")
def test_cupy_has_every_name_that_the_emulation_offers() -> None:
    import cupy

    assert [name for name in sorted(arrays.FUNCTIONS) if not callable(getattr(cupy, name, None))] == []
    public = {name for name in vars(arrays.ndarray) if not name.startswith("_")}
    assert (public | arrays.METHODS | arrays.ATTRIBUTES) - set(dir(cupy.ndarray)) == set()
    assert callable(cupy.add.at)
