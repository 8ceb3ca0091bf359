"""Batches made ahead of time: the same to the bit, whatever the threads do; none is lost, repeated or waited for."""

import json
import threading
import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ca_numpy.data import BackgroundLoader, Dataset, ImageFolder, Images, Loader, to_uint8
from ca_numpy.data.loader import skipped_summary
from ca_numpy.errors import UserError

seeds = st.integers(0, 2**32 - 1)


class Delayed(Dataset):
    """Pictures of different sizes that come after a while, the first ones last; those in `bad` cannot be read."""

    def __init__(self, count, *, bad=(), seconds=0.001):
        rng = np.random.default_rng(count)
        self.names = tuple(f"{i}.png" for i in range(count))
        self.bad, self.seconds, self.asked = set(bad), seconds, 0
        self._pixels = [rng.integers(0, 256, (6 + i % 3, 9 - i % 2, 3), dtype=np.uint8) for i in range(count)]

    def pixels(self, index):
        self.asked += 1
        time.sleep(self.seconds * ((len(self) - index) % 4))
        if index in self.bad:
            raise UserError(f"{index}.png is bad")
        return self._pixels[index]


def both(dataset, seed, *, batch=3, workers=3, ahead=2, **options):
    """The textbook's loader and the one in the background, from equal generators."""
    plain, inner = (Loader(dataset, batch=batch, size=4, rng=np.random.default_rng(seed), **options) for _ in range(2))
    return plain, BackgroundLoader(inner, workers=workers, ahead=ahead)


@given(seeds, st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_batches_are_the_plain_loaders_to_the_bit(seed, count, batch, workers, ahead):
    plain, background = both(Delayed(count), seed, batch=batch, workers=workers, ahead=ahead)
    with background:
        for _ in range(6):
            np.testing.assert_array_equal(next(background), next(plain))
            assert background.state() == plain.state()


@given(seeds, st.integers(0, 5), st.sampled_from(["windows", "whole", "pixels"]))
def test_taken_up_again_it_goes_on_with_the_batch_after_the_last_one_handed_out(seed, before, crops):
    """Batches that were ready and not yet handed out belong to the future, not to the state."""
    plain, background = both(Delayed(5), seed, crops=crops)
    with background:
        for _ in range(before):
            next(background)
        time.sleep(0.005)  # now some wait
        state = json.loads(json.dumps(background.state()))
    for _ in range(before):
        next(plain)
    assert plain.state() == state
    _, fresh = both(Delayed(5), seed + 1, crops=crops)
    with fresh:
        next(fresh)
        fresh.restore(state)
        for _ in range(4):
            np.testing.assert_array_equal(next(fresh), next(plain))


def test_closed_it_can_be_asked_again_and_nothing_is_lost():
    plain, background = both(Delayed(7), 0)
    for _ in range(5):
        np.testing.assert_array_equal(next(background), next(plain))
        background.close()
    assert iter(background) is background


def test_batches_get_ready_while_training_computes():
    """Without being asked again, all that there is room for is made; no clock decides, so machines may be busy."""
    _, background = both(Delayed(40), 0, batch=4, workers=2, ahead=3)
    with background:
        next(background)
        deadline = time.monotonic() + 60
        while background._running._waiting.qsize() < 3:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_no_more_is_made_than_there_is_room_for():
    dataset = Delayed(1000, seconds=0)
    _, background = both(dataset, 0, batch=4, workers=2, ahead=3)
    with background:
        next(background)
        time.sleep(0.2)
        assert dataset.asked <= (1 + 3) * 4 + 2 * 2 + 1  # handed out and waiting; and what the draws look ahead


def test_no_thread_is_left():
    before = threading.active_count()
    with both(Delayed(5), 0)[1] as background:
        assert threading.active_count() == before  # none before they are needed
        next(background)
        assert threading.active_count() > before
    assert threading.active_count() == before


# -- bad files --------------------------------------------------------------------------------------------


@given(seeds, st.sets(st.integers(0, 6), max_size=6))
def test_a_bad_picture_is_passed_over_and_named_and_does_not_change_the_others(seed, bad):
    plain, background = both(Delayed(7, bad=bad), seed)
    good = Delayed(7)
    with background:
        for _ in range(8):
            images = next(background)
            np.testing.assert_array_equal(images, next(plain))
            assert background.state() == plain.state()
    assert len(good) == 7
    assert set(plain.skipped) == {f"{i}.png" for i in bad}
    assert set(background.skipped) == set(plain.skipped)


def test_an_epoch_shows_every_good_picture_once():
    flat = [np.full((4, 4, 3), i, np.uint8) for i in range(6)]

    class Some(Images):
        def pixels(self, index):
            if index in (1, 4):
                raise UserError("bad")
            return super().pixels(index)

    loader = Loader(Some(flat), batch=4, size=2, rng=np.random.default_rng(0))
    for _ in range(5):
        assert sorted(to_uint8(next(loader))[:, 0, 0, 0]) == [0, 2, 3, 5]


def test_nothing_but_bad_pictures_is_an_error_and_no_endless_search():
    plain, background = both(Delayed(5, bad=range(5)), 0)
    for loader in (plain, background):
        with pytest.raises(UserError, match=r"none of the 5 pictures can be read: \d.png is bad"):
            next(loader)
    assert background._running is None


def test_what_is_no_bad_picture_is_raised_where_the_batch_is_asked_for():
    class Broken(Delayed):
        def pixels(self, index):
            raise MemoryError("out of it")

    _, background = both(Broken(3), 0)
    with pytest.raises(MemoryError, match="out of it"):
        next(background)


def test_one_line_tells_what_was_skipped():
    assert skipped_summary({}) == ""
    line = skipped_summary({f"{i}.png": f"{i} is bad" for i in range(9)})
    assert line.startswith("skipped 9 unreadable: '0.png', '1.png'")
    assert "\n" not in line
    assert "0 is bad" in line


def test_files_of_a_folder_are_decoded_in_threads_and_the_list_of_warnings_is_put_back(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / f"{i}.jpg")
    (tmp_path / "bad.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:300])
    (tmp_path / "empty.jpg").write_bytes(b"")
    before = list(warnings.filters)
    plain, background = both(ImageFolder(tmp_path, cache_bytes=0), 1, workers=4)
    with background:
        for _ in range(12):
            np.testing.assert_array_equal(next(background), next(plain))
    assert warnings.filters == before
    assert set(background.skipped) == {"bad.jpg", "empty.jpg"}


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"ahead": 0}])
def test_it_needs_sensible_numbers(wrong):
    with pytest.raises(UserError, match="1 or more"):
        both(Delayed(2), 0, **wrong)
