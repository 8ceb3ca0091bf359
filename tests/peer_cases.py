"""Where ca_numpy must agree with the PyTorch peer: the cases, how inputs are drawn, how results are kept.

Both sides read this file: `make_peer_numbers.py` asks the peer and writes `peer_numbers.npz`, and
`test_peer.py` asks ca_numpy. Nothing here needs PyTorch. Everything is float64; arrays are N H W C, kernels
H W I O.

Inputs are drawn from `numpy.random.default_rng(case.seed)`, so that only seeds and results need keeping. Of
a large result a summary is kept (`summary`): enough to notice any change, too little to fill a repository.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parts = dict[str, Array]
MaskKind = Literal["none", "known", "hole", "box", "dots"]
Critic = Literal["local", "global"]

NUMBERS = Path(__file__).with_name("peer_numbers.npz")


# ---------------------------------------------------------------------------------------------------------
# Inputs
# ---------------------------------------------------------------------------------------------------------


def draw_mask(rng: Generator, kind: MaskKind, batch: int, height: int, width: int) -> Array | None:
    """N H W 1 with 1 = hole, every sample its own; None is the absence of a mask."""
    if kind == "none":
        return None
    mask = np.full((batch, height, width, 1), float(kind == "hole"))
    for sample in mask:
        if kind == "dots":
            sample[...] = rng.random(sample.shape) < 0.08
        elif kind == "box":
            h, w = (int(rng.integers(-(-n // 4), max(n // 2, 1), endpoint=True)) for n in (height, width))
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            sample[top : top + h, left : left + w] = 1
    return mask


def draw_weights(rng: Generator, shapes: Mapping[str, tuple[int, ...]], gain: float = 1.0) -> Parts:
    """Glorot-uniform kernels times `gain`, and biases that are small but nowhere zero."""
    weights: Parts = {}
    for name, shape in shapes.items():
        if name.endswith("/bias"):
            weights[name] = 0.1 * rng.standard_normal(shape)
        else:
            fan_in_and_out = math.prod(shape[:-2]) * (shape[-2] + shape[-1])
            limit = gain * math.sqrt(6 / fan_in_and_out)
            weights[name] = rng.uniform(-limit, limit, shape)
    return weights


# Layer, kernel size and output channels in units of cnum; every layer's input is the line before it.
ENCODERS = {
    "": "conv1 5 1, conv2_downsample 3 2, conv3 3 2, conv4_downsample 3 4, conv5 3 4, conv6 3 4",
    "x": "conv1 5 1, conv2_downsample 3 1, conv3 3 2, conv4_downsample 3 2, conv5 3 4, conv6 3 4",
    "pm": "conv1 5 1, conv2_downsample 3 1, conv3 3 2, conv4_downsample 3 4, conv5 3 4, conv6 3 4",
}
ATROUS = "conv7_atrous 3 4, conv8_atrous 3 4, conv9_atrous 3 4, conv10_atrous 3 4"
AFTER_ATTENTION = "conv9 3 4, conv10 3 4"
DECODER = "conv11 3 4, conv12 3 4, conv13_upsample 3 2, conv14 3 2, conv15_upsample 3 1, conv16 3 0.5"
CRITICS = {"local": (1, 2, 4, 8), "global": (1, 2, 4, 4)}


def generator_shapes(cnum: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the generator's 84 variables, by the authors' names."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(prefix: str, layers: str, channels: int) -> int:
        for layer in layers.split(", "):
            name, ksize, width = layer.split()
            name = f"{prefix}{name}/{prefix}{name}_conv" if name.endswith("upsample") else prefix + name
            out = int(float(width) * cnum)
            shapes[f"inpaint_net/{name}/kernel"] = (int(ksize), int(ksize), channels, out)
            shapes[f"inpaint_net/{name}/bias"] = (out,)
            channels = out
        return channels

    def add_decoder(prefix: str, channels: int) -> None:
        channels = add(prefix, DECODER, channels)
        shapes[f"inpaint_net/{prefix}conv17/kernel"] = (3, 3, channels, 3)
        shapes[f"inpaint_net/{prefix}conv17/bias"] = (3,)

    add_decoder("", add("", ATROUS, add("", ENCODERS[""], 5)))
    dilated = add("x", ATROUS, add("x", ENCODERS["x"], 5))
    attended = add("pm", AFTER_ATTENTION, add("pm", ENCODERS["pm"], 5))
    add_decoder("all", dilated + attended)
    return shapes


def critic_shapes(which: Critic, cnum: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """The shapes of one critic's ten variables, by the authors' names, for images of this size."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for n, multiple in enumerate(CRITICS[which], start=1):
        name = f"discriminator/discriminator_{which}/conv{n}"
        shapes[f"{name}/kernel"] = (5, 5, channels, multiple * cnum)
        shapes[f"{name}/bias"] = (multiple * cnum,)
        channels = multiple * cnum
        height, width = -(-height // 2), -(-width // 2)
    shapes[f"discriminator/dout_{which}_fc/kernel"] = (height * width * channels, 1)
    shapes[f"discriminator/dout_{which}_fc/bias"] = (1,)
    return shapes


# ---------------------------------------------------------------------------------------------------------
# Cases: `id` names the case, `inputs()` draws what both sides are given
# ---------------------------------------------------------------------------------------------------------


def size(hw: tuple[int, int]) -> str:
    return f"{hw[0]}x{hw[1]}"


@dataclass(frozen=True)
class ConvCase:
    """`functional.conv2d` with TF's SAME padding, and its three gradients for the direction `r`."""

    hw: tuple[int, int]
    ksize: int
    stride: int = 1
    dilation: int = 1
    seed: int = 0
    samples: ClassVar[int] = 24

    @property
    def id(self) -> str:
        return f"conv-{size(self.hw)}-k{self.ksize}-s{self.stride}-d{self.dilation}"

    def inputs(self) -> Parts:
        rng = np.random.default_rng(self.seed)
        h, w = self.hw
        return {
            "x": rng.standard_normal((2, h, w, 3)),
            "w": rng.standard_normal((self.ksize, self.ksize, 3, 4)),
            "b": rng.standard_normal(4),
            "r": rng.standard_normal((2, -(-h // self.stride), -(-w // self.stride), 4)),
        }


@dataclass(frozen=True)
class AttentionCase:
    """`functional.contextual_attention`, and its gradients for the direction `r`.

    `b_hw` None: b is f itself. `level` is the standard deviation of the features, small enough that the
    softmax weighs several patches; `quiet` of b's rows are scaled down until their patches are shorter than
    the norm's floor of 1e-4.
    """

    f_hw: tuple[int, int]
    b_hw: tuple[int, int] | None = None
    mask: MaskKind = "box"
    batch: int = 1
    ksize: int = 3
    rate: int = 2
    fuse_k: int = 3
    softmax_scale: float = 10.0
    fuse: bool = True
    channels: int = 4
    level: float = 0.1
    quiet: int = 0
    seed: int = 0
    samples: ClassVar[int] = 24

    @property
    def id(self) -> str:
        b = f"over-{size(self.b_hw)}" if self.b_hw else "over-itself"
        fuse = f"fuse{self.fuse_k}" if self.fuse else "nofuse"
        options = f"k{self.ksize}-rate{self.rate}-{fuse}-scale{self.softmax_scale:g}"
        quiet = f"-quiet{self.quiet}" if self.quiet else ""
        return f"attention-{size(self.f_hw)}-{b}-n{self.batch}-{self.mask}-{options}{quiet}"

    @property
    def options(self) -> dict[str, int | float | bool]:
        return {
            "ksize": self.ksize,
            "rate": self.rate,
            "fuse_k": self.fuse_k,
            "softmax_scale": self.softmax_scale,
            "fuse": self.fuse,
        }

    def inputs(self) -> Parts:
        rng = np.random.default_rng(self.seed)
        f = self.level * rng.standard_normal((self.batch, *self.f_hw, self.channels))
        inputs = {"f": f, "r": rng.standard_normal(f.shape)}
        if self.b_hw:
            b = self.level * rng.standard_normal((self.batch, *self.b_hw, self.channels))
            b[:, : self.quiet] *= 1e-5
            inputs["b"] = b
        mask = draw_mask(rng, self.mask, self.batch, *(self.b_hw or self.f_hw))
        return inputs if mask is None else inputs | {"mask": mask}


@dataclass(frozen=True)
class GeneratorCase:
    """Both outputs of the generator and, where `gradients`, those of sum(r1 x1) + sum(r2 x2).

    `gain` keeps the outputs large but mostly within [-1, 1]; the features that enter the attention are made
    small, so that its softmax weighs several patches.
    """

    hw: tuple[int, int]
    cnum: int
    batch: int = 1
    gain: float = 1.2
    gradients: bool = True
    mask: MaskKind = "box"
    seed: int = 0
    samples: ClassVar[int] = 10

    @property
    def id(self) -> str:
        return f"generator-{size(self.hw)}-cnum{self.cnum}-n{self.batch}-{self.mask}"

    def inputs(self) -> Parts:
        rng = np.random.default_rng(self.seed)
        mask = draw_mask(rng, self.mask, self.batch, *self.hw)
        assert mask is not None
        image = rng.uniform(-1, 1, (self.batch, *self.hw, 3))
        directions = {"r1": rng.standard_normal(image.shape), "r2": rng.standard_normal(image.shape)}
        weights = draw_weights(rng, generator_shapes(self.cnum), self.gain)
        for kind in ("kernel", "bias"):
            weights[f"inpaint_net/pmconv6/{kind}"] *= 0.03
        return {"image": image * (1 - mask), "mask": mask} | directions | weights


@dataclass(frozen=True)
class CriticCase:
    """A critic's scores and their gradients for the direction `r`."""

    which: Critic
    hw: tuple[int, int]
    cnum: int = 8
    seed: int = 0
    samples: ClassVar[int] = 24

    @property
    def id(self) -> str:
        return f"critic-{self.which}-{size(self.hw)}"

    def inputs(self) -> Parts:
        rng = np.random.default_rng(self.seed)
        drawn = {"x": rng.uniform(-1, 1, (2, *self.hw, 3)), "r": rng.standard_normal((2, 1))}
        return drawn | draw_weights(rng, critic_shapes(self.which, self.cnum, *self.hw), 1.5)


@dataclass(frozen=True)
class PenaltyCase:
    """The masked gradient penalty and its gradients for the critic's weights: double backpropagation."""

    which: Critic
    hw: tuple[int, int]
    mask: MaskKind = "box"
    cnum: int = 8
    seed: int = 0
    samples: ClassVar[int] = 24

    @property
    def id(self) -> str:
        return f"penalty-{self.which}-{size(self.hw)}-{self.mask}"

    def inputs(self) -> Parts:
        rng = np.random.default_rng(self.seed)
        mask = draw_mask(rng, self.mask, 2, *self.hw)
        assert mask is not None
        real, fake = (rng.uniform(-1, 1, (2, *self.hw, 3)) for _ in range(2))
        drawn = {"real": real, "fake": fake, "mask": mask, "t": rng.random((2, 1, 1, 1))}
        return drawn | draw_weights(rng, critic_shapes(self.which, self.cnum, *self.hw), 1.5)


Case = ConvCase | AttentionCase | GeneratorCase | CriticCase | PenaltyCase


def weights_of(inputs: Parts) -> Parts:
    """The network's variables among the inputs, by the authors' names."""
    return {name: array for name, array in inputs.items() if "/" in name}


CONV = (
    *(ConvCase((8, 12), k, s, seed=10 * k + s) for k in (1, 3, 5) for s in (1, 2, 3)),
    *(ConvCase((9, 7), k, s, seed=10 * k + s + 1) for k in (1, 3, 5) for s in (1, 2, 3)),
    *(ConvCase((12, 11), 3, 1, d, seed=d) for d in (2, 4, 8, 16)),
    ConvCase((9, 12), 5, 1, 2, seed=60),
    ConvCase((9, 12), 3, 2, 2, seed=61),
    ConvCase((8, 9), 2, 2, seed=62),
    ConvCase((8, 9), 4, 2, seed=63),
    ConvCase((1, 1), 5, 2, seed=64),
)

ATTENTION = (
    AttentionCase((8, 8), (8, 8), seed=1),
    AttentionCase((8, 8), seed=2, level=0.05),
    AttentionCase((12, 20), (12, 20), batch=2, seed=3),
    AttentionCase((12, 20), batch=2, mask="dots", seed=4, level=0.05),
    AttentionCase((12, 8), (10, 14), seed=5),
    AttentionCase((10, 14), (12, 8), batch=2, mask="dots", seed=6),
    AttentionCase((10, 14), (12, 8), fuse=False, seed=7),
    AttentionCase((10, 14), (10, 14), fuse_k=5, seed=8),
    AttentionCase((12, 8), (10, 14), fuse_k=5, batch=2, seed=9),
    *(AttentionCase((12, 16), (12, 16), mask=m, seed=10) for m in ("none", "known", "hole")),
    AttentionCase((12, 16), (12, 16), mask="dots", seed=13),
    *(AttentionCase((12, 16), mask=m, seed=11, level=0.05) for m in ("none", "known", "hole")),
    *(AttentionCase((12, 12), (12, 16), ksize=k, fuse=f, seed=20 + k) for k in (1, 5) for f in (True, False)),
    AttentionCase((12, 12), (12, 16), softmax_scale=1.0, seed=30, level=0.5),
    AttentionCase((12, 12), (12, 16), softmax_scale=1.0, fuse=False, seed=31, level=0.5),
    AttentionCase((12, 12), (12, 16), fuse=False, seed=32, level=0.3),
    AttentionCase((16, 24), (16, 24), rate=4, seed=40),
    AttentionCase((16, 24), (12, 20), rate=4, batch=2, ksize=1, mask="dots", seed=41),
    AttentionCase((6, 5), (5, 7), rate=1, seed=42),
    AttentionCase((9, 12), (12, 15), rate=3, seed=43),
    AttentionCase((10, 14), mask="dots", seed=50, level=0.05),
    AttentionCase((6, 6), (6, 6), mask="none", seed=51),
    AttentionCase((6, 6), mask="none", fuse=False, seed=52),
    AttentionCase((2, 2), (2, 2), mask="none", seed=53),
    AttentionCase((2, 2), (2, 2), mask="hole", seed=54),
    AttentionCase((2, 2), (6, 4), mask="none", seed=55),
    AttentionCase((2, 10), (10, 2), mask="none", seed=56),
    # Here the middle of align_corners' nearest index is a tie that float32 rounds down and float64 up.
    AttentionCase((4, 54), (54, 2), seed=57, channels=2),
    AttentionCase((4, 76), (76, 4), rate=4, seed=64, channels=2),
    AttentionCase((8, 12), (12, 12), mask="none", quiet=9, seed=59),
)

GENERATOR = (
    GeneratorCase((32, 32), 4, seed=1),
    GeneratorCase((64, 48), 4, seed=2),
    GeneratorCase((40, 56), 4, batch=2, seed=3),
    GeneratorCase((32, 32), 8, batch=2, mask="dots", seed=4),
    GeneratorCase((40, 56), 8, seed=5),
    GeneratorCase((64, 48), 8, batch=2, gradients=False, seed=6),
    GeneratorCase((64, 64), 32, gradients=False, seed=7),
)

CRITIC = (
    CriticCase("local", (32, 32), seed=1),
    CriticCase("global", (64, 64), seed=2),
    CriticCase("local", (40, 40), seed=3),
    CriticCase("global", (40, 40), seed=4),
    CriticCase("global", (36, 60), seed=5),
)

PENALTY = (
    PenaltyCase("local", (32, 32), seed=1),
    PenaltyCase("global", (64, 64), seed=2),
    PenaltyCase("global", (40, 40), mask="dots", seed=3),
    PenaltyCase("local", (36, 28), mask="hole", seed=4),
)

CASES: tuple[Case, ...] = (*CONV, *ATTENTION, *GENERATOR, *CRITIC, *PENALTY)


# ---------------------------------------------------------------------------------------------------------
# What is kept of a result
# ---------------------------------------------------------------------------------------------------------

SUMS = 4


def summary(name: str, array: Array, samples: int) -> Array:
    """[max|x|, sum|x|, sum x, sum r x, the shape, some elements of x].

    r and the elements' positions are drawn from the part's name. The weighted sum r x notices a change of
    any element and every reordering; the elements show where.
    """
    x = np.asarray(array, np.float64).ravel()
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    sums = [np.abs(x).max(), np.abs(x).sum(), x.sum(), rng.standard_normal(x.size) @ x]
    positions = np.sort(rng.choice(x.size, min(samples, x.size), replace=False))
    return np.concatenate([sums, np.shape(array), x[positions]])


def summaries(case: Case, inputs: Parts, results: Parts) -> Iterator[tuple[str, Array]]:
    """What is kept of a case, part by part: a fingerprint of all its inputs, then each of its results."""
    drawn = np.concatenate([array.ravel() for array in inputs.values()])
    yield "inputs", summary("inputs", drawn, 8)
    for name, array in results.items():
        yield name, summary(name, array, case.samples)
