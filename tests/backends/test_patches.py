"""PatchMatch's kernels, on every backend: what a search, a vote and a copy guarantee.

Features are whole numbers, so distances are exact in float32, whatever the order of their sums: equal means equal.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from ca_numpy.registry import current_backend, use_backend
from ca_numpy.testing import CASES, LAYOUTS, RandomChooser, relaid
from ca_numpy.testing.generators import Patches, draw_patches
from ca_numpy.testing.strategies import HypothesisChooser

Array = NDArray[Any]


@st.composite
def some_patches(draw: st.DrawFn) -> Patches:
    return draw_patches(HypothesisChooser(draw))


@dataclass
class Search:
    """The patches that touch a hole, their matches among the others, and rounds of search on the current backend.

    z      H W C; whole numbers
    hole   H W
    """

    z: Array
    hole: Array
    radius: int
    rng: np.random.Generator

    def __post_init__(self) -> None:
        r, (height, width) = self.radius, self.hole.shape
        centres = np.argwhere(np.ones((height - 2 * r, width - 2 * r), bool)).astype(np.int32) + r
        holes = np.array([self.hole[y - r : y + r + 1, x - r : x + r + 1].any() for y, x in centres])
        self.sources, self.source = centres[~holes], np.zeros((height, width), bool)
        self.source[tuple(self.sources.T)] = True
        self.take(centres[holes], self.sources[self.rng.integers(0, len(self.sources), holes.sum())])

    def take(self, places: Array, field: Array) -> None:
        """Search for these patches, beginning with these matches."""
        self.places, self.field = places, field
        self.number = np.full(self.hole.shape, -1, np.int32)
        self.number[tuple(places.T)] = np.arange(len(places))
        self.guide, self.weight = np.zeros((*self.hole.shape, 0), np.float32), np.zeros(len(places), np.float32)
        self.distance = self.measured(field)

    def measured(self, field: Array) -> Array:
        (d,) = on_backend("patch_distance", self.z, self.guide, self.weight, self.places, field, radius=self.radius)
        return d

    def round(self, *, jump: int = 1, reach: int | None = None, tries: int = 3) -> None:
        """One call of improve_field, with offsets of up to `reach` pixels, by default across the whole picture."""
        most = max(self.hole.shape) if reach is None else reach
        offsets = self.rng.integers(-most, most + 1, (tries, len(self.places), 2), np.int32)
        self.field, self.distance = on_backend(
            "improve_field", self.z, self.guide, self.weight, self.source, self.places, self.number, self.field,
            self.distance, offsets, radius=self.radius, jump=jump,
        )  # fmt: skip


def on_backend(kernel: str, *arrays: Array, **params: Any) -> tuple[Array, ...]:
    """The results of a kernel of the current backend, on the host."""
    backend = current_backend()
    y = getattr(backend, kernel)(*map(backend.asarray, arrays), **params)
    return tuple(backend.to_numpy(part) for part in (y if isinstance(y, tuple) else (y,)))


def noise(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-9, 10, shape).astype(np.float32)


def box(side: int, at: int, size: int) -> Array:
    hole = np.zeros((side, side), bool)
    hole[at : at + size, at : at + size] = True
    return hole


@st.composite
def searches(draw: st.DrawFn) -> Search:
    """In a picture of noise, of any size that has sources; holes of any shape, up to the picture's border."""
    radius = draw(st.integers(0, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    height, width = (draw(st.integers(2 * radius + 2, 2 * radius + 9)) for _ in range(2))
    hole = np.zeros((height, width), bool)
    hole[2 * radius + 1 :] = rng.random((height - 2 * radius - 1, width)) < draw(st.sampled_from([0.3, 0.05, 1.0]))
    z = rng.integers(-1, 2, (height, width, draw(st.integers(1, 4)))).astype(np.float32)  # so few values: ties
    return Search(z, hole, radius, rng)


# ---- the search --------------------------------------------------------------------------------------------------
@given(search=searches(), jumps=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_a_field_only_ever_points_at_sources(search: Search, jumps: list[int], backend: str) -> None:
    for jump in jumps:
        search.round(jump=jump)
        assert search.source[tuple(search.field.T)].all()


@given(search=searches(), jump=st.integers(1, 12))
def test_a_round_never_raises_a_distance(search: Search, jump: int, backend: str) -> None:
    before, field = search.distance, search.field
    search.round(jump=jump)
    assert (search.distance <= before).all()
    same = search.distance == before
    assert_array_equal(search.field[same], field[same])  # a match as near as the old one does not replace it


@given(search=searches(), jumps=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_distances_are_those_of_the_patches_that_the_field_names(
    search: Search, jumps: list[int], backend: str
) -> None:
    for jump in jumps:
        search.round(jump=jump)
    assert_array_equal(search.distance, search.measured(search.field))
    r = search.radius
    for d, (y, x), (v, u) in zip(search.distance, search.places, search.field, strict=True):
        here, there = (search.z[i - r : i + r + 1, j - r : j + r + 1] for i, j in ((y, x), (v, u)))
        assert d == ((here - there) ** 2).sum()


@given(p=some_patches())
def test_a_patch_is_at_distance_0_from_itself_and_the_guide_adds_to_other_distances(p: Patches, backend: str) -> None:
    arrays, without = (p.z, p.guide, p.guided, p.places), (p.z, p.guide, 0 * p.guided, p.places)
    assert not on_backend("patch_distance", *arrays, p.places, radius=p.radius)[0].any()
    (near,), (far,) = (on_backend("patch_distance", *xs, p.field, radius=p.radius) for xs in (without, arrays))
    apart = ((p.guide[tuple(p.places.T)] - p.guide[tuple(p.field.T)]) ** 2).sum(-1)
    assert_array_equal(far, near + p.guided * apart)


@pytest.mark.parametrize(("period", "radius"), [(3, 1), (4, 2), (5, 1)])
def test_every_patch_of_a_tiled_texture_finds_an_exact_copy(
    period: int, radius: int, backend: str, rng: np.random.Generator
) -> None:
    z = np.tile(noise(rng, period, period, 2), (20 // period, 20 // period, 1))
    search = Search(z, box(len(z), 7, 5), radius, rng)
    rounds = 0
    while search.distance.any() and rounds < 60:
        search.round(jump=1 + rounds % 3)
        rounds += 1
    assert not search.distance.any()
    shift = search.field - search.places
    assert len(np.unique(z[:period, :period].reshape(-1, 2), axis=0)) == period**2  # so that only whole tiles match
    assert not (shift % period).any()


@pytest.mark.parametrize("seed", range(3))
def test_the_matches_are_in_sum_within_a_tenth_of_the_nearest(seed: int, backend: str) -> None:
    rng = np.random.default_rng(seed)
    rough = noise(rng, 32, 32, 2)
    smooth = sum(rough[i : i + 24, j : j + 24] for i, j in itertools.product(range(9), repeat=2))
    search = Search(smooth.astype(np.float32), box(24, 8, 8), 1, rng)
    every = [search.measured(np.broadcast_to(q, search.places.shape).copy()) for q in search.sources]
    nearest = np.min(every, axis=0)
    first = search.distance.sum()
    for reach in [24, 12, 6, 3, 2, 1] * 10:
        search.round(jump=max(1, reach // 3), reach=reach)
    assert (search.distance >= nearest).all()
    assert nearest.sum() <= search.distance.sum() <= 1.1 * nearest.sum() < first


@given(search=searches(), jump=st.integers(1, 4))
def test_the_same_offsets_give_the_same_field_twice_and_on_every_backend(
    search: Search, jump: int, backend: str
) -> None:
    offsets = search.rng.integers(-9, 10, (3, len(search.places), 2), np.int32)
    arrays = (search.z, search.guide, search.weight, search.source, search.places, search.number, search.field,
              search.distance, offsets)  # fmt: skip
    results = [on_backend("improve_field", *arrays, radius=search.radius, jump=jump) for _ in range(2)]
    with use_backend("numpy"):
        results.append(on_backend("improve_field", *arrays, radius=search.radius, jump=jump))
    for field, distance in results[1:]:
        assert_array_equal(field, results[0][0])
        assert_array_equal(distance, results[0][1])


@pytest.mark.parametrize("jump", [1, 2, 3, 4, 40])
def test_a_match_moves_by_one_jump_in_a_round_and_only_to_patches_of_the_list(jump: int, backend: str) -> None:
    """The right half of a picture repeats the left. One patch has its copy there; without offsets, only that spreads.

    The patches are the black squares of a chessboard: odd jumps from one of them lead to none.
    """
    rng = np.random.default_rng(jump)
    half = noise(rng, 24, 12, 3)
    search = Search(np.concatenate([half, half], axis=1), np.zeros((24, 24), bool), 1, rng)
    board = [(y, x) for y in range(6, 18) for x in range(2, 10) if (y + x) % 2 == 0]
    first = board.index((12, 6))
    search.take(np.array(board, np.int32), np.full((len(board), 2), (2, 14), np.int32))
    search.field[first] = 12, 18
    search.distance = search.measured(search.field)
    search.round(jump=jump, tries=0)
    reached = {(12, 6), (12 - jump, 6), (12 + jump, 6), (12, 6 - jump), (12, 6 + jump)} & set(board)
    assert len(reached) == {2: 5, 4: 4}.get(jump, 1)
    assert {place for place, d in zip(board, search.distance, strict=True) if d == 0} == reached


@given(radius=st.integers(0, 3), seed=st.integers(0, 99), jump=st.integers(1, 9))
def test_patches_may_fill_the_picture_up_to_its_border(radius: int, seed: int, jump: int, backend: str) -> None:
    """Everything is both a patch and a source: candidates lie beyond every side of the picture."""
    rng = np.random.default_rng(seed)
    side = 2 * radius + 4
    search = Search(noise(rng, side, side, 2), np.zeros((side, side), bool), radius, rng)
    search.take(search.sources, rng.permutation(search.sources))
    before = search.distance
    search.round(jump=jump, reach=2 * side)
    assert search.source[tuple(search.field.T)].all()
    assert_array_equal(search.distance, search.measured(search.field))
    assert (search.distance <= before).all()


def test_no_patches_are_no_matter(backend: str) -> None:
    z, none = np.ones((4, 4, 2), np.float32), np.zeros((0, 2), np.int32)
    number, source, weight = np.full((4, 4), -1, np.int32), np.ones((4, 4), bool), np.zeros(0, np.float32)
    offsets = np.zeros((2, 0, 2), np.int32)
    assert on_backend("patch_distance", z, z, weight, none, none, radius=1)[0].shape == (0,)
    round_of_none = z, z, weight, source, none, number, none, weight, offsets
    field, distance = on_backend("improve_field", *round_of_none, radius=1, jump=1)
    assert (field.shape, field.dtype, distance.shape) == ((0, 2), np.int32, (0,))
    assert on_backend("patch_vote", z, none, number, none, weight, radius=1)[0].shape == (0, 2)
    assert on_backend("patch_source", none, number, none, weight, radius=1)[0].shape == (0, 2)


# ---- votes and copies --------------------------------------------------------------------------------------------
def around(p: Patches, pixel: Array) -> list[int]:
    """The patches that contain a pixel."""
    return [i for i, place in enumerate(p.places) if abs(place - pixel).max() <= p.radius]


def named(p: Patches, patch: int, pixel: Array) -> Array:
    """The pixel that a patch names for one of its own."""
    return np.asarray(p.field[patch] + pixel - p.places[patch])


@given(p=some_patches(), value=st.integers(-9, 9))
def test_a_vote_among_equal_pixels_is_that_pixel(p: Patches, value: int, backend: str) -> None:
    z = np.full(p.z.shape, value, np.float32)
    (y,) = on_backend("patch_vote", z, p.pixels, p.number, p.field, p.trust.astype(np.float32), radius=p.radius)
    assert_allclose(y, value, rtol=1e-6)


@given(p=some_patches())
def test_a_vote_lies_between_the_least_and_the_greatest_candidate(p: Patches, backend: str) -> None:
    weight = p.trust**4
    (y,) = on_backend("patch_vote", p.z, p.pixels, p.number, p.field, weight, radius=p.radius)
    for pixel, colour in zip(p.pixels, y, strict=True):
        candidates = np.array([p.z[tuple(named(p, patch, pixel))] for patch in around(p, pixel)])
        assert (colour >= candidates.min(0) - 1e-9).all()
        assert (colour <= candidates.max(0) + 1e-9).all()


@given(p=some_patches(), seed=st.integers(0, 99))
def test_a_copy_is_the_pixel_that_the_heaviest_patch_names(p: Patches, seed: int, backend: str) -> None:
    weight = 1 + np.random.default_rng(seed).permutation(len(p.places)).astype(np.float32)  # no two are equal
    (chosen,) = on_backend("patch_source", p.pixels, p.number, p.field, weight, radius=p.radius)
    for pixel, found in zip(p.pixels, chosen, strict=True):
        assert_array_equal(found, named(p, max(around(p, pixel), key=lambda patch: weight[patch]), pixel))


@given(p=some_patches())
def test_of_patches_of_equal_weight_the_first_in_rows_is_copied(p: Patches, backend: str) -> None:
    weight = np.ones(len(p.places), np.float32)
    (chosen,) = on_backend("patch_source", p.pixels, p.number, p.field, weight, radius=p.radius)
    for pixel, found in zip(p.pixels, chosen, strict=True):
        assert_array_equal(found, named(p, min(around(p, pixel), key=lambda patch: tuple(p.places[patch])), pixel))


@given(p=some_patches())
def test_a_vote_of_one_heavy_patch_is_its_copy(p: Patches, backend: str) -> None:
    """Each patch is a million million times heavier than the one before it."""
    weight = 2.0 ** np.minimum(40 * np.arange(len(p.places)), 1000)
    few = np.array([pixel for pixel in p.pixels if max(around(p, pixel)) < 25], np.int32).reshape(-1, 2)
    (y,) = on_backend("patch_vote", p.z, few, p.number, p.field, weight, radius=p.radius)
    (chosen,) = on_backend("patch_source", few, p.number, p.field, weight, radius=p.radius)
    assert_allclose(y, p.z[tuple(chosen.T)], atol=1e-9)


# ---- Numba -------------------------------------------------------------------------------------------------------
KERNELS = ["patch_distance", "improve_field", "patch_vote", "patch_source"]


@pytest.mark.parametrize("kernel", KERNELS)
def test_numba_compiles_nothing_again_for_another_memory_layout(kernel: str, rng: np.random.Generator) -> None:
    pytest.importorskip("numba")
    from ca_numpy.backends import numba_patches

    problem = CASES[kernel].draw(RandomChooser(rng, large=True)).astype(np.float32)
    compiled = set[int]()
    with use_backend("numba"):
        for layout in LAYOUTS:
            on_backend(kernel, *(relaid(x, layout) for x in problem.inputs), **problem.params)
            compiled.add(len(getattr(numba_patches, f"_{kernel}").signatures))
    assert len(compiled) == 1


def test_numba_gives_the_same_bits_on_one_core_and_on_two(rng: np.random.Generator) -> None:
    threads = pytest.importorskip("ca_numpy.threads", exc_type=ImportError)
    for kernel in KERNELS:
        problem = CASES[kernel].draw(RandomChooser(rng, large=True)).astype(np.float32)
        inputs = [x / 3 if x.dtype.kind == "f" else x for x in problem.inputs]  # sums are rounded
        results = []
        for number in (1, 2):
            with threads.num_threads(number), use_backend("numba"):
                results.append(on_backend(kernel, *inputs, **problem.params))
        for one, two in zip(*results, strict=True):
            assert_array_equal(one, two)
