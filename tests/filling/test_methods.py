"""The registry: every method keeps the promise of `fill`, and says what to install where it cannot."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from ca_numpy import filling
from ca_numpy.errors import UserError

#: Packages that a method needs, and the extra that brings each.
NEEDS = {
    "patchmatch": ("numba", "numba"),
    "telea": ("cv2", "peers"),
    "navier-stokes": ("cv2", "peers"),
    "pypatchmatch": ("patchmatch", "peers"),
}


@pytest.fixture(params=list(filling.METHODS))
def method(request):
    if request.param in NEEDS:
        package, extra = NEEDS[request.param]
        pytest.importorskip(package, reason=f"pip install 'ca-numpy[{extra}]'")
    return request.param


@pytest.fixture
def picture(rng):
    mask = np.zeros((24, 30), bool)
    mask[3:9, 4:11] = mask[12:20, 15:] = True
    return rng.uniform(-1, 1, (24, 30, 3)).astype(np.float32), mask


def test_known_pixels_are_untouched_and_the_rest_is_a_picture(method, picture):
    image, mask = picture
    filled = filling.fill(method, image, mask)
    assert filled.shape == image.shape
    assert filled.dtype == np.float32
    assert_array_equal(filled[~mask], image[~mask])
    assert np.abs(filled).max() <= 1
    assert (filled[mask] != image[mask]).mean() > 0.9
    assert_array_equal(filling.fill(method, image, mask), filled)


def test_what_is_in_the_hole_does_not_matter(method, picture):
    image, mask = picture
    other = np.where(mask[..., None], np.float32(0.9), image)
    assert_array_equal(filling.fill(method, image, mask)[mask], filling.fill(method, other, mask)[mask])


def test_one_colour_is_continued(method):
    image = np.full((20, 20, 3), (0.2, -0.4, 0.6), np.float32)
    mask = np.zeros((20, 20))
    mask[6:13, 5:15] = 1
    assert_allclose(filling.fill(method, image, mask), image, atol=2.1 / 127.5)  # OpenCV computes in bytes


@settings(deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.tuples(*[st.integers(0, 40)] * 4), st.booleans())
def test_pypatchmatch_fills_every_pixel_of_a_hole_that_it_accepts(height, width, sides, inside):
    """One colour is continued into a box, or from a box outwards; PyPatchMatch itself may leave pixels black."""
    pytest.importorskip("patchmatch", reason="pip install 'ca-numpy[peers]'")
    top, bottom, left, right = sides
    mask = np.full((height, width), not inside)
    mask[top : top + bottom, left : left + right] = inside
    assume(mask.any() and not mask.all())
    depth = max(np.abs(np.argwhere(~mask) - pixel).max(1).min() for pixel in np.argwhere(mask))
    image = np.full((height, width, 3), (0.2, -0.4, 0.6), np.float32)
    if depth > min(height, width) / 2:
        with pytest.raises(UserError, match=f"{depth} pixels deep"):
            filling.fill("pypatchmatch", image, mask)
    else:
        assert_allclose(filling.fill("pypatchmatch", image, mask), image, atol=2.1 / 127.5)


@pytest.mark.parametrize(("height", "width", "hole"), [(7, 20, 2), (15, 38, 18)])
def test_what_pypatchmatch_would_leave_black_is_refused_in_one_line(height, width, hole):
    pytest.importorskip("patchmatch", reason="pip install 'ca-numpy[peers]'")
    mask = np.zeros((height, width))
    mask[:, :hole] = 1
    with pytest.raises(UserError, match=f"hole {hole} pixels deep in an image {height} across") as error:
        filling.fill("pypatchmatch", np.full((height, width, 3), 0.5, np.float32), mask)
    assert "\n" not in str(error.value)


def test_a_seed_set_elsewhere_does_not_change_pypatchmatch(picture):
    patchmatch = pytest.importorskip("patchmatch", reason="pip install 'ca-numpy[peers]'")
    first = filling.fill("pypatchmatch", *picture)
    patchmatch.set_random_seed(7)
    assert_array_equal(filling.fill("pypatchmatch", *picture), first)


def test_without_its_compiled_library_pypatchmatch_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "patchmatch", SimpleNamespace(patchmatch_available=False))
    assert "compiled library" in str(filling.why_unavailable("pypatchmatch"))


def test_an_unknown_method_is_refused_with_the_names_of_the_others():
    with pytest.raises(UserError, match=r"'magic'.*patchmatch, telea"):
        filling.fill("magic", np.zeros((8, 8, 3), np.float32), np.eye(8))


@pytest.mark.parametrize(
    ("method", "modules", "install"),
    [
        ("patchmatch", ["numba", "ca_numpy.filling.patchmatch_kernels"], "ca-numpy[numba]"),
        ("telea", ["cv2"], "ca-numpy[peers]"),
        ("navier-stokes", ["cv2"], "ca-numpy[peers]"),
        ("pypatchmatch", ["patchmatch"], "ca-numpy[peers]"),
        ("biharmonic", ["skimage.restoration"], "scikit-image"),
    ],
)
def test_what_is_not_installed_is_named_with_the_install(method, modules, install, monkeypatch):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delattr("ca_numpy.filling.patchmatch_kernels", raising=False)
    why = filling.why_unavailable(method)
    assert why is not None
    assert install in why
    assert "\n" not in why
