"""Where a pass spends its time: the device's time by kernel, and the host's beside it."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ca_numpy.backend import Backend

Run = Callable[[], object]
#: Kernels in a profile: those that take longest.
MOST = 40


def profile(backend: Backend, run: Run) -> dict[str, Any]:
    """{"host", "device": seconds, "by": the profiler, "kernels": [[name, launches, seconds], …]}, after a warm-up."""
    backend.elapsed(run)
    host: list[float] = []

    def timed() -> None:
        began = time.perf_counter()
        run()
        host.append(time.perf_counter() - began)

    device = backend.elapsed(timed)
    by, kernels = "PyTorch's profiler", _by_torch(backend, run)
    if not kernels:
        by, kernels = "events around our launches", _by_events(backend, run)
    ordered = sorted(([name, *found] for name, found in kernels.items()), key=lambda row: -row[2])
    launches, total = sum(row[1] for row in ordered), sum(row[2] for row in ordered)
    return {"host": host[0], "device": device, "by": by, "launches": launches, "in kernels": total,
            "kernels": ordered[:MOST]}  # fmt: skip


def _by_torch(backend: Backend, run: Run) -> dict[str, list[Any]]:
    """Of all kernels and copies of the process, CuPy's and cuBLAS's too; empty without a profiler of CUDA."""
    if not backend.name.startswith("cupy:") or importlib.util.find_spec("torch") is None:
        return {}
    import torch
    from torch.profiler import ProfilerActivity

    try:
        torch.cuda.init()
        with torch.profiler.profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
            backend.elapsed(run)
            torch.cuda.synchronize()
        events = [(e.key, e.count, getattr(e, "self_device_time_total", None) or getattr(e, "self_cuda_time_total", 0))
                  for e in found.key_averages()]  # fmt: skip
    except Exception as e:  # a profiler that does not work is no reason to have no profile
        print(f"PyTorch's profiler: {e}")
        return {}
    return {name: [count, microseconds / 1e6] for name, count, microseconds in events if microseconds}


def _by_events(backend: Any, run: Run) -> dict[str, list[Any]]:
    """Of our own kernels and the attention's products, each waited for: CuPy's kernels are not among them."""
    found: dict[str, list[Any]] = {}
    with _watched(backend, found):
        run()
    return found


@contextmanager
def _watched(backend: Any, found: dict[str, list[Any]]) -> Iterator[None]:
    kernels = backend._device.kernels
    launch, product = kernels.launch, kernels.product

    def timed(name: str, run: Run) -> None:
        seconds = kernels.elapsed(run)
        row = found.setdefault(name, [0, 0.0])
        row[0], row[1] = row[0] + 1, row[1] + seconds

    kernels.launch = lambda file, expression, *rest: timed(
        f"{file} {expression}", lambda: launch(file, expression, *rest)
    )
    kernels.product = lambda *arrays, **options: timed("cuBLAS", lambda: product(*arrays, **options))
    try:
        yield
    finally:
        del kernels.launch, kernels.product
