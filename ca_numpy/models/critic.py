"""The Wasserstein critics: global on the whole image, local on the box around the hole (figure 2, section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike

from ca_numpy.engine.autograd import as_tensor
from ca_numpy.engine.tensor import Tensor, TensorLike
from ca_numpy.errors import UserError
from ca_numpy.models.architectures import find
from ca_numpy.nn import Conv2d, Linear, Module

Which = Literal["local", "global"]

#: Channels of the four convolutions, in units of the width.
CHANNELS = {"local": (1, 2, 4, 8), "global": (1, 2, 4, 4)}
#: Side of the paper's critics' inputs, in pixels.
PAPER_SIZE = {"local": 128, "global": 256}
#: Kinds of critics by name; subclasses register themselves.
_CRITICS: dict[str, type[Critic]] = {}


class Critic(Module):
    """Four 5×5 convolutions with stride 2 and leaky ReLU, and a linear map to one score per image.

        critic(x) -> N 1                    x N size size 3 in [-1, 1]

    Its mean over real minus its mean over generated images estimates the Wasserstein distance. There is no
    normalisation layer, since the gradient penalty is per sample.

    which   "local": widths 1-2-4-8 × `width` over the box; "global": 1-2-4-4 over the image
    size    side of the input in pixels, or (height, width); the paper's 128 and 256 by default
    width   channels of the first layer; the paper's is 64
    rng     draws the initial weights; default_rng(0) if not given

    At the paper's sizes the two critics have 7,072,770 parameters. Raises UserError for another `which`, ValueError for
    inputs of another size.
    """

    #: The name in `TrainConfig.critic`. To add a kind of critic, add a file with a subclass to this folder.
    kind: ClassVar[str] = "paper"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _CRITICS[cls.kind] = cls

    def __init__(
        self,
        which: Which = "global",
        *,
        size: int | tuple[int, int] | None = None,
        width: int = 64,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if which not in CHANNELS:
            raise UserError(f'a critic is "local" or "global", not {which!r}')
        self.which: Which = which
        self.width = width
        rng = np.random.default_rng(0) if rng is None else rng
        size = PAPER_SIZE[which] if size is None else size
        self.size = (size, size) if isinstance(size, int) else size
        self.layers: dict[str, Conv2d] = {}
        in_channels = 3
        for n, channels in enumerate(CHANNELS[which], start=1):
            self.layers[f"conv{n}"] = Conv2d(
                f"discriminator/discriminator_{which}/conv{n}",
                in_channels,
                channels * width,
                ksize=5,
                stride=2,
                activation="leaky_relu",
                rng=rng,
                dtype=dtype,
            )
            in_channels = channels * width
        features = math.prod(-(-n // 2 ** len(self.layers)) for n in self.size) * in_channels
        self.score = Linear(f"discriminator/dout_{which}_fc", features, 1, rng=rng, dtype=dtype)

    @classmethod
    def from_tf(cls, weights: Mapping[str, Any], which: Which, *, size: int | tuple[int, int] | None = None) -> Critic:
        """A critic with the given weights, {the authors' variable name: array}, in their dtype.

        Unless `size` is given, the input is assumed square with a side that is a multiple of 16.
        Raises UserError if a variable is missing or has an unexpected shape.
        """
        first, last = f"discriminator/discriminator_{which}/conv1/kernel", f"discriminator/dout_{which}_fc/kernel"
        for name in (first, last):
            if name not in weights:
                raise UserError(f"no {which} critic in these weights: {name!r} is missing")
        width = weights[first].shape[-1] if len(weights[first].shape) == 4 else 0
        if width == 0 or sum(math.prod(w.shape) for w in weights.values()) < 200 * width**2:  # before memory is taken
            raise UserError(f"no {which} critic in these weights: {first!r} does not fit the others")
        if size is None:
            size = 16 * math.isqrt(weights[last].shape[0] // (CHANNELS[which][-1] * width))
        critic = cls(which, size=size, width=width, dtype=weights[first].dtype)
        critic.load_arrays(weights)
        return critic

    def __call__(self, x: TensorLike) -> Tensor:
        x = as_tensor(x)
        halved = [tuple(-(-n // 16) for n in size) for size in (x.shape[1:3], self.size)]
        if x.ndim != 4 or x.shape[3] != 3 or halved[0] != halved[1]:
            raise ValueError(f"this {self.which} critic needs N {self.size[0]} {self.size[1]} 3, got {x.shape}")
        for layer in self.layers.values():
            x = layer(x)
        return self.score(x.reshape(len(x), -1))


_CRITICS[Critic.kind] = Critic


def critic_kind(name: str) -> type[Critic]:
    """The critic class of that name. Raises UserError for an unknown name."""
    return find(_CRITICS, name, what="critic")
