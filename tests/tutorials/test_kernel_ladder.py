"""Every rung of the kernel ladder is the textbook's convolution, in both orders of threads, and compiles for GPUs."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import nvrtc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ca_numpy.backends.cupy_backend.device import FOLDER, CudaKernels, Device
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.emulation.kernels import EmulatedKernels
from ca_numpy.registry import why_unavailable

Array = NDArray[Any]
TUTORIAL = Path(__file__).parents[2] / "tutorials" / "kernels"
#: Tiles that the exercises have one try.
OTHER_TILES = {"3_registers.cu": ["convolve<4, 4>", "convolve<8, 8>"], "4_tensor_cores.cu": ["convolve<2, 8>"]}
BACKWARDS = pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])

needs_emulation = pytest.mark.skipif(
    why_unavailable("cupy-emulated") is not None, reason=str(why_unavailable("cupy-emulated"))
)
needs_nvrtc = pytest.mark.skipif(
    nvrtc.library() is None, reason="needs NVRTC: pip install nvidia-cuda-nvrtc-cu12 (Linux and Windows on x86-64)"
)


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ladder = module_at(TUTORIAL / "ladder.py")
RUNG = pytest.mark.parametrize("rung", ladder.RUNGS, ids=lambda rung: rung.file)


def layer(n: int, h: int, w: int, c: int, k: int, kh: int, kw: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, h, w, c), np.float32), rng.standard_normal((kh, kw, c, k), np.float32)


@pytest.fixture(scope="module")
def devices() -> dict[bool, Device]:
    return {backwards: ladder.emulated_device(backwards=backwards) for backwards in (False, True)}


def compute(rung: Any, device: Device, x: Array, w: Array) -> Array:
    contender = ladder.climb(rung, device, x, w)
    y: Array = contender.fetch(contender.run())
    return y


# ---- right -------------------------------------------------------------------------------------------------------
@needs_emulation
@BACKWARDS
@RUNG
@given(
    n=st.integers(1, 2), h=st.integers(1, 9), w=st.integers(1, 9), c=st.integers(1, 40), k=st.integers(1, 70),
    kh=st.integers(1, 4), kw=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_rung_is_the_textbooks_convolution(
    devices: dict[bool, Device], rung: Any, backwards: bool, n: int, h: int, w: int, c: int, k: int, kh: int, kw: int,
    seed: int,
) -> None:  # fmt: skip
    """|y − Σxw| ≤ (n·ε + 2⁻¹⁰ in TF32) · Σ|x||w|: a sum of n terms in any order, of factors rounded to 11 bits."""
    x, weights = layer(n, h, w, c, k, kh, kw, seed)
    y = compute(rung, devices[backwards], x, weights)
    of_each_term = (kh * kw * c + 1) * np.finfo(np.float32).eps + (2.0**-10 if rung.bound == ladder.TF32 else 0)
    assert y.shape == (n, h, w, k)
    assert (np.abs(y - ladder.textbook(x, weights)) <= of_each_term * ladder.textbook(abs(x), abs(weights))).all()


@needs_emulation
@RUNG
@pytest.mark.parametrize("size", [(1, 1, 1, 1, 1), (1, 1, 1, 17, 65), (3, 5, 9, 16, 3), (1, 13, 10, 33, 16)])
def test_sizes_that_fill_no_tile_and_more_than_one(
    devices: dict[bool, Device], rung: Any, size: tuple[int, ...]
) -> None:
    x, w = layer(*size, 3, 3)
    right = ladder.textbook(x, w)
    for device in devices.values():
        y = compute(rung, device, x, w)
        assert np.abs(y - right).max() <= rung.bound * max(np.abs(right).max(), np.abs(w).max())


@pytest.mark.gpu
@RUNG
def test_on_a_gpu_a_rung_is_the_textbooks_convolution(rung: Any) -> None:
    reason = why_unavailable("cupy")
    if reason is not None:
        pytest.skip(reason)
    device = ladder.cuda_device(folder=TUTORIAL)
    if rung.bound == ladder.TF32 and "tf32" not in device.precisions:
        pytest.skip("this GPU does not multiply in TF32")
    for size in [(1, 1, 1, 1, 1), (1, 1, 1, 17, 65), (3, 15, 19, 16, 3), (2, 33, 40, 128, 130)]:
        x, w = layer(*size, 3, 3)
        right = ladder.textbook(x, w)
        error = np.abs(compute(rung, device, x, w) - right).max()
        assert error <= rung.bound * max(np.abs(right).max(), np.abs(w).max())


@needs_emulation
def test_the_tensor_cores_rounding_shows(devices: dict[bool, Device]) -> None:
    x, w = layer(1, 6, 6, 32, 16, 3, 3)
    right = ladder.textbook(x, w)
    errors = [np.abs(compute(rung, devices[False], x, w) - right).max() / np.abs(right).max() for rung in ladder.RUNGS]
    assert max(errors[:3]) < 1e-6 < 1e-5 < errors[3] < 2e-3


@needs_emulation
@pytest.mark.parametrize(
    ("barrier", "backwards", "right"),
    [(0, False, [(15, 15)]), (0, True, [(0, 0)]), (1, False, "all"), (1, True, "all")],
)
def test_the_first_exercises_answer(tmp_path: Path, barrier: int, backwards: bool, right: Any) -> None:
    """One tile, one step: which numbers are right without the first barrier, and that nothing misses the second."""
    found = right_without(barrier, backwards, channels=16, folder=tmp_path)
    assert found == ([(i, j) for i in range(16) for j in range(16)] if right == "all" else right)


@needs_emulation
@BACKWARDS
def test_two_steps_miss_the_second_barrier(tmp_path: Path, backwards: bool) -> None:
    assert right_without(1, backwards, channels=32, folder=tmp_path) == [(0, 0), (15, 15)]


def right_without(barrier: int, backwards: bool, *, channels: int, folder: Path) -> list[tuple[int, int]]:
    """(pixel, kernel) of the numbers that rung 2 gets right with one of its barriers removed."""
    rung = ladder.RUNGS[1]
    lines = (TUTORIAL / rung.file).read_text(encoding="utf-8").splitlines()
    places = [i for i, line in enumerate(lines) if "__syncthreads()" in line]
    assert len(places) == 2
    del lines[places[barrier]]
    (folder / rung.file).write_text("\n".join(lines), encoding="utf-8")
    x, w = layer(1, 4, 4, channels, 16, 1, 1)
    y = compute(rung, ladder.emulated_device(backwards=backwards, folder=folder), x, w)
    good = np.abs(y - ladder.textbook(x, w)).reshape(16, 16) < 1e-4
    return [(int(i), int(j)) for i, j in np.argwhere(good)]


# ---- compiled ----------------------------------------------------------------------------------------------------
@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
@RUNG
def test_a_rung_compiles_and_keeps_its_sums_in_registers(rung: Any, architecture: str) -> None:
    if rung.bound == ladder.TF32 and architecture == "sm_75":
        pytest.skip("Turing does not multiply in TF32")
    expressions = [rung.expression, *OTHER_TILES.get(rung.file, [])]
    text = (TUTORIAL / rung.file).read_text(encoding="utf-8")
    compiled = nvrtc.compile_to_cubin(
        text, name=rung.file, expressions=expressions, architecture=architecture, include=FOLDER
    )
    assert len(compiled.usage) == len(expressions)
    for name, usage in compiled.usage.items():
        assert usage.spilled == 0, f"{name} spills"
        assert usage.registers <= 128 or "ILi8ELi8E" in name, name
        assert usage.shared <= 48 << 10, name


def test_on_a_gpu_the_rungs_come_from_their_own_folder_and_may_include_the_backends_headers() -> None:
    asked: list[dict[str, Any]] = []

    def module(**options: Any) -> Any:
        asked.append(options)
        return SimpleNamespace(get_function=lambda name: lambda *launched: None)

    rung = ladder.RUNGS[3]
    kernels = CudaKernels(SimpleNamespace(RawModule=module), folder=TUTORIAL)
    kernels.launch(rung.file, rung.expression, (1, 1), 256, ())
    assert asked[0]["code"] == (TUTORIAL / rung.file).read_text(encoding="utf-8")
    assert f"-I{FOLDER}" in asked[0]["options"]


# ---- the harness -------------------------------------------------------------------------------------------------
@needs_emulation
def test_the_ladder_runs_from_end_to_end_without_a_gpu(tmp_path: Path) -> None:
    written = tmp_path / "ladder.json"
    command = [sys.executable, str(TUTORIAL / "ladder.py"), "--emulated", "--backwards", "--json", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split(" |")[0] for line in done.stdout.splitlines() if line.startswith("| ")][1:] == [
        f"| {rung.title}" for rung in ladder.RUNGS
    ]
    numbers = json.loads(written.read_text(encoding="utf-8"))
    assert numbers["flop"] == 2 * 7 * 7 * 20 * 3 * 3 * 20
    assert [row["right"] for row in numbers["results"]] == [True] * 4
    assert [row["ms"] for row in numbers["results"]] == [[]] * 4


@needs_emulation
def test_a_wrong_rung_shows_where(devices: dict[bool, Device], capsys: pytest.CaptureFixture[str]) -> None:
    x, w = layer(1, 4, 4, 8, 8, 3, 3)
    right = ladder.textbook(x, w)
    right[0, 0, 1, 2] += 1
    result = ladder.checked(ladder.climb(ladder.RUNGS[0], devices[False], x, w), right)
    assert not result.right
    said = capsys.readouterr().out
    assert "1 naive: 1 of 128 numbers are wrong" in said
    assert said.splitlines()[1:3] == ["  ........", "  ..X....."]
    assert "(wrong)" in ladder.table("", [result], 1.0)


@needs_emulation
@pytest.mark.slow
def test_the_backends_own_kernels_stand_below_the_rungs() -> None:
    x, w = layer(1, 5, 5, 3, 5, 3, 3)
    instances = {"conv.cu": [f"convolve<{tile}, 1, 1>" for tile in ("PlainNarrow", "TensorNarrow<TF32>")]}
    device = Device(arrays, EmulatedKernels(instances=instances))
    results = [ladder.checked(c, ladder.textbook(x, w)) for c in ladder.by_backend(device, x, w)]
    assert [r.right for r in results] == [True, True]
    assert results[0].error < 1e-6 < results[1].error


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
@pytest.mark.parametrize("ksize", [1, 3])
def test_pytorchs_convolution_is_the_same(ksize: int) -> None:
    x, w = layer(2, 5, 4, 3, 5, ksize, ksize)
    results = [ladder.checked(c, ladder.textbook(x, w)) for c in ladder.by_torch("cpu", x, w)]
    assert [r.right for r in results] == [True, True]


class FakeCuda:
    """A GPU's clock: `run`s take the time that they add to it, and events remember when they were recorded."""

    now = 0.0

    class Event:
        def record(self) -> None:
            self.at = FakeCuda.now

        def synchronize(self) -> None:
            pass

    @staticmethod
    def get_elapsed_time(start: FakeCuda.Event, end: FakeCuda.Event) -> float:
        return end.at - start.at


def contender_that_takes(ms: float) -> Any:
    def run() -> None:
        FakeCuda.now += ms

    return ladder.Contender(str(ms), run, lambda y: y, 0.0)


def test_what_is_timed_is_one_run_and_quick_ones_run_often() -> None:
    times = ladder.timed(FakeCuda, [contender_that_takes(40), contender_that_takes(0.5)], rounds=3)
    assert [len(rounds) for rounds in times] == [3, 3]
    assert [statistics.median(rounds) for rounds in times] == pytest.approx([40, 0.5])


@needs_emulation
@pytest.mark.slow
def test_what_main_does_on_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same lines as on a GPU, over emulated kernels and a clock that says 100 ms to every turn."""

    class Clock(FakeCuda):
        class Event(FakeCuda.Event):
            def record(self) -> None:
                FakeCuda.now += 100
                self.at = FakeCuda.now

    class Xp:
        cuda = Clock

        def __getattr__(self, name: str) -> Any:
            return getattr(arrays, name)

    xp: Any = Xp()
    tiles = ("PlainNarrow", "TensorNarrow<TF32>")
    own = EmulatedKernels(instances={"conv.cu": [f"convolve<{tile}, 1, 1>" for tile in tiles]})
    monkeypatch.setattr(ladder, "gpu_or_none", lambda: Device(xp, ladder.emulated_device().kernels))
    monkeypatch.setattr(ladder, "cuda_device", lambda: Device(xp, own))
    monkeypatch.setattr(ladder, "torch_sees_a_gpu", lambda: False)
    written = tmp_path / "numbers.json"
    options = ["--images", "1", "--size", "4", "--channels", "3", "--kernels", "5", "--rounds", "2", "--json"]
    assert ladder.main([*options, str(written)]) == 0
    rows = json.loads(written.read_text(encoding="utf-8"))["results"]
    assert [row["ms"] for row in rows] == [[100.0, 100.0]] * 6
    assert rows[5]["title"] == "the backend's kernel, tf32"
    assert rows[0]["gflops"] == pytest.approx(2 * 16 * 5 * 27 / 0.1 / 1e9)


def test_the_table_and_the_peers_line() -> None:
    slow, fast = ladder.Result("1 naive", 1e-7, True, [4.0, 4.0, 8.0]), ladder.Result("2", 1e-7, True, [1.0, 2.0, 2.0])
    peers = [ladder.Result(f"PyTorch{name}", 1e-4, True, [ms] * 3) for name, ms in (("", 2.0), (", last", 1.0))]
    lines = ladder.table("layer", [slow, fast], 8e6).splitlines()
    assert lines[2:] == ["| 1 naive | 4 | 2 |  | 1.0e-07 |", "| 2 | 2 | 4 | 2.00 | 1.0e-07 |"]
    said = ladder.beside_peers([slow, fast, *peers], 2)
    assert said == "PyTorch, last, is the faster peer; of its speed the rungs have 25.0%, 50.0%"
    assert ladder.beside_peers([slow, fast], 2) == ""
