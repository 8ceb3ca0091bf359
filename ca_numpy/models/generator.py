"""The generator: a coarse network, then a refinement network with contextual attention (figures 2 and 4).

                 ┌ encoder ─ dilated ─────────────────────────────────┐ coarse result
    image, mask ─┘                                             decoder ┘     │ pasted into the hole
                                                                             ▼
                 ┌ xencoder ─ dilated ──────────────────┐
    pasted, mask ┤                                      concat ─ decoder ─ refined result
                 └ pmencoder ─ contextual attention ────┘

Every convolution is followed by an ELU, except the last of each stage, whose output is clipped to [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ca_numpy import functional as F
from ca_numpy.attention import attention_argmax, attention_scores
from ca_numpy.engine import ops
from ca_numpy.engine.autograd import as_tensor, as_tensors
from ca_numpy.engine.tensor import Tensor, TensorLike
from ca_numpy.errors import UserError, listed
from ca_numpy.models.architectures import BaseGenerator
from ca_numpy.models.variants import OFFICIAL, AttentionKind, Variant, attention_kind, variant_of
from ca_numpy.nn import AppearanceFlow, Conv2d, SpatialTransformer, Warp
from ca_numpy.registry import current_backend

#: Alternatives to the attention (section 5.1) and their variable names, which are ours: neither was published.
WARPS: dict[AttentionKind, tuple[type[SpatialTransformer] | type[AppearanceFlow], str]] = {
    "spatial-transformer": (SpatialTransformer, "inpaint_net/pm_transformer"),
    "appearance-flow": (AppearanceFlow, "inpaint_net/pm_flow"),
}


class Branches(NamedTuple):
    """The second stage's two branches, from the encoders to where the decoder joins them: N H/4 W/4 C each.

    dilated    output of the dilated convolutions
    features   what the attention matches and copies; None for a generator without attention
    hole       the mask at this size, N H/4 W/4 1
    """

    dilated: Tensor
    features: Tensor | None
    hole: Tensor


class Layer(NamedTuple):
    """One layer of the paper's appendix D; `channels` is in units of the width."""

    name: str
    channels: float
    ksize: int = 3
    stride: int = 1
    dilation: int = 1
    activation: str = "elu"


def encoder(prefix: str, *, widths: tuple[float, float], last: str = "elu") -> list[Layer]:
    """Six convolutions, down to a quarter of the size; `widths` are those of the two strided ones."""
    return [
        Layer(f"{prefix}conv1", 1, ksize=5),
        Layer(f"{prefix}conv2_downsample", widths[0], stride=2),
        Layer(f"{prefix}conv3", 2),
        Layer(f"{prefix}conv4_downsample", widths[1], stride=2),
        Layer(f"{prefix}conv5", 4),
        Layer(f"{prefix}conv6", 4, activation=last),
    ]


def dilated(prefix: str) -> list[Layer]:
    """Four dilated convolutions: the receptive field grows to cover the hole (section 3)."""
    return [Layer(f"{prefix}conv{n}_atrous", 4, dilation=d) for n, d in ((7, 2), (8, 4), (9, 8), (10, 16))]


def decoder(prefix: str) -> list[Layer]:
    """Convolutions back to full size; the two `_upsample` layers double the size first."""
    return [
        Layer(f"{prefix}conv11", 4),
        Layer(f"{prefix}conv12", 4),
        Layer(f"{prefix}conv13_upsample/{prefix}conv13_upsample_conv", 2),
        Layer(f"{prefix}conv14", 2),
        Layer(f"{prefix}conv15_upsample/{prefix}conv15_upsample_conv", 1),
        Layer(f"{prefix}conv16", 0.5),
        Layer(f"{prefix}conv17", 0, activation="linear"),  # three channels, whatever the width
    ]


def colours_turned(weights: Mapping[str, Any]) -> dict[str, Any]:
    """BGR weights converted to RGB, {variable name: array}: input and output channels of the image layers reversed."""
    turned = dict(weights)
    for name in ("conv1", "xconv1", "pmconv1"):
        if (kernel := f"inpaint_net/{name}/kernel") in turned:
            k = turned[kernel]
            turned[kernel] = np.concatenate([k[:, :, 2::-1], k[:, :, 3:]], axis=2)
    for name in ("conv17", "allconv17"):
        for end in ("kernel", "bias"):
            turned[f"inpaint_net/{name}/{end}"] = turned[f"inpaint_net/{name}/{end}"][..., ::-1]
    return turned


class Generator(BaseGenerator):
    """Two-stage coarse-to-fine inpainting network.

        generator.complete(image, mask) -> coarse, refined, result        any size, any values in the hole
        generator(image, mask) -> (coarse, refined)

    image N H W 3 in [-1, 1] with its hole erased (`erase`), mask N H W 1 or 1 H W 1 with 1 = hole; both results
    N H W 3 in [-1, 1]. H and W are multiples of 8. Known pixels are reconstructed too; `complete` restores them.

    variant     "official" (the released code), "paper" (its text), or a `Variant`
    attention   "contextual" (or True); "none" (or False): the paper's baseline, whose second stage is like the first;
                "spatial-transformer" or "appearance-flow": the alternatives of section 5.1
    width       channels of the first layer; the paper's is 32
    rng         draws the initial weights; default_rng(0) by default

    Parameters at the paper's width: official 3,601,542; paper 3,765,158; official baseline 2,896,454.
    Raises UserError for an unknown variant, ValueError for incompatible sizes.
    """

    architecture: ClassVar[str] = "two-stage"
    #: Two stride-2 convolutions and the attention's downscaling.
    multiple: ClassVar[int] = 8

    def __init__(
        self,
        *,
        variant: str | Variant = "official",
        attention: bool | AttentionKind = "contextual",
        width: int = 32,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if width < 2 or width % 2:
            raise UserError(f"the generator's width must be an even number of at least 2, got {width}")
        self.variant = variant_of(variant)
        self.attention = attention_kind(attention)
        self.width = width
        self.layers: dict[str, Conv2d] = {}
        rng = np.random.default_rng(0) if rng is None else rng

        def build(layers: list[Layer], in_channels: int) -> int:
            for layer in layers:
                out = int(layer.channels * width) or 3
                self.layers[layer.name] = Conv2d(
                    f"inpaint_net/{layer.name}",
                    in_channels,
                    out,
                    ksize=layer.ksize,
                    stride=layer.stride,
                    dilation=layer.dilation,
                    padding=self.variant.padding,
                    activation=layer.activation,
                    upsample_first="_upsample" in layer.name,
                    rng=rng,
                    dtype=dtype,
                )
                in_channels = out
            return in_channels

        stages = self.stages = self._stages()
        c = self.variant.in_channels
        build(stages["decoder"], build(stages["dilated"], build(stages["encoder"], c)))
        merged = build(stages["xdilated"], build(stages["xencoder"], c))
        features = 0
        if self.attention != "none":
            features = build(stages["pmencoder"], c)
            merged += build(stages["pmdecoder"], features)
        build(stages["alldecoder"], merged)
        self.warp: Warp | None = None
        if self.attention in WARPS:
            kind, name = WARPS[self.attention]
            self.warp = kind(name, features, padding=self.variant.padding, rng=rng, dtype=dtype)

    def _stages(self) -> dict[str, list[Layer]]:
        """The layer tables of each part of the figure above."""
        wide = self.variant.wide_encoders or self.attention == "none"
        relu = "relu" if self.variant.attention_relu else "elu"
        return {
            "encoder": encoder("", widths=(2, 4)),
            "dilated": dilated(""),
            "decoder": decoder(""),
            "xencoder": encoder("x", widths=(2, 4) if wide else (1, 2)),
            "xdilated": dilated("x"),
            "pmencoder": encoder("pm", widths=(2, 4) if wide else (1, 4), last=relu),
            "pmdecoder": [Layer("pmconv9", 4), Layer("pmconv10", 4)],
            "alldecoder": decoder("all"),
        }

    @classmethod
    def from_tf(
        cls,
        weights: Mapping[str, Any],
        *,
        variant: str | Variant | None = None,
        channel_order: Literal["rgb", "bgr"] = "rgb",
        rng: np.random.Generator | None = None,
    ) -> Self:
        """A generator with the given weights, {the authors' variable name: array}, kernels H W I O, in their dtype.

        Width, attention and, unless given, variant are inferred from names and shapes. `channel_order` is that of the
        training images; BGR weights, such as the authors' (departure 17), are converted to RGB.
        Raises UserError if a variable is missing or has an unexpected shape.
        """
        first = "inpaint_net/conv1/kernel"
        if first not in weights or len(weights[first].shape) != 4:
            what = f"there is no kernel H W I O named {first!r}, but {listed(weights)}"
            raise UserError(f"no generator in these weights: {what}")
        _, _, channels, width = weights[first].shape
        if sum(math.prod(w.shape) for w in weights.values()) < 1000 * width**2:  # checked before memory is taken
            raise UserError(f"{first!r} is for a network of width {width}, which has far more weights than these")
        if variant is None:
            variant = "official" if channels == variant_of("official").in_channels else "paper"
        attention: AttentionKind = "contextual" if "inpaint_net/pmconv1/kernel" in weights else "none"
        for kind, (_, name) in WARPS.items():
            if any(variable.startswith(name) for variable in weights):
                attention = kind
        model = cls(variant=variant, attention=attention, width=width, rng=rng, dtype=weights[first].dtype)
        model.load_arrays(weights)
        if channel_order == "bgr":  # once names and shapes are known to be right
            model.load_arrays(colours_turned(model.arrays()))
        return model

    def erase(self, image: TensorLike, mask: TensorLike) -> Tensor:
        """The image with its hole set to this variant's `hole_value`: grey or white (departure 12).

        image N H W 3 in [-1, 1], mask N H W 1 or 1 H W 1 with 1 = hole -> N H W 3.
        """
        image = as_tensor(image)
        mask = ops.constant_like(mask, image)
        return image * (1.0 - mask) + mask * self.variant.hole_value

    def __call__(self, image: TensorLike, mask: TensorLike) -> tuple[Tensor, Tensor]:
        image, mask = self._inputs(image, mask)
        coarse = self.coarse(image, mask)
        return coarse, self.refine(image, mask, coarse)

    def coarse(self, image: TensorLike, mask: TensorLike) -> Tensor:
        """Stage one: encoder, dilated convolutions and decoder.

        image N H W 3 with its hole erased, mask N H W 1 or 1 H W 1 -> N H W 3 in [-1, 1].
        """
        image, mask = self._inputs(image, mask)
        y = self._run("decoder", self._run("dilated", self._run("encoder", self._stack(image, mask))))
        return F.clip(y, low=-1.0, high=1.0)

    def refine(self, image: TensorLike, mask: TensorLike, coarse: TensorLike) -> Tensor:
        """Stage two: dilated convolutions and attention in parallel, from the coarse result pasted into the hole.

        image and coarse N H W 3, mask N H W 1 or 1 H W 1 -> N H W 3 in [-1, 1].
        """
        # Both branches are freed before the decoder runs, whose layers are the largest: no frame refers to them.
        return F.clip(self._run("alldecoder", self._refined(image, mask, coarse)), low=-1.0, high=1.0)

    def _refined(self, image: TensorLike, mask: TensorLike, coarse: TensorLike) -> Tensor:
        y, features, hole = self.branches(image, mask, coarse)
        return self._joined(y, None if features is None else self._attend(features, hole))

    def branches(self, image: TensorLike, mask: TensorLike, coarse: TensorLike) -> Branches:
        """Stage two up to the attention; arguments as for `refine`."""
        image, mask = self._inputs(image, mask)
        x = self._stack(self._paste(image, mask, coarse), mask)
        y = self._run("xdilated", self._run("xencoder", x))
        features = None if self.attention == "none" else self._run("pmencoder", x)
        return Branches(y, features, self._small_mask(mask, y))

    def join(self, dilated: TensorLike, attended: TensorLike | None) -> Tensor:
        """Stage two from the attention on: N H/4 W/4 C each -> N H W 3 in [-1, 1].

        attended   the features as the attention reconstructs them; None for a generator without attention
        """
        return F.clip(self._run("alldecoder", self._joined(dilated, attended)), low=-1.0, high=1.0)

    def _joined(self, dilated: TensorLike, attended: TensorLike | None) -> Tensor:
        y = as_tensor(dilated)
        return y if attended is None else F.concat([y, self._run("pmdecoder", as_tensor(attended))], axis=3)

    def memory_needed(self, height: int, width: int) -> int:
        """Approximate memory to fill an image of H × W pixels, in bytes, with attention over H/8 × W/8 positions."""
        h, w = height // self.multiple + 1, width // self.multiple + 1
        fused = self.variant.attention == OFFICIAL.attention  # the composite holds 20 matrices of all pairs
        numbers = current_backend().attention_numbers(h, w) if fused else 20 * (h * w) ** 2
        return super().memory_needed(height, width) + (4 * numbers if self.attention == "contextual" else 0)

    def _attend(self, f: Tensor, hole: Tensor) -> Tensor:
        """Contextual attention, or its alternative."""
        if self.warp is not None:
            return self.warp(f)
        choices, fuse = self.variant.attention, self.variant.propagation
        return F.contextual_attention(f, f, hole, choices=choices, fuse=fuse)

    def attention_map(self, image: TensorLike, mask: TensorLike) -> tuple[NDArray[Any], tuple[int, int]]:
        """Index of the most attended background patch of each position in the refinement stage.

        Arguments as for `complete`. -> (N h w row-major indices, the background grid (h', w')), h = ⌈H/8⌉. For a
        spatial transformer or appearance flow, the nearest pixel to the sampling position, h = H/4.
        Raises ValueError for a generator without attention.
        """
        if self.attention == "none":
            raise ValueError("this generator was built without attention: there is no map to show")
        image, mask = self.framed(*as_tensors([image, mask, self.layers["conv1"].kernel])[:2])
        image, mask = self._inputs(self.erase(image, mask), mask)
        x = self._stack(self._paste(image, mask, self.coarse(image, mask)), mask)
        f = self._run("pmencoder", x)
        if self.warp is not None:
            h, w = f.shape[1:3]
            nearest = np.rint(self.warp.positions(f).numpy()).clip(0, (h - 1, w - 1)).astype(np.intp)
            return nearest[..., 0] * w + nearest[..., 1], (h, w)
        choices, fuse = self.variant.attention, self.variant.propagation
        a = attention_scores(f, f, self._small_mask(mask, f), choices=choices, fuse=fuse)
        h, w = f.shape[1] // 2, f.shape[2] // 2
        background = (h, w) if self.variant.attention.downscale == "both" else (f.shape[1], f.shape[2])
        return attention_argmax(a).reshape(-1, h, w), background

    def _inputs(self, image: TensorLike, mask: TensorLike) -> tuple[Tensor, Tensor]:
        image = as_tensors([image, self.layers["conv1"].kernel])[0]
        mask = ops.constant_like(mask, image)
        if image.ndim != 4 or image.shape[3] != 3 or mask.shape[1:] != (*image.shape[1:3], 1):
            got = f"got {image.shape} and {mask.shape}"
            raise ValueError(f"the generator needs an image N H W 3 and a mask N H W 1, {got}")
        if any(n % self.multiple for n in image.shape[1:3]):
            got = f"got {image.shape[1:3]}"
            raise ValueError(f"H and W must be multiples of {self.multiple}, {got}: `complete` takes any size")
        if len(mask) not in (1, len(image)):
            raise ValueError(f"the generator needs one mask, or one per image: got {len(mask)} for {len(image)} images")
        if len(mask) != len(image):
            mask = mask + image.detach()[:, :, :, :1] * 0.0
        return image, mask

    def _stack(self, image: Tensor, mask: Tensor) -> Tensor:
        """The network's input channels: image, a channel of ones if the variant has it, and the mask."""
        shown = mask if self.variant.hole_is_one else 1.0 - mask
        channels = [image, mask * 0.0 + 1.0, shown] if self.variant.ones_channel else [image, shown]
        return F.concat(channels, axis=3)

    def _paste(self, image: Tensor, mask: Tensor, coarse: TensorLike) -> Tensor:
        coarse = as_tensor(coarse)
        coarse = coarse.detach() if self.variant.coarse_is_detached else coarse
        return coarse * mask + image * (1.0 - mask)

    def _small_mask(self, mask: Tensor, features: Tensor) -> Tensor:
        return F.resize_nearest(mask.detach(), size=(features.shape[1], features.shape[2]))

    def _run(self, part: str, x: Tensor) -> Tensor:
        for layer in self.stages[part]:
            x = self.layers[layer.name](x)
        return x
