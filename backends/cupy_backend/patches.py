"""PatchMatch on the GPU: the launches. The kernels are in `kernels/patches.cu`."""

from __future__ import annotations

from typing import Any

from .device import C_NAMES
from .launch import THREADS, Launcher

Array = Any
FILE = "patches.cu"
#: Lanes that share a patch, as in `kernels/patches.cu`.
LANES = 8


class PatchMatch:
    """The contract's kernels of PatchMatch; floats have one dtype."""

    def __init__(self, launcher: Launcher) -> None:
        self._device = launcher

    def patch_distance(self, z: Array, guide: Array, weight: Array, places: Array, field: Array, radius: int) -> Array:
        distance, (_, width, channels) = self._device.empty((len(places),), z.dtype), z.shape
        numbers = len(places), width, channels, guide.shape[2], radius
        self._search("patch_distance", z, guide, weight, places, field, *numbers, distance)
        return distance

    def improve_field(
        self, z: Array, guide: Array, weight: Array, source: Array, places: Array, number: Array, field: Array,
        distance: Array, offsets: Array, radius: int, jump: int,
    ) -> tuple[Array, Array]:  # fmt: skip
        found, least = (self._device.empty(x.shape, x.dtype) for x in (field, distance))
        numbers = len(places), len(offsets), *z.shape, guide.shape[2], radius, jump
        arrays = z, guide, weight, source, places, number, field, distance, offsets
        self._search("improve_field", *arrays, *numbers, found, least)
        return found, least

    def patch_vote(self, z: Array, pixels: Array, number: Array, field: Array, weight: Array, radius: int) -> Array:
        colours = self._device.empty((len(pixels), z.shape[2]), z.dtype)
        arguments = z, pixels, number, field, weight, len(pixels), *z.shape, radius, colours
        self._device.elementwise(FILE, "patch_vote", colours.size, z.dtype, *arguments)
        return colours

    def patch_source(self, pixels: Array, number: Array, field: Array, weight: Array, radius: int) -> Array:
        chosen = self._device.empty(pixels.shape, pixels.dtype)
        arguments = pixels, number, field, weight, len(pixels), *number.shape, radius, chosen
        self._device.elementwise(FILE, "patch_source", len(pixels), weight.dtype, *arguments)
        return chosen

    def _search(self, kernel: str, z: Array, *arguments: Any) -> None:
        """Launch a kernel in which LANES threads share each of the patches, as many as its last result is long."""
        blocks = -(-len(arguments[-1]) * LANES // THREADS)
        self._device.launch(FILE, f"{kernel}<{C_NAMES[str(z.dtype)]}>", (blocks,), z, *arguments)
