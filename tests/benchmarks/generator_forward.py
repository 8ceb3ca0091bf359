"""The generator's forward pass beside the PyTorch peer's, turn by turn in one process.

    python tests/benchmarks/generator_forward.py [--size 256] [--rounds 7] [--backend numpy]

Needs torch. Prints the medians of both, and the median of the ratios: on a machine whose speed drifts, trust the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from ca_numpy import no_grad, use_backend
from ca_numpy.bench.torch_peer import Peer, random_weights, to_torch
from ca_numpy.models import Generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--backend", default="numpy")
    options = parser.parse_args()
    size = options.size

    weights = random_weights(seed=0)
    image = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    mask = np.zeros((1, size, size, 1), np.float32)
    mask[:, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
    image *= 1 - mask

    peer = Peer(to_torch(weights, channels_last=True))
    nchw = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in (image, mask))
    x, m = (a.contiguous(memory_format=torch.channels_last) for a in nchw)

    def theirs() -> np.ndarray:
        with torch.inference_mode():
            return peer.generator(x, m)[1].permute(0, 2, 3, 1).numpy()

    with use_backend(options.backend), no_grad():
        generator = Generator.from_tf(weights)

        def ours() -> np.ndarray:
            return generator(image, mask)[1].numpy()

        print(f"largest difference of the results: {abs(ours() - theirs()).max():.1e}")
        seconds: dict[str, list[float]] = {"ours": [], "peer": []}
        for _ in range(options.rounds):
            for name, run in (("ours", ours), ("peer", theirs)):
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["peer"], strict=True)]
    print(f"| generator forward, {size}×{size} | {options.backend} | peer, channels last | ours / peer |")
    print("|---|---|---|---|")
    a, b = (statistics.median(seconds[name]) for name in ("ours", "peer"))
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"| median of {options.rounds} | {a:.3f} s | {b:.3f} s | {middle:.2f} ({low:.2f} to {high:.2f}) |")


if __name__ == "__main__":
    main()
