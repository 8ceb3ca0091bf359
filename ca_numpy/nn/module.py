"""A module is what owns parameters, each under the name that the released code gives it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ca_numpy.engine.tensor import Tensor, tensor
from ca_numpy.errors import UserError
from ca_numpy.registry import current_backend


class Module:
    """Owns parameters and other modules; `parameters()` gathers them by name in the order they were made."""

    def parameters(self) -> dict[str, Tensor]:
        """{name: Tensor}, each of its own shape. They are the module's own: an optimiser replaces their `data`."""
        found: dict[str, Tensor] = {}
        for value in vars(self).values():
            for child in value.values() if isinstance(value, dict) else [value]:
                if isinstance(child, Module):
                    found |= child.parameters()
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """{name: NumPy array}, as weight files hold them: kernels H W I O."""
        return {name: p.numpy() for name, p in self.parameters().items()}

    def load_arrays(self, weights: Mapping[str, Any]) -> None:
        """Take over values by name; each parameter keeps its shape and takes the array's dtype.

        Names that the module does not have are passed over, so that one file may hold several networks. Raises
        UserError if one of the module's names is missing or has another shape; then nothing has been changed.
        """
        mine = self.parameters()
        for name, p in mine.items():
            if name not in weights:
                raise UserError(f"the weights lack {name!r}: they are of another architecture")
            if tuple(weights[name].shape) != p.shape:
                raise UserError(
                    f"{name!r} has shape {tuple(weights[name].shape)} in the weights but {p.shape} in the network: "
                    "build the network with the width and size that the weights were trained with"
                )
        for name, p in mine.items():
            p.data = tensor(np.array(weights[name])).data  # a copy: the caller keeps the mapping

    def to_current_backend(self) -> None:
        """Carry the parameters to where the backend in use computes; another may have loaded or trained them."""
        asarray = current_backend().asarray
        for p in self.parameters().values():
            p.data = asarray(p.data)

    def count(self) -> int:
        """How many numbers are learnt."""
        return sum(p.size for p in self.parameters().values())


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...], *, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Uniform in ±√(6 / (fan_in + fan_out)), the released code's initialisation; fans count the kernel's taps.

    shape: of the kernel, H W I O or I O; the result has the same shape.
    """
    taps = math.prod(shape[:-2])
    limit = math.sqrt(6 / (taps * (shape[-2] + shape[-1])))
    return rng.uniform(-limit, limit, shape).astype(dtype)
