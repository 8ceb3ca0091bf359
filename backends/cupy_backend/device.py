"""The device: an array module and a launcher of kernels, either CuPy's or a stand-in.

The backend uses nothing else, so its host code also runs on `emulation`, with NumPy arrays and kernels compiled for the
CPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ca_numpy.errors import UserError

FOLDER = Path(__file__).parent / "kernels"


class _CNames(dict[str, str]):
    def __missing__(self, dtype: str) -> str:
        raise TypeError(f"the GPU's kernels compute in {' or '.join(self)}, not {dtype}")


#: C++ names of the dtypes that kernels are instantiated for.
C_NAMES = _CNames(float32="float", float64="double")
#: How float32 products may be computed; all but the first need tensor cores of Ampere or newer.
PRECISIONS = ("float32", "tf32", "bf16")
#: cuBLAS's numbers for float32 and float64, in CUDA's library_types.h.
CUDA_R_32F, CUDA_R_64F = 0, 1
#: A null pointer.
NULL = np.uint64(0)


class Kernels(Protocol):
    """Launches kernels, named by their file in `folder` and the C++ expression of an instance."""

    folder: Path

    def launch(
        self, file: str, expression: str, grid: tuple[int, ...], threads: int, arguments: tuple[Any, ...]
    ) -> None:
        """Arguments are arrays on this device, or NumPy scalars of the types that the kernel declares."""

    def product(self, a: Any, b: Any, out: Any, *, add: bool, tf32: bool) -> None:
        """Matrix products a · b of a batch, N M K and N K P, stored in `out` or added to it, N M P.

        Each is contiguous along its last axis, or, but for `out`, the last but one. tf32: float32 factors may be
        rounded to 10 bits of fraction, for tensor cores.
        """

    def address(self, x: Any) -> int:
        """Address of an array's data, for kernels that take many arrays."""

    def to_host(self, x: Any) -> np.ndarray[Any, Any]:
        """A copy of a contiguous array in pinned memory of the host, which the device writes at full speed."""

    def describe(self) -> str:
        """The device, in one line."""

    def memory(self) -> int:
        """Free memory in bytes."""

    def release_memory(self) -> None:
        """Release cached memory."""

    def elapsed(self, run: Callable[[], object]) -> float:
        """Seconds from the first kernel that `run` launches to the end of the last, by the device's clock."""


class Device(NamedTuple):
    """An array module, a launcher of kernels, and the precisions of float32 products that the hardware has."""

    xp: Any
    kernels: Kernels
    precisions: tuple[str, ...] = PRECISIONS


def arguments_of(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Convert Python integers to the kernels' `int`."""
    return tuple(np.int32(a) if isinstance(a, int) else a for a in arguments)


@cache
def source(file: str, *, folder: Path = FOLDER) -> str:
    return (folder / file).read_text(encoding="utf-8")


@cache
def digest() -> str:
    """Hash of all sources, for compilers whose cache ignores included files."""
    paths = sorted([*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh")])
    return hashlib.sha256("".join(source(path.name) for path in paths).encode()).hexdigest()[:16]


class CudaKernels:
    """Kernels compiled by NVRTC on first use, cached on disk by CuPy and launched on CuPy's current stream.

    folder  of other kernels than the backend's own; they may include the backend's headers
    """

    def __init__(self, cupy: Any, *, folder: Path = FOLDER) -> None:
        self._cupy, self.folder = cupy, folder

    @cache  # noqa: B019  there is one instance per process
    def _function(self, file: str, expression: str) -> Any:
        options = ("-std=c++17", f"-I{FOLDER}", f"-DSOURCES=0x{digest()}ULL")
        code = source(file, folder=self.folder)
        module = self._cupy.RawModule(code=code, options=options, name_expressions=[expression])
        return module.get_function(expression)

    def launch(
        self, file: str, expression: str, grid: tuple[int, ...], threads: int, arguments: tuple[Any, ...]
    ) -> None:
        self._function(file, expression)(grid, (threads,), arguments_of(arguments))

    def product(self, a: Any, b: Any, out: Any, *, add: bool, tf32: bool) -> None:
        if out.size == 0:
            return
        # Not CuPy's matmul: of a batch it copies transposed factors, ignores the compute type, and cannot add.
        cublas, double = self._cupy.cuda.cublas, out.dtype == np.float64
        kind = CUDA_R_64F if double else CUDA_R_32F
        exact = cublas.CUBLAS_COMPUTE_64F if double else cublas.CUBLAS_COMPUTE_32F
        one, beta = np.array(1, out.dtype), np.array(add, out.dtype)
        # Rows for us are columns for cuBLAS, so the transposes are multiplied: outᵀ = bᵀ aᵀ.
        (b_transposed, b_row), (a_transposed, a_row), (_, out_row) = map(_laid_out, (b, a, out))
        cublas.gemmStridedBatchedEx(
            self._cupy.cuda.device.get_cublas_handle(), b_transposed, a_transposed, out.shape[2], out.shape[1],
            a.shape[2], one.ctypes.data, b.data.ptr, kind, b_row, b.strides[0] // b.itemsize, a.data.ptr, kind, a_row,
            a.strides[0] // a.itemsize, beta.ctypes.data, out.data.ptr, kind, out_row, out.strides[0] // out.itemsize,
            len(out), cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if tf32 else exact, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip

    def address(self, x: Any) -> int:
        return int(x.data.ptr)

    def to_host(self, x: Any) -> np.ndarray[Any, Any]:
        pinned = self._cupy.cuda.alloc_pinned_memory(x.nbytes)  # from a pool, to which it returns with the array
        copied = np.frombuffer(pinned, x.dtype, x.size).reshape(x.shape)
        x.get(out=copied)
        return copied

    def describe(self) -> str:
        runtime = self._cupy.cuda.runtime
        device = runtime.getDeviceProperties(runtime.getDevice())
        capability = f"{device['major']}.{device['minor']}"
        return (
            f"CuPy {self._cupy.__version__} with CUDA {_version(runtime.runtimeGetVersion())} on "
            f"{device['name'].decode()}, compute capability {capability}, {device['totalGlobalMem'] / 2**30:.0f} GiB"
        )

    def release_memory(self) -> None:
        self._cupy.get_default_memory_pool().free_all_blocks()
        self._cupy.get_default_pinned_memory_pool().free_all_blocks()

    def memory(self) -> int:
        pooled = self._cupy.get_default_memory_pool().free_bytes()
        return int(self._cupy.cuda.runtime.memGetInfo()[0]) + int(pooled)

    def elapsed(self, run: Callable[[], object]) -> float:
        cuda = self._cupy.cuda
        stream = cuda.get_current_stream()
        began, ended = cuda.Event(), cuda.Event()
        began.record(stream)
        run()
        ended.record(stream)
        ended.synchronize()
        return float(cuda.get_elapsed_time(began, ended)) / 1000


def _laid_out(x: Any) -> tuple[int, int]:
    """Whether the matrices of a batch are stored by columns, and the distance of their rows (or columns) in numbers."""
    row, column = (stride // x.itemsize for stride in x.strides[1:])
    return (0, max(row, x.shape[2])) if column == 1 else (1, max(column, x.shape[1]))


def cuda_device(*, folder: Path = FOLDER) -> Device:
    """The current GPU. Raises UserError with the remedy if there is none, or its driver is missing or too old."""
    import cupy  # type: ignore[import-not-found, unused-ignore]

    runtime = cupy.cuda.runtime
    built = int(runtime.runtimeGetVersion())
    try:
        driver = int(runtime.driverGetVersion())
    except Exception:  # CuPy's own error type: no driver
        driver = 0
    check_driver(driver, built)
    try:
        devices = int(runtime.getDeviceCount())
    except Exception as e:
        raise UserError(f"no CUDA device can be used ({e}): check `nvidia-smi`") from e
    if devices == 0:
        raise UserError("there is no CUDA device: check `nvidia-smi` and the variable CUDA_VISIBLE_DEVICES")
    try:
        cupy.cuda.nvrtc.getVersion()
        cupy.cuda.device.get_cublas_handle()
    except Exception as e:
        right = f"pip install 'ca-numpy[cuda{built // 1000}]' brings CUDA's libraries"
        raise UserError(f"CUDA's compiler or its BLAS cannot be loaded ({' '.join(str(e).split())}): {right}") from e
    properties = runtime.getDeviceProperties(runtime.getDevice())
    precisions = precisions_of(properties["name"].decode(), properties["major"], properties["minor"])
    return Device(cupy, CudaKernels(cupy, folder=folder), precisions)


def check_driver(driver: int, built: int) -> None:
    """Raise UserError unless the driver (as a CUDA version number, 0 for none) supports a CuPy built for `built`."""
    if driver == 0:
        raise UserError("there is no NVIDIA driver: install it (Debian and Ubuntu: apt install nvidia-driver), "
                        "or run the same kernels on the CPU with backend='cupy-emulated'")  # fmt: skip
    if driver // 1000 < built // 1000:
        remedy = f"pip uninstall -y cupy-cuda{built // 1000}x && pip install 'ca-numpy[cuda{driver // 1000}]'"
        raise UserError(f"the driver knows CUDA {_version(driver)}, but CuPy was built for {_version(built)}: {remedy}")


def precisions_of(name: str, major: int, minor: int) -> tuple[str, ...]:
    """The precisions of a GPU by its compute capability. Raises UserError for a GPU that is too old."""
    if (major, minor) < (7, 5):
        raise UserError(
            f"the {name} has compute capability {major}.{minor}, the kernels need 7.5 (Turing, 2018) or newer: "
            "backend='numba' runs on the CPU"
        )
    return PRECISIONS if major >= 8 else PRECISIONS[:1]


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
