"""Convolutional and linear layers, and the activations by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from ca_numpy import functional as F
from ca_numpy.engine.tensor import Tensor, TensorLike, tensor
from ca_numpy.nn.module import Module, glorot_uniform

#: Activations by name.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "linear": lambda x: x,
}
#: Those that are fused with the convolution.
FUSED: dict[str, Literal["elu", "leaky_relu"]] = {"elu": "elu", "leaky_relu": "leaky_relu"}


class Conv2d(Module):
    """activation(conv2d(x, kernel) + bias).   N H W I -> N ⌈H/stride⌉ ⌈W/stride⌉ O;   options as `functional.conv2d`

    Parameters `<name>/kernel` KH KW I O, Glorot-uniform, and `<name>/bias` O, zero. Raises ValueError for an activation
    that is not in `ACTIVATIONS`.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        *,
        ksize: int = 3,
        stride: int = 1,
        dilation: int = 1,
        padding: F.Padding = "same",
        activation: str = "elu",
        upsample_first: bool = False,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}: choose from {', '.join(ACTIVATIONS)}")
        self.name = name
        self.stride, self.dilation, self.padding, self.activation = stride, dilation, padding, activation
        self.upsample_first = upsample_first
        self.kernel = tensor(glorot_uniform(rng, (ksize, ksize, in_channels, out_channels), dtype=dtype))
        self.bias = tensor(np.zeros(out_channels, dtype))

    def parameters(self) -> dict[str, Tensor]:
        return {f"{self.name}/kernel": self.kernel, f"{self.name}/bias": self.bias}

    def __call__(self, x: TensorLike) -> Tensor:
        y = F.conv2d(
            x,
            self.kernel,
            self.bias,
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
            activation=FUSED.get(self.activation),
            upsample_first=self.upsample_first,
        )
        return y if self.activation in FUSED else ACTIVATIONS[self.activation](y)


class Linear(Module):
    """x·kernel + bias.   N I -> N O.   Parameters `<name>/kernel` I O, Glorot-uniform, and `<name>/bias` O, zero."""

    def __init__(
        self,
        name: str,
        in_features: int,
        out_features: int,
        *,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.name = name
        self.kernel = tensor(glorot_uniform(rng, (in_features, out_features), dtype=dtype))
        self.bias = tensor(np.zeros(out_features, dtype))

    def parameters(self) -> dict[str, Tensor]:
        return {f"{self.name}/kernel": self.kernel, f"{self.name}/bias": self.bias}

    def __call__(self, x: TensorLike) -> Tensor:
        return F.linear(x, self.kernel, self.bias)
