"""The first fill does not wait for a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ca_numpy.backend import Backend
from ca_numpy.filling import inpaint, inpaint_folder, soon
from ca_numpy.filling.soon import WORTH_COMPILING, soonest
from ca_numpy.registry import current_backend, load_backend, registered_backends, use_backend, why_unavailable

numba_only = pytest.mark.skipif(why_unavailable("numba") is not None, reason="needs Numba")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backends whose compilation was started, which nothing does here."""
    names: list[str] = []
    monkeypatch.setattr(soon, "_start", lambda name, mark: names.append(name))
    return names


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Backend:
    """The backend that "auto" prefers, with nothing compiled."""
    preferred = load_backend("auto")
    monkeypatch.setattr(type(preferred), "compiled_mark", tmp_path / "kernels.compiled")
    return preferred


@numba_only
def test_numpy_fills_while_kernels_are_not_compiled(
    uncompiled: Backend, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with soonest("auto", pixels=1000):
        assert current_backend().name == "numpy"
        assert not started, "compilation would slow the first fill"
    assert started == [uncompiled.name]
    assert "with NumPy" in capsys.readouterr().err


@numba_only
def test_whoever_names_a_backend_gets_it(uncompiled: Backend, started: list[str]) -> None:
    with soonest(uncompiled.name, pixels=1000):
        assert current_backend() is uncompiled
    with use_backend(uncompiled.name), soonest("auto", pixels=1000):
        assert current_backend() is uncompiled
    assert not started


@numba_only
def test_large_work_and_many_pictures_are_worth_compiling_for(
    uncompiled: Backend, started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with soonest("auto", pixels=WORTH_COMPILING + 1):
        assert current_backend() is uncompiled
    for n in range(10):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{n}.png")
    used = set[str]()
    monkeypatch.setattr(
        "ca_numpy.filling.folders.inpaint_photo", lambda photo, *_, **__: used.add(current_backend().name) or photo
    )
    inpaint_folder(tmp_path, None, tmp_path / "out", method="patchmatch", boxes=[(5, 5, 4, 4)])
    assert used == {uncompiled.name}
    assert not started


@numba_only
@pytest.mark.parametrize(("method", "compiled"), [("mean", 0), ("patchmatch", 1), ("guided", 1)])
def test_what_no_kernel_fills_compiles_nothing(
    uncompiled: Backend, started: list[str], capsys: pytest.CaptureFixture[str], method: Any, compiled: int
) -> None:
    image = np.random.default_rng(0).random((40, 40, 3))
    inpaint(image, boxes=[(5, 5, 4, 4)], method=method)
    assert started == [uncompiled.name] * compiled
    assert capsys.readouterr().err.count("with NumPy") == compiled


@numba_only
def test_kernels_that_cannot_be_kept_are_not_compiled(
    uncompiled: Backend, started: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with soonest("auto", pixels=1000):
        assert current_backend().name == "numpy"
    assert not started
    assert "NUMBA_CACHE_DIR" in capsys.readouterr().err


def test_one_process_compiles_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(soon.subprocess, "Popen", lambda command, **_: calls.append(command) or subprocess.Popen)
    mark = tmp_path / "kernels.compiled"
    with soon._alone(mark) as alone:
        assert alone
        soon._start("numba", mark)
    assert not calls
    soon._start("numba", mark)
    assert len(calls) == 1


def test_a_backend_that_compiles_nothing_is_used_at_once() -> None:
    assert load_backend("numpy").compiled_mark is None
    assert "numpy" in registered_backends()


@numba_only
def test_from_the_first_fill_to_the_compiled_one(tmp_path: Path) -> None:
    """On an empty cache: NumPy answers, another process compiles all that filling needs, Numba answers."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8)).save(tmp_path / "photo.png")
    cache = tmp_path / "cache"
    environment = {k: v for k, v in os.environ.items() if k != "CA_NUMPY_BACKEND"} | {"NUMBA_CACHE_DIR": str(cache)}

    def fill(number: int) -> str:
        command = [sys.executable, "-m", "ca_numpy", "inpaint", "photo.png", "--box", "90,90,100,100"]
        done = subprocess.run(
            [*command, "--out", f"{number}.png"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "with NumPy" in fill(1)
    until = time.monotonic() + 900
    while not list(cache.glob("*.compiled")):
        assert time.monotonic() < until, "nothing was compiled"
        time.sleep(0.2)
    kernels = sorted(cache.glob("*.nbc"))
    assert fill(2) == ""
    assert sorted(cache.glob("*.nbc")) == kernels, "the background process left some for the next fill to compile"
    one, two = (np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in (1, 2))
    assert np.abs(one - two).mean() < 1, "both backends fill alike"
