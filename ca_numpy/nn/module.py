"""Modules own parameters, named as in the released code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ca_numpy.engine.tensor import Tensor, tensor
from ca_numpy.errors import UserError, listed
from ca_numpy.registry import current_backend


class Module:
    """Base class: collects the parameters and buffers of its submodules by name, in the order of creation."""

    def parameters(self) -> dict[str, Tensor]:
        """{name: Tensor} of any shapes, not copies: an optimiser replaces their `data`."""
        return {name: p for child in self._children() for name, p in child.parameters().items()}

    def buffers(self) -> dict[str, Tensor]:
        """{name: Tensor} of any shapes that are saved and restored but not trained, such as running averages."""
        return {name: b for child in self._children() for name, b in child.buffers().items()}

    def _children(self) -> Iterator[Module]:
        for value in vars(self).values():
            for child in value.values() if isinstance(value, dict) else [value]:
                if isinstance(child, Module):
                    yield child

    def arrays(self) -> dict[str, NDArray[Any]]:
        """{name: NumPy array} of parameters and buffers, as in weight files: kernels H W I O."""
        return {name: p.numpy() for name, p in (self.parameters() | self.buffers()).items()}

    def load_arrays(self, weights: Mapping[str, Any]) -> None:
        """Load values by name; each parameter and buffer keeps its shape and takes the array's dtype.

        Other names are ignored, so one file may hold several networks. Raises UserError if a name is missing, has
        another shape, or values that are not finite real numbers, leaving the module unchanged.
        """
        mine = self.parameters() | self.buffers()
        lacking = [name for name in mine if name not in weights]
        if lacking:
            raise UserError(f"the weights lack {listed(lacking)} (of {len(mine)}): they belong to another architecture")
        for name, p in mine.items():
            if tuple(weights[name].shape) != p.shape:
                raise UserError(
                    f"{name!r} has shape {tuple(weights[name].shape)} in the weights but {p.shape} in the network: "
                    "build the network with the width and size used in training"
                )
            if (array := np.asarray(weights[name])).dtype.kind != "f" or not np.isfinite(array).all():
                raise UserError(
                    f"{name!r} holds NaN, infinity or other values than real numbers: get the weights again"
                )
        for name, p in mine.items():
            p.data = tensor(np.array(weights[name])).data  # a copy: the caller keeps the mapping

    def to_current_backend(self) -> None:
        """Move all arrays to the current backend."""
        asarray = current_backend().asarray
        for p in (self.parameters() | self.buffers()).values():
            p.data = asarray(p.data)

    def count(self) -> int:
        """Number of trainable values."""
        return sum(p.size for p in self.parameters().values())


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...], *, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Kernel of the given shape, H W I O or I O: uniform in ±√(6 / (fan_in + fan_out)), fans including the taps."""
    taps = math.prod(shape[:-2])
    limit = math.sqrt(6 / (taps * (shape[-2] + shape[-1])))
    return rng.uniform(-limit, limit, shape).astype(dtype)
