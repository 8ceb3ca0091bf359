"""The shipped suite over the Numba backend: every kernel against the textbook, at every order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from threadpoolctl import threadpool_limits  # noqa: E402  (where Numba is missing, skip)

from ca_numpy import jit, use_backend  # noqa: E402
from ca_numpy.backends import numba_backend  # noqa: E402
from ca_numpy.data import MaskSampler  # noqa: E402
from ca_numpy.geometry import nearest_index  # noqa: E402
from ca_numpy.jit import CompilingNote  # noqa: E402
from ca_numpy.testing.backend_suite import BackendSuite  # noqa: E402
from ca_numpy.threads import num_threads  # noqa: E402
from ca_numpy.training.algorithm1 import update_critics, update_generator  # noqa: E402
from ca_numpy.training.batches import Batch  # noqa: E402
from ca_numpy.training.config import TrainConfig  # noqa: E402
from ca_numpy.training.system import new_system  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def nothing_is_too_small() -> Iterator[None]:
    """Otherwise the suite would test NumPy instead of compiled kernels and reused memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_backend, "LARGE", 1)
        patch.setattr(numba_backend.POOL, "_small", 1)
        yield


class TestNumba(BackendSuite):
    backend = "numba"


def test_compiled_code_is_stale_when_a_module_that_it_imports_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    file_of = jit._file_of
    monkeypatch.setattr(jit, "_file_of", lambda name: (read.append(name), file_of(name))[1])
    jit._stamp("ca_numpy.backends.numba_conv")
    assert {"ca_numpy.backends.numba_winograd", "ca_numpy.backends.numba_memory", "ca_numpy.geometry"} <= set(read)


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 40000])
def test_elementwise_kernels_reach_the_last_number_of_the_last_block(size: int, rng: np.random.Generator) -> None:
    """A block has 16384 of them."""
    x, y, v = rng.standard_normal((3, size)).astype(np.float32)
    calls: dict[str, Any] = {
        "elu": lambda on, to: on.elu(to(x)),
        "elu_vjp": lambda on, to: on.elu_vjp(to(y), to(x)),
        "leaky_relu": lambda on, to: on.leaky_relu(to(x), alpha=0.2),
        "leaky_relu_vjp": lambda on, to: on.leaky_relu_vjp(to(y), to(x), alpha=0.2),
        "mul": lambda on, to: on.mul(to(x), to(y)),
        "adam": lambda on, to: on.adam(to(x), to(y), to(y), to(v * v), rate=0.1, beta1=0.5, beta2=0.9, eps=1e-8),
    }
    with use_backend("numpy") as textbook, use_backend("numba") as compiled:
        for name, call in calls.items():
            found, right = call(compiled, np.array), call(textbook, lambda a: a.astype(np.float64))
            np.testing.assert_allclose(found, right, rtol=1e-6, atol=3e-7, err_msg=name)


def test_doubling_by_nearest_index_is_repetition_however_it_is_aligned() -> None:
    """`upsample_conv_bias_elu` relies on this."""
    for n in range(1, 3000):
        halves = [i // 2 for i in range(2 * n)]
        assert nearest_index(n, 2 * n, align_corners=True).tolist() == halves
        assert nearest_index(n, 2 * n, align_corners=False).tolist() == halves


def test_what_compiles_long_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    note = CompilingNote(after=0.0)

    class Dispatcher:
        @staticmethod
        def py_func() -> None: ...

    event = type("Event", (), {"data": {"dispatcher": Dispatcher}})
    Dispatcher.py_func.__module__ = "somebody.elses"
    note.on_start(event)
    note.on_end(event)
    assert capsys.readouterr().err == ""
    Dispatcher.py_func.__module__ = "ca_numpy.backends.numba_conv"
    for _ in range(2):
        note.on_start(event)
        note.on_start(event)  # one kernel compiles those that it calls
        note.on_end(event)
        note.on_end(event)
    assert capsys.readouterr().err.count("compiling") == 1


def test_training_gives_the_same_bits_on_one_core_and_on_two() -> None:
    """Results are therefore reproducible without any option."""
    found = []
    for threads in (1, 2, 2):
        with num_threads(threads), use_backend("numba"), threadpool_limits(threads):
            found.append(trained_weights())
    for name, one in found[0].items():
        assert np.array_equal(one, found[1][name]), name
        assert np.array_equal(one, found[2][name]), name


def trained_weights() -> dict[str, np.ndarray]:
    """All networks after one update of the critics and one of the generator, on noise."""
    rng = np.random.default_rng(0)
    config = TrainConfig(width=8, critic_width=16, size=64, box=32, max_shrink=4)
    sampler = MaskSampler("box", image_size=64, box_size=32, max_shrink=4)
    images = rng.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    system = new_system(config, rng, rng, lambda: Batch(images, *sampler(rng, 2)))
    update_critics(system, config)
    update_generator(system, config, rate=1e-4, adversarial=True)
    return system.arrays()
