"""The suite of all backends on the GPU backend: emulated in CI, on a GPU with `pytest -m gpu`."""

from __future__ import annotations

import pytest

from ca_numpy.testing.backend_suite import BackendSuite


@pytest.mark.slow
class TestEmulated(BackendSuite):
    backend = "cupy-emulated"


@pytest.mark.gpu
class TestCupy(BackendSuite):
    backend = "cupy"
