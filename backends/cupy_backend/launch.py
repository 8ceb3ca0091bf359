"""Launching kernels: arrays are made contiguous, small tables are put on the device once, nothing empty is launched."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from ca_numpy.backends.cupy_backend.device import C_NAMES, Device
from ca_numpy.errors import UserError

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
        """Launch blocks of THREADS threads. Arrays among the arguments must lie contiguously, or are copied so."""
        if 0 in grid:
            return
        laid = tuple(self.laid(a) if isinstance(a, self.xp.ndarray) else a for a in arguments)
        self._kernels.launch(file, expression, grid, THREADS, laid)

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
