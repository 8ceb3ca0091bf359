"""Launching kernels: arguments are checked and made contiguous, small tables are put on the device once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ca_numpy.errors import UserError

from .device import C_NAMES, NULL, Device, source

Array = Any
T = TypeVar("T")
#: Threads of a block, as in `kernels/common.cuh`.
THREADS = 256
#: Blocks of a kernel that loops over an array: enough for every GPU there is.
MOST_BLOCKS = 4096
#: Parts that a sum over rows is divided into at most, and rows of each at least: of nothing else it depends.
MOST_PARTS, FEWEST_ROWS = 512, 256
#: Tables kept on the device: a network has a few dozen.
MOST_TABLES = 1024

_KERNEL = re.compile(r"__global__ void (?:__launch_bounds__\(\w+\) )?(\w+)\(([^)]*)\)")
_PARAMETER = re.compile(r"(const )?(?:typename )?(\w[\w: ]*)(\*?) (\w+)(?:,|$)")
_INT = np.dtype(np.int32)
_INTEGERS: dict[str, np.dtype[Any]] = {
    "int": _INT,
    "long long": np.dtype(np.int64),
    "unsigned long long": np.dtype(np.uint64),
}


class Parameter(NamedTuple):
    """What a kernel takes at one place: "an array" or "a number" of a dtype; `written`: an array for results."""

    name: str
    kind: tuple[str, np.dtype[Any]]
    written: bool


@cache
def parameters(file: str, expression: str) -> tuple[Parameter, ...]:
    """What an instance of a kernel takes, as its source declares it."""
    kernel, instance = expression.split("<", 1)
    number = np.dtype(np.float64 if instance.lower().startswith("double") else np.float32)
    (declared,) = (found[2] for found in _KERNEL.finditer(source(file)) if found[1] == kernel)
    return tuple(
        Parameter(name, ("an array" if star else "a number", _INTEGERS.get(kind, number)), bool(star and not const))
        for const, kind, star, name in _PARAMETER.findall(declared)
    )


class Launcher:
    """A device, and what all the backend's kernels need of it."""

    def __init__(self, device: Device) -> None:
        self.xp, self._kernels = device
        self._made: dict[Hashable, Any] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Room for a result. Raises UserError if the device has none."""
        try:
            return self.xp.empty(shape, dtype)
        except MemoryError as e:
            needed = math.prod(shape) * np.dtype(dtype).itemsize
            free = self._kernels.memory()
            there = "" if free is None else f", {free / 2**20:.0f} are free"
            raise UserError(
                f"the GPU has too little memory: {needed / 2**20:.0f} MiB were needed at once{there}. "
                "Make the batch or the pictures smaller"
            ) from e

    def launch(self, file: str, expression: str, grid: tuple[int, ...], *arguments: Any) -> None:
        """Launch blocks of THREADS threads. Arrays that are read are copied where they do not lie contiguously.

        Raises TypeError for an argument of another type than the kernel was compiled for, which would let it read and
        write beyond arrays, and for results that do not lie contiguously.
        """
        if 0 in grid:
            return
        laid = []
        for wanted, a in zip(parameters(file, expression), arguments, strict=True):
            array = isinstance(a, self.xp.ndarray)
            kind = "an array" if array else "a number", _INT if isinstance(a, int) else a.dtype
            if kind != wanted.kind and not (a is NULL and wanted.kind[0] == "an array"):
                taken, given = (f"{what} of {dtype}" for what, dtype in (wanted.kind, kind))
                raise TypeError(f"{expression} in {file} takes {taken} as {wanted.name}, not {given}")
            if wanted.written and not a.flags.c_contiguous:
                raise TypeError(f"{expression} in {file} writes {wanted.name}, which does not lie contiguously")
            laid.append(self.laid(a) if array else a)
        self._kernels.launch(file, expression, grid, THREADS, tuple(laid))

    def laid(self, x: Array) -> Array:
        """x in row-major order without gaps: itself, if it lies so."""
        return x if x.flags.c_contiguous else self.xp.ascontiguousarray(x)

    def elementwise(self, file: str, kernel: str, size: int, dtype: Any, *arguments: Any) -> None:
        """Launch a kernel that loops over `size` numbers."""
        blocks = min(-(-size // THREADS), MOST_BLOCKS)
        self.launch(file, f"{kernel}<{C_NAMES[str(dtype)]}>", (blocks,), *arguments)

    def table(self, numbers: Any) -> Array:
        """Integers as int32 on the device."""
        return self.xp.asarray(np.asarray(numbers, np.int32))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `key` determines, made when first asked for: tables on the device, and what holds some."""
        if key not in self._made:
            if len(self._made) >= MOST_TABLES:
                self._made.clear()
            self._made[key] = make()
        found: T = self._made[key]
        return found

    def addresses(self, *arrays: Array) -> tuple[int, ...]:
        """Where the arrays' numbers begin."""
        return tuple(self._kernels.address(x) for x in arrays)

    def sum_rows(self, x: Array) -> Array:
        """Σ over the first axis of rows × columns, in an order that depends on nothing but the size."""
        rows, columns = x.shape
        while True:
            parts = max(1, min(MOST_PARTS, rows // FEWEST_ROWS))
            sums = self.empty((parts, columns), x.dtype)
            to_a_part = -(-rows // parts)
            self.launch(
                "sums.cu", f"sum_rows<{C_NAMES[str(x.dtype)]}>", (-(-columns // THREADS), parts),
                x, np.int64(rows), columns, np.int64(to_a_part), sums,
            )  # fmt: skip
            if parts == 1:
                return sums.reshape(columns)
            x, rows = sums, parts

    def release_memory(self) -> None:
        """The tables, and what the pool keeps for arrays to come."""
        self._made.clear()
        self._kernels.release_memory()

    def memory(self) -> int | None:
        return self._kernels.memory()

    def elapsed(self, run: Callable[[], object]) -> float:
        return self._kernels.elapsed(run)

    def describe(self) -> str:
        return self._kernels.describe()
