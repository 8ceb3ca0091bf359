"""Features of a pretrained VGG-16, for the perceptual and style losses (section 5.1).

Weights are not included. An `.npz` file holds, for each of the ten layers conv1_1 to conv4_3,

    conv1_1_W   3 3 3 64    kernel, H W I O        conv1_1_b   64    bias

named as in the widely used `vgg16_weights.npz`; other entries are ignored. The network's input is (RGB − mean)·scale
with RGB in [0, 255]; the optional arrays `mean` and `scale`, three numbers each, default to ImageNet's mean and 1.
docs/ablations.md shows how to convert torchvision's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy import functional as F
from ca_numpy.engine import ops
from ca_numpy.engine.autograd import as_tensor
from ca_numpy.engine.tensor import Tensor, TensorLike
from ca_numpy.errors import UserError
from ca_numpy.weights import npz_file

#: The first four blocks of Simonyan and Zisserman's configuration D, with 2×2 max pooling in between.
BLOCKS = tuple(tuple(f"conv{block}_{n}" for n in range(1, layers + 1)) for block, layers in enumerate((2, 2, 3, 3), 1))

#: The mean of ImageNet's training images, RGB in [0, 255].
IMAGENET_MEAN = (123.68, 116.779, 103.939)


class Vgg16:
    """vgg(x) -> four feature maps, after the ReLU of conv1_2, conv2_2, conv3_3 and conv4_3.

        x N H W 3 in [-1, 1] -> [N H W C1, N H/2 W/2 C2, N H/4 W/4 C3, N H/8 W/8 C4]

    VGG-16 has 64, 128, 256 and 512 channels; any consistent numbers are accepted. The weights are constants; gradients
    flow to x. Raises UserError for missing or inconsistent weights, ValueError for x of another shape.

    weights   {name: array} as above
    source    the file, for messages
    """

    def __init__(self, weights: Mapping[str, Any], *, source: str = "these weights") -> None:
        self.layers: dict[str, tuple[Tensor, Tensor]] = {}
        into = 3
        for name in (name for block in BLOCKS for name in block):
            kernel, bias = (_array(weights, f"{name}_{part}", source) for part in "Wb")
            if kernel.ndim != 4 or kernel.shape[:3] != (3, 3, into):
                raise UserError(f"{source}: {name}_W has shape {kernel.shape}, expected (3, 3, {into}, …): H W I O")
            into = kernel.shape[3]
            if bias.shape != (into,):
                raise UserError(f"{source}: {name}_b has shape {bias.shape}, expected ({into},) as in {name}_W")
            self.layers[name] = Tensor(kernel, tracked=False), Tensor(bias, tracked=False)
        self.mean, self.scale = (
            _array(weights, name, source) if name in weights else np.array(default, np.float32)
            for name, default in (("mean", IMAGENET_MEAN), ("scale", (1.0, 1.0, 1.0)))
        )
        for name, a in (("mean", self.mean), ("scale", self.scale)):
            if a.shape != (3,):
                raise UserError(f"{source}: {name} has shape {a.shape}, expected three numbers: red, green and blue")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Vgg16:
        """Load from an `.npz` file, without pickle. Raises UserError for an unreadable or unsuitable file."""
        wanted = [*(f"{name}_{part}" for block in BLOCKS for name in block for part in "Wb"), "mean", "scale"]
        return cls(npz_file.read(path, wanted), source=str(path))

    def __call__(self, x: TensorLike) -> list[Tensor]:
        x = as_tensor(x)
        if x.ndim != 4 or x.shape[3] != 3 or min(x.shape[1:3]) < 8:
            raise ValueError(f"VGG-16 needs N H W 3 of at least 8×8 pixels, got {x.shape}")
        x = ((x + 1.0) * 127.5 - self.mean) * self.scale
        features: list[Tensor] = []
        for block in BLOCKS:
            if features:
                x = F.max_pool(x)
            for name in block:
                kernel, bias = (ops.constant_like(a, x) for a in self.layers[name])
                x = F.relu(F.conv2d(x, kernel, bias))
            features.append(x)
        return features


def _array(weights: Mapping[str, Any], name: str, source: str) -> NDArray[Any]:
    if name not in weights:
        raise UserError(f"{source}: {name!r} is missing; a VGG-16 has conv1_1_W, conv1_1_b, … to conv4_3_b")
    array = np.asarray(weights[name])
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise UserError(f"{source}: {name!r} does not hold finite floating-point numbers: save the weights again")
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array
