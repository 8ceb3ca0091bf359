"""Pictures per second from JPEG files, beside what a training step uses up.

    python tests/benchmarks/loader.py [--data FOLDER] [--size 256] [--batch 16] [--seconds 8]
        [--steps 2] [--step-batch 2] [--width 32]

Without --data, 48 files of 1440×720 pixels are made: textures, quality 90. Pictures are decoded anew each time, as in a
set that does not fit in memory. The plain loader and the one in the background take turns; then training steps (by
reconstruction, on the best backend) take a batch from each in turn, and what is told apart is the time of the step and
the time it waited for its batch. A step's batch is smaller, so that it fits everywhere.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ca_numpy import use_backend
from ca_numpy.data import BackgroundLoader, ImageFolder, Loader, MaskSampler, Textures
from ca_numpy.training.algorithm1 import update_generator
from ca_numpy.training.batches import Batch
from ca_numpy.training.config import configured
from ca_numpy.training.presets import PRESETS
from ca_numpy.training.system import new_system


def make_files(folder: Path, count: int) -> None:
    """Photograph-like files: two textures side by side, enlarged to 1440×720."""
    textures = Textures(2 * count, size=360)
    for i in range(count):
        both = Image.fromarray(np.hstack([textures.pixels(2 * i), textures.pixels(2 * i + 1)]))
        both.resize((1440, 720), Image.Resampling.BICUBIC).save(folder / f"{i:03d}.jpg", quality=90)


def rate(loader: Loader | BackgroundLoader, *, seconds: float) -> float:
    """Pictures per second when nothing else is done."""
    next(loader)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        count += len(next(loader))
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--step-batch", type=int, default=2)
    parser.add_argument("--width", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if options.data is None:
            make_files(Path(made), 48)
        measure(ImageFolder(options.data or made, cache_bytes=0), options)


def measure(dataset: ImageFolder, options: argparse.Namespace) -> None:
    def plain(batch: int = options.batch) -> Loader:
        return Loader(dataset, batch=batch, size=options.size, rng=np.random.default_rng(0))

    rates: dict[str, list[float]] = {"plain": [], "background": []}
    for _ in range(2):
        rates["plain"].append(rate(plain(), seconds=options.seconds / 4))
        with BackgroundLoader(plain()) as loader:
            rates["background"].append(rate(loader, seconds=options.seconds / 4))
            workers = loader.workers
    print(f"| {options.size}×{options.size} crops, batch {options.batch} | pictures per second |")
    print("|---|---|")
    for name, seen in rates.items():
        threads = f", {workers} threads" if name == "background" else ""
        print(f"| {name} loader{threads} | {statistics.mean(seen):.0f} |", flush=True)

    config = configured(PRESETS["paper"], {"size": options.size, "box": options.size // 2, "width": options.width})
    sampler = MaskSampler(image_size=config.size, box_size=config.box, max_shrink=config.size // 16)
    rng = np.random.default_rng(0)
    with use_backend("auto") as device, BackgroundLoader(plain(options.step_batch)) as background:
        sources = {"plain": plain(options.step_batch), "background": background}
        steps: dict[str, list[float]] = {name: [] for name in sources}
        waits: dict[str, list[float]] = {name: [] for name in sources}
        current = ["plain"]

        def next_batch() -> Batch:
            began = time.perf_counter()
            images = next(sources[current[0]])
            waits[current[0]].append(time.perf_counter() - began)
            return Batch(images, *sampler(rng, len(images)))

        system = new_system(config, rng, rng, next_batch)
        for _ in range(options.steps + 1):
            for current[0] in sources:
                began = time.perf_counter()
                update_generator(system, config, rate=1e-4, adversarial=False)
                steps[current[0]].append(time.perf_counter() - began)
        for name in sources:  # the first step compiles and fills memory
            step, wait = (statistics.median(seen[name][1:]) for seen in (steps, waits))
            print(
                f"| a step on {device.name}, {name} loader: {step:.2f} s, of which {1000 * wait:.1f} ms waiting "
                f"| {options.step_batch / step:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
