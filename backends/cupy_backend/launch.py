"""Launching kernels: checks arguments, makes them contiguous, and caches small tables on the device."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ca_numpy.errors import UserError

from .device import C_NAMES, FOLDER, NULL, Device, source

Array = Any
T = TypeVar("T")
#: Threads per block, as in `kernels/common.cuh`.
THREADS = 256
#: Maximum number of blocks of a kernel that loops over an array: enough for any GPU.
MOST_BLOCKS = 4096
#: Of a sum over rows: columns per block, as in `kernels/sums.cu`, maximum number of parts, and minimum of rows in each.
#: Fixed, so that sums are reproducible.
SUMMED_COLUMNS, MOST_PARTS, FEWEST_ROWS = 32, 512, 256
#: Maximum number of cached tables: a network has a few dozen.
MOST_TABLES = 1024

_KERNEL = re.compile(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(([^)]*)\)")
_PARAMETER = re.compile(r"(const )?(?:typename )?(\w[\w: ]*)(\*?) (\w+)(?:,|$)")
_INT = np.dtype(np.int32)
#: Types of parameters that are the same in all instances.
_FIXED: dict[str, np.dtype[Any]] = {
    "bool": np.dtype(np.bool_),
    "double": np.dtype(np.float64),
    "int": _INT,
    "long long": np.dtype(np.int64),
    "unsigned long long": np.dtype(np.uint64),
}


class Parameter(NamedTuple):
    """A kernel's parameter: an array or a number, and its dtype. `written`: an array of results."""

    name: str
    array: bool
    dtype: np.dtype[Any]
    written: bool

    def __str__(self) -> str:
        return f"{'an array' if self.array else 'a number'} of {self.dtype} as {self.name}"


@cache
def parameters(file: str, expression: str, *, folder: Path = FOLDER) -> tuple[Parameter, ...]:
    """The parameters of a kernel's instance, parsed from its source."""
    kernel, _, instance = expression.partition("<")
    number = np.dtype(np.float64 if instance.lower().startswith("double") else np.float32)
    (declared,) = (found[2] for found in _KERNEL.finditer(source(file, folder=folder)) if found[1] == kernel)
    return tuple(
        Parameter(name, bool(star), _FIXED.get(kind, number), bool(star and not const))
        for const, kind, star, name in _PARAMETER.findall(declared)
    )


class Launcher:
    """A device, with the services that all kernels of the backend use."""

    def __init__(self, device: Device) -> None:
        self.xp, self.kernels, self.precisions = device
        self._made: dict[Hashable, Any] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An uninitialised array. Raises UserError if the device is out of memory."""
        try:
            return self.xp.empty(shape, dtype)
        except MemoryError as e:
            needed = math.prod(shape) * np.dtype(dtype).itemsize
            raise UserError(
                f"the GPU has too little memory: {needed / 2**20:.0f} MiB were needed at once, "
                f"{self.kernels.memory() / 2**20:.0f} are free. Use smaller batches or pictures"
            ) from e

    def launch(self, file: str, expression: str, grid: tuple[int, ...], *arguments: Any) -> None:
        """Launch blocks of THREADS threads. Inputs that are not contiguous are copied.

        Raises TypeError for arguments of other types than the kernel's, with which it would read or write out of
        bounds, for arrays of the host, and for results that are not contiguous.
        """
        if 0 in grid:
            return
        laid, array = list(arguments), self.xp.ndarray
        for i, (wanted, a) in enumerate(
            zip(parameters(file, expression, folder=self.kernels.folder), arguments, strict=True)
        ):
            if wanted.array and isinstance(a, array):
                right = a.dtype == wanted.dtype
                if not a.flags.c_contiguous:
                    if wanted.written:
                        raise TypeError(f"{expression} in {file} writes {wanted.name}, which is not contiguous")
                    laid[i] = self.xp.ascontiguousarray(a)
            else:
                given = type(a)
                number = given is wanted.dtype.type or (given is int and wanted.dtype == _INT)
                right = a is NULL if wanted.array else number
            if not right:
                raise TypeError(f"{expression} in {file} takes {wanted}, not {_described(a, array)}")
        self.kernels.launch(file, expression, grid, THREADS, tuple(laid))

    def laid(self, x: Array) -> Array:
        """x if it is C-contiguous, else a copy that is."""
        return x if x.flags.c_contiguous else self.xp.ascontiguousarray(x)

    def elementwise(self, file: str, kernel: str, size: int, dtype: Any, *arguments: Any) -> None:
        """Launch a kernel that loops over `size` numbers."""
        blocks = min(-(-size // THREADS), MOST_BLOCKS)
        self.launch(file, f"{kernel}<{C_NAMES[str(dtype)]}>", (blocks,), *arguments)

    def table(self, numbers: Any) -> Array:
        """Integers as int32 on the device."""
        return self.xp.asarray(np.asarray(numbers, np.int32))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `make`, cached under `key`: tables on the device, for example."""
        if key not in self._made:
            if len(self._made) >= MOST_TABLES:
                self._made.clear()
            self._made[key] = make()
        found: T = self._made[key]
        return found

    def addresses(self, *arrays: Array) -> tuple[int, ...]:
        """Addresses of the arrays' data."""
        return tuple(self.kernels.address(x) for x in arrays)

    def sum_rows(self, x: Array) -> Array:
        """Σ over the first axis of rows × columns, in an order that depends only on the shape."""
        rows, columns = x.shape
        while rows != 1:
            parts = min(MOST_PARTS, rows // FEWEST_ROWS) if rows > MOST_PARTS else 1
            sums = self.empty((parts, columns), x.dtype)
            to_a_part = -(-rows // parts)
            self.launch(
                "sums.cu", f"sum_rows<{C_NAMES[str(x.dtype)]}>", (-(-columns // SUMMED_COLUMNS), parts),
                x, np.int64(rows), columns, np.int64(to_a_part), sums,
            )  # fmt: skip
            x, rows = sums, parts
        return x.reshape(columns)

    def release_memory(self) -> None:
        """Release the cached tables and the memory pool."""
        self._made.clear()
        self.kernels.release_memory()


def _described(a: Any, array: Any) -> str:
    if isinstance(a, np.ndarray):
        return f"an array of {a.dtype} of the host"
    return f"an array of {a.dtype}" if isinstance(a, array) else type(a).__name__
