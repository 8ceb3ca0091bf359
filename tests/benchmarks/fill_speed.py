"""Copying and guided filling against PyPatchMatch on the same picture, in turn in one run; and a 4K picture.

    python tests/benchmarks/fill_speed.py [--rounds 7] [--large PHOTO]

The picture is scikit-image's astronaut, 512×512 pixels, with a hole of 128×128 in the middle; times are warm medians.
With --large, PHOTO is resized to 3840×2160 pixels and a hole 600 pixels across is filled once, warm.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable

import numpy as np
from PIL import Image

from ca_numpy import filling
from ca_numpy.backend import wall_clock
from ca_numpy.data import Photographs, load_pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--large")
    options = parser.parse_args()
    photographs = Photographs()
    image = photographs.pixels(photographs.names.index("astronaut"))
    mask = hole((512, 512), 192, 192, 128)
    runs: dict[str, Callable[[], object]] = {
        method: lambda method=method: filling.inpaint(image, mask, method=method)
        for method in ("pypatchmatch", "patchmatch", "guided", "network")
    }
    times: dict[str, list[float]] = {method: [] for method in runs}
    for turn in range(options.rounds + 1):
        for method, run in runs.items():
            seconds = wall_clock(run)
            if turn:  # the first compiles and loads
                times[method].append(seconds)
    print("| 512×512, hole 128×128 | seconds, median | fastest | PyPatchMatch over this |\n|---|---|---|---|")
    for method, taken in times.items():
        ratio = np.median(np.array(times["pypatchmatch"]) / taken)
        print(f"| {method} | {np.median(taken):.3f} | {min(taken):.3f} | {ratio:.1f} |")
    if options.large:
        large = np.asarray(Image.fromarray(load_pixels(options.large)).resize((3840, 2160), Image.Resampling.LANCZOS))
        mask = hole(large.shape[:2], 800, 1500, 600)
        seconds = wall_clock(lambda: filling.inpaint(large, mask))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"\n3840×2160, hole 600×600, guided: {seconds:.1f} s, {peak:.2f} GiB at most")


def hole(shape: tuple[int, ...], top: int, left: int, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


if __name__ == "__main__":
    main()
