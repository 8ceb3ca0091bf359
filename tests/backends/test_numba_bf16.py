"""Convolutions with products of bfloat16: exact for numbers that are bfloat16 already, else as near as rounding allows.

Where the processor has no matrix unit, the same kernels sum in plain loops: everything is tested but the instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from ca_numpy import grad, registry, tensor
from ca_numpy.backends import numpy_conv
from ca_numpy.errors import UserError
from ca_numpy.geometry import ConvGeometry
from ca_numpy.models import Generator
from ca_numpy.registry import load_backend, use_backend
from ca_numpy.testing.generators import ConvProblem
from ca_numpy.testing.strategies import conv_problems, generators

numba = pytest.importorskip("numba")

from ca_numpy.backends import numba_amx, numba_bf16  # noqa: E402  (where Numba is missing, skip)
from ca_numpy.threads import num_threads  # noqa: E402

Array = NDArray[Any]
#: Half the distance between neighbouring bfloat16 of size 1, and between float32.
ROUNDING, EPS = 2.0**-8, 2.0**-24
pytestmark = pytest.mark.skipif(
    numba_amx.TILES and not numba_amx.supported(), reason="the system forbids the processor's matrix unit"
)
needs_tiles = pytest.mark.skipif(not numba_amx.supported(), reason="needs a processor with AMX")


def fixed(
    n: int, side: tuple[int, int], ksize: int, channels: tuple[int, int], *, stride: int = 1, dilation: int = 1
) -> ConvProblem:
    geometry = ConvGeometry(stride=stride, dilation=dilation).same(side, (ksize, ksize))
    return ConvProblem((n, *side, channels[0]), (ksize, ksize, *channels), geometry)


#: The edges of blocks of 32 pixels and columns, of steps of 32 terms and of bands, which chance seldom meets.
FIXED = {
    "one tile of columns": fixed(2, (19, 33), 3, (16, 3)),
    "three tiles of columns": fixed(1, (17, 21), 3, (32, 40)),
    "a run that ends inside a step": fixed(1, (16, 16), 5, (5, 32)),
    "several groups of pixels": fixed(1, (40, 41), 3, (33, 17)),
    "several bands": fixed(1, (70, 130), 3, (64, 64)),
    "stride 2": fixed(2, (32, 37), 5, (12, 34), stride=2),
    "stride 3": fixed(1, (20, 23), 4, (7, 9), stride=3),
    "dilated": fixed(1, (33, 40), 3, (40, 16), dilation=8),
}


# ---- values ------------------------------------------------------------------------------------------------------
def bfloat16(x: Array) -> Array:
    """The nearest bfloat16, ties to even, by integers."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    kept = bits >> 16
    rest = bits & 0xFFFF
    kept += (rest > 0x8000) | ((rest == 0x8000) & (kept % 2 == 1))
    return (kept << 16).astype(np.uint32).view(np.float32)


def drawn(problem: ConvProblem, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Pictures, kernel and gradient."""
    size = problem.geometry.output_size(problem.x[1:3], problem.w[:2])
    shapes = problem.x, problem.w, (problem.x[0], *size, problem.w[3])
    return tuple(rng.standard_normal(s).astype(np.float32) for s in shapes)  # type: ignore[return-value]


def results(on: Any, x: Array, w: Array, g: Array, geometry: ConvGeometry) -> dict[str, Array]:
    return {
        "conv2d": on.conv2d(x, w, geometry),
        "conv2d_dx": on.conv2d_dx(g, w, x.shape[1:3], geometry),
        "conv2d_dw": on.conv2d_dw(g, x, w.shape[:2], geometry),
    }


def check(problem: ConvProblem, rng: np.random.Generator) -> None:
    x, w, g = drawn(problem, rng)
    rough = bfloat16(x), bfloat16(w), bfloat16(g)
    for inputs, rounding in ((rough, 0.0), ((x, w, g), 2.1 * ROUNDING)):
        found = results(numba_bf16, *inputs, problem.geometry)
        wide = [a.astype(np.float64) for a in inputs]
        right = results(numpy_conv, *wide, problem.geometry)
        sizes = results(numpy_conv, *(np.abs(a) for a in wide), problem.geometry)
        for name, y in found.items():
            assert y.dtype == np.float32
            assert y.shape == right[name].shape
            bound = (rounding + 64 * EPS) * sizes[name]  # each product is off by two roundings, sums by next to nothing
            assert (np.abs(y - right[name]) <= bound + 1e-30).all(), (name, problem)


@pytest.mark.parametrize("problem", FIXED.values(), ids=list(FIXED))
def test_sums_of_products_are_those_of_the_textbook(problem: ConvProblem, rng: np.random.Generator) -> None:
    check(problem, rng)


@given(problem=conv_problems(), rng=generators())
def test_convolution_and_its_gradients_agree_with_numpy(problem: ConvProblem, rng: np.random.Generator) -> None:
    check(problem, rng)


@given(problem=conv_problems(), rng=generators())
def test_bias_and_elu_follow_in_float32(problem: ConvProblem, rng: np.random.Generator) -> None:
    x, w, _ = drawn(problem, rng)
    b = rng.standard_normal(w.shape[3]).astype(np.float32)
    found = numba_bf16.conv_bias_elu(x, w, b, problem.geometry)
    sums = numba_bf16.conv2d(x, w, problem.geometry).astype(np.float64) + b
    np.testing.assert_allclose(found, np.where(sums > 0, sums, np.expm1(np.minimum(sums, 0))), rtol=1e-6, atol=3e-7)


@pytest.mark.parametrize("ksize", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [(13, 9), (1, 1), (6, 20)])
def test_after_doubling_four_phases_equal_the_whole(
    size: tuple[int, int], ksize: int, rng: np.random.Generator
) -> None:
    x = bfloat16(rng.standard_normal((2, *size, 21)))
    w, b = rng.standard_normal((ksize, ksize, 21, 19)).astype(np.float32), rng.standard_normal(19).astype(np.float32)
    for pads in (((1, 2), (2, 1)), ((0, 4), (3, 1))):
        geometry = ConvGeometry(pads=pads)
        wide = x.repeat(2, axis=1).repeat(2, axis=2).astype(np.float64)
        found = numba_bf16.upsample_conv_bias_elu(x, w, b, geometry)
        sums = numpy_conv.conv2d(wide, w.astype(np.float64), geometry) + b
        sizes = numpy_conv.conv2d(np.abs(wide), np.abs(w).astype(np.float64), geometry)
        right = np.where(sums > 0, sums, np.expm1(np.minimum(sums, 0)))
        assert (np.abs(found - right) <= 1.1 * ROUNDING * sizes + 1e-6).all()


@numba.njit
def _round_line(x: Any, out: Any) -> None:
    numba_amx.round_line(x, out)


@given(rng=generators())
def test_rounding_is_to_the_nearest_and_ties_to_even(rng: np.random.Generator) -> None:
    x = rng.integers(0, 2**32, 400, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x[:4] = np.inf, -np.inf, 0, -0.0
    x[4:8] = np.array([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001], np.uint32).view(np.float32)
    out = np.empty(len(x), np.uint16)
    _round_line(x, out)
    found = (out.astype(np.uint32) << 16).view(np.float32)
    whole = ~np.isnan(x)
    assert np.array_equal(found[whole], bfloat16(x)[whole])
    assert np.isnan(found[~whole]).all()


def test_float64_is_numpys(rng: np.random.Generator) -> None:
    problem = FIXED["stride 2"]
    inputs = [a.astype(np.float64) for a in drawn(problem, rng)]
    right = results(numpy_conv, *inputs, problem.geometry)
    for name, y in results(numba_bf16, *inputs, problem.geometry).items():
        assert np.array_equal(y, right[name])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_nan_or_infinity_is_lost(bad: float, rng: np.random.Generator) -> None:
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((1, 16, 16, 12), (3, 3, 12, 12)))
    x[0, 6, 6, 1] = bad
    y = numba_bf16.conv2d(x, w, ConvGeometry(pads=((1, 1), (1, 1))))
    assert not np.isfinite(y[0, 5:8, 5:8]).any()
    assert np.isfinite(y[0, :5]).all()
    assert np.isfinite(y[0, 8:]).all()


@pytest.mark.parametrize("problem", FIXED.values(), ids=list(FIXED))
def test_results_do_not_depend_on_the_number_of_threads(problem: ConvProblem, rng: np.random.Generator) -> None:
    inputs, found = drawn(problem, rng), []
    for threads in (1, 3):
        with num_threads(threads):
            found.append(results(numba_bf16, *inputs, problem.geometry))
    for name, one in found[0].items():
        assert np.array_equal(one, found[1][name])


# ---- the precision by name ---------------------------------------------------------------------------------------
def test_without_a_matrix_unit_the_precision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_amx, "supported", lambda: False)
    monkeypatch.setattr(registry, "_loaded", {})
    assert "bfloat16" not in load_backend("numba").describe()
    with pytest.raises(UserError, match=r"'numba' cannot compute in 'bf16': choose float32"):
        load_backend("numba:bf16")


@needs_tiles
def test_its_name_and_that_of_float32_lead_to_each_other() -> None:
    backend = load_backend("numba:bf16")
    assert (backend.name, backend.precision) == ("numba:bf16", "bf16")
    assert backend.at("float32").name == "numba:float32"
    assert load_backend("numba").precision == "float32"
    assert "bfloat16" in backend.describe()


def generator_and_gradients(backend: str, dtype: Any) -> list[Array]:
    rng = np.random.default_rng(0)
    image, mask = rng.uniform(-1, 1, (1, 48, 40, 3)), np.zeros((1, 48, 40, 1))
    mask[0, 8:24, 8:24] = 1
    with use_backend(backend):
        generator = Generator(rng=rng, width=8)
        for p in generator.parameters().values():
            p.data = tensor(p.numpy().astype(dtype)).data
        coarse, refined = generator(tensor((image * (1 - mask)).astype(dtype)), mask.astype(dtype))
        loss = ((coarse - image.astype(dtype)) ** 2).mean() + ((refined - image.astype(dtype)) ** 2).mean()
        return [x.numpy() for x in (coarse, refined, *grad(loss, list(generator.parameters().values())))]


@needs_tiles
def test_the_generator_and_its_gradients_stay_within_the_bound_of_a_gpus_bfloat16() -> None:
    """‖y − y₆₄‖ / ‖y₆₄‖ at most 4 · 2e-2: about twenty layers in turn, as in docs/performance.md."""
    exact, found = generator_and_gradients("numpy", np.float64), generator_and_gradients("numba:bf16", np.float32)
    distance: Callable[[list[Array], list[Array]], float] = lambda a, b: float(  # noqa: E731
        np.sqrt(sum(np.sum((x - y) ** 2) for x, y in zip(a, b, strict=True)) / sum(np.sum(y**2) for y in b))
    )
    for part in (slice(0, 1), slice(1, 2), slice(2, None)):
        assert 1e-5 < distance(found[part], exact[part]) < 8e-2
