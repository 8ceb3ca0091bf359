"""The distance of textures: its definition by plain loops and SciPy, and what it sees that PSNR does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance

from ca_numpy import metrics, sliced_wasserstein
from ca_numpy.data import Photographs
from ca_numpy.errors import UserError

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16

seeds = st.integers(0, 2**32 - 1)


def blurred(image):
    """H W C, by convolution of each row and column, mirrored at the border."""
    for axis in (0, 1):
        image = np.apply_along_axis(
            lambda line: np.convolve(np.pad(line, 2, mode="reflect"), BINOMIAL, "valid"), axis, image
        )
    return image


def enlarged(image, shape):
    spread = np.zeros(shape)
    spread[::2, ::2] = image
    return 4 * blurred(spread)


def texture(seed, n=1, size=64):
    """Rough noise, N H W 3 in [-1, 1]."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(n, size, size, 3)), (0, 0.8, 0.8, 0), mode="wrap")
    return np.clip(0.3 * noise / noise.std(), -1, 1)


def photograph(name):
    photographs = Photographs()
    return photographs[photographs.names.index(name)].astype(np.float64)


def middle(size=64, margin=16):
    mask = np.zeros((1, size, size, 1))
    mask[:, margin:-margin, margin:-margin] = 1
    return mask


# ---- the definition ----------------------------------------------------------------------------------------------
@given(st.integers(7, 40), st.integers(7, 40), seeds)
def test_the_levels_sum_to_the_picture(h, w, seed):
    image = np.random.default_rng(seed).uniform(size=(2, h, w, 3))
    levels = sliced_wasserstein.laplacian_pyramid(image)
    assert len(levels) == (1 if min(h, w) < 13 else 2 if min(h, w) < 25 else 3)
    for k in range(2):
        rebuilt = levels[-1][k]
        for level in levels[-2::-1]:
            rebuilt = level[k] + enlarged(rebuilt, level[k].shape)
        assert_allclose(rebuilt, image[k], atol=1e-12)


def test_the_coarsest_level_is_the_blurred_picture_and_the_finest_has_no_constant(rng):
    image = rng.uniform(size=(32, 28, 3))
    fine, medium, coarse = sliced_wasserstein.laplacian_pyramid(image[None])
    assert_allclose(coarse[0], blurred(blurred(image)[::2, ::2])[::2, ::2], atol=1e-12)
    shifted = sliced_wasserstein.laplacian_pyramid(image[None] + 0.25)
    assert_allclose(shifted[0], fine, atol=1e-12)
    assert_allclose(shifted[1], medium, atol=1e-12)
    assert_allclose(shifted[2], coarse + 0.25, atol=1e-12)


def plain(x, y, mask):
    """The distance per level: patches by loops, W1 by SciPy, one direction after the other."""
    directions = np.random.default_rng(0).standard_normal((128, 147))
    found = []
    a, b, hole = (x + 1) / 2, (y + 1) / 2, mask[..., 0] == 1
    while True:
        h, w = hole.shape
        last = min((h + 1) // 2, (w + 1) // 2) < 7 or len(found) == 2
        coarse = [] if last else [blurred(image)[::2, ::2] for image in (a, b)]
        bands = (a, b) if last else (a - enlarged(coarse[0], a.shape), b - enlarged(coarse[1], b.shape))
        centres = [(i, j) for i in range(3, h - 3) for j in range(3, w - 3) if hole[i, j]]
        p, q = ([band[i - 3 : i + 4, j - 3 : j + 4] for i, j in centres] for band in bands)
        spread = np.maximum(np.std(q, axis=(0, 1, 2)), 1 / 255)
        distances = []
        for direction in directions:
            unit = (direction / np.linalg.norm(direction)).reshape(3, 7, 7).transpose(1, 2, 0)
            distances.append(
                wasserstein_distance(*([(z / spread * unit).sum() for z in patches] for patches in (p, q)))
            )
        found.append(1000 * np.mean(distances))
        if last:
            return found
        a, b = coarse
        even = np.zeros((2 * ((h + 1) // 2), 2 * ((w + 1) // 2)), bool)
        even[:h, :w] = hole
        hole = even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2]


@pytest.mark.parametrize(("h", "w"), [(8, 9), (14, 19), (26, 25)])
def test_it_is_scipys_distance_between_patches_taken_one_by_one(h, w, rng):
    x, y = rng.uniform(-1, 1, (2, 1, h, w, 3))
    y = y**3
    mask = (rng.uniform(size=(1, h, w, 1)) < 0.1).astype(float)
    mask[:, h // 2, w // 2] = 1
    levels = metrics.swd_levels(x, y, mask=mask)
    assert_allclose(levels[0], plain(x[0], y[0], mask[0]), rtol=1e-9)
    assert_allclose(metrics.swd(x, y, mask=mask), levels.mean(-1))


@given(seeds)
@settings(deadline=None)
def test_half_the_contrast_is_twice_as_far_with_the_roles_swapped(seed):
    """Distances are in the truth's standard deviations: so the measure is not symmetric."""
    strong = texture(seed)
    forth, back = metrics.swd_levels(strong / 2, strong), metrics.swd_levels(strong, strong / 2)
    assert_allclose(back, 2 * forth, rtol=1e-9)
    assert (forth > 200).all()


# ---- what it sees ------------------------------------------------------------------------------------------------
@given(seeds)
@settings(deadline=None)
def test_a_picture_is_at_no_distance_from_itself(seed):
    x = texture(seed, n=2)
    assert_array_equal(metrics.swd(x, x), [0, 0])
    assert_array_equal(metrics.swd_levels(x, x, mask=middle()), np.zeros((2, 3)))


@given(seeds, st.integers(4, 12), st.integers(-12, -4))
@settings(deadline=None)
def test_a_blur_is_further_than_a_shift_of_the_same_texture_and_psnr_says_the_opposite(seed, down, right):
    truth = texture(seed)
    shifted, blur = np.roll(truth, (down, right), (1, 2)), gaussian_filter(truth, (0, 2, 2, 0), mode="wrap")
    assert metrics.swd(shifted, truth, mask=middle()) < metrics.swd(blur, truth, mask=middle()) / 2
    assert metrics.psnr(shifted, truth, mask=middle()) < metrics.psnr(blur, truth, mask=middle()) - 1


def test_gravel_has_the_numbers_of_the_user_guide():
    gravel = photograph("gravel")[:256]
    truth, beside = gravel[:, :256], gravel[:, 256:]
    results = np.stack([gaussian_filter(truth, (2, 2, 0)), beside])
    truths = np.stack([truth, truth])
    assert_array_equal(metrics.psnr(results, truths, mask=middle(256, 64)).round(), [22, 13])
    assert_allclose(metrics.swd(results, truths, mask=middle(256, 64)), [353, 90], atol=1)


@given(seeds)
@settings(deadline=None)
def test_where_a_patch_lies_does_not_matter(seed):
    """A tiling of period 8, moved by half a period: the hole holds the same patches of every level in other places."""
    tile = np.random.default_rng(seed).uniform(-1, 1, (1, 8, 8, 3))
    tiling = np.tile(tile, (1, 12, 12, 1))
    moved = np.roll(tiling, (4, 4), (1, 2))
    assert_allclose(metrics.swd_levels(moved, tiling, mask=middle(96, 32)), 0, atol=1e-9)
    assert (metrics.l1(moved, tiling) > 10).all()


@given(seeds, st.floats(0.05, 0.3))
@settings(deadline=None)
def test_a_change_in_brightness_shows_in_the_coarsest_level_alone(seed, change):
    truth = texture(seed) / 2
    fine, medium, coarse = metrics.swd_levels(truth + change, truth)[0]
    assert max(fine, medium) < 1e-6
    assert coarse > 100


def test_sharper_is_nearer(rng):
    truth = texture(1)
    blurs = [gaussian_filter(truth, (0, sigma, sigma, 0)) for sigma in (0.5, 1, 2, 4)]
    distances = [float(metrics.swd(blur, truth)[0]) for blur in blurs]
    assert distances == sorted(distances)


# ---- regions and batches -----------------------------------------------------------------------------------------
@given(seeds)
@settings(deadline=None)
def test_permuting_images_permutes_values(seed):
    x, y, order = texture(seed, 4), texture(seed + 1, 4), np.random.default_rng(seed).permutation(4)
    mask = np.concatenate([middle(64, margin) for margin in (8, 12, 20, 28)])
    values = metrics.swd_levels(x, y, mask=mask)
    assert_array_equal(metrics.swd_levels(x[order], y[order], mask=mask[order]), values[order])
    assert_array_equal(metrics.swd_levels(x[2], y[2], mask=mask[2]), values[2:3])


def test_only_the_surroundings_of_the_hole_count():
    x, y = texture(0, size=96), texture(1, size=96)
    mask = np.zeros((1, 96, 96, 1))
    mask[:, :24, :24] = 1
    far = x.copy()
    far[:, 50:, :] = far[:, :, 50:] = 0
    assert_array_equal(metrics.swd_levels(far, y, mask=mask), metrics.swd_levels(x, y, mask=mask))
    elsewhere = 1 - mask
    elsewhere[:, :50, :50] = 0
    assert (metrics.swd_levels(far, y, mask=elsewhere) > metrics.swd_levels(x, y, mask=elsewhere)).all()


@given(seeds, st.integers(7, 40), st.integers(7, 40), st.floats(0, 0.2))
@settings(deadline=None)
def test_every_hole_can_be_measured(seed, h, w, share):
    """A single pixel in a corner too, where no patch is centred in the hole: those that touch it are taken."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, (2, 1, h, w, 3))
    mask = (rng.uniform(size=(1, h, w, 1)) < share).astype(float)
    mask[0, 0, -1] = 1
    levels = metrics.swd_levels(x, y, mask=mask)
    assert np.isfinite(levels).all()
    assert (levels > 0).all()


def test_of_many_patches_a_subset_is_enough(monkeypatch):
    truth = texture(2, size=96)
    blur = gaussian_filter(truth, (0, 1, 1, 0))
    some = metrics.swd_levels(blur, truth)
    monkeypatch.setattr(sliced_wasserstein, "MOST_PATCHES", 10**6)
    every = metrics.swd_levels(blur, truth)
    assert (some != every).any()
    assert_allclose(some, every, rtol=0.1)


def test_the_directions_come_from_the_generator():
    x, y = texture(3), texture(4)
    first, again, other = (metrics.swd(x, y, rng=np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert_array_equal(metrics.swd(x, y), first)
    assert_array_equal(again, first)
    assert other != first
    assert_allclose(other, first, rtol=0.2)


def test_a_plain_truth_divides_by_one_step_of_8_bits():
    truth = np.zeros((32, 32, 3))
    assert_array_equal(metrics.swd(truth, truth), [0])
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, truth.shape)
    assert_allclose(metrics.swd(noise, truth), 2 * metrics.swd(noise / 2, truth))


def test_pictures_narrower_than_a_patch_are_refused():
    with pytest.raises(UserError, match="6 x 30; a patch needs at least 7 x 7") as error:
        metrics.swd(np.zeros((6, 30, 3)), np.zeros((6, 30, 3)))
    assert "\n" not in str(error.value)
