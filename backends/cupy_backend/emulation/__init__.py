"""The GPU backend without a GPU: the same host code and kernels, compiled for the CPU by g++.

For study, debugging and tests; slow. Use it with `ca_numpy.use_backend("cupy-emulated")`.
"""

from __future__ import annotations

import os

from ca_numpy.errors import UserError

from .. import CupyBackend
from ..device import Device
from . import arrays
from .kernels import EmulatedKernels

#: Environment variable for the order of threads: "forwards", "backwards", or a seed.
VARIABLE = "CA_NUMPY_THREADS"


class EmulatedCupyBackend(CupyBackend):
    """`CupyBackend` on NumPy arrays. `backwards`, `seed`: the order of threads, as in `EmulatedKernels`.

    If neither is given, the order is that of the environment's CA_NUMPY_THREADS. Raises UserError for an unknown one.
    """

    name = "cupy-emulated"

    def __init__(self, *, backwards: bool | None = None, seed: int | None = None) -> None:
        if backwards is None and seed is None:
            order = os.environ.get(VARIABLE, "forwards")
            if order not in ("forwards", "backwards") and not order.isdecimal():
                raise UserError(f"{VARIABLE} is {order!r}: set it to forwards, backwards or a seed such as 0")
            backwards, seed = order == "backwards", int(order) if order.isdecimal() else None
        super().__init__(Device(arrays, EmulatedKernels(backwards=bool(backwards), seed=seed)))
