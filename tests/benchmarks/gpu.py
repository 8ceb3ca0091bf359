"""The first thing to run on a machine with a GPU: a plan of fifteen minutes in two stages.

    python tests/benchmarks/gpu.py --out FOLDER [--wheels FOLDER]    # the first stage, 7 minutes at most
    python tests/benchmarks/gpu.py --out FOLDER --again              # what failed once more, then the second stage

It checks the backend, times it beside PyTorch, profiles it and trains on it. Every step is a process of its own with a
time limit (`gpu_plan/table.py` lists them), and writes to FOLDER what it finds as soon as it knows: results.jsonl, one
JSON object a line. Whatever happens to a step, the others run. At the end of a stage gpu.md sums up. At most eight
files of at most 16 MiB come back. Nothing needs to be installed but the package's requirements, nor a network.
`--rehearse` runs the same in a few minutes without a GPU, on the emulated one at tiny sizes: its times are meaningless.
The status is 1 if a step that could run has not passed.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # also where PYTHONSAFEPATH leaves it out

from gpu_plan.install import linked
from gpu_plan.records import RESULTS, append, read, statuses
from gpu_plan.runner import run_plan
from gpu_plan.table import FIRST, LATER, Step

#: What `--rehearse` sets. The emulator runs kernels on one core.
REHEARSAL = {
    "backend": "cupy-emulated", "minutes": 60.0, "patience": 20.0, "size": 32, "large": 32, "error_size": 32,
    "training_size": 32, "batch": 1, "width": 2, "rounds": 1, "repeats": 1, "ceiling": 128, "training_steps": 1,
    "workers": 2,
}  # fmt: skip
REPORT = Step("report", 30, "python -m gpu_plan.report", "writes gpu.md")


def options_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--again", nargs="?", const="", metavar="FOLDER",
                        help="second stage, after the results in FOLDER (default: those in --out)")  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="STEP", help="these steps, of either stage")
    parser.add_argument("--report", action="store_true", help="only write gpu.md again")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny sizes")
    parser.add_argument("--wheels", type=Path, help="folder of carried wheels, for packages that are missing")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "ca_numpy-gpu",
                        help="folder for everything that does not come back")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=7.0, help="of this stage")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of all time limits")
    parser.add_argument("--backend", choices=("cupy", "cupy-emulated"), default="cupy")
    parser.add_argument("--size", type=int, default=512, help="of forward, attention and kernels")
    parser.add_argument("--large", type=int, default=2048, help="of the forward pass that shows memory")
    parser.add_argument("--error-size", type=int, default=64, help="of errors against float64")
    parser.add_argument("--training-size", type=int, default=256, help="of Algorithm 1")
    parser.add_argument("--batch", type=int, default=16, help="of Algorithm 1")
    parser.add_argument("--width", type=int, default=32, help="of the generator")
    parser.add_argument("--rounds", type=int, default=5, help="of whole passes: medians are shown")
    parser.add_argument("--repeats", type=int, default=20, help="of a kernel: their mean is shown")
    parser.add_argument("--ceiling", type=int, default=8192, help="side of the matrices that show what is possible")
    parser.add_argument("--training-steps", type=int, default=0, help="at most; 0: as many as fit into the time")
    parser.add_argument("--workers", type=int, default=12, help="processes that compile and test")
    if parser.parse_known_args(argv)[0].rehearse:
        parser.set_defaults(**REHEARSAL)
    options = parser.parse_args(argv)
    names = [step.name for step in (*FIRST, *LATER)]
    if unknown := set(options.only or ()) - set(names):
        parser.error(f"unknown step {min(unknown)!r}: choose from {', '.join(names)}")
    return options


def steps_for(options: argparse.Namespace) -> list[Step]:
    """The steps of this stage. In the second, first those of the first that have not passed."""
    every = [*FIRST, *LATER]
    if options.only:
        return [step for step in every if step.always or step.name in options.only]
    if options.again is None:
        return list(FIRST)
    done = statuses(read(Path(options.again or options.out) / RESULTS))
    return [step for step in every if step.always or not is_over(done.get(step.name, "not run"))]


def is_over(status: str) -> bool:
    """Whether a step need not run again."""
    return status == "passed" or status.endswith("is not installed")


def main(argv: list[str] | None = None) -> int:
    options = options_of(argv)
    out: Path = options.out
    asked: dict[str, Any] = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    asked["wheels"] = options.wheels and str(options.wheels.resolve())
    where = {"out": out, "scratch": options.scratch, "options": asked}
    try:
        steps = [] if options.report else steps_for(options)
        out.mkdir(parents=True, exist_ok=True)
        if options.again and not (out / RESULTS).exists():
            shutil.copyfile(Path(options.again) / RESULTS, out / RESULTS)
        append(out / RESULTS, {"step": "plan", "kind": "plan", "title": "options", "value": asked})
        linked(options.scratch / "site")
        found = run_plan(steps, minutes=options.minutes, **where)
        report = REPORT._replace(command=f"{REPORT.command} {shlex.quote(str(out.resolve()))}")
        run_plan([report], minutes=5, **where)
    except OSError as e:
        print(f"gpu.py: cannot write to {str(out)!r}: {e.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped: {out} has what had been found", file=sys.stderr)
        return 130
    return int(not all(is_over(status) for status in found.values()))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the step, and records that it was cut off
    sys.exit(main())
