"""Pictures per second in training: one rank with one thread, two such ranks, and one process with two threads.

    python tests/benchmarks/scaling.py [--steps 20] [--backend numba]

Each rank has eight pictures an update, six updates a step. Needs mpi4py and its mpiexec. The speed is of the median
step, without the first three.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURES = 8
#: Ranks, threads of each, pictures per step.
CASES = ((1, 1, PICTURES), (2, 1, 2 * PICTURES), (1, 2, 2 * PICTURES))


def pictures_per_second(ranks: int, threads: int, batch: int, *, steps: int, backend: str) -> float:
    """Train for so many adversarial steps in a new folder."""
    variables = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(variables, str(threads))
    launcher = ["mpiexec", "-n", str(ranks)] if ranks > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = ["--out", run, "--batch", batch, "--steps", steps, "--pretrain", 0, "--backend", backend, "--quiet"]
        command = [*launcher, sys.executable, "-m", "ca_numpy", "train", *map(str, options)]
        subprocess.run(command, env=environment, check=True)
        records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    seconds: list[float] = [r["seconds"] for r in records if "seconds" in r][3:]
    return batch * 6 / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--backend", default="numba")
    options = parser.parse_args()
    print("| ranks | threads each | pictures/s | relative |\n|--|--|--|--|")
    first = 0.0
    for ranks, threads, batch in CASES:
        speed = pictures_per_second(ranks, threads, batch, steps=options.steps, backend=options.backend)
        first = first or speed
        print(f"| {ranks} | {threads} | {speed:.2f} | {speed / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
