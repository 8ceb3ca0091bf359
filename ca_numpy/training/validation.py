"""Validation on fixed held-out crops and holes."""

from __future__ import annotations

import numpy as np

from ca_numpy import metrics
from ca_numpy.data import BoundingBox, Dataset, Subset, readable, validation_crops
from ca_numpy.engine.autograd import no_grad
from ca_numpy.models import BaseGenerator
from ca_numpy.training.batches import Batch
from ca_numpy.training.config import TrainConfig

#: Number of validation crops.
COUNT = 16


class Validation:
    """`COUNT` crops of held-out images with the central box as their hole.

    `mean_colour` is the ℓ1 in the hole, in percent, of the baseline that fills it with each crop's mean known colour.
    `skipped` are unreadable images, {name: reason}.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        good, self.skipped = readable(dataset, count=COUNT)
        self.dataset = Subset(dataset, good)
        window = (config.smallest_window + config.largest_window) / 2
        images = validation_crops(self.dataset, size=config.size, count=COUNT, window=window, crops=config.crops)
        corner = (config.size - config.box) // 2
        box = BoundingBox(corner, corner, config.box, config.box)
        masks = np.zeros((*images.shape[:3], 1), np.float32)
        masks[:, corner : corner + config.box, corner : corner + config.box] = 1
        self.batch = Batch(images, masks, [box] * len(images))
        known = 1 - masks
        mean = (images * known).sum((1, 2), keepdims=True) / known.sum((1, 2), keepdims=True)
        self.mean_colour = float(metrics.l1(images, np.broadcast_to(mean, images.shape), mask=masks).mean())

    def measure(self, generator: BaseGenerator) -> dict[str, float]:
        """ℓ1 in the hole of both stages, in percent, and PSNR in the hole of the refined stage, in dB."""
        images, masks, _ = self.batch
        with no_grad():
            coarse, refined, _ = generator.complete(images, masks)
        return {
            "validation_l1_coarse": float(metrics.l1(images, coarse.numpy(), mask=masks).mean()),
            "validation_l1_refined": float(metrics.l1(images, refined.numpy(), mask=masks).mean()),
            "validation_psnr": float(metrics.psnr(images, refined.numpy(), mask=masks).mean()),
        }
