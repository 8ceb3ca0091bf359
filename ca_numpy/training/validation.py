"""The same held-out crops and holes, measured again and again."""

from __future__ import annotations

import numpy as np

from ca_numpy import metrics
from ca_numpy.data import BoundingBox, Dataset, Subset, readable, validation_crops
from ca_numpy.engine.autograd import no_grad
from ca_numpy.models import BaseGenerator
from ca_numpy.training.batches import Batch
from ca_numpy.training.config import TrainConfig

#: Crops to measure on.
COUNT = 16


class Validation:
    """`COUNT` crops of held-out pictures with the box in the centre as their hole.

    `mean_colour` is the ℓ1 in the hole, in percent, of filling it with each crop's mean known colour: what any learning
    must beat. `skipped` are pictures that cannot be read, each with what is wrong with it.
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
        """ℓ1 in the hole in percent, of either stage, and the refined stage's PSNR in the hole in dB."""
        images, masks, _ = self.batch
        with no_grad():
            coarse, refined, _ = generator.complete(images, masks)
        return {
            "validation_l1_coarse": float(metrics.l1(images, coarse.numpy(), mask=masks).mean()),
            "validation_l1_refined": float(metrics.l1(images, refined.numpy(), mask=masks).mean()),
            "validation_psnr": float(metrics.psnr(images, refined.numpy(), mask=masks).mean()),
        }
