"""Compiles every instance of every kernel, in parallel processes, so that later steps find them in the cache."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from ca_numpy.backends.cupy_backend.tiles import every_instance
from ca_numpy.registry import load_backend
from gpu_plan.records import plan


def main() -> int:
    """Deal the instances out to processes; what one of them cannot compile stops no other."""
    the, instances = plan(), [(file, name) for file, names in every_instance().items() for name in names]
    if not the.is_cuda:  # g++ compiles a file at once
        instances = [(file, names[0]) for file, names in every_instance().items()]
    count = min(int(the.options["workers"]), len(instances))
    with ThreadPoolExecutor(count) as pool:
        codes = list(pool.map(_process, (instances[i::count] for i in range(count))))
    return int(any(codes))


def _process(instances: list[tuple[str, str]]) -> int:
    words = [f"{file}:{name}" for file, name in instances]
    return subprocess.run([sys.executable, "-m", "gpu_plan.compiling", *words], check=False).returncode


def compile_each(words: list[str]) -> int:
    """In one process: 1 if any failed."""
    the, failed, backend = plan(), False, load_backend(plan().backend)
    kernels = backend._device.kernels  # type: ignore[attr-defined]
    for file, name in (word.split(":", 1) for word in words):
        if "Tensor" in name and "tf32" not in backend.precisions:
            continue  # a GPU without the instructions
        began = time.monotonic()
        try:
            kernels._function(file, name) if the.is_cuda else kernels._library(file)
            why = None
        except Exception as e:  # whatever the compiler says belongs to the results
            why, failed = f"{type(e).__name__}: {str(e)[:2000]}", True
        the.record("compiled", f"{file} {name}", {"seconds": round(time.monotonic() - began, 2), "error": why})
    return int(failed)


if __name__ == "__main__":
    sys.exit(compile_each(sys.argv[1:]) if sys.argv[1:] else main())
