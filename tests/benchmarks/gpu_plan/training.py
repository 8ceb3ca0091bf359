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
from ca_numpy.models.io import CHECKPOINT, GENERATOR
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
#: The run's folder, in the scratch folder.
RUN = "run"


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
    shutil.rmtree(the.scratch / RUN, ignore_errors=True)
    options, config, size = the.options, PRESETS["paper"], int(the.options["training_size"])
    more: dict[str, Any] = {"width": int(options["width"]), "batch": int(options["batch"])}
    if more["width"] != config.width:  # a rehearsal
        more |= {"critic_width": more["width"], "size": size, "box": size // 2, "max_shrink": size // 16}
    run = _trained(the, "training", config=config, data="textures", out=the.scratch / RUN, **more)
    step = run.records[-1]["step"] + 1
    _trained(the, f"resumed from step {step}", resume=the.scratch / RUN, stop_after=step + 2)
    return _filled(the)


def longer(the: Plan) -> int:
    """Go on with the run of an earlier stretch, or start one."""
    if not (the.scratch / RUN / CHECKPOINT).is_file():
        return stretch(the)
    _trained(the, "longer", resume=the.scratch / RUN)
    return _filled(the)


def _trained(the: Plan, title: str, *, stop_after: int | None = None, **options: Any) -> TrainResult:
    """Train within the step's limit; record each step, and the pace. The weights come back."""
    minutes, began = max(0.05, (the.seconds - RESERVE) / 60), time.monotonic()

    def seen(record: dict[str, Any]) -> None:
        the.record("training", f"{title}, step {record['step']}", record)

    run = train(backend=the.backend, quiet=True, minutes=minutes, on_record=seen,
                stop_after=stop_after or the.options["training_steps"] or None, **options)  # fmt: skip
    the.record("pace", title, _pace(run) | {"seconds": round(time.monotonic() - began, 1)})
    shutil.copyfile(run.folder / GENERATOR, the.scratch / GENERATOR)
    return run


def _filled(the: Plan) -> int:
    sample = ROOT / "docs" / "sample"
    filled = ca_numpy.inpaint(sample / "photo.jpg", sample / "mask.png", model=the.scratch / GENERATOR,
                              method="network", backend=the.backend)  # fmt: skip
    save_image(the.scratch / "filled.png", filled)
    return 0


def _pace(run: TrainResult) -> dict[str, Any]:
    """Seconds of a step, and how long the paper's training takes at this pace."""
    seconds = [record["seconds"] for record in run.records if "seconds" in record]
    later = seconds[len(seconds) // 2 :]  # without what compiles at first
    pace = float(np.median(later)) if later else float("nan")
    return {"steps": len(seconds), "seconds a step": pace, "paper, hours": pace * PRESETS["paper"].steps / 3600}


if __name__ == "__main__":
    sys.exit({"numbers": numbers, "stretch": stretch, "longer": longer}[sys.argv[1]](plan()))
