"""Why a result is not better: how much of the truth is in reach, where the errors lie, and what the attention adds.

    python tests/benchmarks/limits.py [RUN] [--data scenes:scenes] [--size 256] [--count 19]

Prints, for held-out crops with the hole in the centre and over the hole alone:

    truth, blurred        the PSNR of somebody who knows the truth up to details of so many pixels
    by distance           the error of each way of filling, by the distance to the nearest known pixel
    attention, disturbed  the refined result with the attention's features taken away, from another picture, or from
                          places drawn at random
    seen pictures         the lead over Telea's method on crops of training pictures, beside that on held-out ones
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ca_numpy import filling, metrics, no_grad
from ca_numpy.data import Dataset, open_split
from ca_numpy.engine.tensor import Tensor
from ca_numpy.evaluation import make_pairs
from ca_numpy.filling.network import predict
from ca_numpy.models import Generator
from ca_numpy.models.io import opened
from ca_numpy.registry import use_backend

BLURS = (2, 4, 8, 16, 32)
METHODS = ("telea", "patchmatch")
Arrays = np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="a run or a weight file; the bundled weights if not given")
    parser.add_argument("--data", default="scenes:scenes")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--count", type=int, default=19)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()

    seen, held_out = open_split(options.data, validation=0.1)
    with use_backend(options.backend), no_grad():
        generator = opened(options.run)
        images, masks = make_pairs(held_out, size=options.size, count=options.count).read()
        filled = {method: fill(method, images, masks) for method in METHODS}
        filled["coarse"], filled["refined"] = run(generator, images, masks)
        print_blurred(images, masks, filled)
        print_by_distance(images, masks, filled)
        if generator.attention == "contextual":
            print_disturbed(generator, images, masks)
        print_seen(generator, seen, size=options.size, count=2 * options.count, held_out=lead(images, masks, filled))


def run(generator: Generator, images: Arrays, masks: Arrays) -> list[Arrays]:
    """Coarse and refined results, pasted, one picture at a time."""
    done = [predict(generator, images[k : k + 1], masks[k : k + 1])[:2] for k in range(len(images))]
    return [images * (1 - masks) + np.concatenate(stage) * masks for stage in zip(*done, strict=True)]


def fill(method: str, images: Arrays, masks: Arrays) -> Arrays:
    return np.stack([filling.fill(method, x, m) for x, m in zip(images, masks, strict=True)])


def shown(values: Arrays) -> str:
    mean, half = metrics.mean_and_interval(values)
    return f"{mean:6.2f} ± {half:.2f}"


def print_blurred(images: Arrays, masks: Arrays, filled: dict[str, Arrays]) -> None:
    print("| the hole holds | PSNR dB | TV % |\n|---|---|---|")
    for sigma in BLURS:
        filled = filled | {f"truth, blurred, σ = {sigma}": gaussian_filter(images, (0, sigma, sigma, 0))}
    for name, x in filled.items():
        x = x * masks + images * (1 - masks)
        psnr, tv = (shown(measure) for measure in (metrics.psnr(images, x, mask=masks), metrics.tv(x, mask=masks)))
        print(f"| {name} | {psnr} | {tv} |")


def print_by_distance(images: Arrays, masks: Arrays, filled: dict[str, Arrays]) -> None:
    """ℓ1 in percent, in rings of the hole."""
    away = np.stack([distance_transform_edt(mask[..., 0]) for mask in masks])[..., None]
    edges = sorted({0, *(images.shape[1] * share // 256 for share in (4, 8, 16, 32, 64))})
    print("\n| pixels from the border | " + " | ".join(filled) + " |\n|---|" + "---|" * len(filled))
    for low, high in pairwise(edges):
        ring = ((away > low) & (away <= high)).astype(np.float32)
        cells = (f"{metrics.l1(images, x, mask=ring).mean():.2f}" for x in filled.values())
        print(f"| {low + 1} to {high} | " + " | ".join(cells) + " |")


def print_disturbed(generator: Generator, images: Arrays, masks: Arrays) -> None:
    rng = np.random.default_rng(0)
    attend = generator._attend
    others: list[Tensor] = []

    def nothing(f: Tensor, mask: Tensor) -> Tensor:
        return attend(f, mask) * 0.0

    def elsewhere(f: Tensor, mask: Tensor) -> Tensor:
        """Features of the picture before."""
        others.append(attend(f, mask))
        return others[max(len(others) - 2, 0)]

    def anywhere(f: Tensor, mask: Tensor) -> Tensor:
        x = attend(f, mask).numpy()
        places = rng.permutation(x.shape[1] * x.shape[2])
        return Tensor(x.reshape(len(x), -1, x.shape[3])[:, places].reshape(x.shape))

    plain = metrics.psnr(images, run(generator, images, masks)[1], mask=masks)
    print("\n| the attention's features | PSNR dB | less as it is |\n|---|---|---|")
    print(f"| as they are | {shown(plain)} | |")
    kinds = {"zero": nothing, "another picture's": elsewhere, "from places at random": anywhere}
    for name, other in kinds.items():
        generator._attend = other  # type: ignore[method-assign]
        run(generator, images[-1:], masks[-1:])  # the last comes before the first
        psnr = metrics.psnr(images, run(generator, images, masks)[1], mask=masks)
        print(f"| {name} | {shown(psnr)} | {shown(psnr - plain)} |")
    generator._attend = attend  # type: ignore[method-assign]


def lead(images: Arrays, masks: Arrays, filled: dict[str, Arrays]) -> dict[str, Arrays]:
    """The refined result's PSNR in the hole less each method's, picture by picture."""
    refined = metrics.psnr(images, filled["refined"], mask=masks)
    return {method: refined - metrics.psnr(images, filled[method], mask=masks) for method in METHODS}


def print_seen(generator: Generator, seen: Dataset, *, size: int, count: int, held_out: dict[str, Arrays]) -> None:
    images, masks = make_pairs(seen, size=size, count=count).read()
    filled = {method: fill(method, images, masks) for method in METHODS}
    filled["refined"] = run(generator, images, masks)[1]
    print("\n| the refined result less, dB | " + " | ".join(METHODS) + " |\n|---|---|---|")
    for name, leads in (("training pictures", lead(images, masks, filled)), ("held-out pictures", held_out)):
        print(f"| {name} | " + " | ".join(shown(values) for values in leads.values()) + " |")


if __name__ == "__main__":
    main()
