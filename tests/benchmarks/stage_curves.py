"""What several runs in stages reached, in one picture, and their logs thinned and configurations beside it.

    python tests/benchmarks/stage_curves.py full=runs/scenes baseline=runs/baseline --out docs/results/scenes

Draws what was measured on held-out crops against the time that steps took, stage after stage, and keeps of each stage
`NAME/STAGE/config.json` and `log.jsonl`: every measurement, and every 20th step. Paths in the configuration are made
relative, so that the next user's are not ours.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ca_numpy.viz import save

KEPT = 20
MEASURES = {"validation_l1_refined": "ℓ1 in the hole, %", "validation_psnr": "PSNR in the hole, dB"}
STYLES = ({"linestyle": "-", "marker": "o", "color": "black"}, {"linestyle": "--", "marker": "x", "color": "#D55E00"})


def records_of(stage: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stage / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def stages_of(run: Path) -> list[Path]:
    return sorted(p.parent for p in run.glob("*/log.jsonl"))


def relative(data: str) -> str:
    """`scenes:/where/it/was/scenes+textures` as `scenes:scenes+textures`."""
    words = [word.partition(":") for word in data.split("+")]
    return "+".join(f"{kind}:{Path(path).name}" if colon else kind for kind, colon, path in words)


def keep(stage: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((stage / "config.json").read_text(encoding="utf-8"))
    config["data"], config["init"] = relative(config["data"]), Path(config["init"]).name
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    kept = [r for r in records_of(stage) if "seconds" not in r or r["step"] % KEPT == 0]
    (out / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in kept), encoding="utf-8")


def measurements(run: Path) -> list[tuple[str, list[float], list[dict[str, float]]]]:
    """Of each stage: its name, minutes of training up to each measurement, the measurements."""
    found, seconds = [], 0.0
    for stage in stages_of(run):
        minutes, values = [], []
        for record in records_of(stage):
            seconds += record.get("seconds", 0.0)
            if "validation_psnr" in record:
                minutes.append(seconds / 60)
                values.append(record)
        found.append((stage.name, minutes, values))
    return found


def draw(runs: dict[str, Path]) -> Figure:
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots(2, sharex=True)
    for (name, run), style in zip(runs.items(), STYLES, strict=False):
        for number, (stage, minutes, values) in enumerate(measurements(run)):
            for ax, measure in zip(axes, MEASURES, strict=True):
                label = name if number == 0 else None
                ax.plot(minutes, [v[measure] for v in values], label=label, markersize=4, linewidth=1.2, **style)
            if run == next(iter(runs.values())):
                for ax in axes:
                    ax.axvline(minutes[0], color="0.6", linewidth=0.8, linestyle=":")
                axes[0].annotate(
                    stage, (minutes[0], 1), (3, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
                    va="top", fontsize=8,
                )  # fmt: skip
    for ax, label in zip(axes, MEASURES.values(), strict=True):
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_title("Held-out crops, stage after stage; each measures crops of its own size", loc="left", fontsize=10)
    axes[0].legend(frameon=False)
    axes[1].set_xlabel("minutes of steps")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    runs = {name: Path(folder) for name, _, folder in (word.partition("=") for word in options.runs)}
    for name, run in runs.items():
        for stage in stages_of(run):
            keep(stage, options.out / name / stage.name)
    save(draw(runs), options.out / "curves.png")
    print(options.out / "curves.png")


if __name__ == "__main__":
    main()
