"""Figures of a run: held-out crops during training, loss curves, and one whole image inpainted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ca_numpy.data import Dataset, readable, resize, save_image, to_float, to_uint8
from ca_numpy.engine.autograd import no_grad
from ca_numpy.errors import UserError
from ca_numpy.filling import inpaint_details
from ca_numpy.models import BaseGenerator
from ca_numpy.registry import current_backend
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.validation import Validation

#: Crops shown during training.
SHOWN = 6


def draw_pictures(path: Path, generator: BaseGenerator, validation: Validation) -> None:
    """Draw input | coarse | result | truth | attention for some held-out crops."""
    from ca_numpy import viz  # matplotlib is slow to import

    images, masks = validation.batch.images[:SHOWN], validation.batch.masks[:SHOWN]
    with no_grad():
        coarse, _, result = generator.complete(images, masks)
        index, background = generator.attention_map(images, masks) if generator.attention != "none" else (None, None)
    figure = viz.comparison(images, masks, coarse.numpy(), result.numpy(), images, index=index, background=background)
    viz.save(figure, path)


def draw_curves(path: Path, records: list[dict[str, Any]], validation: Validation) -> None:
    """Draw the losses and measurements so far, with the mean-colour baseline."""
    from ca_numpy import viz

    drawn = [{k: v for k, v in r.items() if k != "mean_colour"} for r in records]
    figure = viz.loss_curves(drawn, references={"mean colour": validation.mean_colour})
    viz.save(figure, path)


def draw_photograph(folder: Path, generator: BaseGenerator, dataset: Dataset, config: TrainConfig) -> list[Path]:
    """Inpaint a held-out image whole, as a user would; saves the result and a sheet of all steps.

    The first one that can still be read; [] if there is none.
    """
    from ca_numpy import viz

    try:
        good, _ = readable(dataset, count=1)
    except UserError:  # the training is done all the same
        return []
    pixels = dataset[good[0]]
    shrink = 2 * config.size / min(pixels.shape[:2])  # so that holes are as large, in pixels, as in training
    image = resize(pixels, (round(pixels.shape[0] * shrink), round(pixels.shape[1] * shrink))) if shrink < 1 else pixels
    mask = np.zeros((*image.shape[:2], 1), np.float32)
    side = min(config.box, max(min(image.shape[:2]) // 2, 1))  # a small picture gets a smaller hole
    top, left = ((n - side) // 2 for n in image.shape[:2])
    mask[top : top + side, left : left + side] = 1
    done = inpaint_details(
        to_uint8(image), mask, model=generator, largest_hole=0, attention=True, backend=current_backend().name
    )
    paths = [folder / "photograph-inpainted.png", folder / "photograph-steps.png"]
    save_image(paths[0], done.result)
    index, background = done.attention or (None, None)
    sheet = viz.comparison(image, mask, done.coarse, to_float(done.result), image, index=index, background=background)
    viz.save(sheet, paths[1])
    return paths
