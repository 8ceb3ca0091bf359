"""Scratches of one and of three pixels: PSNR in the hole by several methods, on scikit-image's seven photographs.

    python tests/benchmarks/thin_holes.py [--widths 1 3]

Two crops of 256×256 of each photograph, nine straight scratches in each. Needs the extra `peers` and scikit-image.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np

from ca_numpy import data, filling, metrics

METHODS = ("guided", "network", "patchmatch", "telea", "biharmonic")
SIDE, CROPS, SCRATCHES = 256, 2, 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 3], help="of the scratches, in pixels")
    print(f"| scratches of | {' | '.join(METHODS)} |\n|---|{'---|' * len(METHODS)}")
    for width in parser.parse_args().widths:
        found = measured(width)
        ahead = found["guided"] - np.stack([found[method] for method in METHODS])
        cells = [f"{found[m].mean():.2f} ({(d < 0).sum()} of {d.size})" for m, d in zip(METHODS, ahead, strict=True)]
        print(f"| {width} px | {' | '.join(cells)} |", flush=True)
    print("\nPSNR in dB; in brackets, in how many crops a method is ahead of guided.")


def measured(width: int) -> dict[str, np.ndarray]:
    """PSNR of each crop, by method."""
    rng, found = np.random.default_rng(width), defaultdict(list)
    photographs = data.Photographs()
    for i in range(len(photographs)):
        height, across = photographs[i].shape[:2]
        for _ in range(CROPS):
            top, left = rng.integers(0, height - SIDE + 1), rng.integers(0, across - SIDE + 1)
            x = (photographs[i][top : top + SIDE, left : left + SIDE] + 1) / 2
            mask = scratches(width, rng)[..., None].astype(np.float32)
            for method in METHODS:
                y = filling.inpaint(x, mask, method=method)
                found[method].append(metrics.psnr(2 * x - 1, 2 * y - 1, mask=mask)[0])
    return {method: np.array(values) for method, values in found.items()}


def scratches(width: int, rng: np.random.Generator) -> np.ndarray:
    """Straight lines between random points."""
    hole, (y, x) = np.zeros((SIDE, SIDE), bool), np.mgrid[:SIDE, :SIDE]
    for _ in range(SCRATCHES):
        (y0, x0), (y1, x1) = rng.uniform(0, SIDE, (2, 2))
        down, right = y1 - y0, x1 - x0
        length = np.hypot(down, right)
        along = ((x - x0) * right + (y - y0) * down) / length**2
        hole |= (abs((x - x0) * down - (y - y0) * right) < width / 2 * length) & (along >= 0) & (along <= 1)
    return hole


if __name__ == "__main__":
    main()
