"""What the plan's steps measure, how they judge it, and the report: on the emulated GPU, so that it will run on one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu
import pytest
from gpu_plan import layers, measures, passes, records, report
from gpu_plan.records import RESULTS, Plan

import ca_numpy.bench as bench_module
from ca_numpy.registry import why_unavailable

ROOT = Path(__file__).parents[2]
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


# ---- the steps ---------------------------------------------------------------------------------------------------
@pytest.fixture
def the(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    options = vars(gpu.options_of(["--out", str(tmp_path), "--rehearse"])) | {"again": None}
    the = Plan("tried", 60.0, tmp_path / RESULTS, tmp_path, options)
    monkeypatch.setenv(records.VARIABLE, the.environment()[records.VARIABLE])
    return the


def test_layers_and_passes_are_measured_and_reported(the: Plan) -> None:
    assert layers.kernels(the) == 0
    status = layers.errors(the)
    assert passes.main(["forward", "attention"]) == 0
    known = report.known_from(records.read(the.results))
    assert known["left out"] == {}
    assert sum(row["count"] for row in known["kernels"].values()) == 42
    assert list(known["times"]) == ["forward", "attention"]
    assert len(known["errors"]) == len(known["kernels"]) + 1  # and the generator
    for name in ("cupy-emulated:tf32", "cupy-emulated:bf16"):
        assert all(row["seconds"][kind][name] > 0 for row in known["kernels"].values() for kind in ("forward", "dw"))
        assert all(found["seconds"][name][0] > 0 for found in known["times"].values())
    convolutions = {title: found for title, found in known["errors"].items() if "generator" not in title}
    assert layers.exceeded(convolutions) == []
    assert status == (1 if layers.exceeded(known["errors"]) else 0)
    for precision in ("tf32", "bf16"):  # that products are rounded shows
        assert all(found[precision]["forward"] > 1e-5 for found in convolutions.values())
    text = report.to_markdown(records.read(the.results))
    assert "| generator, forward, 512×512 |" in text  # the plan's own record names the sizes
    assert "| all 42 convolutions |" in text
    assert "## Profile: forward, cupy-emulated:tf32" in text


def test_the_report_of_nothing_and_of_a_plan_that_was_cut_can_be_written() -> None:
    assert "an unknown device" in report.to_markdown([])
    began = [{"step": "suite", "kind": "began"}, {"step": "plan", "kind": "plan", "title": "options", "value": {}}]
    assert "| suite |  | cut off |  |" in report.to_markdown(began)


def test_errors_of_compiler_suite_and_tests_are_listed() -> None:
    found = [{"step": "suite", "kind": "suite", "title": "conv2d, float32", "value": {"error": "Bad\nlong traceback"}},
             {"step": "suite", "kind": "suite", "title": "elu, float32", "value": {"error": None}}]  # fmt: skip
    text = report.to_markdown(found)
    assert "1 of 2 without an error.\n\n- conv2d, float32: `Bad`" in text
    assert "traceback" not in text


# ---- how it counts and judges ------------------------------------------------------------------------------------
def test_kernels_are_queued_behind_a_held_gpu_and_their_mean_is_taken() -> None:
    log: list[str] = []

    def elapsed(run: Any) -> float:
        log.append("clock")
        run()
        return 6.0

    mean = measures.kernel_seconds(lambda: log.append("run"), elapsed, lambda s: log.append("hold"), repeats=3)
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
    monkeypatch.setattr(measures, "_is_cuda", lambda name: True)
    measures.holder("cupy:tf32")(0.5)
    assert launched == [((1,), (1,), (1_000_000_000,))]
    assert measures.peak("numpy", lambda: lambda: launched.append("run")) == 5 << 20
    assert launched[-1] == "run"


def test_errors_are_relative_to_the_largest_value() -> None:
    import numpy as np

    assert measures.error(np.array([1.0, -3.5]), np.array([1.0, -4.0])) == 0.125
    found = {"layer": {"float32": {"forward": 2e-5, "dx": 1e-6}, "tf32": {"forward": float("nan")}}}
    assert layers.exceeded(found) == ["layer, forward in float32: 2.0e-05", "layer, forward in tf32: nan"]


def work(tf32: list[float], peer: list[float], **more: Any) -> dict[str, Any]:
    seconds = {"cupy:tf32": tf32, "cupy:bf16": tf32} | ({"PyTorch": peer} if peer else {})
    return {"group": "forward", "title": "a work", "seconds": seconds, "skipped": {}, "peaks": {}} | more


def kernel(percent: float, count: int) -> dict[str, Any]:
    times = {"cupy:tf32": 1.0, "cupy:bf16": 0.5, "PyTorch": percent / 100}
    return {"count": count, "seconds": dict.fromkeys(measures.KINDS, times)}


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
    verdicts = [(goal.is_least, goal.is_goal) for goal in report.goals(known)]
    assert verdicts == [(True, True), (True, False), (True, False), (False, True), (True, False)]
    assert report.goals(known)[4].tf32 == "43 %"  # (40·30 + 2·300) / 42
    assert report.goals(known)[2].peer == "(cannot)"
    known["times"]["large"] = work([0.2], [0.4])  # a larger GPU
    assert report.goals(known)[2].is_least is False
    known["kernels"].pop("other")
    assert report.goals(known)[4].is_least is None  # a part of the layers is no sum


def test_the_document_has_the_table_that_the_script_fills() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    section = page.split("## On a GPU")[1].split("\n## ")[0]
    for goal in report.goals({}):
        (row,) = [line for line in section.splitlines() if line.startswith(f"| {goal.work} |")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert goal.least in cells
        assert goal.goal in cells
    assert "python tests/benchmarks/gpu.py --out" in section
