"""Errors for a missing or unsuitable GPU, driver or package; and that CuPy has every function the backend uses."""

from __future__ import annotations

import ast
import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import ca_numpy.registry as registry
from ca_numpy import UserError, use_backend
from ca_numpy.backends import cupy_backend
from ca_numpy.backends.cupy_backend import device
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.emulation.kernels import EmulatedKernels
from ca_numpy.backends.cupy_backend.launch import Launcher
from ca_numpy.training.run import _name_for_training

cupy_is_here = importlib.util.find_spec("cupy") is not None


@pytest.mark.parametrize(
    ("driver", "built", "message"),
    [
        (0, 12090, "no NVIDIA driver: .*cupy-emulated"),
        (12040, 13000, r"the driver knows CUDA 12.4, but CuPy was built for 13.0: .*ca-numpy\[cuda12\]"),
        (11080, 12000, "knows CUDA 11.8"),
    ],
)
def test_a_driver_that_does_not_serve_is_named_with_what_mends_it(driver: int, built: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        device.check_driver(driver, built)
    assert "\n" not in str(raised.value)


def test_newer_drivers_serve() -> None:
    device.check_driver(13000, 12090)
    device.check_driver(12020, 12090)  # within a major version they do


@pytest.mark.parametrize(("name", "capability"), [("Tesla V100", (7, 0)), ("Tesla P100", (6, 0)), ("Jetson", (7, 2))])
def test_an_old_gpu_is_named(name: str, capability: tuple[int, int]) -> None:
    found = ".".join(map(str, capability))
    with pytest.raises(UserError, match=rf"{name} has compute capability {found}, the kernels need 7\.5.*numba"):
        device.precisions_of(name, *capability)


def test_tensor_cores_are_used_from_ampere_on() -> None:
    assert device.precisions_of("Tesla T4", 7, 5) == ("float32",)
    for capability in ((8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)):
        assert device.precisions_of("newer", *capability) == ("float32", "tf32", "bf16")


class FakeCupy:
    """A CuPy whose driver has no device."""

    class cuda:
        class runtime:
            devices: Any = 0
            runtimeGetVersion = staticmethod(lambda: 13000)
            driverGetVersion = staticmethod(lambda: 13000)
            getDeviceCount = staticmethod(lambda: FakeCupy.cuda.runtime.devices)


def cupy_on(name: str, major: int, minor: int) -> Any:
    """A CuPy with one GPU, as far as loading the backend asks."""
    properties = {"name": name.encode(), "major": major, "minor": minor}
    runtime = SimpleNamespace(
        runtimeGetVersion=lambda: 12090, driverGetVersion=lambda: 13000, getDeviceCount=lambda: 1, getDevice=lambda: 0,
        getDeviceProperties=lambda number: properties,
    )  # fmt: skip
    libraries = {"nvrtc": SimpleNamespace(getVersion=lambda: (12, 9)),
                 "device": SimpleNamespace(get_cublas_handle=lambda: 1)}  # fmt: skip
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, **libraries))


@pytest.mark.parametrize(("name", "capability", "training"), [("Tesla T4", (7, 5), ""), ("A100", (8, 0), ":tf32")])
def test_auto_takes_the_gpu_and_training_the_precision_that_it_has(
    name: str, capability: tuple[int, int], training: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy_on(name, *capability))
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    backend = registry.load_backend("auto")
    assert backend.name == "cupy"
    assert _name_for_training(backend, "auto") == f"cupy{training}"
    assert _name_for_training(backend, "float32") == "cupy"
    if training:
        assert registry.load_backend("cupy:tf32").precision == "tf32"
    else:
        with pytest.raises(UserError, match=r"backend 'cupy' cannot compute in 'tf32': choose float32$"):
            registry.load_backend("cupy:tf32")


def test_no_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy)
    with pytest.raises(UserError, match="no CUDA device"):
        device.cuda_device()


def test_auto_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy)
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    registry._warn_once.cache_clear()
    with use_backend("auto") as backend:
        assert backend.name in ("numba", "numpy")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "backend 'cupy' cannot be used: there is no CUDA device" in said
    with use_backend("auto"):
        assert capsys.readouterr().err == ""
    registry._warn_once.cache_clear()


def test_too_little_memory_is_told_with_how_much_was_needed() -> None:
    class Small:
        xp = type("xp", (), {"empty": staticmethod(lambda shape, dtype: _raise(MemoryError("out of memory")))})
        kernels = type("kernels", (), {"memory": staticmethod(lambda: 3 << 20)})

    with pytest.raises(UserError, match="4 MiB were needed at once, 3 are free"):
        Launcher(device.Device(Small.xp, Small.kernels)).empty((1024, 1024), "float32")  # type: ignore[arg-type]


def test_memory_that_is_kept_is_counted_as_free_and_can_be_given_back() -> None:
    class Pool:
        kept = 3 << 20

        def free_bytes(self) -> int:
            return self.kept

        def free_all_blocks(self) -> None:
            self.kept = 0

    pool = Pool()
    runtime = type("runtime", (), {"memGetInfo": staticmethod(lambda: (5 << 20, 80 << 30))})
    fake = type("cupy", (), {"cuda": type("cuda", (), {"runtime": runtime}),
                             "get_default_memory_pool": staticmethod(lambda: pool),
                             "get_default_pinned_memory_pool": staticmethod(Pool)})  # fmt: skip
    kernels = device.CudaKernels(fake)
    assert kernels.memory() == 8 << 20
    kernels.release_memory()
    assert pool.kept == 0


class Cublas:
    """cuBLAS's product of a batch, on memory of the host, as its manual defines it: matrices are stored by columns."""

    CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_GEMM_DEFAULT = 68, 70, 77, -1

    def gemmStridedBatchedEx(
        self, handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int,
        a: int, a_type: int, lda: int, stride_a: int, b: int, b_type: int, ldb: int, stride_b: int, beta: int,
        c: int, c_type: int, ldc: int, stride_c: int, batch: int, compute: int, algorithm: int,
    ) -> None:  # fmt: skip
        self.compute = compute
        dtype = {0: np.dtype(np.float32), 1: np.dtype(np.float64)}[a_type]
        assert a_type == b_type == c_type

        def matrix(address: int, rows: int, columns: int, leading: int) -> Any:
            assert leading >= max(1, rows)
            numbers = (ctypes.c_byte * (((columns - 1) * leading + rows) * dtype.itemsize)).from_address(address)
            return as_strided(
                np.frombuffer(numbers, dtype), (rows, columns), (dtype.itemsize, leading * dtype.itemsize)
            )

        one, old = (matrix(at, 1, 1, 1)[0, 0] for at in (alpha, beta))
        for i in (dtype.itemsize * i for i in range(batch)):
            left = matrix(a + i * stride_a, *((k, m) if transa else (m, k)), lda)
            right = matrix(b + i * stride_b, *((n, k) if transb else (k, n)), ldb)
            product = one * ((left.T if transa else left) @ (right.T if transb else right))
            out = matrix(c + i * stride_c, m, n, ldc)
            out[...] = product + old * out if old else product


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("add", [False, True])
@given(images=st.integers(0, 3), m=st.integers(1, 4), k=st.integers(1, 4), n=st.integers(1, 4),
       by_columns=st.tuples(st.booleans(), st.booleans()), longer=st.integers(0, 2))  # fmt: skip
def test_products_of_a_batch_are_what_cublas_is_asked_for(
    dtype: Any, add: bool, images: int, m: int, k: int, n: int, by_columns: tuple[bool, bool], longer: int
) -> None:
    """Of factors that are transposed, or rows of longer arrays; and the emulation's are the same."""
    rng = np.random.default_rng(0)

    def factor(rows: int, columns: int, transposed: bool) -> Any:
        shape = (columns, rows) if transposed else (rows, columns)
        x = arrays.asarray(rng.standard_normal((images, shape[0] + longer, shape[1])).astype(dtype))[:, : shape[0]]
        return x.swapaxes(1, 2) if transposed else x

    a, b, out = factor(m, k, by_columns[0]), factor(k, n, by_columns[1]), factor(m, n, False)
    right = np.matmul(a.get(), b.get()) + (out.get() if add else 0)
    cublas = Cublas()
    cuda = SimpleNamespace(cublas=cublas, device=SimpleNamespace(get_cublas_handle=lambda: 1))
    emulated = out.copy()
    device.CudaKernels(SimpleNamespace(cuda=cuda)).product(a, b, out, add=add, tf32=False)
    EmulatedKernels().product(a, b, emulated, add=add, tf32=False)
    for found in (out, emulated):
        np.testing.assert_allclose(found.get(), right, rtol=0, atol=20 * np.finfo(dtype).eps)
    if images:
        assert cublas.compute == (cublas.CUBLAS_COMPUTE_32F if dtype == np.float32 else cublas.CUBLAS_COMPUTE_64F)


def test_a_copy_on_the_host_is_in_pinned_memory_of_its_size() -> None:
    asked: list[bytearray] = []
    x = SimpleNamespace(shape=(2, 3), size=6, dtype=np.dtype(np.float32), nbytes=24, get=lambda out: out.fill(5))
    cuda = SimpleNamespace(alloc_pinned_memory=lambda size: asked.append(bytearray(size)) or asked[-1])
    copied = device.CudaKernels(SimpleNamespace(cuda=cuda)).to_host(x)
    np.testing.assert_array_equal(copied, np.full((2, 3), 5, np.float32))
    assert bytes(asked[0]) == copied.tobytes()
    assert copied.flags.writeable


def test_products_in_tf32_ask_for_it_and_for_nothing_that_lasts() -> None:
    x, cublas = arrays.asarray(np.ones((1, 2, 2), np.float32)), Cublas()
    cuda = SimpleNamespace(cublas=cublas, device=SimpleNamespace(get_cublas_handle=lambda: 1))
    kernels = device.CudaKernels(SimpleNamespace(cuda=cuda))
    for tf32, asked in ((True, cublas.CUBLAS_COMPUTE_32F_FAST_TF32), (False, cublas.CUBLAS_COMPUTE_32F)):
        kernels.product(x, x, arrays.empty((1, 2, 2), np.float32), add=False, tf32=tf32)
        assert cublas.compute == asked


def _raise(error: Exception) -> None:
    raise error


def test_without_cupy_the_install_is_named() -> None:
    code = """
import sys
sys.modules["cupy"] = None
from ca_numpy.registry import why_unavailable
print(why_unavailable("cupy"))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'ca-numpy[cuda13]'" in result.stdout


def names_of_xp() -> set[str]:
    """Every function that the backend takes from its array module."""
    folder, found = Path(cupy_backend.__file__).parent, set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
                owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                if owner == "xp":
                    found.add(node.attr)
    return found


def test_the_array_modules_functions_are_seen() -> None:
    assert {"zeros", "matmul", "ascontiguousarray", "asnumpy"} <= names_of_xp()


@pytest.mark.skipif(not cupy_is_here, reason="needs CuPy, not a GPU: pip install cupy-cuda12x")
def test_cupy_has_every_function_that_the_backend_asks_for() -> None:
    import cupy

    assert [name for name in sorted(names_of_xp()) if not hasattr(cupy, name)] == []
