"""The generator's layers as in the released checkpoints; weights and pictures for small generators."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.attention import AttentionChoices
from ca_numpy.models import OFFICIAL, PAPER, Variant

Array = NDArray[Any]


def shapes(
    *, width: int = 32, inputs: int = 5, wide: bool = False, attention: bool = True
) -> dict[str, tuple[int, ...]]:
    """The authors' variable names and their shapes."""
    w = width
    found: dict[str, tuple[int, ...]] = {}

    def add(name: str, k: int, into: int, out: int) -> None:
        found[f"inpaint_net/{name}/kernel"] = (k, k, into, out)
        found[f"inpaint_net/{name}/bias"] = (out,)

    def encoder(p: str, second: int, fourth: int) -> None:
        add(f"{p}conv1", 5, inputs, w)
        add(f"{p}conv2_downsample", 3, w, second)
        add(f"{p}conv3", 3, second, 2 * w)
        add(f"{p}conv4_downsample", 3, 2 * w, fourth)
        add(f"{p}conv5", 3, fourth, 4 * w)
        add(f"{p}conv6", 3, 4 * w, 4 * w)

    def dilated(p: str) -> None:
        for n in (7, 8, 9, 10):
            add(f"{p}conv{n}_atrous", 3, 4 * w, 4 * w)

    def decoder(p: str, into: int) -> None:
        add(f"{p}conv11", 3, into, 4 * w)
        add(f"{p}conv12", 3, 4 * w, 4 * w)
        add(f"{p}conv13_upsample/{p}conv13_upsample_conv", 3, 4 * w, 2 * w)
        add(f"{p}conv14", 3, 2 * w, 2 * w)
        add(f"{p}conv15_upsample/{p}conv15_upsample_conv", 3, 2 * w, w)
        add(f"{p}conv16", 3, w, w // 2)
        add(f"{p}conv17", 3, w // 2, 3)

    wide = wide or not attention
    encoder("", 2 * w, 4 * w)
    dilated("")
    decoder("", 4 * w)
    encoder("x", *((2 * w, 4 * w) if wide else (w, 2 * w)))
    dilated("x")
    if attention:
        encoder("pm", *((2 * w, 4 * w) if wide else (w, 4 * w)))
        add("pmconv9", 3, 4 * w, 4 * w)
        add("pmconv10", 3, 4 * w, 4 * w)
    decoder("all", 8 * w if attention else 4 * w)
    return found


def draw_weights(seed: int = 0, *, dtype: Any = np.float64, gain: float = 1.2, **table: Any) -> dict[str, Array]:
    """Weights under which signals neither die nor leave [-1, 1] everywhere, biases included."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes(**table).items():
        fans = math.prod(shape[:-2]) * sum(shape[-2:])
        scale = 0.1 if name.endswith("bias") else gain * math.sqrt(2 / fans)
        weights[name] = (scale * rng.normal(size=shape)).astype(dtype)
    return weights


def pictures(n: int = 1, h: int = 16, w: int = 16, *, seed: int = 0, dtype: Any = np.float64) -> tuple[Array, Array]:
    """Images in [-1, 1], and masks with one box each, all different."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((n, h, w, 1), dtype)
    for k in range(n):
        top, left = rng.integers(0, (h // 2, w // 2))
        mask[k, top : top + h // 3 + k, left : left + w // 3 + 1] = 1
    return rng.uniform(-1, 1, (n, h, w, 3)).astype(dtype), mask


def oracle_options(variant: Variant) -> dict[str, Any]:
    a = variant.attention
    return {
        "padding": variant.padding,
        "ones_channel": variant.ones_channel,
        "attention_relu": variant.attention_relu,
        "hole_is_one": variant.hole_is_one,
        "choices": {
            "propagation": a.propagate, "normalize": a.normalize, "wrap": a.wrap, "masked": a.masked,
            "pasted": a.rebuild, "downscale": a.downscale,
        },
    }  # fmt: skip


CHANGED = {
    "official": OFFICIAL,
    "paper": PAPER,
    "reflect": replace(OFFICIAL, padding="reflect"),
    "symmetric": replace(OFFICIAL, padding="symmetric"),
    "no ones": replace(OFFICIAL, ones_channel=False),
    "wide": replace(OFFICIAL, wide_encoders=True),
    "no relu": replace(OFFICIAL, attention_relu=False),
    "hole is zero": replace(OFFICIAL, hole_is_one=False),
    "exclude": replace(OFFICIAL, attention=AttentionChoices(masked="exclude")),
    "matched": replace(OFFICIAL, attention=AttentionChoices(rebuild="matched")),
}


def table_of(variant: Variant) -> dict[str, Any]:
    return {"width": 2, "inputs": 5 if variant.ones_channel else 4, "wide": variant.wide_encoders}
