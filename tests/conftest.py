"""What all tests share: how many examples Hypothesis draws, the backends, a seeded generator, a watch over leaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from mpi_cases import MPIS, Mpi, usable

from ca_numpy.engine.recording import is_recording
from ca_numpy.registry import current_backend, load_backend, registered_backends, use_backend, why_unavailable

try:
    from threadpoolctl import threadpool_limits
except ImportError:  # it comes with Numba
    threadpool_limits = nullcontext

# The fixture `backend` is the same for every example of a test: that is what Hypothesis warns of, and what is meant.
_common = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
settings.register_profile("dev", _common, max_examples=8)
settings.register_profile("ci", _common, max_examples=20, derandomize=True, database=None)
settings.register_profile("intense", _common, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True, scope="session")
def _one_blas_thread_per_worker() -> Iterator[None]:
    """Tests that run side by side would otherwise wait for one another's threads; and a sum's order is then fixed."""
    with threadpool_limits(1 if "PYTEST_XDIST_WORKER" in os.environ else None):
        yield


@pytest.fixture(autouse=True, scope="session")
def _kernels_are_compiled_when_called() -> None:
    """ "auto" stays the fast backend from the first test to the last, and nothing compiles in the background."""
    if why_unavailable("numba") is None and (mark := load_backend("numba").compiled_mark):
        mark.touch()


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """A test leaves the backend, the tape's switch and NumPy's error handling as it found them."""
    before = current_backend(), is_recording(), np.geterr()
    yield
    assert (current_backend(), is_recording(), np.geterr()) == before, "this test changed a setting and left it changed"


def _marked(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.gpu) if name == "cupy" else name


@pytest.fixture(params=[_marked(name) for name in registered_backends()])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of each backend in turn, in use while the test runs."""
    reason = why_unavailable(request.param)
    if reason is not None:
        pytest.skip(reason)
    with use_backend(request.param):
        yield request.param


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session", params=MPIS)
def mpi(request: pytest.FixtureRequest) -> Mpi:
    """Starts ranks under MPICH, and under Open MPI."""
    return usable(request.param)
