"""Launching kernels: arrays are made contiguous, small tables are put on the device once, nothing empty is launched."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from ca_numpy.backends.cupy_backend.device import C_NAMES, Device
from ca_numpy.errors import UserError

Array = Any
#: Threads of a block, as in `kernels/common.cuh`.
THREADS = 256
#: Blocks of a kernel that loops over an array: enough for every GPU there is.
MOST_BLOCKS = 4096
#: Parts that a sum over rows is divided into at most, and rows of each at least: of nothing else it depends.
MOST_PARTS, FEWEST_ROWS = 512, 256
#: Tables kept on the device: a network has a few dozen.
MOST_CONSTANTS = 4096


class Launcher:
    """A device, and what all the backend's kernels need of it."""

    def __init__(self, device: Device) -> None:
        self.xp, self._kernels = device
        self._constants: dict[Hashable, Array] = {}

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
        xp = self.xp
        laid = tuple(xp.ascontiguousarray(a) if isinstance(a, xp.ndarray) else a for a in arguments)
        self._kernels.launch(file, expression, grid, THREADS, laid)

    def elementwise(self, file: str, kernel: str, size: int, dtype: Any, *arguments: Any) -> None:
        """Launch a kernel that loops over `size` numbers."""
        blocks = min(-(-size // THREADS), MOST_BLOCKS)
        self.launch(file, f"{kernel}<{C_NAMES[str(dtype)]}>", (blocks,), *arguments)

    def constant(self, numbers: Hashable) -> Array:
        """A tuple of integers (or of such tuples) as int32 on the device, put there once."""
        if numbers not in self._constants:
            if len(self._constants) >= MOST_CONSTANTS:
                self._constants.clear()
            self._constants[numbers] = self.xp.asarray(np.array(numbers, np.int32))
        return self._constants[numbers]

    def table(self, key: Hashable, numbers: Any) -> Array:
        """As `constant`, for an array that `key` determines."""
        if key not in self._constants:
            if len(self._constants) >= MOST_CONSTANTS:
                self._constants.clear()
            self._constants[key] = self.xp.asarray(numbers)
        return self._constants[key]

    def addresses(self, arrays: list[Array]) -> Array:
        return self.xp.asarray(np.array([self._kernels.address(x) for x in arrays], np.uint64))

    def sum_rows(self, x: Array) -> Array:
        """Σ over the first axis of rows × columns, in an order that depends on nothing but the size."""
        rows, columns = x.shape
        while True:
            parts = max(1, min(MOST_PARTS, rows // FEWEST_ROWS))
            sums = self.empty((parts, columns), x.dtype)
            to_a_part = -(-rows // parts)
            self.launch(
                "sums.cu", f"sum_rows<{C_NAMES[str(x.dtype)]}>", (parts, -(-columns // THREADS)),
                x, np.int64(rows), columns, np.int64(to_a_part), sums,
            )  # fmt: skip
            if parts == 1:
                return sums.reshape(columns)
            x, rows = sums, parts

    def memory(self) -> int | None:
        return self._kernels.memory()

    def release_memory(self) -> None:
        self._kernels.release_memory()

    def elapsed(self, run: Callable[[], object]) -> float:
        return self._kernels.elapsed(run)

    def describe(self) -> str:
        return self._kernels.describe()
