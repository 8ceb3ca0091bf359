"""The plan for a GPU: whatever one step does, the results of all others are there and can be read."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpu
import pytest
from gpu_plan import compiling, install, profiles, records, runner
from gpu_plan.records import LOG, REPORT, RESULTS, Plan
from gpu_plan.table import FIRST, LATER, Step

from ca_numpy import use_backend
from ca_numpy.backends.cupy_backend.device import CudaKernels
from ca_numpy.registry import why_unavailable

EVERY = (*FIRST, *LATER)
#: A step that brings a file and leaves a record.
GOOD = """
from gpu_plan.records import plan
the = plan()
(the.scratch / f"{the.step}.bin").write_bytes(b"kept")
the.record("found", the.step, {"number": 1})
"""
#: What a step may do after its first record.
FAULTS = {
    "raises an error": "raise RuntimeError('CUDA error: an illegal memory access was encountered')",
    "exits with a status": "import os; os._exit(3)",
    "is out of memory": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "reads where it may not": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "hangs": "import time; time.sleep(1e6)",
    "hangs, deaf to signals": "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1e6)",
    "leaves a child that hangs": "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; "
    "time.sleep(1e6)']); raise RuntimeError",
    "dies in the middle of a line": "import os, signal; open(the.results, 'ab', 0).write(b'{\"step\": \"tor'); "
    "os.kill(os.getpid(), signal.SIGKILL)",
    "writes what is no text": "import sys; sys.stdout.buffer.write(bytes(range(256)) * 4000); the.record('found', "
    "'odd', float('nan')); sys.exit(1)",
    "ends all of its group": "import os, signal; os.killpg(0, signal.SIGKILL)",
}
NAMES = ("first", "second", "third")


def step(name: str, code: str, seconds: float = 600) -> Step:
    return Step(name, seconds, f"""python -c '{code.replace("'", '"')}'""", "", (f"{name}.bin",))


def carried_out(steps: list[Step], tmp_path: Path, **options: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    how = {"minutes": 60, "options": {"backend": "cupy-emulated"}} | options
    found = runner.run_plan(steps, out=tmp_path / "out", scratch=tmp_path / "scratch", **how)
    return found, records.read(tmp_path / "out" / RESULTS)


# ---- nothing stops the rest --------------------------------------------------------------------------------------
@pytest.mark.parametrize("k", range(len(NAMES)))
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_one_step_does_all_others_bring_their_results(
    fault: str, k: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEAST", 0.0)
    steps = [step(name, GOOD) for name in NAMES]
    steps[k] = step(NAMES[k], GOOD + FAULTS[fault], seconds=1 if "hangs" in fault and "child" not in fault else 600)
    ends, found = carried_out(steps, tmp_path)
    others = [name for name in NAMES if name != NAMES[k]]
    assert [ends[name] for name in others] == ["passed", "passed"]
    assert ends[NAMES[k]] != "passed"
    assert records.statuses(found) == ends
    for name in others:
        assert {"step": name, "kind": "found", "title": name, "value": {"number": 1}} in found
        assert (tmp_path / "out" / f"{name}.bin").read_bytes() == b"kept"
        assert f"==== {name}: passed".encode() in (tmp_path / "out" / LOG).read_bytes()


def test_a_step_that_is_killed_keeps_what_it_had_recorded_and_what_it_said(tmp_path: Path) -> None:
    code = GOOD + "print('the last words', flush=True); " + FAULTS["is out of memory"]
    ends, found = carried_out([step("one", code)], tmp_path)
    assert ends == {"one": "killed by SIGKILL"}
    assert [record["kind"] for record in found] == ["began", "found", "ended"]
    assert "the last words" in found[-1]["output"]
    assert (tmp_path / "out" / "one.bin").exists()


def test_all_that_a_step_has_started_ends_with_it(tmp_path: Path) -> None:
    code = "import subprocess, sys\nprint(subprocess.Popen(['sleep', '1000']).pid)"
    _, found = carried_out([step("one", code)], tmp_path)
    state = Path(f"/proc/{int(found[-1]['output'])}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_tool_that_is_not_there_and_a_time_that_is_over_leave_a_step_out(tmp_path: Path) -> None:
    missing = Step("counters", 600, "no-such-tool python -c pass", "")
    ends, _ = carried_out([missing, step("one", GOOD)], tmp_path)
    assert ends == {"counters": "left out: no-such-tool is not installed", "one": "passed"}
    ends, found = carried_out([step("one", GOOD)], tmp_path, minutes=0)
    assert ends == {"one": "left out: no time was left"}
    assert records.statuses(found)["one"] == ends["one"]


def test_files_that_are_too_large_stay_behind_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MOST_BYTES", 3)
    _, found = carried_out([step("one", GOOD), step("two", "pass")], tmp_path)
    ends = [record for record in found if record["kind"] == "ended"]
    assert ends[0]["notes"] == ["one.bin has 0.0 MiB: left behind"]
    assert ends[1]["notes"] == ["no two.bin: No such file or directory"]
    assert not (tmp_path / "out" / "one.bin").exists()


def test_ctrl_c_ends_the_step_and_the_results_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def wait(self, timeout: float | None = None) -> int:
            if not started:
                started.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(runner.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        carried_out([step("one", "import time; time.sleep(1e6)")], tmp_path)
    assert started[0].returncode == -signal.SIGKILL
    assert records.statuses(records.read(tmp_path / "out" / RESULTS)) == {"one": "cut off"}


def test_lines_that_cannot_be_read_are_skipped_and_a_full_file_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / RESULTS
    path.write_bytes(b'{"step": "a"}\n\xff\xfe\n[1]\n{"step": "b", "val')
    records.append(path, {"step": "c"})
    assert records.read(path) == [{"step": "a"}, {"step": "c"}]
    monkeypatch.setattr(records, "MOST_BYTES", path.stat().st_size)
    records.append(path, {"step": "d"})
    assert records.read(path) == [{"step": "a"}, {"step": "c"}]


# ---- the table ---------------------------------------------------------------------------------------------------
def test_the_table_fits_into_fifteen_minutes_and_eight_files() -> None:
    assert sum(step.seconds for step in FIRST) <= 400
    assert sum(step.seconds for step in EVERY) <= 14 * 60
    assert len({step.name for step in EVERY}) == len(EVERY)
    assert len({RESULTS, LOG, REPORT, *(name for step in EVERY for name in step.brings)}) <= 8
    for one in EVERY:
        words = one.command.split()
        assert importlib.util.find_spec(words[words.index("-m") + 1]) is not None


def test_the_second_stage_begins_with_what_failed(tmp_path: Path) -> None:
    for one in FIRST:
        status = {"suite": "failed with status 1", "counters": "left out: ncu is not installed"}.get(one.name, "passed")
        records.append(tmp_path / RESULTS, {"step": one.name, "kind": "began"})
        if one.name != "training":  # the machine was taken away
            records.append(tmp_path / RESULTS, {"step": one.name, "kind": "ended", "status": status})
    names = [one.name for one in gpu.steps_for(gpu.options_of(["--out", "new", "--again", str(tmp_path)]))]
    assert names == ["install", "suite", "training", *(one.name for one in LATER)]
    assert gpu.steps_for(gpu.options_of(["--out", str(tmp_path)])) == list(FIRST)
    assert [one.name for one in gpu.steps_for(gpu.options_of(["--out", "x", "--only", "large"]))] == [
        "install",
        "large",
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--out", "/dev/null/x"], "cannot write to '/dev/null/x'"),
        (["--out", "x", "--only", "lage"], "unknown step 'lage'"),
        (["--out", "x", "--backend", "numpy"], "invalid choice: 'numpy'"),
    ],
)
def test_mistakes_are_told_and_nothing_is_run(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: Any = gpu.main(arguments)
    except SystemExit as e:
        status = e.code
    assert status == 2
    assert why in capsys.readouterr().err


# ---- the package without an installation -------------------------------------------------------------------------
def test_links_are_as_good_as_an_installation(tmp_path: Path) -> None:
    install.linked(tmp_path)
    install.linked(tmp_path)  # again: the second stage
    code = "import ca_numpy.backends as b, ca_numpy.registry as r; print(b.__file__, *r.registered_backends())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    file, *backends = done.stdout.split()
    assert file == str(tmp_path / "ca_numpy" / "backends" / "__init__.py")
    assert backends == ["cupy", "cupy-emulated", "numba", "numpy"]


def test_what_the_machine_lacks_is_named(tmp_path: Path) -> None:
    assert {"numpy", "scikit-image", "tyro", "typeguard", "pytest"} <= set(install.required())
    assert install.present("numpy", tmp_path)
    assert not install.present("no-such-package", tmp_path)
    (tmp_path / "no_such_package-1.0.dist-info").mkdir()
    assert install.present("no-such-package", tmp_path)


# ---- what needs CUDA, without it ---------------------------------------------------------------------------------
def test_every_instance_is_compiled_even_if_one_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cupy:
        class RawModule:
            def __init__(self, *, code: str, options: tuple[str, ...], name_expressions: list[str]) -> None:
                if name_expressions == ["elu<float>"]:
                    raise RuntimeError("nvrtc: error")

            def get_function(self, expression: str) -> Any:
                return None

    the = Plan("compile", 10, tmp_path / RESULTS, tmp_path, {"backend": "cupy"})
    monkeypatch.setenv(records.VARIABLE, the.environment()[records.VARIABLE])
    backend = SimpleNamespace(_device=SimpleNamespace(kernels=CudaKernels(Cupy)), precisions=("float32",))  # a T4
    monkeypatch.setattr(compiling, "load_backend", lambda name: backend)
    words = ["activations.cu:elu<float>", "conv.cu:convolve<TensorWide<TF32>, 4, 4>", "activations.cu:elu<double>"]
    assert compiling.compile_each(words) == 1
    errors = {record["title"]: record["value"]["error"] for record in records.read(the.results)}
    assert errors == {"activations.cu elu<float>": "RuntimeError: nvrtc: error", "activations.cu elu<double>": None}


@pytest.mark.skipif(why_unavailable("cupy-emulated") is not None, reason=str(why_unavailable("cupy-emulated")))
def test_a_profile_without_a_profiler_counts_our_launches_and_leaves_the_backend_as_it_was() -> None:
    with use_backend("cupy-emulated") as backend:
        x = backend.asarray([1.0, 2.0], dtype="float32")
        found = profiles.profile(backend, lambda: [backend.elu(x), backend.elu(x)])
        kernels = vars(backend._device.kernels)  # type: ignore[attr-defined]
    assert [row[:2] for row in found["kernels"]] == [["activations.cu elu<float>", 2]]
    assert found["launches"] == 2
    assert found["in kernels"] > 0
    assert "launch" not in kernels
