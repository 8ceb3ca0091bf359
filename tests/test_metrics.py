"""The metrics: their definitions, their invariants, and scikit-image as an independent oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ca_numpy import metrics
from ca_numpy.errors import UserError

PAIRED = (metrics.l1, metrics.l2, metrics.psnr, metrics.ssim)


def images(seed, n=2, h=17, w=14):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, h, w, 3)), rng.uniform(-1, 1, (n, h, w, 3))


def hole_mask(seed, n=2, h=17, w=14):
    rng = np.random.default_rng(seed)
    mask = (rng.uniform(size=(n, h, w, 1)) < 0.4).astype(np.float32)
    mask[:, h // 2, w // 2 : w // 2 + 2] = 1  # at least one pair, well inside
    return mask


seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(11, 24)


@given(seeds, sizes, sizes)
def test_psnr_equals_scikit_image(seed, h, w):
    x, y = images(seed, 2, h, w)
    oracle = [peak_signal_noise_ratio(b, a, data_range=2.0) for a, b in zip(x, y, strict=True)]
    assert_allclose(metrics.psnr(x, y), oracle, rtol=1e-12)


@settings(deadline=None)
@given(seeds, sizes, sizes, st.floats(0, 1))
def test_ssim_equals_scikit_image(seed, h, w, closeness):
    x, y = images(seed, 2, h, w)
    y = closeness * x + (1 - closeness) * y
    oracle = [
        structural_similarity(
            (a + 1) / 2,
            (b + 1) / 2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=-1,
        )
        for a, b in zip(x, y, strict=True)
    ]
    assert_allclose(metrics.ssim(x, y), oracle, rtol=1e-9, atol=1e-12)


def test_ssim_over_a_hole_is_the_mean_of_scikit_images_map_there():
    x, y = images(0)
    mask = hole_mask(0)
    for k in range(2):
        _, full = structural_similarity(
            (x[k] + 1) / 2,
            (y[k] + 1) / 2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=-1,
            full=True,
        )
        inside = mask[k, 5:-5, 5:-5, 0] == 1
        assert_allclose(metrics.ssim(x, y, mask=mask)[k], full[5:-5, 5:-5][inside].mean(), rtol=1e-9)


def test_black_against_white_is_100_percent():
    black, white = -np.ones((1, 12, 12, 3)), np.ones((1, 12, 12, 3))
    assert metrics.l1(black, white) == [100.0]
    assert metrics.l2(black, white) == [100.0]
    assert metrics.psnr(black, white) == [0.0]


def test_an_error_of_a_tenth_of_the_range_is_10_percent_l1_1_percent_l2_and_20_db():
    x, y = np.full((1, 12, 12, 3), -0.1), np.full((1, 12, 12, 3), 0.1)
    assert_allclose(metrics.l1(x, y), 10.0)
    assert_allclose(metrics.l2(x, y), 1.0)
    assert_allclose(metrics.psnr(x, y), 20.0)


def test_tv_of_a_hard_checkerboard_is_100_percent_and_of_stripes_half_of_it():
    rows, columns = np.mgrid[:8, :8]
    checkerboard = np.repeat((-1.0) ** (rows + columns)[..., None], 3, axis=-1)
    stripes = np.repeat((-1.0) ** rows[..., None], 3, axis=-1)
    assert_allclose(metrics.tv(checkerboard), [100.0])
    assert_allclose(metrics.tv(stripes), [50.0])


@given(seeds)
def test_tv_is_the_mean_over_a_loop_through_all_pairs(seed):
    x, mask = images(seed, 1, 5, 6)[0], hole_mask(seed, 1, 5, 6)
    differences = []
    for i in range(5):
        for j in range(6):
            for k, m in ((i + 1, j), (i, j + 1)):
                if k < 5 and m < 6 and mask[0, i, j, 0] * mask[0, k, m, 0]:
                    differences += list(abs(x[0, i, j] - x[0, k, m]) / 2)
    assert_allclose(metrics.tv(x, mask=mask), 100 * np.mean(differences))


@given(seeds)
def test_an_image_is_at_no_distance_from_itself(seed):
    x, _ = images(seed)
    assert_array_equal(metrics.l1(x, x), [0, 0])
    assert_array_equal(metrics.l2(x, x), [0, 0])
    assert_array_equal(metrics.psnr(x, x), [np.inf, np.inf])
    assert_allclose(metrics.ssim(x, x), [1, 1], rtol=1e-12)


@pytest.mark.parametrize("metric", PAIRED)
@given(seed=seeds)
def test_swapping_result_and_truth_changes_nothing(metric, seed):
    x, y = images(seed)
    assert_allclose(metric(x, y), metric(y, x), rtol=1e-12)


@pytest.mark.parametrize("metric", [*PAIRED, metrics.swd])
@given(seed=seeds)
def test_a_mask_of_ones_equals_no_mask(metric, seed):
    x, y = images(seed)
    assert_array_equal(metric(x, y, mask=np.ones((2, 17, 14, 1))), metric(x, y))
    assert_array_equal(metrics.tv(x, mask=np.ones((2, 17, 14, 1))), metrics.tv(x))


@pytest.mark.parametrize("metric", [metrics.l1, metrics.l2, metrics.psnr])
@given(seed=seeds)
def test_nothing_outside_the_hole_counts(metric, seed):
    x, y = images(seed)
    mask = hole_mask(seed)
    z = np.where(mask == 1, x, -x)
    assert_array_equal(metric(x, y, mask=mask), metric(z, y, mask=mask))
    assert_array_equal(metrics.tv(x, mask=mask), metrics.tv(z, mask=mask))


@given(seeds)
def test_more_noise_means_lower_psnr_and_ssim_and_higher_errors(seed):
    x = images(seed)[0] / 2
    noise = np.random.default_rng(seed + 1).uniform(-0.5, 0.5, x.shape)
    weaker, stronger = x + 0.3 * noise, x + noise
    assert (metrics.psnr(stronger, x) < metrics.psnr(weaker, x)).all()
    assert (metrics.ssim(stronger, x) < metrics.ssim(weaker, x)).all()
    assert (metrics.l1(stronger, x) > metrics.l1(weaker, x)).all()
    assert (metrics.l2(stronger, x) > metrics.l2(weaker, x)).all()


@given(st.floats(-1, 1), seeds)
def test_tv_of_a_constant_is_zero_and_does_not_see_a_shift_in_brightness(level, seed):
    assert_array_equal(metrics.tv(np.full((2, 5, 6, 3), level)), [0, 0])
    x = images(seed)[0] / 2
    assert_allclose(metrics.tv(x + level / 2), metrics.tv(x), rtol=1e-9)


@pytest.mark.parametrize("metric", [*PAIRED, metrics.swd])
def test_each_image_is_measured_on_its_own_in_float64(metric):
    x, y = images(3)
    both = metric(x.astype(np.float32), y.astype(np.float32))
    assert both.shape == (2,)
    assert both.dtype == np.float64
    alone = metric(x[1].astype(np.float32), y[1].astype(np.float32))
    assert_array_equal(alone, both[1:])


def test_one_mask_serves_a_whole_batch():
    x, y = images(4)
    mask = hole_mask(4, n=1)
    assert_array_equal(metrics.l1(x, y, mask=mask), metrics.l1(x, y, mask=np.repeat(mask, 2, axis=0)))
    assert_array_equal(metrics.l1(x, y, mask=mask[0]), metrics.l1(x, y, mask=mask))


def test_a_broken_image_shows_as_nan_instead_of_a_number():
    x, y = images(5)
    x[1, 0, 0, 0] = np.nan
    assert_array_equal(np.isnan(metrics.l1(x, y)), [False, True])
    assert_array_equal(np.isnan(metrics.swd(x, y)), [False, True])


@pytest.mark.parametrize(
    ("x", "y", "mask", "words"),
    [
        (np.zeros((2, 12, 12, 3)), np.zeros((2, 12, 13, 3)), None, "x and y"),
        (np.zeros((12, 12)), np.zeros((12, 12)), None, "x: shape"),
        (np.zeros((12, 12, 3), np.uint8), np.zeros((12, 12, 3)), None, "x: dtype uint8"),
        (np.zeros((12, 12, 3)), np.full((12, 12, 3), 255.0), None, "y: values reach 255"),
        (np.zeros((2, 12, 12, 3)), np.zeros((2, 12, 12, 3)), np.ones((3, 12, 12, 1)), "mask: shape"),
        (np.zeros((12, 12, 3)), np.zeros((12, 12, 3)), np.zeros((1, 12, 12, 1)), "without a hole"),
        (np.zeros((12, 12, 3)), np.zeros((12, 12, 3)), np.full((1, 12, 12, 1), 255.0), "threshold"),
    ],
)
@pytest.mark.parametrize("metric", [*PAIRED, metrics.swd])
def test_bad_input_is_refused_in_one_line(metric, x, y, mask, words):
    with pytest.raises(UserError, match=words) as error:
        metric(x, y, mask=mask)
    assert "\n" not in str(error.value)


def test_ssim_says_where_its_window_does_not_fit():
    small = np.zeros((10, 30, 3))
    with pytest.raises(UserError, match="11 x 11"):
        metrics.ssim(small, small)
    large, mask = np.zeros((30, 30, 3)), np.zeros((1, 30, 30, 1))
    mask[:, :5] = 1
    with pytest.raises(UserError, match="border"):
        metrics.ssim(large, large, mask=mask)


def test_tv_of_lonely_pixels_is_refused():
    mask = np.zeros((1, 4, 4, 1))
    mask[0, 1, 1] = 1
    with pytest.raises(UserError, match="neighbouring"):
        metrics.tv(np.zeros((4, 4, 3)), mask=mask)


def test_interval_of_a_known_sample():
    mean, half = metrics.mean_and_interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert_allclose(half, 3.182446 * np.sqrt(5 / 3) / 2, rtol=1e-6)  # a table of Student's t, three degrees


@pytest.mark.parametrize("count", [2, 3, 4, 5, 16, 33, 2000])
def test_interval_is_scipys(count, rng):
    stats = pytest.importorskip("scipy.stats")
    values = rng.normal(size=count)
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    mean, half = metrics.mean_and_interval(values)
    assert_allclose([mean - half, mean + half], [low, high], rtol=1e-7)


def test_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    samples = rng.normal(3.0, 2.0, (1000, 50))
    covered = [abs(mean - 3.0) <= half for mean, half in map(metrics.mean_and_interval, samples)]
    assert 0.92 < np.mean(covered) < 0.97


def test_interval_is_unknown_for_one_image_or_an_infinite_psnr():
    assert metrics.mean_and_interval([7.0])[0] == 7.0
    assert np.isnan(metrics.mean_and_interval([7.0])[1])
    mean, half = metrics.mean_and_interval([20.0, np.inf])
    assert mean == np.inf
    assert np.isnan(half)
    with pytest.raises(UserError, match="none"):
        metrics.mean_and_interval([])
