"""The first thing to run on a machine with a GPU: checks the backend, then times it, and writes gpu.json and gpu.md.

    python tests/benchmarks/gpu.py --out FOLDER [--minutes 8]

In this order: the tests marked `gpu`, errors against NumPy in float64, whole passes and convolution kernels beside
PyTorch where that is installed, and what of it was the least, or the goal. After every step all that is known so far
is written; what would not fit into the time is left out and says so. `--backend cupy-emulated` with small sizes runs
the same on the CPU. The status is 1 if a test or a bound of precision fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import gpu_measures as measures
from gpu_measures import BOUNDS, bound_of
from gpu_report import to_markdown

from ca_numpy import UserError, machine
from ca_numpy.atomic import write_text
from ca_numpy.bench import PEER, Timing, bench
from ca_numpy.bench.workloads import works
from ca_numpy.registry import load_backend

ROOT = Path(__file__).parents[2]
#: Seconds that a step of each part is expected to take before one has been seen.
FIRST_GUESS = {"errors": 10.0, "times": 30.0, "kernels": 10.0}


class Step(NamedTuple):
    part: str
    title: str
    run: Callable[[], Any]


class Budget:
    """The time there is, and how long steps take."""

    def __init__(self, minutes: float) -> None:
        self._end, self._longest = time.monotonic() + 60 * minutes, dict[str, float]()

    def left(self) -> float:
        return self._end - time.monotonic()

    def fits(self, part: str) -> bool:
        """Whether the longest step of this part so far would fit once more."""
        return self._longest.get(part, FIRST_GUESS[part]) < self.left()

    def took(self, part: str, seconds: float) -> None:
        self._longest[part] = max(seconds, self._longest.get(part, 0.0))


class Results:
    """What is known so far, and the two files that hold it."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.known: dict[str, Any] = {**facts, "errors": {}, "times": {}, "kernels": {}, "left out": {}}

    def write(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "gpu.json", json.dumps(self.known, indent=1) + "\n")
            write_text(self.folder / "gpu.md", to_markdown(self.known))
        except OSError as e:
            raise UserError(f"cannot write to {str(self.folder)!r}: {e.strerror}") from e


def options_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json and gpu.md")
    parser.add_argument("--minutes", type=float, default=8.0, help="what would take longer is left out")
    parser.add_argument("--no-tests", action="store_true", help="leave out pytest -m gpu")
    parser.add_argument("--no-peer", action="store_true", help="leave out PyTorch")
    parser.add_argument("--backend", default="cupy", help="or cupy-emulated, with small sizes")
    parser.add_argument("--size", type=int, default=512, help="of forward, attention and kernels")
    parser.add_argument("--large", type=int, default=2048, help="of the forward pass that shows memory")
    parser.add_argument("--error-size", type=int, default=256, help="of errors against float64")
    parser.add_argument("--training-size", type=int, default=256, help="of Algorithm 1; 0 leaves it out")
    parser.add_argument("--batch", type=int, default=16, help="of Algorithm 1")
    parser.add_argument("--width", type=int, default=32, help="of the generator")
    parser.add_argument("--rounds", type=int, default=5, help="of whole passes: medians are shown")
    parser.add_argument("--repeats", type=int, default=20, help="of a kernel: their mean is shown")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = options_of(argv)
    try:
        return measured(options, Budget(options.minutes))
    except UserError as e:
        print(f"gpu.py: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped: {options.out} has what had been measured", file=sys.stderr)
        return 130


def measured(options: argparse.Namespace, budget: Budget) -> int:
    backend = load_backend(options.backend)
    names = {precision: f"{options.backend}:{precision}" for precision in BOUNDS}
    for name in names.values():
        load_backend(name)  # raises UserError for a backend without tensor cores
    print(backend.describe())
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    results = Results(options.out, {"device": backend.describe(), "machine": machine.describe(), "options": asked})
    results.write()
    if not options.no_tests:
        passed = tests_pass(results, budget)
        results.write()
        if not passed:
            return 1
    with ExitStack() as stack:
        peer_device = None
        if importlib.util.find_spec("torch") and not options.no_peer:
            from ca_numpy.bench import peer

            peer_device = peer.device_for("auto", [options.backend])
            stack.enter_context(peer.on(peer_device))
            results.known["peer"] = peer.describe(peer_device)
        for part, title, run in steps(options, names, peer_device):
            if not budget.fits(part):
                results.known["left out"][title] = "no time was left"
                continue
            print(title, "…", file=sys.stderr)
            began = time.monotonic()
            try:
                results.known[part][title] = run()
            except (MemoryError, UserError) as e:
                results.known["left out"][title] = " ".join(str(e).split()) or "out of memory"
            budget.took(part, time.monotonic() - began)
            results.write()
    results.write()
    print((options.out / "gpu.md").read_text(encoding="utf-8"))
    imprecise = exceeded(results.known["errors"])
    for what in imprecise:
        print(f"gpu.py: less precise than it may be: {what}", file=sys.stderr)
    return 1 if imprecise else 0


def tests_pass(results: Results, budget: Budget) -> bool:
    """`pytest -m gpu`, in at most half of the time: unfinished is no failure, skipped altogether is one."""
    command, limit = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-W", "default"], budget.left() / 2
    print("pytest -m gpu …", file=sys.stderr)
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        results.known["tests"] = f"not finished after {limit:.0f} s: run `pytest -m gpu` by itself, then --no-tests"
        return True
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["pytest said nothing"]
    passed = done.returncode == 0 and re.search(r"[1-9]\d* passed", lines[-1]) is not None
    results.known["tests"] = lines[-1].strip("= ")
    print(*(lines[-1:] if passed else [*lines[-60:], "gpu.py: stopped, since the tests do not pass"]), sep="\n")
    return passed


def steps(options: argparse.Namespace, names: dict[str, str], peer_device: str | None) -> Iterator[Step]:
    """Everything to measure, in the order in which it matters."""
    width = options.width
    for layer in measures.layers(options.error_size, width):
        yield Step("errors", layer.title, lambda layer=layer: measures.layer_errors(layer, names))
    yield Step("errors", f"the generator at {options.error_size}×{options.error_size}",
               lambda: measures.generator_errors(options.error_size, width, names))  # fmt: skip
    fast = [names["tf32"], names["bf16"]]
    for key, group, size in (
        ("forward", "forward", options.size),
        ("attention", "attention", options.size),
        ("large", "forward", options.large),
        ("iteration", "iteration", options.training_size),
    ):
        if size:
            yield Step("times", key, lambda group=group, size=size: timed(group, size, fast, options, peer_device))
    for layer in measures.layers(options.size, width):
        yield Step("kernels", f"kernels: {layer.title}", lambda layer=layer: {
            "count": layer.count, "seconds": measures.kernels(layer, fast, peer_device, repeats=options.repeats)
        })  # fmt: skip


def timed(
    group: str, size: int, names: list[str], options: argparse.Namespace, peer_device: str | None
) -> dict[str, Any]:
    """One work by all contenders, and the memory that each took at its most."""
    how: dict[str, Any] = {"sizes": (size,), "batch": options.batch, "width": options.width, "training_size": size}
    report = bench(names, groups=[group], rounds=options.rounds, peer=peer_device is not None,
                   peer_device=peer_device or "cpu", **how)  # fmt: skip
    timing: Timing = report.timings[0]
    (work,) = works((group,), **how)
    peaks = {name: measures.peak(name, work.ours) for name in names if name in timing.seconds}
    if peer_device and (better := timing.peer()):
        peaks["PyTorch"] = measures.peer_peak(lambda: work.theirs(PEER[better], peer_device), peer_device)
    return {**asdict(timing), "peaks": peaks}


def exceeded(errors: dict[str, Any]) -> list[str]:
    """What is less precise than it may be."""
    return [
        f"{title}, {kind} in {precision}: {value:.1e}"
        for title, found in errors.items()
        for precision, kinds in found.items()
        for kind, value in kinds.items()
        if not value <= bound_of(title, precision)
    ]


if __name__ == "__main__":
    sys.exit(main())
