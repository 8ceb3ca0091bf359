"""The whole configuration of a run: one frozen dataclass, saved with every checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ca_numpy.data.masks import MaskKind
from ca_numpy.errors import UserError, quoted
from ca_numpy.models.variants import AttentionKind, attention_kind
from ca_numpy.schemas import converted, parsed
from ca_numpy.training.losses import SMALLEST_TEXTURE, Adversarial

#: Options that may change when a run is resumed, since they do not affect the results.
RESUMABLE = ("checkpoint_every", "checkpoints", "pictures_every", "validate_every")
#: Upper limits of what takes memory or time.
LARGEST = {
    "width": 512, "critic_width": 512, "size": 4096, "batch": 4096, "steps": 10**9, "critic_steps": 1000,
    "seed": 2**63 - 1,
}  # fmt: skip


@dataclass(frozen=True)
class DataOptions:
    """Pictures to train on."""

    data: str = "photographs"
    """A folder of pictures; "photographs" (scikit-image's); "textures" (generated); or a data set in its folder, as
    places2:FOLDER (celeba, celeba-hq, dtd, imagenet, scenes). "+" joins several."""
    validation: float = 0.3
    """Fraction of the pictures to hold out, by file. Data sets have their own split."""


@dataclass(frozen=True)
class NetworkOptions:
    """The networks."""

    architecture: str = "two-stage"
    """Generator architecture, by its name in `ca_numpy/models/`. "two-stage" is the paper's."""
    critic: str = "paper"
    """The critics' name among the files in `ca_numpy/models/`. "paper" is the paper's."""
    variant: Literal["official", "paper"] = "official"
    """Which networks to build where the released code and the paper differ."""
    attention: AttentionKind = "contextual"
    """Kind of attention in the refinement. "none": the paper's baseline. The last two: compared in section 5.1."""
    propagation: bool = True
    """Propagate contextual attention to neighbours (section 4.1)."""
    width: int = 12
    """Channels of the generator's first layer. The paper's is 32."""
    critic_width: int = 12
    """Channels of the critics' first layer. The paper's is 64."""


@dataclass(frozen=True)
class CropOptions:
    """Crops of the pictures, and their holes."""

    size: int = 64
    """Side of the training crops in pixels, a multiple of 8. The paper's is 256."""
    box: int = 32
    """Side of the box around the hole, seen by the local critic. The paper's largest hole is 128."""
    max_shrink: int = 4
    """The hole is smaller than its box by up to this many pixels on each side. The released code's is 16."""
    masks: MaskKind = "box"
    """Kind of hole: one rectangle, several, brush strokes, or a random choice of these (half of them one rectangle)."""
    mask_per_batch: bool = False
    """One mask for the whole batch, as in the released code, instead of one per image. (departure 16)"""
    crops: Literal["auto", "windows", "whole", "pixels"] = "auto"
    """How to crop: windows of many sizes, the whole shorter side, or unscaled pixels. "auto" follows the paper for its
    data sets, and uses windows elsewhere."""
    smallest_window: float = 0.2
    """Crops are resized square windows of the picture: the smallest, as a fraction of the shorter side."""
    largest_window: float = 0.5
    """The largest window, as a fraction of the shorter side."""
    flip: bool = True
    """Mirror crops left to right with probability 1/2."""
    jitter: float = 0.0
    """Strength of the random variation of brightness and colours, 0 to 1 (`data.Loader` has the equation)."""


@dataclass(frozen=True)
class LearningOptions:
    """Steps, batches and learning rates."""

    init: str = ""
    """Run folder or weight file to initialise from; "shipped": the bundled weights. Default: random weights."""
    steps: int = 170
    """Generator updates."""
    pretrain: int = 150
    """How many of these steps use reconstruction alone, before the critics join (Algorithm 1)."""
    critic_steps: int = 5
    """Critic updates before each generator update (Algorithm 1)."""
    batch: int = 8
    """Pictures per update. The released code's is 16."""
    rate: float = 1e-3
    """Adam's learning rate for the generator. The released code's is 1e-4."""
    final_rate: float = 0.02
    """The generator's rate decays linearly to this fraction over the run; 1: constant, as in the released code."""
    critic_rate: float = 4e-4
    """Adam's learning rate for the critics. The released code's is 1e-4."""
    betas: tuple[float, float] = (0.5, 0.9)
    """Adam's β₁ and β₂, as in the released code."""
    shared_clock: bool = False
    """Advance Adam's bias correction on steps of either network, as in the released code. (departure 17)"""
    ema: float = 0.0
    """Decay of an exponential moving average of the generator's weights, such as 0.999, validated and saved beside the
    weights themselves. 0 for none, as in the paper."""


@dataclass(frozen=True)
class LossOptions:
    """The losses and their weights."""

    l1_weight: float = 1.2
    """Weight of the discounted ℓ1 over the box."""
    known_weight: float = 1.2
    """Weight of the ℓ1 over the known pixels. The paper mentions no such term: 0. (departure 11)"""
    coarse_weight: float = 1.2
    """Relative weight of the coarse stage in both."""
    refine_l1: bool = True
    """Apply both to the refinement too. Otherwise only the critics train it. (section 5.1)"""
    tv_weight: float = 0.0
    """Weight of the filled picture's total variation. The paper omits this and the next two. (section 5.1)"""
    perceptual_weight: float = 0.0
    """Weight of the distance between VGG-16 features of the filled picture and of the truth."""
    style_weight: float = 0.0
    """Weight of the distance between the Gram matrices of the same features."""
    texture_weight: float = 0.0
    """Weight of the sliced Wasserstein distance between the patches of the filled box and of the truth, which rewards
    texture wherever it lies. Not in the paper: 0."""
    vgg: str | None = None
    """An .npz file of VGG-16 weights, for these two; docs/ablations.md describes it."""
    adversarial: Adversarial = "wgan-gp"
    """Adversarial loss of critics and generator; only the first has a gradient penalty. (section 5.1)"""
    adversarial_weight: float = 1e-3
    """Weight of each critic's score in the generator's loss."""
    penalty_weight: float = 10.0
    """λ: weight of the gradient penalty in the critics' loss (section 3)."""
    discount: Literal["box", "distance", "none"] = "box"
    """Spatial discount by the distance to the box's sides (released code) or to the nearest known pixel (paper)."""
    gamma: float | None = None
    """γ of the discount. Default: 0.9 for "box", 0.99 for "distance". (departure 8)"""


@dataclass(frozen=True)
class RecordOptions:
    """Precision, random numbers and records."""

    precision: Literal["auto", "float32", "tf32", "bf16"] = "auto"
    """Precision of products on a GPU. "auto" is TF32 there, float32 on every other backend."""
    seed: int = 0
    """Seed of all random numbers in the run."""
    validate_every: int = 10
    """Steps between validations on the held-out pictures."""
    pictures_every: int = 50
    """Steps between pictures."""
    checkpoint_every: int = 100
    """Steps between checkpoints; there is always one at the end and on Ctrl-C."""
    checkpoints: int = 2
    """How many of the last checkpoints to keep: if the newest is damaged, a resumed run goes on from the one before."""


@dataclass(frozen=True)
class TrainConfig(RecordOptions, LossOptions, LearningOptions, CropOptions, NetworkOptions, DataOptions):
    """How to train. The defaults give a run of a few minutes on two cores; `PRESETS` has larger ones."""

    def __post_init__(self) -> None:
        given: object = self.attention
        if isinstance(given, bool):  # in old configurations
            object.__setattr__(self, "attention", attention_kind(given))

    def check(self) -> None:
        """Raise UserError for invalid values; `train` calls it first."""
        for name, kind in get_type_hints(TrainConfig).items():
            value, allowed = getattr(self, name), get_args(kind)
            if get_origin(kind) is Literal and value not in allowed:
                raise UserError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
            if kind is int and (not isinstance(value, int) or isinstance(value, bool)):
                raise UserError(f"{name} must be an integer, got {value!r}")
            if float in (kind, *allowed):
                numbers = value if isinstance(value, tuple) else () if value is None else (value,)
                if not all(isinstance(x, (int, float)) and math.isfinite(x) for x in numbers):
                    raise UserError(f"{name} must be a finite number, got {value!r}")
        if not (len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas)):
            raise UserError(f"betas must be two numbers in [0, 1), got {self.betas}")
        weights = (name for name in get_type_hints(TrainConfig) if name.endswith("_weight"))
        for name in (*weights, "final_rate", "max_shrink", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} cannot be negative, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise UserError(f"ema is a decay from 0, for no average, up to but not including 1, got {self.ema}")
        if self.vgg is None and (self.perceptual_weight or self.style_weight):
            raise UserError("perceptual_weight and style_weight need vgg: give the .npz file of VGG-16 weights")
        if self.texture_weight and self.box < SMALLEST_TEXTURE:
            raise UserError(f"texture_weight needs a box of at least {SMALLEST_TEXTURE} pixels, got {self.box}")
        if self.gamma is not None and not 0 < self.gamma <= 1:
            raise UserError(f"gamma must be in (0, 1], got {self.gamma}")
        positive = ("width", "critic_width", "size", "box", "batch", "critic_steps", "steps", "rate", "critic_rate",
                    "validate_every", "pictures_every", "checkpoint_every", "checkpoints")  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be positive, got {getattr(self, name)}")
        for name, most in LARGEST.items():
            if getattr(self, name) > most:
                raise UserError(f"{name} can be at most {most}, got {getattr(self, name)}")
        if self.width % 2:
            raise UserError(f"width must be even, got {self.width}")
        if self.size % 8:
            raise UserError(f"size must be a multiple of 8, got {self.size}")
        if not self.box < self.size:
            raise UserError(f"the box ({self.box}) must be smaller than the crops ({self.size}): give a smaller box")
        if not 0 <= 2 * self.max_shrink < self.box:
            raise UserError(f"max_shrink must be less than half the box of {self.box} pixels, got {self.max_shrink}")
        if not 0 <= self.pretrain <= self.steps:
            raise UserError(f"pretrain must be between 0 and steps={self.steps}, got {self.pretrain}")
        if not 0 < self.smallest_window <= self.largest_window <= 1:
            windows = f"{self.smallest_window} and {self.largest_window}"
            raise UserError(f"0 < smallest_window <= largest_window <= 1 is required, got {windows}")
        if not 0 <= self.jitter <= 1:
            raise UserError(f"jitter must be between 0 and 1, got {self.jitter}")
        if not 0 < self.validation < 1:
            raise UserError(f"validation, the held-out fraction, must be between 0 and 1, got {self.validation}")

    def to_json(self) -> str:
        """One field per line, in order."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainConfig:
        """The configuration that `to_json` wrote, checked. Raises UserError for unknown fields and invalid values."""
        what = "the configuration is damaged"
        fields = configured(cls(), parsed(text, dict[str, Any], what))
        config = converted(vars(fields), cls, what)
        config.check()
        return config


def configured(config: TrainConfig, overrides: Mapping[str, Any]) -> TrainConfig:
    """`config` with some fields changed. Raises UserError for a field that does not exist."""
    known = {f.name for f in dataclasses.fields(TrainConfig)}
    for name in overrides:
        if name not in known:
            raise UserError(f"there is no training option {quoted(name)}: choose from {', '.join(sorted(known))}")
    values = dict(overrides)
    if isinstance(values.get("betas"), list):
        values["betas"] = tuple(values["betas"])
    for name in ("data", "init", "vgg"):
        if isinstance(values.get(name), os.PathLike):
            values[name] = os.fspath(values[name])
    return dataclasses.replace(config, **values)
