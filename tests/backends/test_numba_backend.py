"""The shipped suite over the Numba backend: every kernel against the textbook, at every order."""

import pytest

pytest.importorskip("numba")

from ca_numpy.testing.backend_suite import BackendSuite


class TestNumba(BackendSuite):
    backend = "numba"
