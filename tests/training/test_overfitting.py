"""The first sign of life of any network: on one batch of four photographs, it learns them by heart."""

import numpy as np
import pytest

from ca_numpy import grad, losses
from ca_numpy.data import MaskSampler, Photographs, validation_crops
from ca_numpy.models import Generator
from ca_numpy.nn.optim import Adam
from ca_numpy.training.batches import Batch

STEPS = 400


@pytest.mark.slow
def test_on_one_batch_of_four_photographs_the_reconstruction_term_falls_tenfold():
    images = validation_crops(Photographs(), size=32, count=4)
    masks, boxes = MaskSampler("box", image_size=32, box_size=16, max_shrink=2)(np.random.default_rng(0), 4)
    batch = Batch(images, masks, boxes)
    generator = Generator(width=16, rng=np.random.default_rng(0))
    adam = Adam(generator.parameters())
    terms = []
    for step in range(STEPS):
        coarse, refined, _ = generator.complete(batch.images, batch.masks)
        hole = sum(losses.discounted_l1(images, x, masks, boxes) for x in (coarse, refined))
        known = sum(losses.known_l1(images, x, masks) for x in (coarse, refined))
        terms.append(float(hole))
        rate = 1e-3 * min(1, (step + 1) / 20) * (1 - step / STEPS)
        adam.step(grad(hole + known, list(adam.parameters.values())), rate=rate)
    assert terms[-1] < terms[0] / 10, f"{terms[0]:.4f} fell to {terms[-1]:.4f}"
