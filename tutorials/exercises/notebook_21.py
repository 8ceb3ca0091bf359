"""Exercises of notebook 21, a roofline from machine code: the roofline, padding, and a loop's three limits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- the roofline ------------------------------------------------------------------------------------------------
def _attainable(intensity: Array, peak: float, bandwidth: float) -> list[float]:
    """One by one."""
    return [min(peak, i * bandwidth) for i in intensity]


def _machines() -> dict[str, tuple[Array, float, float]]:
    intensities = np.array([0.25, 3.0, 18.0, 70.0, 300.0])
    return {
        "a GPU": (intensities, 500.0, 4.0),
        "a CPU": (intensities, 0.12, 0.03),
        "left of the ridge": (np.array([0.5, 1.5, 2.5]), 90.0, 7.0),
        "right of the ridge": (np.array([40.0, 50.0]), 90.0, 7.0),
    }


# ---- padding -----------------------------------------------------------------------------------------------------
def _useful(pixels: int, kernels: int, depth: int, rows: int, columns: int) -> float:
    """By counting."""
    computed = sum(
        rows * columns * 16
        for _ in range(0, pixels, rows)
        for _ in range(0, kernels, columns)
        for _ in range(0, depth, 16)
    )
    return pixels * kernels * depth / computed


def _share(of: tuple[int, ...], to: tuple[int, ...]) -> float:
    padded = [-(-n // tile) * tile for n, tile in zip(of, to, strict=True)]
    return float(np.prod(of) / np.prod(padded))


def _products() -> dict[str, tuple[int, int, int, int, int]]:
    return {
        "full tiles": (512, 128, 288, 128, 64),
        "few kernels": (512, 3, 144, 256, 16),
        "five channels": (640, 32, 125, 256, 32),
        "smaller than a tile": (100, 40, 30, 128, 64),
    }


# ---- a loop ------------------------------------------------------------------------------------------------------
def _tensor_share(instructions: int, mma: int, shared: float) -> float:
    """The MMAs' clocks over the busiest resource's."""
    return mma / max(mma, instructions / 4, shared / 128)


def _loops() -> dict[str, tuple[int, int, float]]:
    return {
        "only MMAs": (8, 8, 0.0),
        "bound by issue": (107, 8, 600.0),
        "bound by shared memory": (102, 32, 8192.0),
        "neither": (30, 16, 1024.0),
    }


EXERCISES = [
    Exercise(
        "21.attainable",
        "Compute the roofline.",
        right=_attainable,
        inputs=_machines,
        mistakes={
            "This is the larger of the two limits: both hold, so the smaller one decides.": (
                lambda i, peak, bandwidth: np.maximum(peak, i * bandwidth)
            ),
            "The intensity is FLOP per byte: times bytes a second that is FLOP a second. This divides.": (
                lambda i, peak, bandwidth: np.minimum(peak, bandwidth / i)
            ),
            "The slope alone: right of the ridge the peak is the limit.": lambda i, peak, bandwidth: i * bandwidth,
            "This is the share of the peak: multiply by the peak.": (
                lambda i, peak, bandwidth: np.minimum(1, i * bandwidth / peak)
            ),
            "These are seconds per FLOP: return FLOP per second.": (
                lambda i, peak, bandwidth: np.maximum(1 / peak, 1 / (i * bandwidth))
            ),
        },
    ),
    Exercise(
        "21.useful",
        "Find the share of a tiled product's products that is not padding.",
        right=_useful,
        inputs=_products,
        mistakes={
            "This is what is wasted: subtract it from 1.": lambda *sizes: 1 - _useful(*sizes),
            "This is how many times as much is computed: invert it.": lambda *sizes: 1 / _useful(*sizes),
            "The sum is padded, too, to a multiple of 16 terms.": (
                lambda p, k, d, rows, columns: _share((p, k), (rows, columns))
            ),
            "Pixels and kernels are exchanged: rows are pixels, columns kernels.": (
                lambda p, k, d, rows, columns: _share((p, k, d), (columns, rows, 16))
            ),
            "Only the kernels' padding is counted.": lambda p, k, d, rows, columns: _share((k,), (columns,)),
            "Rounded down: a tile that is only partly filled is computed as a whole.": (
                lambda p, k, d, rows, columns: (
                    p * k * d / max(p // rows * rows * (k // columns * columns) * (d // 16 * 16), 1)
                )
            ),
        },
    ),
    Exercise(
        "21.tensor_share",
        "Find the share of the tensor cores' rate that a loop can reach.",
        right=_tensor_share,
        inputs=_loops,
        mistakes={
            "Four instructions are issued per clock: divide by 4.": (
                lambda instructions, mma, shared: mma / max(mma, instructions, shared / 128)
            ),
            "The clocks are added: the resources work at the same time, so the busiest decides.": (
                lambda instructions, mma, shared: mma / (mma + instructions / 4 + shared / 128)
            ),
            "Shared memory is missing.": lambda instructions, mma, shared: mma / max(mma, instructions / 4),
            "The instructions are missing.": lambda instructions, mma, shared: mma / max(mma, shared / 128),
            "Shares are at most 1: an MMA takes a clock of its own.": (
                lambda instructions, mma, shared: mma / max(instructions / 4, shared / 128)
            ),
            "This is inverted: clocks per MMA.": (
                lambda instructions, mma, shared: max(mma, instructions / 4, shared / 128) / mma
            ),
        },
    ),
]
