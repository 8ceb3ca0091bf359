"""The paper's alternatives to attention (section 5.1): features sampled at predicted positions.

A spatial transformer predicts one affine transformation of the whole map, appearance flow one offset per position.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ca_numpy import functional as F
from ca_numpy.engine.autograd import as_tensor
from ca_numpy.engine.tensor import Tensor, TensorLike, tensor
from ca_numpy.nn.layers import Conv2d, Linear
from ca_numpy.nn.module import Module


class Warp(Module):
    """y[n, i, j] = f[n, positions(f)[n, i, j]], bilinear.   N H W C -> N H W C"""

    @abstractmethod
    def positions(self, f: TensorLike) -> Tensor:
        """Sampling positions, (row, column) in pixels: N H W C -> N H W 2."""

    def __call__(self, f: TensorLike) -> Tensor:
        return F.bilinear_sample(f, self.positions(f))


class SpatialTransformer(Warp):
    """One affine transformation per image (Jaderberg et al. 2015).

        position(i, j) = θ·(i', j', 1)ᵀ,   θ = linear(mean over positions of elu(conv(f))), 2 × 3

    i', j' and the positions run from −1 to 1 between the first and the last pixel's centre. θ is initialised to the
    identity. The mean allows any input size.

    Parameters `<name>_conv/…` (3×3, stride 2, as wide as f) and `<name>_fc/…`. The paper does not specify this network.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        *,
        padding: F.Padding = "same",
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.conv = Conv2d(f"{name}_conv", channels, channels, stride=2, padding=padding, rng=rng, dtype=dtype)
        self.fc = Linear(f"{name}_fc", channels, 6, rng=rng, dtype=dtype)
        self.fc.kernel = tensor(np.zeros((channels, 6), dtype))
        self.fc.bias = tensor(np.array([1, 0, 0, 0, 1, 0], dtype))

    def positions(self, f: TensorLike) -> Tensor:
        f = as_tensor(f)
        n, h, w, _ = f.shape
        theta = self.fc(self.conv(f).mean((1, 2))).reshape(n, 2, 3).transpose(0, 2, 1)
        scale = np.array([(h - 1) / 2, (w - 1) / 2])
        moved = F.matmul(_coordinates(h, w).reshape(1, h * w, 3), theta)
        return ((moved + 1.0) * scale).reshape(n, h, w, 2)


class AppearanceFlow(Warp):
    """One offset per position, predicted by a convolution (section 5.1, after Zhou et al. 2016).

        position(i, j) = (i, j) + conv(f)[i, j]

    Parameters `<name>/kernel` 3 3 C 2 and `<name>/bias` 2. The channels are offsets down and right, in f's pixels.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        *,
        padding: F.Padding = "same",
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.conv = Conv2d(name, channels, 2, padding=padding, activation="linear", rng=rng, dtype=dtype)

    def positions(self, f: TensorLike) -> Tensor:
        offsets = self.conv(f)
        return offsets + np.moveaxis(np.indices(offsets.shape[1:3]), 0, -1).astype(offsets.dtype)


def _coordinates(h: int, w: int) -> NDArray[np.float64]:
    """(i', j', 1) of each pixel, from −1 to 1 (0 for an axis of length 1): h w 3."""
    i, j = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in (h, w))
    return np.stack([*np.meshgrid(i, j, indexing="ij"), np.ones((h, w))], axis=-1)
