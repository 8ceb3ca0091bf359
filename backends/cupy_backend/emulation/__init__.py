"""The GPU's backend without a GPU: the same host code and the same kernels, compiled for the CPU by g++.

It is there to be read, stepped through and tested, not to be fast. `ca_numpy.use_backend("cupy-emulated")`.
"""

from __future__ import annotations

from .. import CupyBackend
from ..device import Device
from . import arrays
from .kernels import EmulatedKernels


class EmulatedCupyBackend(CupyBackend):
    """`CupyBackend` over NumPy's memory. `backwards`, `seed`: the order of threads, as `EmulatedKernels` has it."""

    name = "cupy-emulated"

    def __init__(self, *, backwards: bool = False, seed: int | None = None) -> None:
        super().__init__(Device(arrays, EmulatedKernels(backwards=backwards, seed=seed)))
