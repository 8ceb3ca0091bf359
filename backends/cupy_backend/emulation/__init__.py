"""The GPU backend without a GPU: the same host code and kernels, compiled for the CPU by g++.

For study, debugging and tests; slow. Use it with `ca_numpy.use_backend("cupy-emulated")`.
"""

from __future__ import annotations

from .. import CupyBackend
from ..device import Device
from . import arrays
from .kernels import EmulatedKernels


class EmulatedCupyBackend(CupyBackend):
    """`CupyBackend` on NumPy arrays. `backwards`, `seed`: the order of threads, as in `EmulatedKernels`."""

    name = "cupy-emulated"

    def __init__(self, *, backwards: bool = False, seed: int | None = None) -> None:
        super().__init__(Device(arrays, EmulatedKernels(backwards=backwards, seed=seed)))
