"""The shipped suite over the Numba backend: every kernel against the textbook, at every order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("numba")

from ca_numpy.backend import nearest_index
from ca_numpy.backends import numba_backend
from ca_numpy.testing.backend_suite import BackendSuite


@pytest.fixture(autouse=True, scope="module")
def nothing_is_too_small() -> Iterator[None]:
    """The suite's arrays are: NumPy would be asked instead, and compiled kernels never tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_backend, "LARGE", 1)
        yield


class TestNumba(BackendSuite):
    backend = "numba"


def test_doubling_by_nearest_index_is_repetition_however_it_is_aligned() -> None:
    """What upsample_conv_bias_elu relies on."""
    for n in range(1, 3000):
        halves = [i // 2 for i in range(2 * n)]
        assert nearest_index(n, 2 * n, align_corners=True).tolist() == halves
        assert nearest_index(n, 2 * n, align_corners=False).tolist() == halves


def test_what_compiles_long_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    note = numba_backend.CompilingNote(after=0.0)

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
