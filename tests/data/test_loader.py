"""Batches: every picture once an epoch, true crops, and a stream that can be taken up again exactly."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca_numpy.data import Images, Loader, Subset, crop_window, to_float, to_uint8, validation_crops
from ca_numpy.errors import UserError


def flat_pictures(count, height=6, width=9):
    """Picture i has the value i everywhere, so that a crop tells where it came from."""
    return Images([np.full((height, width, 3), i, np.uint8) for i in range(count)])


def noise_pictures(count, height=20, width=26):
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return Images(list(pixels))


def coordinates(height, width):
    """One picture whose red is its row and whose green is its column."""
    rows, columns = np.mgrid[:height, :width]
    return Images([np.dstack([rows, columns, 0 * rows]).astype(np.uint8)])


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 12))
def test_a_batch_has_the_shape_type_and_range_that_the_networks_take(count, batch, size):
    images = next(Loader(noise_pictures(count), batch=batch, size=size, rng=np.random.default_rng(0)))
    assert images.shape == (batch, size, size, 3)
    assert images.dtype == np.float32
    assert np.abs(images).max() <= 1


@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_each_epoch_shows_every_picture_once(count, batch, seed):
    loader = Loader(flat_pictures(count), batch=batch, size=2, rng=np.random.default_rng(seed))
    seen = []
    while len(seen) < 3 * count:
        seen.extend(to_uint8(next(loader))[:, 0, 0, 0].tolist())
    for epoch in range(3):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_every_epoch_has_another_order():
    loader = Loader(flat_pictures(50), batch=50, size=1, rng=np.random.default_rng(0))
    first, second = (to_uint8(next(loader))[:, 0, 0, 0].tolist() for _ in range(2))
    assert sorted(first) == sorted(second)
    assert first != second


@given(st.integers(0, 2**32 - 1))
def test_without_resizing_a_crop_is_a_window_of_the_picture_or_its_mirror_image(seed):
    dataset = coordinates(12, 17)
    loader = Loader(dataset, batch=4, size=12, window=(1.0, 1.0), rng=np.random.default_rng(seed))
    for crop in to_uint8(next(loader)):
        upright = crop[:, ::-1] if crop[0, 0, 1] > crop[0, -1, 1] else crop
        left = int(upright[0, 0, 1])
        np.testing.assert_array_equal(upright, dataset.pixels(0)[:, left : left + 12])


def test_half_of_the_crops_are_mirrored_unless_that_is_off():
    def mirrored(flip):
        loader = Loader(coordinates(8, 8), batch=400, size=8, flip=flip, rng=np.random.default_rng(0))
        return np.mean([crop[0, 0, 1] > crop[0, -1, 1] for crop in next(loader)])

    assert 0.4 < mirrored(flip=True) < 0.6
    assert mirrored(flip=False) == 0


@given(st.floats(0.05, 1), st.integers(0, 2**32 - 1))
def test_jitter_varies_colours_by_a_power_of_each_channel(jitter, seed):
    """Read from crops of one grey: the powers lie within their limits, and differ by crop and by channel."""
    grey = Images([np.full((4, 4, 3), 64, np.uint8)])
    loader = Loader(grey, batch=20, size=4, jitter=jitter, rng=np.random.default_rng(seed))
    values = (next(loader)[:, 0, 0].astype(np.float64) + 1) / 2
    logarithms = np.log(np.log(values) / np.log(64 / 255)) / jitter
    assert np.abs(logarithms).max() <= 1.5 + 1e-3
    assert np.ptp(logarithms, axis=1).max() <= 1 + 1e-3  # channels differ by what is drawn for each, halved
    assert np.ptp(logarithms, axis=0).min() > 0.3
    assert np.ptp(logarithms, axis=1).min() > 0


def test_jitter_keeps_black_white_and_the_range_and_moves_no_window():
    """A picture whose crops tell their place: black at the left, white at the right."""
    ramp = Images([np.repeat(np.linspace(0, 255, 40).astype(np.uint8)[None, :, None], 3, axis=2).repeat(12, axis=0)])
    loaders = [
        Loader(ramp, batch=1, size=12, window=(1.0, 1.0), flip=False, jitter=j, rng=np.random.default_rng(3))
        for j in (0.0, 0.5)
    ]
    plain, varied = (next(loader) for loader in loaders)
    assert np.abs(varied).max() <= 1
    np.testing.assert_array_equal(np.argsort(plain[0, 0, :, 0]), np.argsort(varied[0, 0, :, 0]))
    np.testing.assert_array_equal(np.abs(plain) == 1, np.abs(varied) == 1)
    assert not np.allclose(plain, varied)


def test_windows_have_every_side_and_place_that_was_asked_for():
    """A window's place and side are read from the coordinates that it shows."""
    loader = Loader(
        coordinates(40, 80), batch=600, size=40, window=(0.5, 1.0), flip=False, rng=np.random.default_rng(0)
    )
    crops = (next(loader) + 1) * 127.5
    sides = (crops[:, -1, 0, 0] - crops[:, 0, 0, 0]) + 1
    tops, lefts = crops[:, 0, 0, 0], crops[:, 0, 0, 1]
    assert 19 <= sides.min() < 22
    assert 38 < sides.max() <= 41
    assert tops.min() < 0.5
    assert tops.max() > 15
    assert lefts.min() < 2
    assert lefts.max() > 55


def test_small_pictures_are_enlarged():
    images = next(Loader(noise_pictures(1, 3, 2), batch=2, size=16, rng=np.random.default_rng(0)))
    assert images.shape == (2, 16, 16, 3)


def test_the_same_generator_gives_the_same_batches():
    first, second = (Loader(noise_pictures(5), batch=3, size=8, rng=np.random.default_rng(7)) for _ in range(2))
    for _ in range(4):
        np.testing.assert_array_equal(next(first), next(second))


def test_a_loader_is_an_iterator():
    loader = Loader(noise_pictures(2), batch=1, size=4, rng=np.random.default_rng(0))
    assert iter(loader) is loader
    assert len([batch for batch, _ in zip(loader, range(5), strict=False)]) == 5


# -- taking up again --------------------------------------------------------------------------------------

generators = st.sampled_from([np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 9), generators)
def test_a_restored_loader_goes_on_exactly_alike(count, batch, before, kind):
    dataset = noise_pictures(count, 6, 8)
    loader = Loader(dataset, batch=batch, size=4, rng=np.random.Generator(kind(1)))
    for _ in range(before):
        next(loader)
    state = json.loads(json.dumps(loader.state()))
    expected = [next(loader) for _ in range(5)]

    fresh = Loader(dataset, batch=batch, size=4, rng=np.random.Generator(kind(2)))
    fresh.restore(state)
    for images in expected:
        np.testing.assert_array_equal(next(fresh), images)


def test_the_state_is_a_snapshot():
    loader = Loader(noise_pictures(3), batch=2, size=4, rng=np.random.default_rng(0))
    before = json.dumps(loader.state())
    state = loader.state()
    next(loader)
    assert json.dumps(state) == before
    assert json.dumps(loader.state()) != before


def test_a_state_of_something_else_is_refused_and_changes_nothing():
    rng = np.random.default_rng(0)
    loader = Loader(noise_pictures(3), batch=2, size=4, rng=rng)
    state = loader.state()
    others = [
        (Loader(noise_pictures(4), batch=2, size=4, rng=np.random.default_rng(0)).state(), "4 pictures"),
        (Loader(noise_pictures(3), batch=2, size=4, rng=np.random.Generator(np.random.SFC64(0))).state(), "PCG64"),
        ({}, "not a state"),
        (state | {"rng": None}, "not a state"),
        (state | {"position": "three"}, "not a state"),
        (state | {"position": 9}, "pictures"),
        (state | {"epoch_start": {"bit_generator": "PCG64"}}, "not a state"),
        (state | {"rng": {"bit_generator": "PCG64", "state": 3}}, "not a state"),
    ]
    for other, said in others:
        with pytest.raises(UserError, match=said) as caught:
            loader.restore(other)
        assert "\n" not in str(caught.value)
        assert loader.state() == state


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"size": 0},
        {"window": (0.0, 1.0)},
        {"window": (0.9, 0.5)},
        {"window": (0.5, 1.5)},
        {"jitter": -0.1},
        {"jitter": 1.5},
        {"jitter": float("nan")},
    ],
)
def test_a_loader_needs_sensible_numbers(wrong):
    with pytest.raises(UserError):
        Loader(noise_pictures(1), **{"batch": 1, "size": 4, "rng": np.random.default_rng(0)} | wrong)


def test_a_loader_needs_pictures():
    with pytest.raises(UserError, match="empty"):
        Loader(Subset(noise_pictures(1), []), batch=1, size=4, rng=np.random.default_rng(0))


# -- validation -------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 30))
def test_validation_crops_are_the_same_every_time_and_begin_alike_whatever_their_number(count, size, crops):
    dataset = noise_pictures(count, 11, 14)
    images = validation_crops(dataset, size=size, count=crops)
    assert images.shape == (crops, size, size, 3)
    assert images.dtype == np.float32
    assert np.abs(images).max() <= 1
    np.testing.assert_array_equal(images, validation_crops(dataset, size=size, count=crops + 3)[:crops])


def test_validation_takes_the_pictures_in_turn_and_their_centres_first():
    dataset = noise_pictures(3, 20, 28)
    images = validation_crops(dataset, size=15, count=5)
    for k in range(3):
        np.testing.assert_array_equal(
            images[k], crop_window(dataset.pixels(k), top=2, left=6, height=15, width=15, size=15)
        )
    np.testing.assert_array_equal(images[3], to_float(dataset.pixels(0)[:15, :15]))


def test_validation_windows_of_one_picture_differ():
    images = validation_crops(noise_pictures(1, 64, 64), size=16, count=27)
    assert len({image.tobytes() for image in images}) == 27


@pytest.mark.parametrize("wrong", [{"size": 0}, {"count": 0}])
def test_validation_needs_sensible_numbers(wrong):
    with pytest.raises(UserError):
        validation_crops(noise_pictures(1), **{"size": 4, "count": 2} | wrong)
