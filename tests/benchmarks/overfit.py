"""Overfits the default generator to one batch of four photographs, and draws how the loss falls.

    python tests/benchmarks/overfit.py [--size 64] [--width 16] [--steps 800] [--out overfit.png]

Prints the fall of each term; `tests/training/test_overfitting.py` holds a smaller run to tenfold.
"""

from __future__ import annotations

import argparse

import numpy as np
from tqdm.auto import trange

from ca_numpy import grad, losses, no_grad, viz
from ca_numpy.data import MaskSampler, Photographs, validation_crops
from ca_numpy.models import Generator
from ca_numpy.nn.optim import Adam
from ca_numpy.training.batches import Batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", default="overfit.png")
    options = parser.parse_args()
    size = options.size

    images = validation_crops(Photographs(), size=size, count=4)
    sampler = MaskSampler("box", image_size=size, box_size=size // 2, max_shrink=size // 16)
    masks, boxes = sampler(np.random.default_rng(0), 4)
    batch = Batch(images, masks, boxes)
    generator = Generator(width=options.width, rng=np.random.default_rng(0))
    adam = Adam(generator.parameters())
    records = []
    for step in trange(options.steps):
        coarse, refined, _ = generator.complete(batch.images, batch.masks)
        l1 = [losses.discounted_l1(images, x, masks, boxes) for x in (coarse, refined)]
        known = [losses.known_l1(images, x, masks) for x in (coarse, refined)]
        rate = 1e-3 * min(1, (step + 1) / 20) * (1 - step / options.steps)
        adam.step(grad(l1[0] + l1[1] + known[0] + known[1], list(adam.parameters.values())), rate=rate)
        records.append(
            {"step": step, "l1_coarse": float(l1[0]), "l1_refined": float(l1[1]), "known_refined": float(known[1])}
        )
    for name in ("l1_coarse", "l1_refined", "known_refined"):
        first, last = records[0][name], records[-1][name]
        print(f"{name}: {first:.4f} fell to {last:.4f}, {first / last:.1f}-fold")
    viz.save(viz.loss_curves(records), options.out)
    with no_grad():
        coarse, refined, _ = generator.complete(batch.images, batch.masks)
    sheet = viz.comparison(images, masks, coarse.numpy(), refined.numpy(), images)
    viz.save(sheet, options.out.replace(".png", "-pictures.png"))


if __name__ == "__main__":
    main()
