"""Hardware and libraries that determine NumPy's speed: cores, vector instructions, BLAS kernels."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: OpenBLAS's names for kernels that use AVX2 at most.
AVX2_KERNELS = {"haswell", "zen"}


class Blas(NamedTuple):
    """A BLAS library loaded by this process."""

    name: str
    version: str
    kernels: str
    threads: int | None


def cpu_model() -> str:
    """The processor's name."""
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


def cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ranks() -> int:
    """Number of processes that an MPI launcher started on this machine, by its variables; 1 without one."""
    for name in ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE"):  # as 4, or 4(x2),3
        if name in os.environ and (found := re.match("[1-9][0-9]*", os.environ[name])):
            return int(found[0])
    return 1


def memory() -> int | None:
    """Memory that this process may use, in bytes; None if unknown.

    The machine's, or less where a limit is set; shared equally with the other `ranks`.
    """
    found = []
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // ranks())
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows

        if (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
            found.append(limit)
    with contextlib.suppress(ValueError, OSError):  # "max" without a limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")) // ranks())
    return min(found, default=None)


def peak_memory() -> int | None:
    """The most memory that this process has taken so far, in bytes; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def vector_instructions() -> str:
    """ "AVX-512", "AVX2", "none of AVX", or "unknown"."""
    flags = _cpu_info().get("flags", "").split()
    if not flags:
        return "unknown"
    return "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "none of AVX"


def blas() -> Blas:
    """NumPy's BLAS: the one loaded if threadpoolctl is installed, else the one NumPy was built with."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    if importlib.util.find_spec("threadpoolctl"):
        from threadpoolctl import threadpool_info

        for library in threadpool_info():
            if library["user_api"] == "blas" and "numpy" in library["filepath"]:
                kernels = str(library.get("architecture", "unknown"))
                return Blas(library["internal_api"], str(library["version"]), kernels, library["num_threads"])
    return Blas(built["name"], built["version"], "unknown", None)


def advice(kernels: str, vectors: str) -> str | None:
    """An environment setting that would speed up NumPy's matrix products, or None.

    OpenBLAS does not detect AVX-512 on some processors. The environment is not changed.
    """
    if vectors == "AVX-512" and kernels.lower() in AVX2_KERNELS:
        return f"OPENBLAS_CORETYPE=SkylakeX, set before Python starts, lets BLAS use AVX-512 where {kernels} has AVX2"
    return None


def describe() -> dict[str, Any]:
    """All of the above, to record with benchmarks."""
    return {
        "cpu": cpu_model(), "cores": cores(), "vectors": vector_instructions(), "blas": blas()._asdict(),
        "system": platform.platform(), "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip


def _cpu_info() -> dict[str, str]:
    """The first entry of /proc/cpuinfo on Linux, else empty."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
