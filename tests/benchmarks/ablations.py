"""Trains and measures every row of section 5.1's comparisons, several seeds each, and writes one table.

    python tests/benchmarks/ablations.py [--steps 1000] [--pretrain 500] [--seeds 5] [--size 64] [--width 12]
        [--data photographs] [--rows full dcgan …] [--vgg vgg16.npz] [--backend auto] [--out ablations]

Start it again to go on: what is in --out already is not trained again, and a run that was interrupted continues. Every
run is measured on the pictures it held out, the same for all. The interval is Student's over the seeds: it says how
far another seed may fall, not how far other pictures may. Rows that need VGG-16's weights wait for --vgg.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import ca_numpy
from ca_numpy import metrics
from ca_numpy.atomic import write_text
from ca_numpy.data import resolved
from ca_numpy.errors import UserError
from ca_numpy.models.io import CHECKPOINT
from ca_numpy.training import TrainConfig
from ca_numpy.training.ablations import ABLATIONS
from ca_numpy.training.checkpoint import load_checkpoint
from ca_numpy.training.config import configured

#: What the other rows are compared with, seed by seed.
FULL = "full"
MEASURES = {"l1": "ℓ1 %", "l2": "ℓ2 %", "psnr": "PSNR dB"}
NEED_VGG = {row for row, fields in ABLATIONS.items() if fields.keys() & {"perceptual_weight", "style_weight"}}

Row = dict[str, Any]


def configuration(options: argparse.Namespace, row: str, seed: int) -> TrainConfig:
    """The row's run: all rows alike but for the row's own fields."""
    vgg = {"vgg": str(options.vgg.resolve())} if row in NEED_VGG else {}
    every = {f"{what}_every": options.steps for what in ("validate", "pictures")}
    return TrainConfig(
        data=resolved(options.data), width=options.width, critic_width=options.width, size=options.size,
        box=options.size // 2, max_shrink=options.size // 16, steps=options.steps, pretrain=options.pretrain, seed=seed,
        **every, **vgg, **ABLATIONS[row],
    )  # fmt: skip


def result_of(options: argparse.Namespace, row: str, seed: int) -> dict[str, Any] | None:
    """What one run measures: from its file, or trained now. None if it was stopped on the way."""
    folder = options.out / row / f"seed-{seed}"
    config = configuration(options, row, seed)
    wanted = dataclasses.asdict(config) | {"betas": list(config.betas), "count": options.count}
    file = folder / "result.json"
    if file.exists():
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        given = dict(kept["options"])  # fields that came later had their defaults
        if given.pop("count") != options.count or configured(TrainConfig(), given) != config:
            raise UserError(f"{str(file)!r} was made with other options: give another --out")
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{row}, seed {seed}", file=sys.stderr)
    try:
        measured = _train_and_measure(options, config, folder / "run")
    except UserError as e:
        if "diverged" not in str(e):
            raise
        measured = {"diverged": str(e)}
    if measured is None:
        return None
    result = {"row": row, "seed": seed, "options": wanted} | measured
    write_text(file, json.dumps(result, indent=1) + "\n")
    return result


def _train_and_measure(options: argparse.Namespace, config: TrainConfig, run: Path) -> dict[str, Any] | None:
    if (run / CHECKPOINT).exists():
        if load_checkpoint(run)[2] != config:
            raise UserError(f"{str(run)!r} is a run with other options: give another --out")
        done = ca_numpy.train(resume=run, backend=options.backend)
    else:
        done = ca_numpy.train(config, out=run, backend=options.backend)
    if not done.finished:
        return None
    rows = ca_numpy.evaluate(run, count=options.count, backend=options.backend).rows
    methods = {"measured": "refined", "mean_colour": "mean colour"}
    return {key: {m: rows[method]["hole"][m][0] for m in MEASURES} for key, method in methods.items()}


def mean_and_interval(values: list[float]) -> tuple[float, float | None]:
    """Mean, and half of Student's 95 % interval of it; None of a single value."""
    mean, half = metrics.mean_and_interval(values)
    return mean, half if math.isfinite(half) else None


def table(results: list[dict[str, Any]], rows: list[str]) -> list[Row]:
    """A line for each of `rows`: how many runs there are, and of each measure mean, half width and values."""
    found: list[Row] = []
    for row in rows:
        mine = [r for r in results if r["row"] == row]
        line: Row = {"row": row, "runs": len(mine), "diverged": sum("diverged" in r for r in mine)}
        for m in MEASURES:
            values = [r["measured"][m] for r in mine if "measured" in r]
            mean, half = mean_and_interval(values) if values else (None, None)
            line[m] = {"mean": mean, "half": half, "values": values}
        line["lead"] = lead(results, row)
        found.append(line)
    colour = next((r["mean_colour"] for r in results if "mean_colour" in r), None)
    if colour:
        line = {"row": "mean colour", "runs": 0, "diverged": 0}
        found.append(line | {m: {"mean": colour[m], "half": None, "values": []} for m in MEASURES})
    return found


def lead(results: list[dict[str, Any]], row: str) -> dict[str, Any] | None:
    """A row's PSNR minus that of the full system with the same seed; None where there is nothing to compare."""
    psnr = {(r["row"], r["seed"]): r["measured"]["psnr"] for r in results if "measured" in r}
    pairs = [(value, psnr[FULL, seed]) for (name, seed), value in psnr.items() if name == row and (FULL, seed) in psnr]
    if row == FULL or not pairs:
        return None
    mean, half = mean_and_interval([mine - full for mine, full in pairs])
    return {"mean": mean, "half": half}


def to_markdown(lines: list[Row], title: str) -> str:
    columns = [*MEASURES.values(), f"PSNR minus {FULL}'s, seed by seed", "runs"]
    head = f"{title}\n\n| row | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n"
    return head + "".join(
        f"| {line['row']} | {' | '.join(_cell(line[m]) for m in MEASURES)} | "
        f"{_cell(line['lead']) if line.get('lead') else ''} | {_runs(line)} |\n"
        for line in lines
    )


def _cell(measure: dict[str, Any]) -> str:
    if measure["mean"] is None:
        return "not yet run"
    return f"{measure['mean']:.2f}" + (f" ± {measure['half']:.2f}" if measure["half"] is not None else "")


def _runs(line: Row) -> str:
    return f"{line['runs']}, {line['diverged']} diverged" if line["diverged"] else str(line["runs"] or "")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pretrain", type=int, help="steps of reconstruction alone; half of all if not given")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--count", type=int, default=32, help="held-out crops to measure on")
    parser.add_argument("--data", default="photographs")
    parser.add_argument("--rows", nargs="+", default=list(ABLATIONS), choices=list(ABLATIONS), metavar="ROW")
    parser.add_argument("--vgg", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--out", type=Path, default=Path("ablations"))
    options = parser.parse_args(argv)
    if options.pretrain is None:
        options.pretrain = options.steps // 2
    results: list[dict[str, Any]] = []
    title = (
        f"In the hole of {options.count} held-out {options.size}×{options.size} crops of {Path(options.data).name} "
        f"after {options.steps} steps ({options.pretrain} of reconstruction alone), width {options.width}; "
        f"mean ± 95 % interval over seeds"
    )
    try:
        for seed in range(options.seeds):  # seed by seed, so that an early table has something of every row
            for row in options.rows:
                if row in NEED_VGG and options.vgg is None:
                    continue
                result = result_of(options, row, seed)
                if result is None:
                    print("stopped: the same command goes on from here", file=sys.stderr)
                    return 130
                results.append(result)
                lines = table(results, options.rows)
                write_text(options.out / "table.md", to_markdown(lines, title))
                write_text(options.out / "table.json", json.dumps({"title": title, "rows": lines}, indent=1) + "\n")
    except UserError as e:
        print(f"ablations: {e}", file=sys.stderr)
        return 2
    if options.vgg is None and NEED_VGG & set(options.rows):
        print(f"left out: {', '.join(sorted(NEED_VGG & set(options.rows)))}, which need --vgg", file=sys.stderr)
    print(to_markdown(table(results, options.rows), title))
    return 0


if __name__ == "__main__":
    sys.exit(main())
