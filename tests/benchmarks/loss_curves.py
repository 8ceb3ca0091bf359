"""The curves and pictures of docs/watching.md: a normal run, one that collapses, and one that diverges.

    python tests/benchmarks/loss_curves.py FOLDER

trains the three in FOLDER, a few minutes each, and draws them in docs/pictures. A run that is there is drawn again.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from PIL import Image

from ca_numpy import viz
from ca_numpy.cli import main
from ca_numpy.training.page import REPORT, read_log

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
COMMON = "--width 8 --critic-width 8 --backend numpy"
#: Of each run: the options besides those.
RUNS = {
    "normal": "--steps 200 --pretrain 160",
    "collapsed": "--size 32 --box 16 --max-shrink 2 --steps 300 --pretrain 0 --critic-steps 1 --adversarial-weight 1",
    "diverged": "--size 32 --box 16 --max-shrink 2 --steps 300 --pretrain 100 --rate 1.0",
}
#: The files are small: few colours, and half of the crops.
COLOURS, WIDTH = 64, 900


def command(name: str) -> str:
    """The command that trains a run, in the folder `runs`."""
    return f"ca-numpy train {COMMON} {RUNS[name]} --out runs/{name}"


def draw(run: Path, pictures: Path) -> list[Path]:
    """Draw a run's curves and its last held-out crops. Returns both files."""
    records, _ = read_log(run / "log.jsonl")
    mean = next(r["mean_colour"] for r in records if "mean_colour" in r)
    drawn = [{k: v for k, v in r.items() if k != "mean_colour"} for r in records]
    paths = [pictures / f"watching-{run.name}{part}.png" for part in ("", "-crops")]
    viz.save(viz.loss_curves(drawn, references={"mean colour": mean}), paths[0])
    crops = sorted((run / "pictures").glob("step-*.png"))[-1]
    for source, path in ((paths[0], paths[0]), (crops, paths[1])):
        with Image.open(source) as image:
            small = image.convert("RGB")
        small.thumbnail((WIDTH, WIDTH))
        if source is crops:
            small = small.crop((0, 0, small.width, small.height // 2))
        small.quantize(COLOURS).save(path, optimize=True)
    return paths


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in RUNS:
        run = folder / name
        if not (run / "curves.png").exists():
            main([*shlex.split(command(name))[1:-1], str(run)])
        main(["report", str(run)])
        print(*draw(run, PICTURES), run / REPORT, sep="\n")
