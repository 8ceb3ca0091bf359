"""One iteration of Algorithm 1 on the part of a rank, started by `mpiexec` or in a thread."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from training_cases import Recorder

from ca_numpy.registry import use_backend
from ca_numpy.training import TrainConfig
from ca_numpy.training.algorithm1 import update_critics, update_generator
from ca_numpy.training.batches import Batch
from ca_numpy.training.parallel import Ranks
from ca_numpy.training.system import new_system

#: Strokes cover different parts of each picture, so that a mean of means is not the mean.
CONFIG = TrainConfig(width=4, critic_width=4, size=48, box=32, masks="free-form", batch=4, texture_weight=0.1)


def iteration(comm: Any, dtype: str) -> dict[str, np.ndarray[Any, Any]]:
    """The gradients given to Adam, and the losses as all ranks log them."""
    from ca_numpy.data import MaskSampler

    ranks, rng = Ranks(comm, CONFIG.batch), np.random.default_rng(0)
    sampler = MaskSampler(CONFIG.masks, image_size=CONFIG.size, box_size=CONFIG.box, max_shrink=2)

    def next_batch() -> Batch:
        images = rng.uniform(-1, 1, (4, CONFIG.size, CONFIG.size, 3)).astype(dtype)
        masks, boxes = sampler(rng, 4)
        return Batch(images[ranks.part], masks[ranks.part].astype(dtype), boxes[ranks.part])

    with use_backend("numpy"):
        system = new_system(CONFIG, np.random.default_rng(1), np.random.default_rng(2), next_batch, ranks=ranks)
        for network in system.networks.values():
            for p in network.parameters().values():
                p.data = p.numpy().astype(dtype)
        recorders = {name: Recorder(adam.parameters) for name, adam in system.optimisers.items()}
        system.optimisers.update(recorders)
        values = update_critics(system, CONFIG) | update_generator(system, CONFIG, rate=1e-4, adversarial=True)
        means = ranks.mean(list(values.values()))
        found = {f"loss/{name}": value.numpy() for name, value in zip(values, means, strict=True)}
        for name, adam in recorders.items():
            found |= {f"{name}/{n}": g for n, g in zip(adam.parameters, adam.gradients, strict=True)}
        return found


if __name__ == "__main__":
    from ca_numpy.filling.ranks import world

    everyone = world()
    results = {f"{dtype} {name}": a for dtype in sys.argv[2:] for name, a in iteration(everyone, dtype).items()}
    if everyone.rank == 0:
        np.savez(sys.argv[1], **results)  # type: ignore[arg-type]
