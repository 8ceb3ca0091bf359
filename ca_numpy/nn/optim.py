"""Adam, the released code's optimiser; the paper names none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.backend import Array
from ca_numpy.engine.tensor import Tensor
from ca_numpy.errors import UserError
from ca_numpy.registry import current_backend


class Adam:
    """Kingma and Ba's Adam over named parameters.

        m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  p ← p − rate·√(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε)

    ε is added before the bias correction, as in TensorFlow. The released code trains both networks with one optimiser,
    whose t advances at every step of either: share one `clock` to reproduce that (departure 17).
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        rate: float = 1e-4,
        betas: tuple[float, float] = (0.5, 0.9),
        eps: float = 1e-8,
        clock: Clock | None = None,
    ) -> None:
        self.parameters = dict(parameters)
        self.rate, self.betas, self.eps = rate, betas, eps
        self.clock = clock or Clock()
        backend = current_backend()
        zeros = {name: np.zeros(p.shape, p.dtype) for name, p in self.parameters.items()}
        self.m: dict[str, Array] = {name: backend.asarray(z) for name, z in zeros.items()}
        self.v: dict[str, Array] = {name: backend.asarray(z.copy()) for name, z in zeros.items()}

    def step(self, gradients: Sequence[Tensor], *, rate: float | None = None) -> None:
        """Update the parameters' `data`; gradients are in the order of the parameters."""
        self.clock.t += 1
        beta1, beta2 = self.betas
        correction = math.sqrt(1 - beta2**self.clock.t) / (1 - beta1**self.clock.t)
        rate = (self.rate if rate is None else rate) * correction
        names, ps = list(self.parameters), list(self.parameters.values())
        p2, m2, v2 = current_backend().adam_all(
            [p.data for p in ps], [g.data for g in gradients], [self.m[n] for n in names], [self.v[n] for n in names],
            rate=rate, beta1=beta1, beta2=beta2, eps=self.eps,
        )  # fmt: skip
        for name, p, data, m, v in zip(names, ps, p2, m2, v2, strict=True):
            p.data, self.m[name], self.v[name] = data, m, v

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The moments as NumPy arrays, for a checkpoint."""
        to_numpy = current_backend().to_numpy
        return {f"{prefix}/{k}/{name}": to_numpy(a) for k, d in (("m", self.m), ("v", self.v)) for name, a in d.items()}

    def load_arrays(self, prefix: str, arrays: Mapping[str, Any]) -> None:
        """Restore the moments; raises UserError, changing nothing, if one is missing, misshapen or not finite."""
        for name, p in self.parameters.items():
            for full in (f"{prefix}/m/{name}", f"{prefix}/v/{name}"):
                if full not in arrays or tuple(arrays[full].shape) != p.shape:
                    raise UserError(f"the checkpoint has no {full!r} of shape {p.shape}: its architecture differs")
                if not np.isfinite(np.asarray(arrays[full])).all():
                    raise UserError(f"the checkpoint's {full!r} holds NaN or infinity: resume from another one")
        asarray = current_backend().asarray
        for name in self.parameters:
            self.m[name], self.v[name] = (asarray(arrays[f"{prefix}/{key}/{name}"]) for key in "mv")


class Clock:
    """The number of updates so far."""

    def __init__(self) -> None:
        self.t = 0
