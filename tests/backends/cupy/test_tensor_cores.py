"""The instruction that multiplies matrices: the place of each lane's numbers according to the PTX manual.

The kernels' tiles and the emulated instruction could share one mistake: both were written from one table. Here the
manual's own formulas stand (PTX ISA, "Matrix Fragments for mma.m16n8k8" and "mma.m16n8k16"), and nothing of the tiles.
That the instruction itself is given its operands in the right order, only a GPU can say: `pytest -m gpu`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ca_numpy.backends.cupy_backend.device import Device, cuda_device
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.emulation.kernels import EmulatedKernels
from ca_numpy.registry import why_unavailable

#: Lane l hands over its numbers of A and B, a line for each lane, and writes the four of the result that it is given.
KERNELS = """
#include "tiles.cuh"
__global__ void tf32(const float* a, const float* b, float* d) {
    unsigned x[4], y[2];
    float sums[4] = {};
    for (int i = 0; i < 4; i++) x[i] = TF32::word(a[4 * threadIdx.x + i]);
    for (int i = 0; i < 2; i++) y[i] = TF32::word(b[2 * threadIdx.x + i]);
    TF32::multiply(sums, x, y);
    for (int i = 0; i < 4; i++) d[4 * threadIdx.x + i] = sums[i];
}
__global__ void bf16(const float* a, const float* b, float* d) {
    unsigned x[4], y[2];
    float sums[4] = {};
    for (int i = 0; i < 4; i++) x[i] = BF16::pair(a[8 * threadIdx.x + 2 * i], a[8 * threadIdx.x + 2 * i + 1]);
    for (int i = 0; i < 2; i++) y[i] = BF16::pair(b[4 * threadIdx.x + 2 * i], b[4 * threadIdx.x + 2 * i + 1]);
    BF16::multiply(sums, x, y);
    for (int i = 0; i < 4; i++) d[4 * threadIdx.x + i] = sums[i];
}
"""
LANE = np.arange(32)[:, None]
GROUP, IN_GROUP = LANE >> 2, LANE % 4


def places(format: str) -> tuple[tuple[Any, Any], ...]:
    """(rows, columns) of each lane's numbers a0 a1 …, b0 b1 … and c0 … c3, as the manual computes them."""
    a, b, c = (np.arange(n)[None] for n in ((4, 2, 4) if format == "tf32" else (8, 4, 4)))
    of_c = np.where(c < 2, GROUP, GROUP + 8), IN_GROUP * 2 + (c & 1)
    if format == "tf32":
        of_a = np.where((a == 0) | (a == 2), GROUP, GROUP + 8), np.where(a < 2, IN_GROUP, IN_GROUP + 4)
        return of_a, (np.where(b == 0, IN_GROUP, IN_GROUP + 4), GROUP + 0 * b), of_c
    upper = (a < 2) | ((a >= 4) & (a < 6))
    of_a = np.where(upper, GROUP, GROUP + 8), IN_GROUP * 2 + (a & 1) + np.where(a < 4, 0, 8)
    return of_a, (IN_GROUP * 2 + (b & 1) + np.where(b < 2, 0, 8), GROUP + 0 * b), of_c


@pytest.fixture(scope="module", params=["cupy-emulated", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Device:
    reason = why_unavailable(request.param)
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "mma.cu").write_text(KERNELS, encoding="utf-8")
    if request.param == "cupy":
        return cuda_device(folder=folder)
    return Device(arrays, EmulatedKernels(instances={"mma.cu": ["tf32", "bf16"]}, folder=folder))


@pytest.mark.parametrize(("format", "depth"), [("tf32", 8), ("bf16", 16)])
def test_lanes_hold_what_the_manual_says(device: Device, format: str, depth: int, rng: np.random.Generator) -> None:
    """Whole numbers, which both formats hold without rounding: the product is exact."""
    if format not in device.precisions:
        pytest.skip(f"this GPU does not multiply in {format}")
    a, b = rng.integers(-9, 10, (16, depth)), rng.integers(-9, 10, (depth, 8))
    of_a, of_b, of_c = places(format)
    given = (device.xp.asarray(x[where].astype(np.float32)) for x, where in ((a, of_a), (b, of_b)))
    d = device.xp.asarray(np.zeros((32, 4), np.float32))
    device.kernels.launch("mma.cu", format, (1,), 32, (*given, d))
    assert np.array_equal(device.xp.asnumpy(d), (a @ b)[of_c])
