"""What is to be run first on a machine with a GPU runs here on the emulated one, so that it will run there."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu
import gpu_measures
import gpu_report
import pytest

import ca_numpy.bench as bench_module
from ca_numpy.registry import why_unavailable

ROOT = Path(__file__).parents[2]
TINY = ["--backend", "cupy-emulated", "--size", "32", "--large", "32", "--error-size", "32", "--training-size", "0",
        "--width", "2", "--rounds", "1", "--repeats", "1"]  # fmt: skip
pytestmark = pytest.mark.skipif(
    why_unavailable("cupy-emulated") is not None, reason=str(why_unavailable("cupy-emulated"))
)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "PAUSE", 0.0)
    monkeypatch.setattr(bench_module, "TURN", 0.0)


@pytest.fixture(autouse=True, scope="module")
def _one_thread_of_torch() -> Iterator[None]:
    """Threads that spin would slow the emulated GPU, and tests that run beside this one."""
    if importlib.util.find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def read(folder: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((folder / "gpu.json").read_text(encoding="utf-8"))
    return known


# ---- from end to end ---------------------------------------------------------------------------------------------
def test_one_command_measures_everything_and_writes_it(tmp_path: Path) -> None:
    status = gpu.main(["--out", str(tmp_path / "new"), "--no-tests", *TINY])
    known, text = read(tmp_path / "new"), (tmp_path / "new" / "gpu.md").read_text(encoding="utf-8")
    assert known["left out"] == {}
    assert sum(row["count"] for row in known["kernels"].values()) == 42
    assert list(known["times"]) == ["forward", "attention", "large"]
    assert len(known["errors"]) == len(known["kernels"]) + 1  # and the generator
    for name in ("cupy-emulated:tf32", "cupy-emulated:bf16"):
        assert all(row["seconds"][kind][name] > 0 for row in known["kernels"].values() for kind in ("forward", "dw"))
        assert all(found["seconds"][name][0] > 0 for found in known["times"].values())
    layers = {title: found for title, found in known["errors"].items() if "generator" not in title}
    assert gpu.exceeded(layers) == []
    assert status == (1 if gpu.exceeded(known["errors"]) else 0)
    for precision in ("tf32", "bf16"):  # that products are rounded shows
        assert all(found[precision]["forward"] > 1e-5 for found in layers.values())
    assert "| generator, forward, 32×32 |" in text
    assert "| all 42 convolutions |" in text


# ---- when something is in the way --------------------------------------------------------------------------------
def test_what_does_not_fit_into_the_time_is_left_out_and_says_so(tmp_path: Path) -> None:
    assert gpu.main(["--out", str(tmp_path), "--no-tests", "--no-peer", "--minutes", "0", *TINY]) == 0
    known = read(tmp_path)
    assert known["errors"] == known["times"] == known["kernels"] == {}
    assert set(known["left out"].values()) == {"no time was left"}
    assert "- forward: no time was left" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_run_that_is_cut_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def exhausted() -> None:
        raise MemoryError

    seconds = {"count": 42, "seconds": {kind: {"x:tf32": 1.0} for kind in gpu_measures.KINDS}}
    three = [gpu.Step("kernels", "first", lambda: seconds), gpu.Step("kernels", "second", exhausted),
             gpu.Step("kernels", "third", interrupted)]  # fmt: skip
    monkeypatch.setattr(gpu, "steps", lambda *a: iter(three))
    assert gpu.main(["--out", str(tmp_path), "--no-tests", "--no-peer", *TINY]) == 130
    assert list(read(tmp_path)["kernels"]) == ["first"]
    assert read(tmp_path)["left out"] == {"second": "out of memory"}


@pytest.mark.parametrize(
    ("returncode", "last_line"), [(1, "1 failed, 54 passed in 60s"), (0, "55 skipped in 1s"), (5, "no tests ran")]
)
def test_nothing_is_timed_unless_the_tests_have_run_and_passed(
    returncode: int, last_line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.CompletedProcess([], returncode, stdout=f"....\n{last_line}\n", stderr="")
    monkeypatch.setattr(gpu.subprocess, "run", lambda *a, **k: done)
    monkeypatch.setattr(gpu, "steps", lambda *a: pytest.fail("must not be reached"))
    assert gpu.main(["--out", str(tmp_path), *TINY]) == 1
    assert read(tmp_path)["tests"] == last_line


def test_tests_that_pass_let_it_go_on_and_so_do_those_that_take_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "steps", lambda *a: iter([]))
    done = subprocess.CompletedProcess([], 0, stdout="== 55 passed, 2 skipped in 60s ==\n", stderr="")
    monkeypatch.setattr(gpu.subprocess, "run", lambda *a, **k: done)
    assert gpu.main(["--out", str(tmp_path), "--no-peer", *TINY]) == 0
    assert read(tmp_path)["tests"] == "55 passed, 2 skipped in 60s"

    def slow(command: list[str], *, timeout: float, **options: Any) -> None:
        assert 200 < timeout < 240  # half of eight minutes
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(gpu.subprocess, "run", slow)
    assert gpu.main(["--out", str(tmp_path), "--no-peer", *TINY]) == 0
    assert "not finished" in read(tmp_path)["tests"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--out", "/dev/null/x", *TINY], "cannot write to '/dev/null/x'"),
        (["--out", "unused", "--backend", "numpy"], "backend 'numpy' cannot compute in 'tf32'"),
        (["--out", "unused", "--backend", "cupyy"], "unknown backend 'cupyy'"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("gpu.py: ")
    assert why in said
    assert said.count("\n") == 1


# ---- how it counts and judges ------------------------------------------------------------------------------------
def test_kernels_are_queued_behind_a_held_gpu_and_their_mean_is_taken() -> None:
    log: list[str] = []

    def elapsed(run: Any) -> float:
        log.append("clock")
        run()
        return 6.0

    mean = gpu_measures.kernel_seconds(lambda: log.append("run"), elapsed, lambda s: log.append("hold"), repeats=3)
    assert mean == 2.0
    assert log == ["clock", "run", *["run"] * 3, "hold", "clock", *["run"] * 3]


def test_on_a_gpu_it_is_held_by_a_kernel_and_the_pool_says_what_was_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[Any] = []

    class FakeCupy:
        @staticmethod
        def RawKernel(code: str, name: str) -> Any:
            assert f"void {name}(" in code
            return lambda *arguments: launched.append(arguments)

        @staticmethod
        def get_default_memory_pool() -> Any:
            return type("Pool", (), {"total_bytes": staticmethod(lambda: 5 << 20)})

    monkeypatch.setitem(sys.modules, "cupy", FakeCupy)
    monkeypatch.setattr(gpu_measures, "_is_cuda", lambda name: True)
    gpu_measures.holder("cupy:tf32")(0.5)
    assert launched == [((1,), (1,), (1_000_000_000,))]
    assert gpu_measures.peak("numpy", lambda: lambda: launched.append("run")) == 5 << 20
    assert launched[-1] == "run"


def test_errors_are_relative_to_the_largest_value() -> None:
    import numpy as np

    assert gpu_measures.error(np.array([1.0, -3.5]), np.array([1.0, -4.0])) == 0.125
    found = {"layer": {"float32": {"forward": 2e-5, "dx": 1e-6}, "tf32": {"forward": float("nan")}}}
    assert gpu.exceeded(found) == ["layer, forward in float32: 2.0e-05", "layer, forward in tf32: nan"]


def work(tf32: list[float], peer: list[float], **more: Any) -> dict[str, Any]:
    seconds = {"cupy:tf32": tf32, "cupy:bf16": tf32} | ({"PyTorch": peer} if peer else {})
    return {"group": "forward", "title": "a work", "seconds": seconds, "skipped": {}, "peaks": {}} | more


def kernel(percent: float, count: int) -> dict[str, Any]:
    times = {"cupy:tf32": 1.0, "cupy:bf16": 0.5, "PyTorch": percent / 100}
    return {"count": count, "seconds": dict.fromkeys(gpu_measures.KINDS, times)}


def test_least_and_goal_are_judged_by_the_figures() -> None:
    skipped = {"PyTorch": "needs about 320 GiB of memory, its device has 80"}
    known: dict[str, Any] = {
        "times": {
            "forward": work([0.004], [0.013]),
            "attention": work([0.001], [0.010]),
            "large": work([0.3], [], skipped=skipped),
            "iteration": work([0.19], [0.18]),
        },
        "kernels": {"one": kernel(30, 40), "other": kernel(300, 2)},
    }
    verdicts = [(goal.is_least, goal.is_goal) for goal in gpu_report.goals(known)]
    assert verdicts == [(True, True), (True, False), (True, False), (False, True), (True, False)]
    assert gpu_report.goals(known)[4].tf32 == "43 %"  # (40·30 + 2·300) / 42
    assert gpu_report.goals(known)[2].peer == "(cannot)"
    known["times"]["large"] = work([0.2], [0.4])  # a larger GPU
    assert gpu_report.goals(known)[2].is_least is False
    known["kernels"].pop("other")
    assert gpu_report.goals(known)[4].is_least is None  # a part of the layers is no sum


def test_the_document_has_the_table_that_the_script_fills() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    section = page.split("## On a GPU")[1].split("\n## ")[0]
    for goal in gpu_report.goals({}):
        (row,) = [line for line in section.splitlines() if line.startswith(f"| {goal.work} |")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert goal.least in cells
        assert goal.goal in cells
    assert "python tests/benchmarks/gpu.py --out" in section
