"""The emulated GPU: barriers, warps and tensor cores behave as CUDA specifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ca_numpy.backends.attention_bands import walked, windowed
from ca_numpy.backends.cupy_backend import CupyBackend, attention
from ca_numpy.backends.cupy_backend.attention import divisions
from ca_numpy.backends.cupy_backend.conv import merged_taps
from ca_numpy.backends.cupy_backend.device import FOLDER
from ca_numpy.backends.cupy_backend.emulation import EmulatedCupyBackend, arrays
from ca_numpy.backends.cupy_backend.emulation.kernels import EmulatedKernels
from ca_numpy.backends.numpy_attention import shifts
from ca_numpy.errors import UserError
from ca_numpy.geometry import AttentionGeometry, ConvGeometry
from ca_numpy.registry import use_backend, why_unavailable
from ca_numpy.testing import CASES, RandomChooser, backend_suite

Array = NDArray[Any]
pytestmark = pytest.mark.skipif(
    why_unavailable("cupy-emulated") is not None, reason=str(why_unavailable("cupy-emulated"))
)

KERNELS = """
#include "tiles.cuh"
__global__ void reverse(int* x) {  // through shared memory: wrong if one thread runs ahead of the others
    __shared__ int memory[64];
    memory[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = memory[63 - threadIdx.x];
}
__global__ void race(int* x) {  // the same, without the barrier
    __shared__ int memory[64];
    memory[threadIdx.x] = x[threadIdx.x];
    x[threadIdx.x] = memory[63 - threadIdx.x];
}
__global__ void stuck(int* x) {
    if (threadIdx.x < 8) __syncthreads();
    x[threadIdx.x] = 1;
}
__global__ void total(const float* x, float* y) {  // the memory that each has left the next one uses
    __shared__ float memory[8];
    y += 4 * threadIdx.x;
    y[0] = block_sum(x[threadIdx.x], memory);
    y[1] = block_max(x[threadIdx.x], memory);
    y[2] = block_sum(x[threadIdx.x], memory);
    y[3] = block_max(x[threadIdx.x], memory);
}
__global__ void anyone(int* x) { x[threadIdx.x] = __any_sync(ALL_LANES, x[threadIdx.x]); }
__global__ void places(int* x) {
    const int i = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    x[i * blockDim.x + threadIdx.x] += i * 100 + threadIdx.x;
}
__global__ void round_to_tf32(const float* x, unsigned* y) { y[threadIdx.x] = TF32::word(x[threadIdx.x]); }
__global__ void round_to_bf16(const float* x, unsigned* y) { y[threadIdx.x] = BF16::half(x[threadIdx.x]) << 16; }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("kernels")
    text = KERNELS.replace('"tiles.cuh"', f'"{FOLDER / "tiles.cuh"}"')
    (place / "these.cu").write_text(text, encoding="utf-8")
    return place


#: In which the threads of a block can take their turns.
ORDERS: dict[str, dict[str, Any]] = {
    "forwards": {"backwards": False}, "backwards": {"backwards": True}, "by chance": {"seed": 0},
}  # fmt: skip
NAMES = ["reverse", "race", "stuck", "total", "anyone", "places", "round_to_tf32", "round_to_bf16"]


@pytest.fixture(params=ORDERS)
def kernels(request: pytest.FixtureRequest, folder: Path) -> EmulatedKernels:
    return EmulatedKernels(**ORDERS[request.param], instances={"these.cu": NAMES}, folder=folder)


def launch(kernels: EmulatedKernels, name: str, grid: tuple[int, ...], threads: int, *arguments: Any) -> None:
    kernels.launch("these.cu", name, grid, threads, arguments)


def test_a_barrier_holds_until_all_threads_have_come(kernels: EmulatedKernels) -> None:
    x = arrays.asarray(np.arange(64, dtype=np.int32))
    launch(kernels, "reverse", (1,), 64, x)
    assert np.array_equal(arrays.asnumpy(x), np.arange(64)[::-1])


def test_a_missing_barrier_shows_in_one_order_of_the_threads_or_the_other(folder: Path) -> None:
    results = []
    for backwards in (False, True):
        x = arrays.asarray(np.arange(64, dtype=np.int32))
        them = EmulatedKernels(backwards=backwards, instances={"these.cu": NAMES}, folder=folder)
        launch(them, "race", (1,), 64, x)
        results.append(arrays.asnumpy(x))
    assert not np.array_equal(*results)


def test_a_barrier_that_some_threads_never_reach_is_an_error_and_the_next_launch_is_not(
    kernels: EmulatedKernels,
) -> None:
    x = arrays.asarray(np.zeros(64, np.int32))
    with pytest.raises(RuntimeError, match=r"stuck in these\.cu: threads of a block wait"):
        launch(kernels, "stuck", (1,), 64, x)
    test_a_barrier_holds_until_all_threads_have_come(kernels)


def test_blocks_and_threads_know_their_places(kernels: EmulatedKernels) -> None:
    x = arrays.asarray(np.zeros((2 * 3 * 4, 5), np.int32))
    launch(kernels, "places", (4, 3, 2), 5, x)
    assert np.array_equal(arrays.asnumpy(x), np.arange(24)[:, None] * 100 + np.arange(5))


def test_all_threads_of_a_block_get_its_sum_and_its_largest(kernels: EmulatedKernels, rng: np.random.Generator) -> None:
    """Four in a row: no warp may begin the next while another still reads the previous one's memory."""
    x, y = rng.standard_normal(256).astype(np.float32), arrays.asarray(np.zeros((256, 4), np.float32))
    launch(kernels, "total", (1,), 256, arrays.asarray(x), y)
    found = arrays.asnumpy(y)
    assert np.ptp(found, axis=0).tolist() == [0, 0, 0, 0]
    assert found[0, [0, 2]] == pytest.approx(x.sum(dtype=np.float64), abs=1e-5)
    assert found[0, [1, 3]].tolist() == [x.max()] * 2


def test_all_lanes_of_a_warp_know_whether_any_of_them_says_yes(kernels: EmulatedKernels) -> None:
    x = arrays.asarray((np.arange(96) == 40).astype(np.int32))
    launch(kernels, "anyone", (1,), 96, x)
    assert np.array_equal(arrays.asnumpy(x), np.arange(96) // 32 == 1)


def test_by_chance_is_another_order_for_another_seed_and_the_same_for_the_same(folder: Path) -> None:
    results = []
    for seed in (0, 0, 1):
        them = EmulatedKernels(seed=seed, instances={"these.cu": NAMES}, folder=folder)
        for numbers in (np.zeros(64), np.arange(1, 65)):  # zeros first: shared memory outlives a block
            x = arrays.asarray(numbers.astype(np.int32))
            launch(them, "race", (1,), 64, x)
        results.append(arrays.asnumpy(x).tolist())
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize(("format", "bits"), [("tf32", 10), ("bf16", 7)])
def test_rounding_is_to_the_nearest_number_of_so_many_bits(
    kernels: EmulatedKernels, format: str, bits: int, rng: np.random.Generator
) -> None:
    x = (rng.standard_normal(256) * 10.0 ** rng.integers(-20, 20, 256)).astype(np.float32)
    x[:4] = [np.inf, -np.inf, np.nan, 0]
    y = arrays.asarray(np.zeros(256, np.uint32))
    launch(kernels, f"round_to_{format}", (1,), 256, arrays.asarray(x), y)
    rounded = arrays.asnumpy(y).view(np.float32)
    fraction, exponent = np.frexp(x[3:].astype(np.float64))
    nearest = np.ldexp(np.round(fraction * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent)
    assert rounded[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(rounded[2])
    ulp = np.ldexp(2.0 ** -(bits + 1), exponent)
    assert (np.abs(rounded[3:] - x[3:]) <= ulp / 2).all()
    assert np.mean(rounded[3:] == nearest) > 0.99  # but for ties


@pytest.mark.parametrize(
    ("setting", "options"), [("backwards", {"backwards": True}), ("forwards", {"backwards": False}), ("3", {"seed": 3})]
)
def test_the_environment_sets_the_order_for_the_whole_suite(
    setting: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CA_NUMPY_THREADS", setting)
    orders = [EmulatedCupyBackend(**given)._device.kernels._order for given in ({}, options)]
    assert orders[0] == orders[1]
    assert EmulatedCupyBackend(backwards=False)._device.kernels._order == 0, "an argument comes before the environment"


def test_an_order_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CA_NUMPY_THREADS", "sideways")
    with pytest.raises(UserError, match="'sideways': set it to forwards, backwards or a seed"):
        EmulatedCupyBackend()


# ---- the backend on it -------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "conv2d",
        "conv2d_dw",
        "conv2d_dw_db",
        "contextual_attention",
        "contextual_attention_vjp",
        "sum_to",
        "improve_field",
    ],
)
def test_no_kernel_depends_on_which_thread_goes_first(case: str) -> None:
    """Where a barrier is missing, one of the orders reads what has not been written."""
    backends = [EmulatedCupyBackend(**order) for order in ORDERS.values()]
    for seed in range(6):
        problem = CASES[case].draw(RandomChooser(np.random.default_rng(seed), large=seed > 3)).astype(np.float32)
        results = []
        for backend in backends:
            y = getattr(backend, case)(*map(backend.asarray, problem.inputs), **problem.params)
            results.append([backend.to_numpy(part) for part in (y if isinstance(y, tuple) else (y,))])
        for same in zip(*results, strict=True):
            np.testing.assert_array_equal(same, same[:1] * len(same))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ORDERS.values(), ids=list(ORDERS))
def test_attention_to_more_positions_than_a_block_has_threads(
    order: dict[str, Any], dtype: Any, rng: np.random.Generator
) -> None:
    """20 × 20 of them: each thread takes several, and a row of scores is cut in two."""
    g, f, b = (rng.standard_normal((3, side, side, 4)) for side in (4, 4, 20))
    valid = (rng.random((3, 400)) < 0.8).astype(float)
    geometry = AttentionGeometry(ksize=3, rate=1, fuse_k=3, softmax_scale=1.0)

    def results(backend: Any, dtype: Any) -> list[Array]:
        x, y, z, v = (backend.asarray(a.astype(dtype)) for a in (g, f, b, valid))
        attended = backend.contextual_attention(y, z, v, geometry=geometry)
        gradients = backend.contextual_attention_vjp(x, y, z, v, geometry=geometry)
        return [backend.to_numpy(a) for a in (attended, *gradients)]

    with use_backend("numpy") as textbook:
        right = results(textbook, np.float64)
    for found, wanted in zip(results(EmulatedCupyBackend(**order), dtype), right, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=100 * np.finfo(dtype).eps * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ORDERS.values(), ids=list(ORDERS))
def test_the_last_block_adds_up_the_norm_of_all_and_counts_from_zero_again(
    order: dict[str, Any], dtype: Any, rng: np.random.Generator
) -> None:
    backend = EmulatedCupyBackend(**order)
    for shapes in ([(3,), (5, 7, 40, 11), (1,), (0, 2), (2048,)], [(300_000,)], [(1,)]):  # more parts than threads
        xs = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
        found = [float(backend.to_numpy(backend.norm([backend.asarray(x) for x in xs]))) for _ in range(2)]
        assert found[0] == found[1]
        assert found[0] == pytest.approx(np.linalg.norm(np.concatenate([x.ravel() for x in xs], dtype=np.float64)))


def relative_error(backend: CupyBackend, name: str, arrays_: list[Array], **params: Any) -> float:
    """Of a convolution's kernel, against the textbook in float64: the largest error over the largest number."""
    with use_backend("numpy") as textbook:
        right = getattr(textbook, name)(*(a.astype(np.float64) for a in arrays_), **params)
    found = backend.to_numpy(getattr(backend, name)(*map(backend.asarray, arrays_), **params))
    assert found.dtype == np.float32
    return float(np.abs(found - right).max() / np.abs(right).max())


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-5), ("tf32", 2e-3), ("bf16", 2e-2)])
@given(
    c=st.sampled_from([3, 5, 16, 32]), k=st.sampled_from([3, 16, 40, 64, 130]), ksize=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]), dilation=st.sampled_from([1, 2]), seed=st.integers(0, 99),
)  # fmt: skip
def test_each_precision_is_as_precise_as_it_says(
    precision: str, bound: float, c: int, k: int, ksize: int, stride: int, dilation: int, seed: int
) -> None:
    """All tiles, wide and narrow, and more than a block of each: forward and both gradients of every convolution."""
    with use_backend(f"cupy-emulated:{precision}") as backend:
        assert isinstance(backend, CupyBackend)
        rng = np.random.default_rng(seed)
        geometry = ConvGeometry(stride=stride, dilation=dilation).same((17, 9), (ksize, ksize))
        x, w = rng.standard_normal((2, 17, 9, c), np.float32), rng.standard_normal((ksize, ksize, c, k), np.float32)
        assert relative_error(backend, "conv2d", [x, w], geometry=geometry) < bound
        g = rng.standard_normal((2, -(-17 // stride), -(-9 // stride), k), np.float32)
        assert relative_error(backend, "conv2d_dx", [g, w], size=(17, 9), geometry=geometry) < bound
        assert relative_error(backend, "conv2d_dw", [g, x], ksize=(ksize, ksize), geometry=geometry) < bound


@pytest.mark.slow
def test_tensor_cores_are_used_where_they_are_asked_for(rng: np.random.Generator) -> None:
    """Their rounding shows: results differ from float32's by more than float32 would."""
    x, w = rng.standard_normal((1, 8, 8, 32), np.float32), rng.standard_normal((3, 3, 32, 32), np.float32)
    geometry = ConvGeometry(pads=((1, 1), (1, 1)))
    errors = []
    for precision in ("float32", "tf32", "bf16"):
        with use_backend(f"cupy-emulated:{precision}") as backend:
            assert isinstance(backend, CupyBackend)
            errors.append(relative_error(backend, "conv2d", [x, w], geometry=geometry))
    assert errors[0] < 1e-6 < 1e-5 < errors[1] < errors[2]


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0, 0.4, 1.5, 2.5], ids="{} images in memory".format)
@pytest.mark.parametrize("fuse_k", [3, None])
def test_attention_is_the_same_however_little_memory_is_free(
    memory: float, fuse_k: int | None, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five images at once, some at a time, or each in bands of its picture rows, down to one."""
    backend, geometry = EmulatedCupyBackend(), AttentionGeometry(ksize=3, rate=1, fuse_k=fuse_k, softmax_scale=2.0)
    g, f, b = (backend.asarray(rng.standard_normal((5, *side, 3))) for side in ((40, 2), (40, 2), (2, 3)))
    valid = backend.asarray((rng.random((5, 6)) < 0.8).astype(float))

    def results() -> list[Array]:
        y = backend.contextual_attention(f, b, valid, geometry=geometry)
        return [backend.to_numpy(x) for x in (y, *backend.contextual_attention_vjp(g, f, b, valid, geometry=geometry))]

    whole = results()
    image = 40 * 2 * 6
    divided = {0: (5, 40), 0.4: (5, 4), 1.5: (5, 1), 2.5: (3, 1)}[memory]
    assert divisions(f.shape, b.shape, geometry, memory * image) == divided
    free = memory * image * 8 * attention.BACKWARD / attention.SHARE
    monkeypatch.setattr(backend._device.kernels, "memory", lambda: free)
    for found, wanted in zip(results(), whole, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ksize", [3, 4])
@pytest.mark.parametrize("fuse_k", [3, 7, None])
def test_the_matrices_of_a_band_have_the_numbers_that_were_allowed(ksize: int, fuse_k: int | None) -> None:
    """Those of P, which has most rows. Of 2048 × 2048 pixels it never gets more than the fast sums take."""
    grid, shape = (256, 256), (1, 256, 256, 128)
    geometry = AttentionGeometry(ksize=ksize, fuse_k=fuse_k)
    for allowed in (1 << 29, 1 << 40):
        groups, bands = divisions(shape, shape, geometry, allowed)
        first, last = 256 * (bands // 2) // bands, 256 * (bands // 2 + 1) // bands
        scored = walked(np.arange(256 * first, 256 * last), grid, attention.steps_of(geometry))
        numbers = len(windowed(scored, grid, shifts(ksize))) * 256 * 256
        most = min(allowed, attention.MOST_NUMBERS)
        assert groups == 1
        assert 0.6 * most < numbers <= most


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-5), ("tf32", 2e-3), ("bf16", 2e-3)])
def test_attention_on_tensor_cores_rounds_factors_but_not_weights(
    precision: str, bound: float, rng: np.random.Generator
) -> None:
    """Peaked, and of many channels: had the scores been rounded, other patches would be copied."""
    f, b, g = (rng.standard_normal((2, 16, 16, 32)) for _ in range(3))
    valid, geometry = np.ones((2, 64)), AttentionGeometry()
    with use_backend("numpy") as textbook:
        right = [textbook.contextual_attention(f, b, valid, geometry=geometry),
                 *textbook.contextual_attention_vjp(g, f, b, valid, geometry=geometry)]  # fmt: skip
    with use_backend(f"cupy-emulated:{precision}") as backend:
        x, y, z, v = (backend.asarray(a.astype(np.float32)) for a in (g, f, b, valid))
        found = [backend.contextual_attention(y, z, v, geometry=geometry),
                 *backend.contextual_attention_vjp(x, y, z, v, geometry=geometry)]  # fmt: skip
        errors = [np.abs(backend.to_numpy(a) - w).max() / np.abs(w).max() for a, w in zip(found, right, strict=True)]
    assert max(errors) < bound
    assert (max(errors) > 1e-5) == (precision != "float32")


@pytest.mark.slow
def test_arrays_may_begin_at_any_number(rng: np.random.Generator) -> None:
    """Four numbers are loaded at once only if aligned to 16 bytes, which a view of a longer array may not be."""
    backend, numbers = EmulatedCupyBackend(), rng.standard_normal(20_000).astype(np.float32)
    geometry = ConvGeometry(pads=((1, 1), (1, 1)))
    results = []
    for offset in (0, 1):

        def view(start: int, shape: tuple[int, ...], offset: int = offset) -> Any:
            flat = backend.asarray(np.concatenate([np.zeros(offset, np.float32), numbers]))
            return flat[start + offset :][: int(np.prod(shape))].reshape(shape)

        x, w, g = view(0, (1, 9, 8, 16)), view(4000, (3, 3, 16, 20)), view(8000, (1, 9, 8, 20))
        computed = [
            backend.conv2d(x, w, geometry=geometry), backend.conv2d_dx(g, w, size=(9, 8), geometry=geometry),
            backend.conv2d_dw(g, x, ksize=(3, 3), geometry=geometry),
        ]  # fmt: skip
        results.append([backend.to_numpy(y) for y in computed])
    for aligned, shifted in zip(*results, strict=True):
        np.testing.assert_array_equal(aligned, shifted)


def test_of_the_taps_on_a_magnified_picture_those_that_meet_the_same_pixel_are_one() -> None:
    """3×3 taps become 2×2 for each parity of rows and columns, and every weight enters once."""
    lists, sums = merged_taps((3, 3), ConvGeometry(pads=((1, 1), (1, 1))))
    assert lists[0] == ((-1, -1), (-1, 0), (0, -1), (0, 0))
    assert lists[2] == ((0, -1), (0, 0), (1, -1), (1, 0))
    assert sums.shape == (16, 9)
    assert np.array_equal(sums.reshape(4, 4, 9).sum(axis=1), np.ones((4, 9)))
    assert merged_taps((3, 3), ConvGeometry(dilation=2, pads=((2, 2), (2, 2))))[1].shape == (36, 9)


def test_the_shipped_suite_finds_a_mistake_in_a_kernel_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite finds taps that are read one pixel off."""
    from ca_numpy.backends.cupy_backend import conv

    right = conv.taps_of
    monkeypatch.setattr(conv, "taps_of", lambda *a: tuple((dy, dx + 1) for dy, dx in right(*a)))
    case = CASES["conv2d"]
    problem = case.draw(RandomChooser(np.random.default_rng(1)))
    with pytest.raises(AssertionError, match="conv2d of cupy-emulated"):
        backend_suite.check_kernel("cupy-emulated", case, problem)
