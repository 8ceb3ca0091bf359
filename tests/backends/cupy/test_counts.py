"""How many launches and copies an iteration of Algorithm 1 takes: the host's time on a GPU grows with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import launches
import numpy as np
import pytest

from ca_numpy import use_backend
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.emulation.kernels import EmulatedKernels
from ca_numpy.bench.workloads import works
from ca_numpy.geometry import AttentionGeometry
from ca_numpy.registry import why_unavailable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_unavailable("cupy-emulated") is not None, reason=str(why_unavailable("cupy-emulated"))),
]


@pytest.fixture
def counts() -> Iterator[Counter[str]]:
    """What the backend "cupy", emulated, has launched and copied: "kernels", "cupy", "to device", "to host"."""
    with launches.counted(EmulatedKernels()) as found:
        yield found.total


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
#: enter the new numbers here then. Sums over large arrays take one launch more.
PRESENT = {2: {"kernels": 922, "cupy": 580, "to device": 44}, 4: {"kernels": 927, "cupy": 580, "to device": 44}}


@pytest.mark.parametrize("batch", PRESENT)
def test_an_iteration_takes_no_more_launches_and_copies_than_before(batch: int, counts: Counter[str]) -> None:
    found = of_an_iteration(batch, counts)
    more = {what: count for what, count in found.items() if count > PRESENT[batch].get(what, 0)}
    assert more == {}, f"more than {PRESENT[batch]}"
    assert found["kernels"] > 100


def test_as_many_are_launched_if_the_kernels_do_not_run(counts: Counter[str]) -> None:
    """The table of `tests/benchmarks/launches.py` counts without running them, and has a row for every operation."""
    emulated = of_an_iteration(2, counts)
    found = launches.of_an_iteration(size=32, batch=2)
    sums: Counter[str] = Counter()
    for part in found.values():
        sums.update(part.total)
        for what, count in part.total.items():
            assert count == sum(n for (_, kind), n in part.by_operation.items() if kind == what)
    assert sums == emulated
    assert "| `conv2d_dx` |" in "\n".join(launches.table(found))
