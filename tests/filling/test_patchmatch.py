"""PatchMatch: what it may not touch, what it must find, and how near its field comes to the exact one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ca_numpy import filling, metrics
from ca_numpy.data import Photographs, crop_window, free_form
from ca_numpy.errors import UserError
from ca_numpy.filling.patchmatch import copied, nearest_field
from ca_numpy.filling.pyramid import sources, touching
from ca_numpy.registry import use_backend, why_unavailable


@pytest.fixture(params=["numpy", "numba"])
def either(request):
    """NumPy's kernels and Numba's; what depends on sizes above a few dozen pixels runs on the fastest backend alone."""
    if why := why_unavailable(request.param):
        pytest.skip(why)
    with use_backend(request.param):
        yield request.param


def noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (*shape, 3)).astype(np.float32)


def box(shape, top, left, height, width):
    mask = np.zeros((*shape, 1), np.float32)
    mask[top : top + height, left : left + width] = 1
    return mask


def waves(size, period):
    """A texture that repeats every `period` pixels both ways."""
    y, x = np.mgrid[:size, :size] * (2 * np.pi / period)
    return np.stack([np.sin(x) * np.cos(y), np.sin(x + 2 * y), np.cos(x - y)], -1).astype(np.float32) * 0.8


@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 99), share=st.floats(0.05, 0.95))
def test_any_hole_in_any_small_picture_is_filled_with_its_own_colours(either, height, width, seed, share):
    """The last vote copies, so that every colour of the hole is one of the known ones."""
    image = noise((height, width), seed)
    mask = (np.random.default_rng(seed).random((height, width, 1)) < share).astype(np.float32)
    if not 0 < mask.mean() < 1:
        return
    filled = filling.complete(image, mask)
    known = mask[..., 0] < 0.5
    assert_array_equal(filled[known], image[known])
    colours = {tuple(c) for c in image[known]}
    assert all(tuple(c) in colours for c in filled[~known])


def test_several_holes_that_touch_the_border_leave_the_known_pixels_alone(either, rng):
    image = noise((35, 45))
    mask = np.maximum(box((35, 45), 0, 0, 10, 7), box((35, 45), 20, 35, 15, 10))
    mask[:, 20:22] = 1
    filled = filling.complete(image, mask, rng=rng)
    assert_array_equal(filled[mask[..., 0] == 0], image[mask[..., 0] == 0])
    assert np.isfinite(filled).all()


def test_brush_strokes_in_one_colour_are_filled_exactly(either, rng):
    image = np.full((64, 64, 3), 0.3, np.float32)
    assert_array_equal(filling.complete(image, free_form(rng, image_size=64)), image)


def test_a_texture_that_repeats_is_continued():
    """The period is no multiple of what the levels halve to; the mean colour errs by half of the range."""
    image, mask = waves(128, 13), box((128, 128), 44, 44, 40, 40)
    error = np.abs(filling.complete(image, mask) - image)[mask[..., 0] > 0.5].mean()
    by_mean = np.abs(filling.fill("mean", image, mask) - image)[mask[..., 0] > 0.5].mean()
    assert error < 0.1 * by_mean


def test_an_edge_goes_on_straight_through_the_hole(either):
    image = np.full((48, 48, 3), -0.7, np.float32)
    image[:, 24:] = 0.6
    assert_array_equal(filling.complete(image, box((48, 48), 15, 15, 18, 18)), image)


def test_the_seed_decides(either):
    image, mask = noise((32, 32)), box((32, 32), 12, 12, 9, 9)
    first, again, other = (filling.complete(image, mask, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert_array_equal(first, again)
    assert (first != other).any()


def test_the_number_of_threads_does_not_matter():
    threads = pytest.importorskip("ca_numpy.threads", reason="pip install 'ca-numpy[numba]'", exc_type=ImportError)
    image, mask = noise((64, 64)), box((64, 64), 16, 16, 32, 32)
    several = filling.complete(image, mask)
    with threads.num_threads(1):
        assert_array_equal(filling.complete(image, mask), several)


def test_threads_take_turns(either):
    image, mask = noise((20, 20)), box((20, 20), 6, 6, 8, 8)
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda _: filling.complete(image, mask), range(4))
    for other in others:
        assert_array_equal(other, first)


def test_numpy_and_numba_complete_alike():
    """Their sums differ in the last digit, which may decide between equal matches: not every pixel need agree."""
    pytest.importorskip("numba", reason="pip install 'ca-numpy[numba]'")
    image, mask = waves(40, 9), box((40, 40), 12, 12, 14, 14)
    filled = []
    for name in ("numpy", "numba"):
        with use_backend(name):
            filled.append(filling.complete(image, mask))
    hole = mask[..., 0] > 0.5
    assert np.abs(filled[0] - filled[1])[hole].mean() < 0.05 * np.abs(image - image.mean((0, 1)))[hole].mean()


def test_one_known_pixel_is_enough():
    """The radius that no known patch has is reduced; the sources are known pixels all the same."""
    hole = np.ones((9, 9), bool)
    hole[4, 4] = False
    copies = copied(noise((9, 9)), hole, radius=3)
    assert_array_equal(copies.sources, np.full((80, 2), 4))


def exact_distances(z, hole, radius):
    """The distance from every patch that touches the hole to its nearest known patch: all pairs, in NumPy."""

    def patches(flags):
        return np.array([z[y - radius : y + radius + 1, x - radius : x + radius + 1] for y, x in np.argwhere(flags)])

    mine, known = (patches(f(hole, radius=radius)).reshape(-1, (2 * radius + 1) ** 2 * 3) for f in (touching, sources))
    return np.array([((known - one) ** 2).sum(1).min() for one in mine.astype(np.float64)])


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_the_field_is_nearly_the_exact_one(either, radius, rng):
    """No distance is below the exact one, and their sum is at most a tenth above: a texture has near matches."""
    z = waves(40, 9) + 0.05 * noise((40, 40))
    hole = box((40, 40), 14, 12, 9, 14)[..., 0] > 0.5
    z[hole] += 0.2 * noise((40, 40), 1)[hole]
    field, cost = nearest_field(z, hole, rng=rng, radius=radius)
    wanted = touching(hole, radius=radius)
    exact = exact_distances(z, hole, radius)
    assert (cost[wanted] >= exact * (1 - 1e-4) - 1e-6).all()
    assert cost[wanted].sum() <= 1.1 * exact.sum()
    assert sources(hole, radius=radius)[field[wanted][:, 0], field[wanted][:, 1]].all()


def test_more_sweeps_never_lose(either):
    z, hole = noise((40, 40)), box((40, 40), 14, 12, 9, 14)[..., 0] > 0.5
    costs = [nearest_field(z, hole, rng=np.random.default_rng(3), sweeps=n)[1] for n in (0, 1, 4)]
    assert (costs[1] <= costs[0]).all()
    assert (costs[2] <= costs[1]).all()
    assert costs[2].sum() < costs[0].sum()


def test_distances_are_those_of_the_patches_the_field_names(either, rng):
    z, hole = noise((30, 30)), box((30, 30), 10, 10, 8, 8)[..., 0] > 0.5
    field, cost = nearest_field(z, hole, rng=rng, radius=2)
    for y, x in np.argwhere(touching(hole, radius=2)):
        v, u = field[y, x]
        difference = z[y - 2 : y + 3, x - 2 : x + 3] - z[v - 2 : v + 3, u - 2 : u + 3]
        assert cost[y, x] == pytest.approx((difference**2).sum(), rel=1e-5)


@pytest.mark.parametrize(("mask", "told"), [(np.ones((8, 8)), "all hole"), (np.zeros((8, 8)), "no hole")])
def test_nothing_to_copy_from_and_nothing_to_fill_are_refused(mask, told):
    with pytest.raises(UserError, match=told):
        filling.complete(noise((8, 8)), mask)


@pytest.mark.slow
def test_grass_stays_as_rough_as_it_is():
    """Total variation in the hole, beside the photograph's own: what diffusion loses."""
    photographs = Photographs()
    image = crop_window(
        photographs.pixels(photographs.names.index("grass")), top=0, left=0, height=128, width=128, size=128
    )
    mask = box((128, 128), 32, 32, 64, 64)
    truth, copied = (metrics.tv(x, mask=mask)[0] for x in (image, filling.complete(image, mask)))
    assert 0.75 * truth < copied < 1.25 * truth


def test_patches_wider_than_half_of_the_picture_are_looked_for_at_its_full_size_alone():
    image = Photographs().pixels(0)[:64, :64]
    mask = np.zeros((64, 64), np.float32)
    mask[30:34, 30:34] = 1
    filled = filling.complete(image, mask, radius=16)
    assert filled.shape == (64, 64, 3)
