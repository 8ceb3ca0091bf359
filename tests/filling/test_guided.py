"""Guided completion: the guess says what goes where, the picture's own pixels say how it looks."""

import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

import ca_numpy
from ca_numpy import metrics
from ca_numpy.data import free_form, resize
from ca_numpy.errors import UserError
from ca_numpy.filling import blend, guided, patchmatch
from ca_numpy.filling.windows import surroundings


def noise(height, width, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (height, width, 3)).astype(np.float32)


def hole_in(height, width, *boxes):
    hole = np.zeros((height, width), bool)
    for top, left, down, across in boxes:
        hole[top : top + down, left : left + across] = True
    return hole


def scratches(size):
    hole = np.zeros((size, size), bool)
    for n in range(size):
        hole[n, n] = hole[n, size // 3] = hole[size // 2, n] = True
    return hole


#: Holes by name; sizes are odd, even and tiny.
HOLES = {
    "in the middle": hole_in(40, 48, (12, 14, 15, 17)),
    "at a border": hole_in(40, 48, (0, 10, 12, 20)),
    "from border to border": hole_in(40, 48, (15, 0, 9, 48)),
    "at all corners": hole_in(41, 37, (0, 0, 9, 8), (0, 30, 8, 7), (33, 0, 8, 9), (32, 29, 9, 8)),
    "several": hole_in(63, 50, (5, 5, 9, 9), (40, 30, 12, 11), (20, 44, 6, 6)),
    "of one pixel": hole_in(33, 35, (16, 17, 1, 1)),
    "single pixels": hole_in(33, 35, (0, 0, 1, 1), (32, 34, 1, 1), (10, 12, 1, 1), (10, 14, 1, 1)),
    "larger than the rest": hole_in(50, 50, (4, 4, 42, 42)),
    "all but a corner": ~hole_in(40, 40, (30, 30, 10, 10)),
    "scratches": scratches(45),
    "strokes": free_form(np.random.default_rng(0), image_size=64)[..., 0] > 0.5,
    "tiny picture": hole_in(8, 8, (2, 3, 3, 3)),
    "a picture of two pixels": hole_in(1, 2, (0, 0, 1, 1)),
    "a line": hole_in(1, 40, (0, 12, 1, 7)),
}


@pytest.mark.parametrize("name", HOLES)
def test_any_hole_is_filled_and_the_known_pixels_stay(name):
    """Whatever is in the hole; and nothing of it is seen."""
    hole = HOLES[name]
    image, guess = noise(*hole.shape), noise(*hole.shape, 1)
    guess = np.where(hole[..., None], guess, image)
    filled = guided.complete(image, hole, guess)
    assert filled.shape == image.shape
    assert filled.dtype == np.float32
    assert_array_equal(filled[~hole], image[~hole])
    assert np.abs(filled).max() <= 1
    other = np.where(hole[..., None], np.float32(0.9), image)
    assert_array_equal(guided.complete(other, hole, guess)[hole], filled[hole])


@given(st.integers(2, 24), st.integers(2, 24), st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_the_copies_are_known_pixels_one_for_each_pixel_of_the_hole(height, width, seed, share):
    hole = np.random.default_rng(seed).random((height, width)) < share
    hole[0, 0], hole[-1, -1] = True, False
    image, guess = noise(height, width, seed % 9), noise(height, width, 1)
    copies = patchmatch.copied(image, hole, guess=guess, low=guess)
    assert_array_equal(copies.pixels, np.argwhere(hole))
    assert not hole[tuple(copies.sources.T)].any()


@pytest.mark.parametrize(
    "name", ["in the middle", "at all corners", "larger than the rest", "scratches", "tiny picture"]
)
def test_one_colour_is_continued_exactly(name):
    hole = HOLES[name]
    image = np.full((*hole.shape, 3), (0.2, -0.4, 0.6), np.float32)
    guess = np.where(hole[..., None], noise(*hole.shape), image)
    assert_array_equal(guided.complete(image, hole, guess), image)


def test_with_the_bundled_weights_a_red_picture_stays_red():
    image, mask = np.zeros((256, 256, 3), np.uint8), np.zeros((256, 256), bool)
    image[..., 0] = 255
    mask[70:190, 60:180] = True
    assert_array_equal(ca_numpy.inpaint(np.where(mask[..., None], 128, image), mask), image)


def test_two_colours_are_continued_with_a_straight_edge():
    image = np.full((80, 80, 3), -0.7, np.float32)
    image[:, 40:] = 0.6
    hole = hole_in(80, 80, (24, 24, 32, 32))
    guess = gaussian_filter(image, (3, 3, 0))
    assert_allclose(guided.complete(image, hole, guess), image, atol=2 / 127.5)


def test_a_linear_gradient_is_continued():
    """The hole is 30 wide, and its colours differ by 0.38 from side to side: the mean of the errors is far below."""
    image = np.repeat(np.linspace(-0.5, 0.5, 80, dtype=np.float32)[None, :, None], 80, 0).repeat(3, 2)
    hole = hole_in(80, 80, (25, 25, 30, 30))
    filled = guided.complete(image, hole, image)
    assert np.abs(filled - image)[hole].mean() < 0.02


def test_the_seed_decides():
    image, hole = noise(48, 48), hole_in(48, 48, (16, 16, 16, 16))
    first, again, other = (guided.complete(image, hole, image, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert_array_equal(first, again)
    assert_array_equal(guided.complete(image, hole, image), guided.complete(image, hole, image))
    assert (first != other).any()


def test_the_number_of_threads_does_not_matter():
    threads = pytest.importorskip("ca_numpy.threads", reason="needs Numba", exc_type=ImportError)
    image, hole = noise(64, 64), hole_in(64, 64, (16, 16, 32, 32))
    several = guided.complete(image, hole, image)
    with threads.num_threads(1):
        assert_array_equal(guided.complete(image, hole, image), several)


RED, BLUE = np.float32([0.5, -0.5, -0.5]), np.float32([-0.5, -0.5, 0.5])


def layout(size=240):
    """Red above, blue below, both rough; in the hole a guess with red on the left and blue on the right."""
    y, x = np.indices((size, size, 1))[:2]
    image = np.where(2 * y < size, RED, BLUE) + 0.25 * noise(size, size)
    hole = hole_in(size, size, [size * 3 // 10] * 2 + [size * 4 // 10] * 2)
    return image, hole, np.where(hole[..., None], np.where(2 * x < size, RED, BLUE), image)


def redness(image):
    """Red minus blue, from -1 to 1, in the four quarters of the hole's middle: top left, top right, bottom left, …"""
    n = len(image)
    near, far = slice(n * 37 // 100, n * 46 // 100), slice(n * 54 // 100, n * 63 // 100)
    return np.array(
        [(image[at][..., 0] - image[at][..., 2]).mean() for at in ((near, near), (near, far), (far, near), (far, far))]
    )


def pasted(image, hole, guess):
    """The copies before they are joined."""
    copies = patchmatch.copied(image, hole, guess=guess, low=gaussian_filter(guess, (4, 4, 0)))
    filled = image.copy()
    filled[hole] = image[tuple(copies.sources.T)]
    return filled


def test_the_guess_decides_what_goes_where():
    """Left and right as the guess; without one, PatchMatch continues what is above and below."""
    image, hole, guess = layout()
    assert_allclose(redness(guess), [1, -1, 1, -1], atol=0.01)
    assert_allclose(redness(patchmatch.complete(image, hole)), [1, 1, -1, -1], atol=0.2)
    assert (redness(pasted(image, hole, guess)) * [1, -1, 1, -1] > 0.4).all()
    assert (redness(guided.complete(image, hole, guess)) * [1, -1, 1, -1] > 0.1).all()


def test_the_texture_is_the_pictures_not_the_guesss():
    """The guess is flat in the hole; the fill is as rough as the rest."""
    image, hole, guess = layout()
    rough = [
        metrics.tv(x, mask=hole[..., None].astype(np.float32))[0]
        for x in (guess, guided.complete(image, hole, guess), image)
    ]
    assert rough[0] < 0.2 * rough[2]
    assert 0.8 * rough[2] < rough[1] < 1.2 * rough[2]


def test_stripes_of_one_pixel_keep_their_contrast():
    """A fill of their mean, as a network that minimises ℓ1 gives, has none."""
    image = np.where(np.arange(96)[None, :, None] % 2, np.float32(0.5), np.float32(-0.5)) * np.ones(
        (96, 1, 3), np.float32
    )
    hole = hole_in(96, 96, (30, 30, 36, 36))
    filled = guided.complete(image, hole, np.where(hole[..., None], 0, image))
    rough = [metrics.tv(x, mask=hole[..., None].astype(np.float32))[0] for x in (filled, image)]
    assert 0.9 * rough[1] < rough[0] < 1.1 * rough[1]


@pytest.mark.parametrize("shape", [(120, 120), (130, 110), (300, 300)])
def test_a_guess_may_have_any_size(shape):
    image, hole, guess = layout()
    filled = guided.complete(image, hole, resize(guess, shape))
    assert_array_equal(filled[~hole], image[~hole])
    assert (redness(filled) * [1, -1, 1, -1]).mean() > 0.2  # PatchMatch alone: 0


def test_of_a_large_picture_only_the_surroundings_of_the_holes_matter():
    """And the part of a smaller guess that belongs to them."""
    image, hole, guess = layout()
    large, far, whole = noise(720, 720), np.zeros((720, 720), bool), np.zeros((720, 720, 3), np.float32)
    place = slice(200, 440), slice(300, 540)
    large[place], far[place], whole[place] = image, hole, guess
    filled = guided.complete(large, far, resize(whole, (360, 360)))
    near = surroundings(far)
    alone = guided.complete(
        large[near],
        far[near],
        resize(whole, (360, 360))[near[0].start // 2 : near[0].stop // 2, near[1].start // 2 : near[1].stop // 2],
    )
    assert_array_equal(filled[near], alone)
    other = large.copy()
    other[0, 0] = -other[0, 0]
    assert_array_equal(guided.complete(other, far, resize(whole, (360, 360)))[far], filled[far])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"guess": np.full((16, 16, 3), np.nan, np.float32)}, "guess.*(finite|NaN)"),
        ({"guess": np.zeros((16, 16), np.float32)}, "guess"),
        ({"guess": np.full((16, 16, 3), 7.0, np.float32)}, "guess"),
        ({"mask": np.zeros((16, 16))}, "no hole"),
        ({"mask": np.ones((16, 16))}, "all hole"),
        ({"mask": np.eye(15)}, "15"),
        ({"radius": -1}, "radius=-1"),
    ],
)
def test_bad_input_is_one_line(change, said):
    given = {"mask": np.eye(16), "guess": noise(16, 16), **change}
    with pytest.raises(UserError, match=said) as caught:
        guided.complete(noise(16, 16), **given)
    assert "\n" not in str(caught.value)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("quiet", [True, False])
def test_a_progress_bar_is_shown_when_asked_for_and_only_in_a_terminal(quiet, monkeypatch, capsys):
    image, hole = noise(16, 16), hole_in(16, 16, (5, 5, 4, 4))
    guided.complete(image, hole, image, quiet=quiet)
    assert "copying" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    guided.complete(image, hole, image, quiet=quiet)
    assert ("copying" in terminal.getvalue()) == (not quiet)


def test_the_guess_of_a_photograph_is_the_networks_blended_fill():
    """`inpaint` is `guided.complete` of what the network gives, blended, where nothing is shrunk."""
    rng = np.random.default_rng(0)
    model = ca_numpy.models.Generator(width=4, rng=rng)
    image, hole = noise(40, 48), HOLES["in the middle"]
    mask = hole[..., None].astype(np.float32)
    refined = model.complete(image[None], mask[None]).refined.numpy()[0]
    with ca_numpy.use_backend("numpy"):
        expected = guided.complete(image, hole, np.where(hole[..., None], blend(image, refined, mask), image))
    found = ca_numpy.inpaint((image + 1) / 2, hole, model=model, backend="numpy", largest_hole=0)
    assert_allclose(2 * found[hole] - 1, expected[hole], atol=1 / 127.5)
