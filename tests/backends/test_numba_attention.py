"""Contextual attention in bands against the textbook's whole matrices."""

from __future__ import annotations

import tracemalloc
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("numba")

from ca_numpy.backends import numba_attention, numpy_attention
from ca_numpy.geometry import AttentionGeometry
from ca_numpy.threads import num_threads

Array = NDArray[Any]


class Problem(NamedTuple):
    g: Array
    f: Array
    b: Array
    valid: Array
    geometry: AttentionGeometry
    memory: int  # bytes for the bands: from one picture row to the whole

    def as_type(self, dtype: Any) -> Problem:
        return self._replace(**{name: getattr(self, name).astype(dtype) for name in ("g", "f", "b", "valid")})

    def textbook(self) -> tuple[Array, Array, Array]:
        inputs = self.f, self.b, self.valid, self.geometry
        return numpy_attention.forward(*inputs), *numpy_attention.backward(self.g, *inputs)

    def in_bands(self, memory: int | None = None) -> tuple[Array, Array, Array]:
        inputs, memory = (self.f, self.b, self.valid, self.geometry), self.memory if memory is None else memory
        return (
            numba_attention.forward(*inputs, memory=memory),
            *numba_attention.backward(self.g, *inputs, memory=memory),
        )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    rate = draw(st.integers(1, 3))
    geometry = AttentionGeometry(
        ksize=draw(st.sampled_from([1, 2, 3, 5])),
        rate=rate,
        fuse_k=draw(st.sampled_from([None, 1, 3, 5])),
        softmax_scale=draw(st.sampled_from([0.0, 1.0, 10.0])),
    )
    h, w, h2, w2 = (draw(st.integers(1, 6)) for _ in range(4))
    n, c = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    g, f = rng.normal(size=(2, n, h * rate, w * rate, c))
    b = rng.normal(size=(n, h2 * rate, w2 * rate, c))
    valid = (rng.random((n, h2 * w2)) < draw(st.sampled_from([0, 0.7, 1]))).astype(float)
    # Bytes of the halo and of as many rows as drawn: every height of a band from 1 to h appears.
    halo = 4 * ((geometry.fuse_k or 1) // 2 + geometry.ksize // 2) * (w + 1)
    return Problem(g, f, b, valid, geometry, (halo + 4 * w * draw(st.integers(1, h))) * 8 * h2 * w2)


def distance(actual: Array, expected: Array) -> float:
    return float(np.max(np.abs(actual - expected)) / max(1.0, float(np.max(np.abs(expected)))))


@given(problem=problems())
def test_bands_of_any_height_give_what_whole_matrices_give(problem: Problem) -> None:
    for actual, expected in zip(problem.in_bands(), problem.textbook(), strict=True):
        assert distance(actual, expected) < 1e-10


@given(problem=problems())
def test_in_float32_the_error_is_that_of_a_few_roundings(problem: Problem) -> None:
    """Ten times what moving every input by up to one rounding does, and ten roundings of what is added up.

    In the gradients that is the softmax's scale: differences of numbers so large may be next to nothing. b lies away
    from 0, since a patch of tiny numbers, divided by its norm, has lost its digits.
    """
    single = problem._replace(b=problem.b + np.copysign(0.5, problem.b)).as_type(np.float32)
    exact, eps, rng = single.as_type(np.float64), np.finfo(np.float32).eps, np.random.default_rng(0)
    right = exact.textbook()
    moved = [
        exact._replace(
            **{x: getattr(exact, x) * (1 + eps * rng.uniform(-1, 1, getattr(exact, x).shape)) for x in "gfb"}
        )
        for _ in range(4)
    ]
    by_moving = [
        max(np.abs(y - x).max() for y in ys) for x, *ys in zip(right, *(m.textbook() for m in moved), strict=True)
    ]
    sizes = 1.0, *2 * [1 + problem.geometry.softmax_scale]
    for actual, expected, effect, size in zip(single.in_bands(), right, by_moving, sizes, strict=True):
        assert actual.dtype == np.float32
        assert np.abs(actual - expected).max() < 10 * (effect + eps * max(size, np.abs(expected).max()))


@given(
    h=st.integers(1, 7), w=st.integers(1, 7), reach=st.integers(0, 2), share=st.sampled_from([0.0, 0.7, 1.0]),
    longest=st.integers(1, 20), seed=st.integers(0, 99),
)  # fmt: skip
def test_long_runs_hold_every_position_once_and_break_where_the_walk_leaves_the_column(
    h: int, w: int, reach: int, share: float, longest: int, seed: int
) -> None:
    positions = np.flatnonzero(np.random.default_rng(seed).random(h * w) < share)
    runs = numba_attention.long_runs_of(positions, (h, w), reach=reach, longest=longest)
    held = [np.arange(y * w + x, y * w + x + n) for y, x, n in runs]
    assert np.array_equal(np.concatenate([*held, np.empty(0, int)]), positions)
    for run in held:
        assert 1 <= len(run) <= longest
        first, last = run[0] // w, run[-1] // w
        assert first == last or (first >= reach and last < h - reach)


def larger(dtype: Any = np.float64, *, side: int = 12, rate: int = 2, channels: int = 3) -> Problem:
    rng = np.random.default_rng(0)
    g, f, b = rng.normal(size=(3, 1, side * rate, side * rate, channels)).astype(dtype)
    valid = (rng.random((1, side * side)) < 0.8).astype(dtype)
    return Problem(g, f, b, valid, AttentionGeometry(rate=rate), 0)


def test_the_bands_height_changes_rounding_only() -> None:
    problem = larger()
    whole = problem.in_bands(1 << 40)
    for memory in (0, 300_000, 600_000):
        for actual, expected in zip(problem.in_bands(memory), whole, strict=True):
            assert distance(actual, expected) < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_input_gives_the_same_bits(dtype: Any) -> None:
    problem = larger(dtype)
    for first, second in zip(problem.in_bands(), problem.in_bands(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("grids", "ksize", "rate", "fuse_k"),
    [
        ((20, 30, 17, 23), 3, 1, 3),  # several tiles, one below the other
        ((9, 140, 8, 12), 3, 1, 3),  # several strips, side by side
        ((9, 9, 13, 7), 2, 2, 3),
        ((15, 12, 12, 17), 5, 1, 5),
        ((8, 7, 6, 9), 3, 3, None),
        ((6, 6, 6, 6), 3, 1, 3),  # the smallest: smaller pictures are computed in bands
    ],
)
def test_tiles_give_what_whole_matrices_give_on_any_number_of_threads(
    grids: tuple[int, int, int, int], ksize: int, rate: int, fuse_k: int | None
) -> None:
    rng, (h, w, h2, w2) = np.random.default_rng(0), grids
    f = rng.normal(size=(2, h * rate, w * rate, 5)).astype(np.float32)
    b = rng.normal(size=(2, h2 * rate, w2 * rate, 5)).astype(np.float32)
    valid = (rng.random((2, h2 * w2)) < 0.8).astype(np.float32)
    geometry = AttentionGeometry(ksize=ksize, rate=rate, fuse_k=fuse_k, softmax_scale=1.0)
    assert numba_attention.suits_tiles(f, b, geometry)
    expected = numpy_attention.forward(*(x.astype(np.float64) for x in (f, b, valid)), geometry)
    for memory in (0, numba_attention.TILE):
        results = []
        for threads in (1, 2, 3):
            with num_threads(threads):
                results.append(numba_attention.forward(f, b, valid, geometry, memory=memory))
        assert distance(results[0], expected) < 1e-5
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


def test_inputs_may_be_read_only_and_lie_in_any_order() -> None:
    problem = larger()
    strided = problem._replace(
        f=np.asfortranarray(problem.f), b=problem.b[:, ::-1, ::-1], g=np.asfortranarray(problem.g)
    )
    for array in strided[:4]:
        array.flags.writeable = False
    before = [array.copy() for array in strided[:4]]
    for actual, expected in zip(strided.in_bands(), strided.textbook(), strict=True):
        assert distance(actual, expected) < 1e-10
    for array, copy in zip(strided[:4], before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("where", ["f", "b"])
def test_nan_in_gives_nan_out_where_the_textbook_has_it(dtype: Any, where: str) -> None:
    problem = larger(dtype)
    getattr(problem, where)[0, 6, 8, 1] = np.nan  # a pixel that downscaling keeps
    y, expected = problem.in_bands()[0], problem.textbook()[0]
    assert np.isnan(expected).any()
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))


def test_weights_that_weigh_nothing_are_zero_and_change_no_digit() -> None:
    """For peaked attention most weights are dropped, and these sum to less than a rounding error."""
    problem = larger(np.float32, side=16, channels=32)
    exact = problem.as_type(np.float64)
    weights = numpy_attention.match(exact.f[0], exact.b[0], exact.valid[0], problem.geometry).softmax
    small = weights < np.finfo(np.float32).eps / 4 / weights.shape[1] * weights.max(axis=1, keepdims=True)
    assert small.mean() > 0.5
    assert (weights * small).sum(axis=1).max() <= np.finfo(np.float32).eps / 4
    assert distance(problem.in_bands()[0], exact.textbook()[0]) < 1e-4


def test_memory_stays_far_below_one_matrix_of_all_pairs() -> None:
    side, budget = 96, 1 << 22
    problem = larger(np.float32, side=side, rate=1, channels=16)
    problem.in_bands(budget)  # compiled before it is measured
    whole = (side * side) ** 2 * 4
    tracemalloc.start()
    try:
        problem.in_bands(budget)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < whole / 2
