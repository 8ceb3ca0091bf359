"""Runs steps one after another, each a process of its own with a time limit; nothing that one does stops the rest.

Needs nothing but the standard library: the package is not installed yet when this starts.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_plan import records
from gpu_plan.records import LOG, MOST_BYTES, RESULTS, Plan
from gpu_plan.table import Step

ROOT = Path(__file__).parents[3]
#: Bytes of a step's output that are kept: its end.
MOST_OUTPUT, MOST_TAIL = 256 * 2**10, 4_000
#: Seconds below which no step is started, and seconds to wait for a killed process.
LEAST, PATIENCE = 3.0, 10.0


def run_plan(
    steps: Sequence[Step], *, out: Path, scratch: Path, minutes: float, options: dict[str, Any]
) -> dict[str, str]:
    """Run these steps within the time, and return {name: how it ended}. Ctrl-C and SIGTERM stop the plan."""
    out.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    end, found = time.monotonic() + 60 * minutes, dict[str, str]()
    for step in steps:
        left = end - time.monotonic()
        limit = min(step.seconds * options.get("patience", 1.0) or left, left)
        plan = Plan(step.name, round(limit, 1), (out / RESULTS).resolve(), scratch.resolve(), options)
        found[step.name] = run_step(step, plan, out)
        print(f"{step.name}: {found[step.name]}", file=sys.stderr)
    return found


def run_step(step: Step, plan: Plan, out: Path) -> str:
    """Run one step; return how it ended, which is also recorded."""
    program, *arguments = shlex.split(step.command)
    arguments = [sys.executable if word == "python" else word for word in arguments]
    path = sys.executable if program == "python" else shutil.which(program)
    records.append(plan.results, {"step": step.name, "kind": "began", "limit": plan.seconds})
    began, output = time.monotonic(), plan.scratch / f"{step.name}.log"
    for left_over in (output, *(plan.scratch / name for name in step.brings)):
        left_over.unlink(missing_ok=True)
    if plan.seconds < LEAST:
        status = "left out: no time was left"
    elif path is None:
        status = f"left out: {program} is not installed"
    else:
        try:
            status = _finished([path, *arguments], plan, output)
        except BaseException:
            status = "cut off"
            raise
        finally:
            _end(step, plan, out, status, time.monotonic() - began, output)
        return status
    _end(step, plan, out, status, 0.0, output)
    return status


def _finished(command: list[str], plan: Plan, output: Path) -> str:
    """Start a process in a session of its own, so that all it starts ends with it; wait for it within the limit."""
    with open(output, "wb") as file:
        try:
            process = subprocess.Popen(command, cwd=plan.scratch, env=_environment(plan), stdin=subprocess.DEVNULL,
                                       stdout=file, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        except OSError as e:
            return f"failed: {e}"
        try:
            code = process.wait(plan.seconds)
        except subprocess.TimeoutExpired:
            return f"out of time after {plan.seconds:.0f} s"
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # a process may hang in the driver: leave it there
                process.wait(PATIENCE)
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return "passed" if code == 0 else f"failed with status {code}"


def _environment(plan: Plan) -> dict[str, str]:
    """This tree's package, and neither the current folder, which has no `ca_numpy.backends`, nor another installed."""
    tests = ROOT / "tests"
    paths = [plan.scratch / "site", tests / "benchmarks", tests, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | plan.environment() | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


def _end(step: Step, plan: Plan, out: Path, status: str, seconds: float, output: Path) -> None:
    """Bring back what there is, and record how it ended."""
    said = _tail(output)
    notes = [note for name in step.brings if seconds and (note := _bring(plan.scratch / name, out / name))]
    with contextlib.suppress(OSError):
        _log(out / LOG, f"==== {step.name}: {status}, {seconds:.1f} s\n".encode() + said + b"\n")
    tail = said[-MOST_TAIL:].decode(errors="replace")
    records.append(plan.results, {
        "step": step.name, "kind": "ended", "status": status, "seconds": round(seconds, 2), "purpose": step.purpose,
        "notes": notes, "output": tail,
    })  # fmt: skip


def _tail(output: Path) -> bytes:
    try:
        with open(output, "rb") as file:
            file.seek(max(0, output.stat().st_size - MOST_OUTPUT))
            return file.read()
    except OSError:
        return b""


def _log(path: Path, text: bytes) -> None:
    if not path.exists() or path.stat().st_size + len(text) < MOST_BYTES:
        with open(path, "ab") as file:
            file.write(text)


def _bring(source: Path, target: Path) -> str | None:
    """Copy a file that is small enough; say why not."""
    try:
        if (size := source.stat().st_size) > MOST_BYTES:
            return f"{target.name} has {size / 2**20:.1f} MiB: left behind"
        shutil.copyfile(source, target)
    except OSError as e:
        return f"no {target.name}: {e.strerror}"
    return None
