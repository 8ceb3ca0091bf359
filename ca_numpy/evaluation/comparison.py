"""Table 1 of the paper: a generator and other methods on the same images and holes."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ca_numpy.atomic import write_text
from ca_numpy.data import Dataset, Images, open_dataset, open_split
from ca_numpy.data.datasets import Crops
from ca_numpy.data.photo import photo_of
from ca_numpy.errors import UserError
from ca_numpy.evaluation.pairs import Holes, Pairs, load_pairs, make_pairs
from ca_numpy.evaluation.tables import MEASURES, REGIONS, Evaluation, Interval, Values, measure, summary
from ca_numpy.filling import baselines, guided
from ca_numpy.filling.blending import blend
from ca_numpy.filling.network import predict
from ca_numpy.models import BaseGenerator
from ca_numpy.models.io import SHIPPED, opened
from ca_numpy.registry import use_backend
from ca_numpy.schemas import content
from ca_numpy.training.checkpoint import CONFIG
from ca_numpy.training.config import TrainConfig

#: Pictures: as in `TrainConfig.data`, or arrays.
Data = str | PathLike[str] | Sequence[NDArray[Any]] | NDArray[Any]

#: The reference method for win rates.
RIVAL = "telea"
#: The row of a second model.
OTHER = "other model"
#: The methods that use the model.
LEARNT = ("model", "guided")
#: Default number of crops.
COUNT = 32
#: Images on a contact sheet: the first ones, not selected.
SHOWN = 24


def evaluate(
    model: str | PathLike[str] | BaseGenerator | None = None,
    *,
    data: Data | None = None,
    size: int | None = None,
    count: int = COUNT,
    holes: Holes = "centre",
    seed: int = 0,
    batch: int = 4,
    backend: str = "auto",
    out: str | PathLike[str] | None = None,
    quiet: bool = True,
    methods: Sequence[str] | None = None,
    pairs: str | PathLike[str] | None = None,
    root: str | PathLike[str] | None = None,
    sheet: str | PathLike[str] | None = None,
    against: str | PathLike[str] | BaseGenerator | None = None,
) -> Evaluation:
    """Evaluate a generator and other methods as in Table 1.

    model        a `Generator`, or an argument of `ca_numpy.load`; by default the weights included in the package
    data         as in `TrainConfig.data`, or arrays as `ca_numpy.inpaint` takes them: H W grey or H W 3 RGB, uint8,
                 uint16, or float in [0, 1]. For a run's folder, by default the run's held-out images
    size         side of the crops; by default 256, or the training size for a run's folder
    count        number of crops, always the same. The interval assumes independence: it is too narrow with fewer images
                 than crops
    holes        "centre": a square of half the side in the middle; else drawn for each crop from `seed`; "mixed":
                 the kinds in turn
    out          also write the table to this `.json` or `.md` file
    methods      "model", "guided" (copies, arranged by the model) and names in `filling.METHODS`; by default "mean" and
                 "model"
    pairs        a list of images and holes (`ca_numpy.evaluation.pairs`). If the file exists, it replaces data, size,
                 count, holes and seed; otherwise it is written, to make the evaluation reproducible
    root         a folder that the list's images may be in, besides the list's own
    sheet        also draw the first images to this `.png` file: input, each method, truth
    against      a second model, "other model" in the table

    -> ℓ1, ℓ2 and TV in percent, PSNR in dB, SSIM in [-1, 1], SWD from 0, for the refined result pasted into the image,
    the coarse one, the refined one blended (`ca_numpy.filling.blend`), the other methods, and the truth (the target for
    TV). ℓ1, ℓ2 and PSNR prefer a blur to a sharp texture in the wrong place: read TV and SWD beside them.
    Raises UserError for bad input, or a method whose library is not installed.
    """
    methods = _checked_methods(methods)
    _check_target(out, (".md", ".json"), "evaluations are")
    _check_target(sheet, (".png",), "contact sheets are")
    if batch < 1:
        raise UserError(f"batch must be positive, got {batch}")
    chosen, settings = _chosen(model, data, size, count, holes, seed, pairs, root)
    images, masks = chosen.read()
    if pairs is not None and not Path(pairs).exists():
        chosen.save(pairs)
    measured: dict[str, list[dict[str, Values]]] = {}
    shown: dict[str, list[NDArray[Any]]] = {}
    with use_backend(backend) as device:
        generator = opened(model) if set(LEARNT) & set(methods) else None
        other = None if against is None else opened(against)
        for start in tqdm(range(0, len(images), batch), desc="evaluating", unit="batch", disable=quiet or None):
            x, m = images[start : start + batch], masks[start : start + batch]
            done = completions(x, m, methods=methods, generator=generator)
            if other is not None:
                done = {OTHER: predict(other, x, m).result, **done}
            for method, y in done.items():
                measured.setdefault(method, []).append(measure(x, y, m))
                shown.setdefault(method, []).extend(y if sheet is not None and start < SHOWN else ())
        device.release_memory()
    values = {
        method: {region: np.concatenate([part[region] for part in parts]) for region in REGIONS}
        for method, parts in measured.items()
    }
    name = "a generator" if isinstance(model, BaseGenerator) else str(model or SHIPPED.name)
    evaluation = Evaluation(
        {method: {region: summary(table) for region, table in regions.items()} for method, regions in values.items()},
        {"model": name if set(LEARNT) & set(methods) else None, **settings, "methods": list(methods)},
        _wins(values),
        _leads(values),
    )
    if out is not None:
        _write(Path(out), evaluation)
    if sheet is not None:
        _draw(sheet, images, masks, shown, chosen)
    return evaluation


def _wins(values: dict[str, dict[str, Values]]) -> dict[str, float]:
    """The fraction of images for which each method's PSNR in the hole exceeds the rival's, if that was measured."""
    psnr = {method: regions["hole"][:, list(MEASURES).index("psnr")] for method, regions in values.items()}
    rivals = [method for method in psnr if RIVAL in psnr and method not in (RIVAL, "truth")]
    return {method: float(np.mean(psnr[method] > psnr[RIVAL])) for method in rivals}


def _leads(values: dict[str, dict[str, Values]]) -> dict[str, dict[str, Interval]]:
    """Per-picture difference in the hole, refined minus method."""
    if "refined" not in values:
        return {}
    mine, others = values["refined"]["hole"], (m for m in values if m not in ("refined", "coarse", "truth"))
    return {method: summary(mine - values[method]["hole"]) for method in others}


def _checked_methods(methods: Sequence[str] | None) -> tuple[str, ...]:
    """The methods to compare. Raises UserError for one that cannot be used."""
    chosen = tuple(dict.fromkeys(methods or ("mean", "model")))
    for method in chosen:
        if method not in LEARNT:
            why = baselines.why_unavailable(method)
            if why is not None:
                raise UserError(why if method in baselines.METHODS else f"{why}, {', '.join(LEARNT)}")
    return chosen


def _check_target(path: str | PathLike[str] | None, suffixes: tuple[str, ...], what: str) -> None:
    """Check an output path before the evaluation starts."""
    if path is None:
        return
    if Path(path).suffix not in suffixes:
        kinds = " or ".join(suffixes)
        raise UserError(f"{what} written as {kinds}, not {Path(path).suffix!r}: choose one of these for {str(path)!r}")
    if not Path(path).parent.is_dir():
        raise UserError(f"cannot write {str(path)!r}: its folder does not exist; create it first")


def _chosen(
    model: str | PathLike[str] | BaseGenerator | None,
    data: Data | None,
    size: int | None,
    count: int,
    holes: Holes,
    seed: int,
    pairs: str | PathLike[str] | None,
    root: str | PathLike[str] | None,
) -> tuple[Pairs, dict[str, Any]]:
    """The pairs to evaluate on, and their description for the table."""
    if pairs is not None and Path(pairs).exists():
        found = load_pairs(pairs, root=root)
        if data is not None or size not in (None, found.size) or (count, holes, seed) != (COUNT, "centre", 0):
            raise UserError(
                f"{str(pairs)!r} already lists {len(found.pairs)} pictures at {found.size} pixels: leave out data, "
                "size, count, holes and seed"
            )
        kinds = ", ".join(dict.fromkeys(pair.hole.kind for pair in found.pairs))
        settings = {"data": str(pairs), "size": found.size, "count": len(found.pairs), "holes": kinds, "seed": None}
    else:
        _check_target(pairs, (".json",), "lists of pairs are")
        dataset, name, size, window, crops = _pictures(model, data, size)
        if seed < 0 or count < 1:
            raise UserError(f"seed cannot be negative and count must be positive, got {seed} and {count}")
        _check_size(size)
        found = make_pairs(dataset, size=size, count=count, window=window, holes=holes, seed=seed, crops=crops)
        settings = {"data": name, "size": size, "count": count, "holes": holes, "seed": seed}
    _check_size(found.size)
    return found, {**settings, "pictures": len({(pair.source, pair.name) for pair in found.pairs})}


def _check_size(size: int) -> None:
    if size % 8 or size < 16:
        raise UserError(f"size must be a multiple of 8 of at least 16, got {size}")


def _pictures(
    model: str | PathLike[str] | BaseGenerator | None, data: Data | None, size: int | None
) -> tuple[Dataset, str, int, float, Crops | Literal["auto"]]:
    """The dataset, its name, the crops' side in pixels and as a fraction of an image's shorter side, and their rule."""
    file = None if model is None or isinstance(model, BaseGenerator) else Path(model) / CONFIG
    if data is not None and not isinstance(data, (str, PathLike)):
        arrays = Images([photo_of(np.asarray(one)).colours() for one in data])
        return arrays, f"{len(arrays)} arrays", size or 256, 0.75, "auto"
    if file is None or not file.is_file():
        named = data or "photographs"
        return open_dataset(named, held_out=True), str(named), size or 256, 0.75, "auto"
    try:
        config = TrainConfig.from_json(content(file))
    except UserError as e:
        raise UserError(f"{str(file)!r}: {e}; evaluate another run, or its weight file") from e
    window = (config.smallest_window + config.largest_window) / 2
    if data is not None:
        return open_dataset(data, held_out=True), str(data), size or config.size, window, config.crops
    held_out = open_split(config.data, validation=config.validation).validation
    return held_out, f"{config.data}, held out from training", size or config.size, window, config.crops


def completions(
    x: NDArray[Any], m: NDArray[Any], *, methods: Sequence[str], generator: BaseGenerator | None
) -> dict[str, NDArray[Any]]:
    """Each method's result with the known pixels restored: method -> N H W 3 in [-1, 1].

    "model" gives three: the coarse stage's, the refined and the blended result.
    """
    results = {}
    if set(LEARNT) & set(methods):
        assert generator is not None
        coarse, refined, pasted = predict(generator, x, m)
        blended = np.stack([blend(*one) for one in zip(x, refined, m, strict=True)])
    for method in methods:
        if method == "guided":
            results["guided"] = np.stack([guided.complete(*one) for one in zip(x, m, blended, strict=True)])
        elif method != "model":
            filled = [baselines.fill(method, one, hole) for one, hole in zip(x, m, strict=True)]
            results["mean colour" if method == "mean" else method] = np.stack(filled)
        else:
            results |= {"coarse": x * (1 - m) + coarse * m, "refined": pasted, "blended": blended}
    return {**results, "truth": x}


def _write(path: Path, evaluation: Evaluation) -> None:
    try:
        write_text(path, evaluation.to_markdown() if path.suffix == ".md" else evaluation.to_json())
    except OSError as e:
        raise UserError(f"cannot write {str(path)!r} ({e.strerror}): give another path") from e


def _draw(
    path: str | PathLike[str],
    images: NDArray[Any],
    masks: NDArray[Any],
    shown: dict[str, list[NDArray[Any]]],
    chosen: Pairs,
) -> None:
    from ca_numpy.viz import method_sheet, save  # matplotlib is slow to import

    rows = min(SHOWN, len(images))
    results = {method: np.stack(pictures[:rows]) for method, pictures in shown.items()}
    save(method_sheet(images[:rows], masks[:rows], results, row_labels=chosen.names[:rows]), path)
