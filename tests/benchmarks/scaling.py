"""Data-parallel training: pictures per second by ranks and threads, and the times of its parts.

    python tests/benchmarks/scaling.py [--rounds 7] [--steps 12] [--backend numba] [--case 0 1]
    python tests/benchmarks/scaling.py --parts
    python tests/benchmarks/scaling.py --model

The first trains with eight pictures of 64×64 a rank and update, six updates a step: in each round every case once, in
turn, and one more round before, which compiles. A run's speed is that of its median step, but for the first two. It
prints medians and ranges over the rounds, and of the ratios to the first case and to the third, round by round.
`--parts` times what ranks do beside their own pictures: all-reduce, draws, headers, decoding.
`--model` prints the table of docs/scaling.md. Needs mpi4py and its mpiexec, and taskset for the fourth case.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

PICTURES = 8
UPDATES = 6


class Case(NamedTuple):
    """Ranks, threads of each, and whether all is bound to one core, loader included."""

    ranks: int
    threads: int
    bound: bool = False


CASES = (Case(1, 1), Case(2, 1), Case(1, 2), Case(1, 1, bound=True), Case(4, 1))
#: Gradients of the paper's networks: of an update of the generator, and of the critics.
MEBIBYTES = (13.7, 27.0)


def pictures_per_second(case: Case, *, steps: int, backend: str) -> float:
    """Train for so many adversarial steps in a new folder."""
    variables = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(variables, str(case.threads))
    launcher = ["mpiexec", "-n", str(case.ranks)] if case.ranks > 1 else ["taskset", "-c", "0"] if case.bound else []
    batch = PICTURES * max(case.ranks, case.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = ["--out", run, "--batch", batch, "--steps", steps, "--pretrain", 0, "--backend", backend, "--quiet"]
        command = [*launcher, sys.executable, "-m", "ca_numpy", "train", *map(str, options)]
        subprocess.run(command, env=environment, check=True)
        records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return batch * UPDATES / statistics.median([r["seconds"] for r in records if "seconds" in r][2:])


def speeds(numbers: list[int], *, rounds: int, steps: int, backend: str) -> None:
    cases = [CASES[number] for number in numbers]
    found: dict[Case, list[float]] = {case: [] for case in cases}
    for turn in range(rounds + 1):
        for case in cases:
            speed = pictures_per_second(case, steps=steps, backend=backend)
            if turn:
                found[case].append(speed)
                print(f"round {turn}, {case.ranks} ranks, {case.threads} threads: {speed:.1f}", file=sys.stderr)
    others = [case for case in (CASES[0], CASES[2]) if case in found]
    titles = "".join(f" times {case.ranks} × {case.threads} |" for case in others)
    print(f"| ranks | threads each | pictures/s |{titles}\n|--|--|--|{'--|' * len(others)}")
    for case, values in found.items():
        ratios = [[a / b for a, b in zip(values, found[other], strict=True)] for other in others]
        cells = " | ".join(spread(each) for each in (values, *ratios))
        print(f"| {case.ranks} | {case.threads}{', all on one core' * case.bound} | {cells} |")


def spread(values: list[float]) -> str:
    """The median, and the least and the largest."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def median(work: Callable[[], object], *, rounds: int = 15) -> float:
    """Seconds of the median round, after one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def parts() -> None:
    """On each rank; the first prints."""
    from PIL import Image

    from ca_numpy import tensor
    from ca_numpy.data import Images, Loader, MaskSampler, claims, load_pixels
    from ca_numpy.filling.ranks import world
    from ca_numpy.training.parallel import Ranks

    comm, rows = world(), []
    for mebibytes in MEBIBYTES:
        values = [tensor(np.ones(1 << 16, np.float32)) for _ in range(round(4 * mebibytes))]
        ranks = Ranks(comm, comm.size)
        rows.append((f"all-reduce of {mebibytes} MiB", median(lambda v=values, r=ranks: r.mean(v))))
    rows.append(("all-reduce of one number", median(lambda: ranks.mean_of(values[0][:1]), rounds=200)))
    rows.append(("agreement on a batch", median(lambda: [comm.allgather(b"1" * 32) for _ in range(3)], rounds=200)))
    if comm.rank == 0:
        rng, batch = np.random.default_rng(0), 256
        pictures = Images([np.zeros((480, 640, 3), np.uint8)] * 1000)
        loader = Loader(pictures, batch=batch, size=256, part=slice(0, 0), rng=rng)
        sampler = MaskSampler("box", image_size=256, box_size=128, max_shrink=16)
        windows = median(lambda: [loader.draw(n, pictures.pixels) for n in range(batch)]) / batch
        rows.append(("drawing a window", windows))
        rows.append(("drawing a hole", median(lambda: sampler(rng, batch, part=slice(0, 0))) / batch))
        noise = rng.integers(0, 256, (30, 40, 3), np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.jpg"
            Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=90)
            rows.append(("reading a header, from the cache of the system", median(lambda: claims.shape(path))))
            rows.append(("decoding a JPEG of 640×480", median(lambda: load_pixels(path))))
            pixels = load_pixels(path)
        window = loader.draw(0, pictures.pixels)[1]
        rows.append(("cropping it to 256×256", median(lambda: window.cut(pixels, 256))))
        print(f"{comm.size} ranks\n\n| part | milliseconds |\n|--|--|")
        for name, seconds in rows:
            print(f"| {name} | {1000 * seconds:.3g} |")


#: Seconds to draw a picture's window, and its hole, as `--parts` measured.
WINDOW, HOLE = 7.2e-6, 19.5e-6
#: Messages of a step: 13 buckets of the generator's gradients, 6 of the critics' in each of five updates.
BUCKETS = 13 + 5 * 6


def seconds_of_a_step(
    ranks: int, *, compute: float, pictures: int, window: float, hole: float, bandwidth: float, latency: float
) -> float:
    """The model of docs/scaling.md.

        T(n) = max(C, 6 n b d) + 6 n b h + exposed(n)

    compute    C, a rank's own step            pictures   b, of a rank and update
    window     d, drawing a picture's window, on every rank for all pictures, in a thread
    hole       h, the same of its hole, before each update
    bandwidth  of all-reduce, bytes/s          latency    of a message

    All-reduce of M bytes in K buckets takes 2 (n − 1) / n · M / bandwidth + 2 K · latency · log₂ n seconds, by halving
    and doubling. The backward pass hides C / 4 of it, but not the last bucket of each update.
    """
    drawn = UPDATES * ranks * pictures
    step = max(compute, drawn * window) + drawn * hole
    if ranks == 1:
        return step
    ring, turns = 2 * (ranks - 1) / ranks / bandwidth, 2 * latency * math.log2(ranks)
    sent = (MEBIBYTES[0] + 5 * MEBIBYTES[1]) * 2**20 * ring + BUCKETS * turns
    last = UPDATES * (2**20 * ring + turns)
    return step + max(sent - compute / 4, last) + UPDATES * 8 * latency * math.log2(ranks)


def model() -> None:
    """Efficiency: the time of one rank's step by that of so many."""
    print("| GPUs | pictures in a batch | as it is | without drawing the others' |\n|--|--|--|--|")
    gpu = {"compute": 0.2, "pictures": 16, "bandwidth": 10e9, "latency": 10e-6}
    for ranks in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        shares = []
        for window, hole in ((WINDOW, HOLE), (0.0, 0.0)):
            one, many = (seconds_of_a_step(n, window=window, hole=hole, **gpu) for n in (1, ranks))
            shares.append(one / many)
        print(f"| {ranks} | {16 * ranks} | {shares[0]:.0%} | {shares[1]:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--case", type=int, nargs="+", default=list(range(len(CASES))), help="rows of the table")
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--model", action="store_true")
    options = parser.parse_args()
    if options.model:
        model()
    elif not options.parts:
        speeds(options.case, rounds=options.rounds, steps=options.steps, backend=options.backend)
    elif "PMI_RANK" in os.environ or "OMPI_COMM_WORLD_RANK" in os.environ:
        parts()
    else:
        for ranks in (2, 4):
            subprocess.run(["mpiexec", "-n", str(ranks), sys.executable, __file__, "--parts"], check=True)


if __name__ == "__main__":
    main()
