"""Compiles the kernels for the CPU with g++ and `cuda_on_cpu.h`, caches them on disk, and launches them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.backend import wall_clock
from ca_numpy.errors import UserError

from ..device import FOLDER, arguments_of, digest, source
from ..tiles import every_instance
from .arrays import ndarray

HEADER = Path(__file__).parent / "cuda_on_cpu.h"
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-Wno-unknown-pragmas")
#: Free memory of the device that is emulated.
MEMORY = 16 << 30
_one_at_a_time = threading.Lock()


class EmulatedKernels:
    """Launches kernels on the CPU, one block after another.

    backwards  the threads of a block run in reverse order
    seed       the warps of a block run in random order, each as far as it can, and so do the lanes of a warp
    """

    def __init__(self, *, backwards: bool = False, seed: int | None = None,
                 instances: dict[str, list[str]] | None = None, folder: Path = FOLDER) -> None:  # fmt: skip
        self._order, self.folder = int(backwards) if seed is None else 2 + seed, folder
        self._instances = every_instance() if instances is None else instances
        self._compiler = compiler()

    def launch(
        self, file: str, expression: str, grid: tuple[int, ...], threads: int, arguments: tuple[Any, ...]
    ) -> None:
        library = self._library(file)
        sizes = (ctypes.c_uint * 6)(*(*grid, 1, 1)[:3], threads, 1, 1)
        held = [_boxed(a) for a in arguments_of(arguments)]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(box) for box in held))
        with _one_at_a_time:
            failed = library.launch(self._instances[file].index(expression), sizes, self._order, pointers)
        if failed:
            raise RuntimeError(f"{expression} in {file}: threads of a block wait at a barrier that others never reach")

    def product(self, a: Any, b: Any, out: Any, *, add: bool, tf32: bool) -> None:
        factors = (a._memory, b._memory)
        product = np.matmul(*map(_rounded, factors) if tf32 else factors)
        out._memory[...] = out._memory + product if add else product

    def address(self, x: Any) -> int:
        return int(x.data.ptr)

    def describe(self) -> str:
        return f"the GPU's kernels on one core of the CPU, compiled by {Path(self._compiler).name}: for study and tests"

    def memory(self) -> int:
        return MEMORY

    def to_host(self, x: Any) -> np.ndarray[Any, Any]:
        copied: NDArray[Any] = x.get()
        return copied

    def release_memory(self) -> None:
        """There is no cached memory."""

    def elapsed(self, run: Callable[[], object]) -> float:
        return wall_clock(run)

    @cache  # noqa: B019  kept as long as the process
    def _library(self, file: str) -> ctypes.CDLL:
        instances = self._instances[file]
        cases = "\n".join(
            f"        case {i}: return cpu::launch_with({expression}, sizes, order, arguments);"
            for i, expression in enumerate(instances)
        )
        text = f"""#include "{HEADER}"
#include "{self.folder / file}"
extern "C" int launch(int which, const unsigned* sizes, unsigned order, void** arguments) {{
    switch (which) {{
{cases}
    }}
    return 2;
}}
"""
        included = HEADER.read_text(encoding="utf-8"), digest(), source(file, folder=self.folder)
        return ctypes.CDLL(str(compiled(self._compiler, text, included)))


def _rounded(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Numbers rounded to TF32's 10 bits of fraction."""
    rounded = ((x.view(np.uint32) + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(x), rounded, x)


def _boxed(a: Any) -> Any:
    """An argument as a ctypes object: an array's address, or a number."""
    if isinstance(a, ndarray):
        return ctypes.c_uint64(a.data.ptr)
    if not isinstance(a, np.generic):
        raise TypeError(f"kernels take device arrays and NumPy scalars, not {type(a).__name__}")
    return np.ctypeslib.as_ctypes(np.array([a]))


@cache
def compiler() -> str:
    """The C++ compiler's path. Raises UserError if there is none."""
    found = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not found or not shutil.which(found):
        raise UserError("the emulated GPU needs a C++ compiler: apt install g++ (macOS: xcode-select --install)")
    return found


def compiled(compiler: str, text: str, included: tuple[str, ...]) -> Path:
    """The shared library compiled from this text, cached on disk."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    key = hashlib.sha256("\0".join([text, *included, version, *FLAGS]).encode()).hexdigest()[:32]
    folder = cache_folder()
    library = folder / f"{key}.so"
    with _locked(folder / f"{key}.lock"):
        if not library.exists():
            print("compiling the GPU's kernels for the CPU, once …", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                source, result = Path(scratch) / "kernels.cpp", Path(scratch) / "kernels.so"
                source.write_text(text, encoding="utf-8")
                command = [compiler, *FLAGS, f"-I{FOLDER}", "-o", str(result), str(source)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr[:200]]
                    raise UserError(f"the kernels cannot be compiled by {compiler}: {' '.join(lines[0].split())}")
                os.replace(result, library)
    return library


def cache_folder() -> Path:
    """The folder of compiled kernels: in $CA_NUMPY_CACHE, by default in the user's cache."""
    base = (
        os.environ.get("CA_NUMPY_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ca_numpy"
    )
    folder = Path(base) / "emulated"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="ca_numpy-"))
    return folder


class _locked:
    """Processes that start together compile once, or each for itself if files cannot be locked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._file = open(self._path, "w")
        try:
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass

    def __exit__(self, *_: object) -> None:
        self._file.close()
