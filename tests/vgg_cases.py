"""Weights of VGG-16's shape for tests: random, and narrow."""

from __future__ import annotations

from typing import Any

import numpy as np

LAYERS = ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2", "conv4_3"]


def draw_vgg(seed: int = 0, *, widths: tuple[int, ...] = (2, 3, 4, 5), dtype: Any = np.float64) -> dict[str, Any]:
    """Random weights of VGG-16's shape, narrower, under which pictures stay alive."""
    rng = np.random.default_rng(seed)
    weights, into = {}, 3
    for name in LAYERS:
        out = widths[int(name[4]) - 1]
        scale = np.sqrt(2 / (9 * into)) / (100 if name == "conv1_1" else 1)
        weights[f"{name}_W"] = (scale * rng.normal(size=(3, 3, into, out))).astype(dtype)
        weights[f"{name}_b"] = (0.2 * rng.normal(size=out)).astype(dtype)
        into = out
    return weights
