"""Training batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import BackgroundLoader, BoundingBox, Dataset, Loader, MaskSampler
from ca_numpy.filling.ranks import agreeing
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.parallel import Ranks


class Batch(NamedTuple):
    """Images N H W 3 in [-1, 1], masks N H W 1 with 1 = hole, and the box around each hole."""

    images: NDArray[np.float32]
    masks: NDArray[np.float32]
    boxes: list[BoundingBox]


class Batches:
    """Crops of a dataset, each with a hole, with the configuration's options. `batches()` returns the next batch.

    crop_rng, mask_rng   draw the crops and the holes
    ranks                those that share each batch: all numbers are drawn, but only this one's crops are made
    loader               loads crops in background threads, which it stops as a context manager
    """

    def __init__(
        self,
        dataset: Dataset,
        config: TrainConfig,
        *,
        crop_rng: np.random.Generator,
        mask_rng: np.random.Generator,
        ranks: Ranks | None = None,
    ) -> None:
        self._ranks, self._whole = ranks or Ranks(), config.batch
        window = (config.smallest_window, config.largest_window)
        loader = Loader(
            dataset, batch=config.batch, size=config.size, window=window, flip=config.flip, crops=config.crops,
            jitter=config.jitter, rng=crop_rng, part=self._ranks.part,
        )  # fmt: skip
        self.loader = BackgroundLoader(loader)
        self._mask_rng = mask_rng
        self._sampler = MaskSampler(
            config.masks, image_size=config.size, box_size=config.box, max_shrink=config.max_shrink,
            per_batch=config.mask_per_batch,
        )  # fmt: skip

    def __call__(self) -> Batch:
        before, surprises = self.loader.state(), None
        while surprises != {}:  # each rank opens its own pictures only; they exchange what they find
            with agreeing(self._ranks.comm):
                images = next(self.loader)
            if surprises := self._ranks.union(self.loader.surprises):
                self.loader.learn(surprises, before)
        self._ranks.refuse_different(self.loader.state())
        return Batch(images, *self._sampler(self._mask_rng, self._whole, part=self._ranks.part))

    def state(self) -> dict[str, Any]:
        """The position in the data after the last batch, as JSON-compatible values."""
        return {"loader": self.loader.state(), "mask_rng": self._mask_rng.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a position returned by `state`."""
        self.loader.restore(state["loader"])
        self._mask_rng.bit_generator.state = state["mask_rng"]
