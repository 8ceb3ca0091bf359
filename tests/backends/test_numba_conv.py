"""The compiled convolutions and ELU, compared with the NumPy backend in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ca_numpy.backends import numpy_conv
from ca_numpy.geometry import ConvGeometry
from ca_numpy.testing.generators import ConvProblem, relaid
from ca_numpy.testing.strategies import conv_problems, generators, layouts

numba = pytest.importorskip("numba")

from ca_numpy.backends import numba_conv, numba_elementwise  # noqa: E402  (where Numba is missing, skip)
from ca_numpy.threads import num_threads  # noqa: E402

Array = NDArray[Any]
EPS = np.finfo(np.float32).eps


# ---- problems ----------------------------------------------------------------------------------------------------
@st.composite
def winograd_problems(draw: st.DrawFn) -> ConvProblem:
    """3×3 at stride 1 with enough channels: pictures from one pixel up, even with larger dilations, any padding."""
    dilation = draw(st.sampled_from([1, 1, 2, 3, 7]))
    pad = st.integers(0, 2 * dilation + 1)
    pads = (draw(pad), draw(pad)), (draw(pad), draw(pad))
    h, w = (max(draw(st.integers(1, 21)), 2 * dilation + 1 - sum(p)) for p in pads)
    c, k = draw(st.integers(8, 20)), draw(st.integers(8, 20))
    geometry = ConvGeometry(dilation=dilation, pads=pads)
    return ConvProblem((draw(st.integers(1, 3)), h, w, c), (3, 3, c, k), geometry)


@st.composite
def few_channels_problems(draw: st.DrawFn) -> ConvProblem:
    """Many channels to few, as in the network's last layer."""
    dilation, k = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 5]))
    pads = (draw(st.integers(0, 6)), draw(st.integers(0, 6))), (draw(st.integers(0, 6)), draw(st.integers(0, 6)))
    h, w = (max(draw(st.integers(1, 40)), (k - 1) * dilation + 1 - sum(p)) for p in pads)
    c = draw(st.integers(9, 20))
    geometry = ConvGeometry(dilation=dilation, pads=pads)
    return ConvProblem((draw(st.integers(1, 3)), h, w, c), (k, k, c, draw(st.integers(1, 4))), geometry)


@st.composite
def halving_problems(draw: st.DrawFn) -> ConvProblem:
    """5×5 at stride 2, with just enough pictures to be computed as 3×3 at stride 1, as in the critics, and too few."""
    h, w = draw(st.integers(36, 50)), draw(st.integers(36, 50))
    n, c, k = draw(st.sampled_from([1, 4])), draw(st.integers(8, 12)), draw(st.integers(8, 12))
    ksize = draw(st.sampled_from([(5, 5), (5, 6)]))
    pads = (draw(st.integers(0, 4)), draw(st.integers(0, 4))), (draw(st.integers(0, 4)), draw(st.integers(0, 4)))
    return ConvProblem((n, h, w, c), (*ksize, c, k), ConvGeometry(stride=2, pads=pads))


def fixed(
    n: int, side: tuple[int, int], ksize: int, channels: tuple[int, int], *, stride: int = 1, dilation: int = 1
) -> ConvProblem:
    geometry = ConvGeometry(stride=stride, dilation=dilation).same(side, (ksize, ksize))
    return ConvProblem((n, *side, channels[0]), (ksize, ksize, *channels), geometry)


#: What chance seldom draws, or never: one for each way and each of its edges. Winograd reads 16 channels in place, and
#: other numbers of channels through a copy.
FIXED = {
    "Winograd, several blocks of tiles for each part of dw": fixed(1, (131, 129), 3, (16, 9)),
    "Winograd, an odd column past the last tile": fixed(2, (19, 21), 3, (12, 11)),
    "Winograd, an odd row past the last tile": fixed(2, (21, 19), 3, (11, 12)),
    "Winograd at dilation 8": fixed(1, (128, 128), 3, (16, 8), dilation=8),
    "Winograd at dilation 16": fixed(1, (128, 128), 3, (16, 8), dilation=16),
    "5×5 at stride 2 as 3×3, odd sides": fixed(4, (49, 49), 5, (8, 9), stride=2),
    "5×5 at stride 2 as 3×3, even sides": fixed(4, (48, 46), 5, (9, 8), stride=2),
    "5×5 at stride 2 as 3×3, a last column that nothing reads": ConvProblem(
        (4, 49, 50, 8), (5, 5, 8, 9), ConvGeometry(stride=2, pads=((2, 0), (0, 0)))
    ),
    "direct, several bands": fixed(1, (100, 60), 5, (16, 17)),
    "direct, several bands at stride 2": fixed(1, (151, 60), 5, (16, 17), stride=2),
    "direct, several bands at dilation 3": fixed(1, (130, 60), 5, (16, 17), dilation=3),
    "direct to few channels": fixed(1, (120, 100), 3, (12, 3)),
}
every_way = pytest.mark.parametrize("problem", FIXED.values(), ids=list(FIXED))


def conv_of_every_way() -> st.SearchStrategy[ConvProblem]:
    ways = winograd_problems(), few_channels_problems(), halving_problems()
    return st.one_of(*ways, conv_problems(large=True), conv_problems())


class Trilinear(NamedTuple):
    """x, w and g of T(x, w, g), and b."""

    x: Array
    w: Array
    g: Array
    b: Array


def drawn(problem: ConvProblem, rng: np.random.Generator, layout: str = "contiguous") -> Trilinear:
    shapes = problem.x, problem.w, problem.y, problem.w[3:]
    return Trilinear(*(relaid(rng.standard_normal(s).astype(np.float32), layout) for s in shapes))


def results(module: Any, p: Trilinear, problem: ConvProblem) -> dict[str, Array]:
    """conv2d and its two gradients by numba_conv or numpy_conv."""
    return {
        "conv2d": module.conv2d(p.x, p.w, problem.geometry),
        "conv2d_dx": module.conv2d_dx(p.g, p.w, problem.x[1:3], problem.geometry),
        "conv2d_dw": module.conv2d_dw(p.g, p.x, problem.w[:2], problem.geometry),
    }


def as_float64(p: Trilinear) -> Trilinear:
    return Trilinear(*(x.astype(np.float64) for x in p))


def elu64(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def error_bounds(p: Trilinear, problem: ConvProblem) -> dict[str, float]:
    """How far float32 may be off: eight times eps · √n · √(Σ products²), the largest such sum of n products.

    Roundings have no common sign and add up as a walk by chance does. Sums in order stay below the unit, and Winograd,
    whose transforms enlarge a rounding about five times, below two and a half of it.
    """
    squares = results(numpy_conv, Trilinear(*(x**2 for x in as_float64(p))), problem)
    taps = int(np.prod(problem.w[:2]))
    terms = {"conv2d": taps * problem.w[2], "conv2d_dx": taps * problem.w[3], "conv2d_dw": p.g[..., 0].size}
    return {name: float(8 * EPS * np.sqrt(terms[name] * square.max())) for name, square in squares.items()}


# ---- values ------------------------------------------------------------------------------------------------------
@every_way
def test_every_way_agrees_with_numpy_to_the_last_row_column_and_block(
    problem: ConvProblem, rng: np.random.Generator
) -> None:
    p = drawn(problem, rng)
    check_agreement(p, problem)
    check_epilogue(p, problem)


@given(problem=conv_of_every_way(), rng=generators(), layout=layouts())
def test_convolution_and_its_gradients_agree_with_numpy_in_any_layout(
    problem: ConvProblem, rng: np.random.Generator, layout: str
) -> None:
    check_agreement(drawn(problem, rng, layout), problem)


def check_agreement(p: Trilinear, problem: ConvProblem) -> None:
    before = [x.copy() for x in p]
    found = results(numba_conv, p, problem)
    bounds = error_bounds(p, problem)
    for name, right in results(numpy_conv, as_float64(p), problem).items():
        assert found[name].dtype == np.float32
        assert found[name].shape == right.shape
        assert np.abs(found[name] - right).max() <= bounds[name], (name, problem)
    for x, then in zip(p, before, strict=True):
        assert np.array_equal(x, then)


@given(problem=conv_of_every_way(), rng=generators(), layout=layouts())
def test_bias_and_elu_in_the_epilogue_equal_those_afterwards(
    problem: ConvProblem, rng: np.random.Generator, layout: str
) -> None:
    check_epilogue(drawn(problem, rng, layout), problem)


def check_epilogue(p: Trilinear, problem: ConvProblem) -> None:
    found = numba_conv.conv_bias_elu(p.x, p.w, p.b, problem.geometry)
    right = elu64(results(numpy_conv, as_float64(p), problem)["conv2d"] + p.b)
    bound = error_bounds(p, problem)["conv2d"] + 1e-7 + EPS * np.abs(right)
    assert found.dtype == np.float32
    assert (np.abs(found - right) <= bound).all(), problem


@given(problem=conv_problems(), rng=generators())
def test_float64_is_numpys(problem: ConvProblem, rng: np.random.Generator) -> None:
    p = as_float64(drawn(problem, rng))
    found = results(numba_conv, p, problem)
    for name, right in results(numpy_conv, p, problem).items():
        assert found[name].dtype == np.float64
        assert np.array_equal(found[name], right)


# ---- what is not a number ----------------------------------------------------------------------------------------
SAME = ConvGeometry(pads=((1, 1), (1, 1)))
WAYS = [pytest.param(12, 12, id="winograd"), pytest.param(5, 12, id="direct"), pytest.param(12, 3, id="to-few")]


@pytest.mark.parametrize(("c", "k"), WAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_nan_or_infinity_of_the_picture_is_lost_and_none_spreads_beyond_a_tile(
    c: int, k: int, bad: float, rng: np.random.Generator
) -> None:
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((1, 16, 16, c), (3, 3, c, k)))
    clean = numba_conv.conv2d(x, w, SAME)
    x[0, 6, 6, 1] = bad
    y = numba_conv.conv2d(x, w, SAME)
    assert not np.isfinite(y[0, 5:8, 5:8]).any()
    far = np.ones((16, 16), bool)
    far[4:8, 4:8] = False
    assert np.array_equal(y[0, far], clean[0, far])


@pytest.mark.parametrize(("c", "k"), WAYS)
def test_nan_in_kernel_bias_or_gradient_comes_through(c: int, k: int, rng: np.random.Generator) -> None:
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((1, 6, 6, c), (3, 3, c, k), (k,)))
    g = rng.standard_normal((1, 6, 6, k)).astype(np.float32)
    bad_w, bad_b, bad_g = w.copy(), b.copy(), g.copy()
    bad_w[1, 1, 0, 2], bad_b[2], bad_g[0, 3, 3, 2] = np.nan, np.nan, np.nan
    assert np.isnan(numba_conv.conv2d(x, bad_w, SAME)[..., 2]).all()
    assert np.isnan(numba_conv.conv_bias_elu(x, w, bad_b, SAME)[..., 2]).all()
    assert np.isfinite(numba_conv.conv_bias_elu(x, w, bad_b, SAME)[..., :2]).all()
    assert np.isnan(numba_conv.conv2d_dx(bad_g, w, (6, 6), SAME)[0, 2:5, 2:5]).all()
    assert np.isnan(numba_conv.conv2d_dw(bad_g, x, (3, 3), SAME)[..., 2]).all()


# ---- threads -----------------------------------------------------------------------------------------------------
@every_way
def test_no_way_depends_on_the_number_of_threads(problem: ConvProblem, rng: np.random.Generator) -> None:
    check_threads(drawn(problem, rng), problem)


@given(problem=conv_of_every_way(), rng=generators())
def test_results_do_not_depend_on_the_number_of_threads(problem: ConvProblem, rng: np.random.Generator) -> None:
    check_threads(drawn(problem, rng), problem)


def check_threads(p: Trilinear, problem: ConvProblem) -> None:
    with num_threads(1):
        one = results(numba_conv, p, problem)
    with num_threads(2):
        two = results(numba_conv, p, problem)
    for name, y in one.items():
        assert np.array_equal(y, two[name]), name


# ---- ELU ---------------------------------------------------------------------------------------------------------
def test_elu_is_within_1e_7_of_the_truth_everywhere_and_exact_to_rounding_near_zero() -> None:
    x = np.concatenate([-np.geomspace(1e-30, 200, 400_001), np.linspace(-20, 5, 400_001)]).astype(np.float32)
    y, right = numba_elementwise.elu(x), elu64(x.astype(np.float64))
    assert y.dtype == np.float32
    assert np.abs(y - right).max() <= 1e-7
    assert (np.abs(y - right) <= 2 * EPS * np.abs(right)).all()


def test_elu_never_falls_as_its_input_rises_by_more_than_rounding() -> None:
    y = numba_elementwise.elu(np.linspace(-30, 1, 200_001, dtype=np.float32))
    assert (np.diff(y) >= -EPS).all()


@numba.njit
def _exponentials(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = numba_elementwise.exp_nonpositive(x[i])


def test_the_exponential_is_within_1e_7_for_all_that_is_not_positive() -> None:
    x = np.concatenate([-np.geomspace(1e-30, 1e30, 200_001), np.linspace(-90, 0, 200_001), [-np.inf, np.nan]])
    x = x.astype(np.float32)
    y = np.empty_like(x)
    _exponentials(x, y)
    assert np.isnan(y[-1])
    assert np.abs(y[:-1] - np.exp(x[:-1].astype(np.float64))).max() <= 1e-7


def test_elu_and_its_slope_know_what_is_not_a_number() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0, 2], np.float32)
    assert np.array_equal(numba_elementwise.elu(x), np.array([np.nan, np.inf, -1, 0, 2], np.float32), equal_nan=True)
    y = np.array([np.nan, np.inf, -1, 0, 2], np.float32)
    slope = numba_elementwise.elu_vjp(np.ones_like(y), y)
    assert np.array_equal(slope, np.array([np.nan, 1, 0, 1, 1], np.float32), equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (3, 5, 7), (2, 129, 130)])
@given(rng=generators(), layout=layouts())
def test_elu_takes_any_shape_and_layout(
    shape: tuple[int, ...], dtype: Any, rng: np.random.Generator, layout: str
) -> None:
    x = relaid(np.asarray(rng.standard_normal(shape), dtype), layout)
    before = x.copy()
    y = numba_elementwise.elu(x)
    assert y.shape == x.shape
    assert y.dtype == dtype
    right = elu64(x.astype(np.float64))
    assert np.abs(y - right).max(initial=0) <= 1e-7
    if dtype == np.float32:
        g = rng.standard_normal(shape).astype(dtype)
        gx = numba_elementwise.elu_vjp(g, x)
        assert gx.shape == x.shape
        assert gx.dtype == dtype
        assert np.abs(gx - g * (np.minimum(x, 0) + 1)).max(initial=0) <= 1e-6
    assert np.array_equal(x, before)
