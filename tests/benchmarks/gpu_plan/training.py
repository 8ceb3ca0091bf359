"""Training on the device: a tiny one against NumPy's, and a stretch at the paper's settings."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import ca_numpy
from ca_numpy.data import save_image
from ca_numpy.training import PRESETS, TrainConfig, TrainResult, train
from gpu_plan.measures import distance
from gpu_plan.records import Plan, plan
from gpu_plan.runner import ROOT

#: Largest ‖ours − NumPy's‖ / ‖NumPy's‖ of a tiny training.
BOUND = 1e-4
TINY = TrainConfig(
    data="textures", width=4, critic_width=4, size=32, box=16, max_shrink=2, batch=2, steps=3, pretrain=1,
    critic_steps=1, validate_every=3, pictures_every=100, checkpoint_every=100,
)  # fmt: skip
#: Seconds of the step's limit that are not for training: the start, the first validation, resuming and inpainting.
RESERVE = 18


def numbers(the: Plan) -> int:
    """Three steps in float32 on NumPy and on the device: losses and weights agree to BOUND."""
    found = []
    with tempfile.TemporaryDirectory(dir=the.scratch) as folder:
        for name in ("numpy", the.backend):
            run = train(TINY, backend=name, precision="float32", out=Path(folder) / name, quiet=True)
            losses = [r[key] for r in run.records for key in sorted(r) if key not in ("seconds", "step")]
            weights = [np.asarray(w, np.float64).ravel() for w in run.generator.arrays().values()]
            found.append((np.array(losses), np.concatenate(weights)))
    pairs = zip(("losses", "weights"), *found, strict=True)
    errors = {what: distance(ours, right) for what, right, ours in pairs}
    the.record("numbers", "tiny training, float32 against NumPy", errors | {"bound": BOUND})
    return int(not all(e <= BOUND for e in errors.values()))


def stretch(the: Plan) -> int:
    """Train as long as the step may, resume for two steps, and fill the sample photograph with the result."""
    folder, options = the.scratch / "run", the.options
    shutil.rmtree(folder, ignore_errors=True)
    config = PRESETS["paper"]
    if (width := int(options["width"])) != config.width:  # a rehearsal
        size = int(options["training_size"])
        more: dict[str, Any] = {"width": width, "critic_width": width, "batch": 2, "size": size, "box": size // 2,
                                "max_shrink": size // 16}  # fmt: skip
    else:
        more = {"batch": int(options["batch"])}
    steps, began, seen = options.get("training_steps") or None, time.monotonic(), list[float]()

    def seen_now(record: dict[str, Any]) -> None:
        seen.append(time.monotonic() - began)
        the.record("training", f"step {record['step']}", {"at": round(seen[-1], 2)} | record)

    run = train(config, data="textures", backend=the.backend, out=folder, quiet=True, stop_after=steps,
                minutes=max(0.05, (the.seconds - RESERVE) / 60), on_record=seen_now, **more)  # fmt: skip
    the.record("pace", "training", _pace(run))
    step = run.records[-1]["step"] + 1
    resumed = train(backend=the.backend, resume=folder, quiet=True, stop_after=step + 2, on_record=seen_now)
    the.record("pace", "resumed", _pace(resumed) | {"from": step})
    sample = ROOT / "docs" / "sample"
    filled = ca_numpy.inpaint(sample / "photo.jpg", sample / "mask.png", model=folder, method="network",
                              backend=the.backend)  # fmt: skip
    save_image(the.scratch / "filled.png", filled)
    the.record("pace", "inpainted", {"shape": filled.shape, "at": round(time.monotonic() - began, 2)})
    return 0


def _pace(run: TrainResult) -> dict[str, Any]:
    """Seconds of a step, and how long the paper's training takes at this pace."""
    seconds = [record["seconds"] for record in run.records if "seconds" in record]
    later = seconds[len(seconds) // 2 :]  # without what compiles at first
    pace = float(np.median(later)) if later else float("nan")
    return {"steps": len(seconds), "seconds a step": pace, "paper, hours": pace * PRESETS["paper"].steps / 3600}


if __name__ == "__main__":
    sys.exit({"numbers": numbers, "stretch": stretch}[sys.argv[1]](plan()))
