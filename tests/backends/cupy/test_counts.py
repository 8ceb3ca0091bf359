"""How many launches and copies an iteration of Algorithm 1 takes: the host's time on a GPU grows with them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import ca_numpy.registry as registry
from ca_numpy import use_backend
from ca_numpy.backends.cupy_backend import CupyBackend
from ca_numpy.backends.cupy_backend.device import Device
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.emulation.kernels import EmulatedKernels
from ca_numpy.bench.workloads import works
from ca_numpy.geometry import AttentionGeometry
from ca_numpy.registry import why_unavailable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_unavailable("cupy-emulated") is not None, reason=str(why_unavailable("cupy-emulated"))),
]

#: Functions that launch nothing if their result is a view, and those that never do.
VIEWS = {
    "ascontiguousarray", "astype", "broadcast_to", "moveaxis", "ravel", "reshape", "squeeze", "swapaxes", "transpose",
}  # fmt: skip
ALLOCATIONS = {"empty", "empty_like"}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What the backend "cupy", emulated, has launched and copied: "kernels", "cupy", "to device", "to host"."""
    found: Counter[str] = Counter()
    kernels = EmulatedKernels()
    product = kernels.product
    call, launch, asarray, get = arrays.call, kernels.launch, arrays.asarray, arrays.ndarray.get
    getitem, setitem, at = arrays.ndarray.__getitem__, arrays.ndarray.__setitem__, arrays.Function.at

    def counted_call(function: Any, *arguments: Any, **options: Any) -> Any:
        result = call(function, *arguments, **options)
        source = getattr(function, "__self__", None)
        if not isinstance(source, np.ndarray) and arguments:
            source = getattr(arguments[0], "_memory", None)
        viewed = function.__name__ in VIEWS and source is not None and np.may_share_memory(result._memory, source)
        found["cupy"] += not viewed and function.__name__ not in ALLOCATIONS
        return result

    def counted_launch(*arguments: Any) -> None:
        found["kernels"] += 1
        launch(*arguments)

    def counted_product(*arguments: Any, **options: Any) -> None:
        found["cupy"] += 1
        product(*arguments, **options)

    def counted_asarray(x: Any, dtype: Any = None) -> Any:
        result = asarray(x, dtype)
        found["to device"] += not isinstance(x, arrays.ndarray)
        return result

    def counted_get(x: Any) -> Any:
        found["to host"] += 1
        return get(x)

    def counted_getitem(x: Any, index: Any) -> Any:
        result = getitem(x, index)
        parts = index if isinstance(index, tuple) else (index,)
        found["cupy"] += any(isinstance(part, arrays.ndarray) for part in parts)
        return result

    def counted_setitem(x: Any, index: Any, value: Any) -> None:
        found["cupy"] += 1
        setitem(x, index, value)

    def counted_at(function: Any, x: Any, index: Any, value: Any) -> None:
        found["cupy"] += 1
        at(function, x, index, value)

    monkeypatch.setattr(arrays, "call", counted_call)
    monkeypatch.setattr(arrays, "asarray", counted_asarray)
    monkeypatch.setattr(kernels, "launch", counted_launch)
    monkeypatch.setattr(kernels, "product", counted_product)
    monkeypatch.setattr(arrays.ndarray, "get", counted_get)
    monkeypatch.setattr(arrays.ndarray, "__getitem__", counted_getitem)
    monkeypatch.setattr(arrays.ndarray, "__setitem__", counted_setitem)
    monkeypatch.setattr(arrays.Function, "at", counted_at)
    monkeypatch.setitem(registry._loaded, "cupy", CupyBackend(Device(arrays, kernels)))
    return found


def of_an_iteration(batch: int, counts: Counter[str]) -> dict[str, int]:
    """Of the second iteration: tables are on the device from the first."""
    (work,) = works(("iteration",), sizes=(32,), batch=batch, width=4, training_size=32)
    with use_backend("cupy"):
        run = work.ours()
        run()
        counts.clear()
        run()
    return dict(counts)


def test_launches_and_copies_are_counted_and_views_are_not(counts: Counter[str]) -> None:
    with use_backend("cupy") as backend:
        x = backend.asarray(np.ones((2, 3)))
        assert counts == {"to device": 1}
        views = x.reshape(3, 2).T, x[:, 1:], x.astype(np.float64, copy=False), arrays.broadcast_to(x, (4, 2, 3))
        _ = [arrays.empty_like(view) for view in views]
        assert +counts == {"to device": 1}
        y = x.T.reshape(6) * 2  # the transpose is copied
        y += 1
        y[...] = y[arrays.asarray(np.arange(6))]
        assert +counts == {"to device": 2, "cupy": 5}
        backend.to_numpy(backend.elu(y.sum(axis=0)))
        assert +counts == {"to device": 2, "cupy": 6, "kernels": 1, "to host": 1}


#: Forward, forward if f is b, backward: "cupy" counts the products, and of the backward pass two more.
ATTENTION = {"kernels": 9, "cupy": 2}, {"kernels": 8, "cupy": 2}, {"kernels": 18, "cupy": 7}


def test_the_attention_takes_as_many_launches_whatever_the_batch(counts: Counter[str]) -> None:
    """Each is for all images."""
    numbers = np.random.default_rng(0).standard_normal((3, 16, 8, 8, 4), np.float32)
    with use_backend("cupy") as backend:
        for batch in (1, 2, 4, 16):
            g, f, b = (backend.asarray(x[:batch]) for x in numbers)
            valid = backend.asarray(np.ones((batch, 16), np.float32))
            for _ in range(2):  # tables are on the device from the first
                found = []
                for of_b in (b, f):
                    counts.clear()
                    backend.contextual_attention(f, of_b, valid, geometry=AttentionGeometry())
                    found.append(dict(counts))
                counts.clear()
                backend.contextual_attention_vjp(g, f, b, valid, geometry=AttentionGeometry())
                found.append(dict(counts))
            assert tuple(found) == ATTENTION, batch


#: By batch: launches of our kernels, calls of CuPy that launch at least one of its own, copies. They may only fall:
#: enter the new numbers here then. Each picture adds 9, none of them in the attention.
PRESENT = {2: {"kernels": 1905, "cupy": 1788, "to device": 46}, 4: {"kernels": 1905, "cupy": 1806, "to device": 46}}


@pytest.mark.parametrize("batch", PRESENT)
def test_an_iteration_takes_no_more_launches_and_copies_than_before(batch: int, counts: Counter[str]) -> None:
    found = of_an_iteration(batch, counts)
    more = {what: count for what, count in found.items() if count > PRESENT[batch].get(what, 0)}
    assert more == {}, f"more than {PRESENT[batch]}"
    assert found["kernels"] > 100
