"""How long the parts of the system take, backend beside backend in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from ca_numpy import functional as F
from ca_numpy.autograd import no_grad
from ca_numpy.backend import use_backend
from ca_numpy.data import MaskSampler
from ca_numpy.models import Generator
from ca_numpy.tensor import tensor
from ca_numpy.train.algorithm1 import Batch, update_critics, update_generator
from ca_numpy.train.config import TrainConfig
from ca_numpy.train.loop import new_system


def bench(names: Sequence[str], *, size: int = 256, repeats: int = 3) -> str:
    """A table in Markdown: the median milliseconds of each part on each backend, at the paper's widths."""
    times: dict[str, list[float]] = {}
    for name in names:
        with use_backend(name):
            for title, run in works_at(size).items():
                times.setdefault(title, []).append(1000 * clock(run, repeats=repeats))
    lines = [f"| work, ms at {size}×{size} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {title} | {' | '.join(f'{t:.1f}' for t in row)} |" for title, row in times.items()]
    return "\n".join(lines)


def works_at(size: int) -> dict[str, Callable[[], object]]:
    """What is timed. Inputs are drawn before the clock starts."""
    rng = np.random.default_rng(0)
    quarter = size // 4
    features = rng.standard_normal((1, quarter, quarter, 128)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 128, 128)).astype(np.float32)
    image = rng.uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    mask = np.zeros((1, size, size, 1), np.float32)
    mask[:, quarter : 3 * quarter, quarter : 3 * quarter] = 1
    generator = Generator(rng=rng)
    config = TrainConfig(width=32, critic_width=64, size=size, box=size // 2, max_shrink=size // 16)
    sampler = MaskSampler("box", image_size=size, box_size=size // 2, max_shrink=size // 16)
    images = rng.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    system = new_system(config, rng, rng, lambda: Batch(images, *sampler(rng, 2)))

    def silently(run: Callable[[], object]) -> Callable[[], None]:
        def timed() -> None:
            with no_grad():
                run()

        return timed

    def iteration() -> None:
        for _ in range(config.critic_steps):
            update_critics(system, config)
        update_generator(system, config, rate=1e-4, adversarial=True)

    return {
        "convolution 3×3, 128 → 128 channels, a quarter of the side": silently(lambda: F.conv2d(features, kernel)),
        "contextual attention, 128 channels": silently(lambda: F.contextual_attention(features, features)),
        "the same as a composite": silently(lambda: F.contextual_attention(features, features, fused=False)),
        "generator, forward": silently(lambda: generator(tensor(image * (1 - mask)), mask)),
        "Algorithm 1, one iteration of batch 2": iteration,
    }


def clock(run: Callable[[], object], *, repeats: int) -> float:
    """Median seconds of `repeats` runs after one to warm up."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])
