"""Versions and tools of the machine, and the speed of large matrix products and copies: what kernels can reach."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ca_numpy import machine, use_backend
from gpu_plan.records import Plan, plan

PACKAGES = ("numpy", "scipy", "torch", "triton", "setuptools", "pip",
            *(f"{name}{cuda}" for cuda in (12, 13) for name in ("cupy-cuda", "nvidia-cudnn-cu")),
            "cupy-cuda12x", "cupy-cuda13x")  # fmt: skip
TOOLS = ("nvidia-smi", "nvcc", "ncu", "nsys", "compute-sanitizer")
REPEATS = 10


def main() -> int:
    the = plan()
    the.record("machine", "machine", machine.describe())
    the.record("machine", "packages", {name: found for name in PACKAGES if (found := _version(name))})
    the.record("machine", "tools", {name: shutil.which(name) for name in TOOLS})
    the.record("machine", "python", sys.version)
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.sm,power.limit",
                 "--format=csv"]  # fmt: skip
        said = subprocess.run(query, capture_output=True, text=True, check=False, timeout=10).stdout
        the.record("machine", "nvidia-smi", said.splitlines())
    with use_backend(the.backend) as device:
        the.record("machine", "device", device.describe())
        side = int(the.options["ceiling"])
        x = device.asarray(np.random.default_rng(0).standard_normal((side, side)).astype(np.float32))
        y = device.xp.empty_like(x)

        def copy() -> None:
            y[...] = x

        for title, run in (("matrix product, float32, CuPy", lambda: x @ x), ("copy, CuPy", copy)):
            _ceiling(the, title, side, _seconds(run, device.elapsed))
    if importlib.util.find_spec("torch"):
        _torch(the, side)
    return 0


def _torch(the: Plan, side: int) -> None:
    import torch

    from ca_numpy.bench import peer

    where = "cuda" if torch.cuda.is_available() else "cpu"
    the.record("machine", "peer", peer.describe(where))
    for title, dtype in (("TF32", torch.float32), ("bfloat16", torch.bfloat16)):
        with _tf32():
            x = torch.randn(side, side, device=where, dtype=dtype)
            _ceiling(the, f"matrix product, {title}, PyTorch", side, _seconds(lambda x=x: x @ x, peer.elapsed(where)))


@contextmanager
def _tf32() -> Iterator[None]:
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def _seconds(run: Callable[[], Any], elapsed: Callable[[Callable[[], Any]], float]) -> float:
    """Of one run: the shortest of several, after one that does not count."""
    elapsed(run)
    return min(elapsed(run) for _ in range(REPEATS))


def _ceiling(the: Plan, title: str, side: int, seconds: float) -> None:
    """2 n³ operations for a product; 8 n² bytes for a copy, read and written."""
    product = title.startswith("matrix")
    rate = (2 * side**3 if product else 8 * side**2) / seconds / (1e12 if product else 1e9)
    the.record("ceilings", title, {"side": side, "seconds": seconds, "TFLOP/s" if product else "GB/s": rate})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
