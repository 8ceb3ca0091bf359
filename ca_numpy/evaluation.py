"""Table 1 of the paper: ℓ1, ℓ2, PSNR and TV (and SSIM), over the whole picture and over the hole alone."""

from __future__ import annotations

import json
import math
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ca_numpy import metrics
from ca_numpy.autograd import no_grad
from ca_numpy.data import Dataset, MaskSampler, open_dataset, open_split, validation_crops
from ca_numpy.data.datasets import Crops
from ca_numpy.errors import UserError
from ca_numpy.files import write_text
from ca_numpy.models import Generator
from ca_numpy.models.files import load
from ca_numpy.registry import use_backend
from ca_numpy.train.checkpoint import CONFIG
from ca_numpy.train.config import TrainConfig

Holes = Literal["centre", "box", "boxes", "free-form"]
REGIONS = ("hole", "whole")


class Evaluation(NamedTuple):
    """`rows[method][region][measure]` = (mean, half of its 95 % interval); `settings` says how it was measured."""

    rows: dict[str, dict[str, dict[str, tuple[float, float]]]]
    settings: dict[str, Any]

    def to_markdown(self) -> str:
        """A table for people."""
        lines = []
        for region in REGIONS:
            lines += [
                f"\n{'over the hole' if region == 'hole' else 'over the whole picture'}\n",
                "| method | ℓ1 % | ℓ2 % | PSNR dB | TV % | SSIM |",
                "|---|---|---|---|---|---|",
            ]
            for method, regions in self.rows.items():
                cells = (_cell(*interval, digits=3 if k == "ssim" else 2) for k, interval in regions[region].items())
                lines.append(f"| {method} | {' | '.join(cells)} |")
        s = self.settings
        head = f"{s['count']} crops of {s['size']}×{s['size']} pixels of {s['data']}; holes: {s['holes']}; "
        return head + "mean ± 95 % interval\n" + "\n".join(lines) + "\n"


def evaluate(
    model: str | PathLike[str] | Generator,
    *,
    data: str | PathLike[str] | None = None,
    size: int | None = None,
    count: int = 32,
    holes: Holes = "centre",
    seed: int = 0,
    batch: int = 4,
    backend: str = "auto",
    out: str | PathLike[str] | None = None,
    quiet: bool = True,
) -> Evaluation:
    """Measure a generator as Table 1 does, beside filling holes with the mean colour.

    model        a `Generator`, or what `ca_numpy.load` takes
    data         as in `TrainConfig.data`; for a run's folder, if not given, the pictures that the run held out
    size         side of the crops; for a run's folder, if not given, that of its training, else 256
    count        how many crops, fixed ones. The interval takes them for independent: with fewer pictures than crops
                 it is too narrow
    holes        "centre": a square of half the side in the middle; or drawn anew for each crop from `seed`
    out          also write the table there, as `.json` or `.md`

    -> ℓ1, ℓ2 and TV in percent, PSNR in dB, SSIM in [-1, 1]; of the refined result pasted into the picture, of
    the coarse one, and of the truth (whose TV is the one to come close to). Raises UserError for bad input.
    """
    dataset, name, size, window, crops = _pictures(model, data, size)
    if size % 8 or size < 16 or batch < 1:
        raise UserError(f"size must be a multiple of 8 of at least 16 and batch positive, got {size} and {batch}")
    suffix = Path(out).suffix if out is not None else ".md"
    if suffix not in (".md", ".json"):
        raise UserError(
            f"evaluations are written as .md or .json, not {suffix!r}: choose one of these for {str(out)!r}"
        )
    if out is not None and not Path(out).parent.is_dir():
        raise UserError(f"cannot write {str(out)!r}: its folder does not exist; make it first")
    if seed < 0 or count < 1:
        raise UserError(f"seed cannot be negative and count must be positive, got {seed} and {count}")
    images = validation_crops(dataset, size=size, count=count, window=window, crops=crops)
    masks = draw_holes(holes, size=size, count=count, seed=seed)
    values: dict[str, dict[str, list[NDArray[np.float64]]]] = {}
    with use_backend(backend) as device, no_grad():
        generator = model if isinstance(model, Generator) else load(model)
        generator.to_current_backend()
        for start in tqdm(range(0, count, batch), desc="evaluating", unit="batch", disable=quiet or None):
            x, m = images[start : start + batch], masks[start : start + batch]
            for method, y in completions(generator, x, m).items():
                for region, measured in measure(x, y, m).items():
                    values.setdefault(method, {}).setdefault(region, []).append(measured)
        device.release_memory()
    rows = {
        method: {region: _summary(parts) for region, parts in regions.items()} for method, regions in values.items()
    }
    of = "a generator" if isinstance(model, Generator) else str(model)
    settings = {"model": of, "data": name, "size": size, "count": count, "holes": holes, "seed": seed}
    evaluation = Evaluation(rows, settings)
    if out is not None:
        _write(Path(out), evaluation)
    return evaluation


def _pictures(
    model: str | PathLike[str] | Generator, data: str | PathLike[str] | None, size: int | None
) -> tuple[Dataset, str, int, float, Crops | Literal["auto"]]:
    """What to measure on, its name, the crops' side in pixels, their share of a picture's shorter side, their rule."""
    file = None if isinstance(model, Generator) else Path(model) / CONFIG
    if file is None or not file.is_file():
        named = data or "photographs"
        return open_dataset(named, held_out=True), str(named), size or 256, 0.75, "auto"
    config = TrainConfig.from_json(file.read_text(encoding="utf-8"))
    window = (config.smallest_window + config.largest_window) / 2
    if data is not None:
        return open_dataset(data, held_out=True), str(data), size or config.size, window, config.crops
    held_out = open_split(config.data, validation=config.validation).validation
    return held_out, f"{config.data}, held out from training", size or config.size, window, config.crops


#: The columns of the table.
MEASURES = ("l1", "l2", "psnr", "tv", "ssim")


def completions(generator: Generator, x: NDArray[Any], m: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What is compared, each pasted into the known pixels: method -> N H W 3 in [-1, 1]."""
    flip = slice(None, None, -1 if generator.variant.channel_order == "bgr" else 1)
    coarse, refined = (y.numpy()[..., flip] for y in generator(generator.erase(x[..., flip], m), m))
    if not np.isfinite(refined).all():
        raise UserError("the model's output is not finite: its weights are damaged, or training had diverged")
    known = 1 - m
    mean = (x * known).sum((1, 2), keepdims=True) / known.sum((1, 2), keepdims=True)
    return {
        "mean colour": x * known + mean * m,
        "coarse": x * known + coarse * m,
        "refined": x * known + refined * m,
        "truth": x,
    }


def measure(x: NDArray[Any], y: NDArray[Any], m: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """The five measures of each sample, over the hole and the whole: region -> N 5."""
    return {
        region: np.stack(
            [
                metrics.l1(x, y, mask=mask),
                metrics.l2(x, y, mask=mask),
                metrics.psnr(x, y, mask=mask),
                metrics.tv(y, mask=mask),
                metrics.ssim(x, y, mask=mask),
            ],
            axis=-1,
        )
        for region, mask in zip(REGIONS, (m, None), strict=True)
    }


def draw_holes(holes: Holes, *, size: int, count: int, seed: int) -> NDArray[np.float32]:
    """`count` masks N size size 1, the same for the same seed."""
    if holes == "centre":
        masks = np.zeros((count, size, size, 1), np.float32)
        masks[:, size // 4 : size - size // 4, size // 4 : size - size // 4] = 1
        return masks
    sampler = MaskSampler(holes, image_size=size, box_size=size // 2, max_shrink=size // 16)
    return sampler(np.random.default_rng(seed), count)[0]


def _summary(parts: list[NDArray[np.float64]]) -> dict[str, tuple[float, float]]:
    table = np.concatenate(parts)
    return {name: metrics.mean_and_interval(table[:, k]) for k, name in enumerate(MEASURES)}


def _cell(mean: float, half: float, *, digits: int) -> str:
    if math.isinf(mean):
        return "∞"
    return f"{mean:.{digits}f} ± {half:.{digits}f}" if math.isfinite(half) else f"{mean:.{digits}f}"


def _finite(value: Any) -> Any:
    """The same with None for what JSON cannot hold: the truth's PSNR is infinite."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, evaluation: Evaluation) -> None:
    text = (
        evaluation.to_markdown() if path.suffix == ".md" else json.dumps(_finite(evaluation._asdict()), indent=2) + "\n"
    )
    try:
        write_text(path, text)
    except OSError as e:
        raise UserError(f"cannot write {str(path)!r} ({e.strerror}): give another path") from e
