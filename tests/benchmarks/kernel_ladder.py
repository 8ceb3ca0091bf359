"""One convolution, rung by rung: what each idea is worth on this machine.

    python tests/benchmarks/kernel_ladder.py [--size 128] [--channels 128] [--rounds 7]

3×3 at stride 1, as in the middle of the generator for a picture of four times that size. Every rung gives the same
numbers, which is checked before the clock starts. All rungs run once in each round; the table has the medians. The
first two are so slow that they compute only some rows of the result, and their time is scaled. Needs numba; with
torch, PyTorch's convolution stands below the ladder.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ca_numpy.backends import numba_conv, numba_winograd, numpy_conv
from ca_numpy.bench import turn
from ca_numpy.geometry import ConvGeometry

Array = NDArray[Any]
SAME = ConvGeometry(pads=((1, 1), (1, 1)))


def loops(x: Array, w: Array, rows: int) -> Array:
    """The definition, as a beginner writes it."""
    y = np.zeros((rows, x.shape[2] - 2, w.shape[3]), x.dtype)
    for i in range(rows):
        for j in range(y.shape[1]):
            for o in range(y.shape[2]):
                total = 0.0
                for u in range(3):
                    for v in range(3):
                        for c in range(x.shape[3]):
                            total += x[0, i + u, j + v, c] * w[u, v, c, o]
                y[i, j, o] = total
    return y


compiled_loops = njit(loops)


def winograd_at_once(x: Array, w: Array) -> Array:
    """All tiles in one block for each core: V and M do not fit any cache."""
    block, numba_winograd.BLOCK = numba_winograd.BLOCK, 1 << 62
    tiles = numba_winograd.count_tiles(1, x.shape[1], x.shape[2], 1)
    here, numba_winograd.block_of_tiles = numba_winograd.block_of_tiles, lambda c, k: -(-tiles // 24) * 12
    try:
        return numba_winograd.conv3x3(x, w, SAME)
    finally:
        numba_winograd.BLOCK, numba_winograd.block_of_tiles = block, here


def direct(x: Array, w: Array) -> Array:
    y = np.empty((*x.shape[:3], w.shape[3]), x.dtype)
    numba_conv.direct(x, w, None, SAME, y, (0, 1), (0, 1))
    return y


def by_torch(x: Array, w: Array) -> Callable[[], Array]:
    import torch

    tx = torch.from_numpy(x).permute(0, 3, 1, 2)
    tw = torch.from_numpy(w).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)

    def run() -> Array:
        with torch.inference_mode():
            y: Array = torch.nn.functional.conv2d(tx, tw, padding=1).permute(0, 2, 3, 1).numpy()
        return y

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    size, c = options.size, options.channels
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, size, size, c)).astype(np.float32)
    w = (rng.standard_normal((3, 3, c, c)) / np.sqrt(9 * c)).astype(np.float32)
    padded = np.pad(x, ((0, 0), *SAME.pads, (0, 0)))
    narrow = padded[:, :, :4], w[..., :2]  # two columns and two channels of the result

    # name, what to run, by how much less than the whole it does
    rungs: list[tuple[str, Callable[[], Array], float]] = [
        ("loops in Python, one core", lambda: loops(*narrow, 1), size * size / 2 * c / 2),
        ("loops, compiled, one core", lambda: compiled_loops(padded, w, 2), size / 2),
        ("im2col, then BLAS (the NumPy backend)", lambda: numpy_conv.conv2d(x, w, SAME), 1),
        ("direct, sums in registers", lambda: direct(x, w), 1),
        ("Winograd, all tiles at once", lambda: winograd_at_once(x, w), 1),
        ("Winograd, blocks of tiles in cache (the Numba backend)", lambda: numba_conv.conv2d(x, w, SAME), 1),
    ]
    if importlib.util.find_spec("torch"):
        rungs.append(("PyTorch, channels last", by_torch(x, w), 1))
    right = numpy_conv.conv2d(x.astype(np.float64), w.astype(np.float64), SAME)[0]
    for name, run, _ in rungs:
        y = run()
        y = y[0] if y.ndim == 4 else y
        error = np.abs(y - right[: y.shape[0], : y.shape[1], : y.shape[2]]).max()
        assert error < 1e-4, f"{name}: off by {error}"
    seconds: dict[str, list[float]] = {name: [] for name, *_ in rungs}
    for _ in range(options.rounds):
        for name, run, scale in rungs:
            seconds[name].append(turn(run) * scale)

    work = 2 * 9 * c * c * size * size
    print(f"| 3×3, {c} → {c} channels, {size}×{size} | ms | GFLOP/s of the direct sum | times the rung above |")
    print("|---|---|---|---|")
    above = 0.0
    for name, times in seconds.items():
        middle = statistics.median(times)
        gain = f"{above / middle:.2f}" if above else ""
        print(f"| {name} | {middle * 1000:.1f} | {work / middle / 1e9:.3g} | {gain} |")
        above = middle


if __name__ == "__main__":
    main()
