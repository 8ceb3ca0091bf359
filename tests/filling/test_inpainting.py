"""Any size, any number of holes, known pixels untouched; and one line for everything that can be wrong."""

from functools import partial
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ca_numpy
from ca_numpy import filling, use_backend, weights
from ca_numpy.cli import main
from ca_numpy.errors import UserError
from ca_numpy.filling.inpainting import Method, inpaint_details
from ca_numpy.models import OFFICIAL, Generator, Learnt
from ca_numpy.models.io import save

MODEL = Generator(width=4, rng=np.random.default_rng(3))
#: Most of this file is about what reaches the network, and what becomes of its output.
inpaint = partial(ca_numpy.inpaint, method="network")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def centre_hole(height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 4 + max(height // 2, 1), width // 4 : width // 4 + max(width // 2, 1)] = True
    return mask


@given(height=st.integers(2, 40), width=st.integers(2, 40), seed=st.integers(0, 9))
def test_any_size_and_the_known_pixels_stay_as_they_were(height, width, seed):
    image, mask = picture(height, width, seed), np.random.default_rng(seed).random((height, width)) < 0.3
    mask[0, 0], mask[-1, -1] = True, False
    result = inpaint(image, mask, model=MODEL, backend="numpy")
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[~mask], image[~mask])


def test_what_lies_in_the_hole_does_not_matter():
    image, mask = picture(24, 32), centre_hole(24, 32)
    other = np.where(mask[:, :, None], 255 - image, image)
    results = [inpaint(x, mask, model=MODEL, backend="numpy") for x in (image, other)]
    np.testing.assert_array_equal(*results)


def test_files_and_arrays_give_the_same(tmp_path):
    image, mask = picture(24, 40), centre_hole(24, 40)
    Image.fromarray(image).save(tmp_path / "photo.png")
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(tmp_path / "mask.png")
    Image.fromarray(np.where(mask, 0, 255).astype(np.uint8)).save(tmp_path / "inverted.png")
    save(tmp_path / "model.safetensors", MODEL)
    expected = inpaint(image, mask, model=MODEL, backend="numpy")
    files = tmp_path / "photo.png", tmp_path / "mask.png"
    np.testing.assert_array_equal(inpaint(*files, model=tmp_path / "model.safetensors"), expected)
    np.testing.assert_array_equal(
        inpaint(tmp_path / "photo.png", tmp_path / "inverted.png", model=MODEL, invert=True), expected
    )
    filled = inpaint(image / np.float32(255), mask.astype(np.float32)[:, :, None], model=MODEL)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(np.rint(filled * 255).astype(np.uint8), expected)


def test_an_inverted_array_is_inverted_too():
    image, mask = picture(24, 40), centre_hole(24, 40)
    expected = inpaint(image, mask, model=MODEL, backend="numpy")
    np.testing.assert_array_equal(inpaint(image, ~mask, model=MODEL, backend="numpy", invert=True), expected)


def test_a_variant_of_your_own_survives_its_file(tmp_path):
    import dataclasses

    from ca_numpy.attention import PAPER as PAPER_ATTENTION

    mine = dataclasses.replace(OFFICIAL, name="mine", padding="reflect", attention=PAPER_ATTENTION)
    save(tmp_path / "mine.safetensors", Generator(variant=mine, width=4))
    assert ca_numpy.load(tmp_path / "mine.safetensors").variant == mine


def test_bgr_weights_are_turned_when_they_are_loaded(tmp_path):
    """By the file's metadata, as the authors' and the FGVC port's are by what they are; the answer is the same, RGB."""
    image, mask = picture(16, 16), centre_hole(16, 16)
    weights.write(tmp_path / "bgr.safetensors", MODEL.arrays(), metadata={"channel_order": "bgr"})
    expected = inpaint(image[:, :, ::-1], mask, model=MODEL, backend="numpy", blend=False)[:, :, ::-1]
    filled = inpaint(image, mask, model=tmp_path / "bgr.safetensors", backend="numpy", blend=False)
    np.testing.assert_allclose(filled.astype(int), expected.astype(int), atol=1)  # sums in another order


def test_a_half_precision_file_is_widened(tmp_path):
    weights.write(tmp_path / "half.safetensors", {n: a.astype(np.float16) for n, a in MODEL.arrays().items()})
    assert all(a.dtype == np.float32 for a in ca_numpy.load(tmp_path / "half.safetensors").arrays().values())


def test_details_give_the_coarse_picture_the_window_and_where_the_attention_looked():
    done = inpaint_details(picture(20, 28), centre_hole(20, 28), model=MODEL, backend="numpy", attention=True)
    assert done.coarse.shape == (20, 28, 3)
    assert done.window == (slice(0, 20), slice(0, 28), (20, 28))
    index, background = done.attention
    assert index.shape == background == (3, 4)  # an eighth of 24 × 32
    assert 0 <= index.min() <= index.max() < 12


def test_the_defaults_of_python_and_of_the_command_are_the_same(tmp_path, monkeypatch):
    """One call, one result: the command's file is what `inpaint` gives, and every option reaches it."""
    image, mask = picture(40, 48), centre_hole(40, 48)
    Image.fromarray(image).save(tmp_path / "photo.png")
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(tmp_path / "mask.png")
    trained = Generator(width=4, rng=np.random.default_rng(5))
    trained.learnt = Learnt(hole=10, size=32)
    save(tmp_path / "run.safetensors", trained)
    files = [str(tmp_path / name) for name in ("photo.png", "mask.png")]
    given = {
        (): {},
        ("--invert",): {"invert": True},
        ("--no-blend",): {"blend": False},
        ("--largest-hole", "0"): {"largest_hole": 0},
        ("--largest-hole", "7"): {"largest_hole": 7},
        ("--method", "network"): {"method": "network"},
    }
    results = []
    for options, same in given.items():
        model = tmp_path / "run.safetensors"
        out = ["--out", str(tmp_path / "out.png"), "--overwrite"]
        assert main(["inpaint", *files, "--model", str(model), *out, *options]) == 0
        results.append(np.asarray(Image.open(tmp_path / "out.png")))
        np.testing.assert_array_equal(results[-1], ca_numpy.inpaint(*files, model=model, **same))
    assert len({result.tobytes() for result in results}) == len(given)  # each option changes something


def test_a_models_own_largest_hole_is_taken_from_its_file(tmp_path):
    trained = Generator(width=4, rng=np.random.default_rng(5))
    trained.learnt = Learnt(hole=10, size=32, licence="CC0-1.0")
    save(tmp_path / "run.safetensors", trained)
    loaded = ca_numpy.load(tmp_path / "run.safetensors")
    assert (loaded.learnt, loaded.architecture) == (trained.learnt, "two-stage")
    image, mask = picture(80, 80), centre_hole(80, 80)
    own, fitted, whole = (inpaint_details(image, mask, model=loaded, largest_hole=n) for n in (None, 10, 0))
    np.testing.assert_array_equal(own.result, fitted.result)
    assert own.window.size < whole.window.size == (80, 80)


def test_holes_far_apart_in_a_large_picture_are_seen_smaller(monkeypatch):
    monkeypatch.setattr("ca_numpy.filling.inpainting.GUESSED", 100 * 60)
    mask = np.zeros((120, 200), bool)
    mask[5:9, 5:9] = mask[110:114, 190:194] = True
    copied = inpaint_details(picture(120, 200), mask, model=MODEL, largest_hole=16)
    assert copied.window.size == (60, 100)
    assert inpaint_details(picture(120, 200), mask, model=MODEL, largest_hole=16, method="network").window.size > (
        100,
        190,
    )


def test_the_package_knows_that_its_weights_learnt_from_holes_of_128_pixels():
    assert ca_numpy.load().learnt == Learnt(hole=128, size=256, licence="MIT")


@pytest.mark.parametrize("field", [{"hole": "0"}, {"hole": "-3"}, {"size": "1e9"}, {"hole": "٣"}, {"hole": "9" * 99}])
def test_metadata_that_is_no_size_is_refused(tmp_path, field):
    weights.write(tmp_path / "odd.safetensors", MODEL.arrays(), metadata=field)
    with pytest.raises(UserError, match="not a number of pixels"):
        ca_numpy.load(tmp_path / "odd.safetensors")


def bad_inputs() -> dict[str, tuple[object, object, str]]:
    image, mask = picture(16, 16), centre_hole(16, 16)
    nan = image / np.float32(255)
    nan[3, 3, 1] = np.nan
    return {
        "mask of another size": (image, mask[:-1], "15"),
        "empty mask": (image, np.zeros((16, 16)), "mask"),
        "full mask": (image, np.ones((16, 16)), "mask"),
        "NaN in the image": (nan, mask, "NaN|finite"),
        "two images": (image[None], mask, "one image"),
        "range": (image.astype(np.float32), mask, r"\[0, 1\]"),
        "the networks' range": (image / 127.5 - 1, mask, r"\(x \+ 1\) / 2"),
        "missing file": ("nowhere.png", mask, "nowhere.png"),
    }


@pytest.mark.parametrize("name", list(bad_inputs()))
def test_bad_input_is_one_line_that_names_it(name):
    image, mask, said = bad_inputs()[name]
    with pytest.raises(UserError, match=said) as caught:
        inpaint(image, mask, model=MODEL)
    assert "\n" not in str(caught.value)


def test_no_model_a_wrong_model_and_an_unknown_backend_are_told(tmp_path):
    image, mask = picture(16, 16), centre_hole(16, 16)
    (tmp_path / "notes.txt").write_text("not a model")
    for options in ({"model": tmp_path / "notes.txt"}, {"model": tmp_path}, {"model": MODEL, "backend": "abacus"}):
        with pytest.raises(UserError) as caught:
            inpaint(image, mask, **options)
        assert "\n" not in str(caught.value)


def test_a_picture_too_large_for_the_memory_is_refused_before_any_work():
    with pytest.raises(UserError, match="GiB"):
        inpaint(np.zeros((8000, 8000, 3), np.uint8), np.eye(8000, dtype=bool), model=MODEL)


def test_memory_is_asked_for_attention_only_where_there_is_attention():
    with use_backend("numpy"):
        assert MODEL.memory_needed(2000, 2000) > 16 << 30
        for kind in ("none", "spatial-transformer", "appearance-flow"):
            assert Generator(width=4, attention=kind).memory_needed(2000, 2000) < 8 << 30


def test_blended_what_is_filled_in_meets_the_known_pixels():
    """On a flat picture the shift takes any fill to that colour at the edge; a fill of one colour, everywhere."""
    image, mask = np.full((24, 32, 3), 90, np.uint8), centre_hole(24, 32)
    flat = Generator(width=4)
    for name, layer in flat.layers.items():
        if name == "allconv17":
            layer.kernel = layer.kernel * 0.0
    filled = inpaint(image, mask, model=flat, backend="numpy", blend=False)
    assert (filled[mask] != 90).all()
    np.testing.assert_array_equal(inpaint(image, mask, model=flat, backend="numpy", blend=True), image)
    np.testing.assert_array_equal(inpaint(image, mask, model=flat, blend=True, largest_hole=4), image)


# -- pictures and holes that are larger than those the model knows -----------------------------------------


@given(height=st.integers(2, 40), width=st.integers(2, 40), seed=st.integers(0, 9), largest=st.integers(1, 50))
def test_at_any_size_known_pixels_stay_and_what_lies_in_the_hole_does_not_matter(height, width, seed, largest):
    image, mask = picture(height, width, seed), np.random.default_rng(seed).random((height, width)) < 0.3
    mask[0, 0], mask[-1, -1] = True, False
    other = np.where(mask[:, :, None], 255 - image, image)
    options = {"model": MODEL, "backend": "numpy", "largest_hole": largest}
    try:
        results = [inpaint(x, mask, **options) for x in (image, other)]
    except UserError:
        with pytest.raises(UserError, match="no known pixels"):  # shrunk, which then is told
            inpaint(image, mask, **options)
        return
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(results[0][~mask], image[~mask])


def test_holes_that_the_model_knows_are_filled_as_they_are():
    """The surroundings reach over the whole picture here, and nothing is shrunk."""
    image, mask = picture(48, 56), centre_hole(48, 56)
    plain, fitted = (inpaint(image, mask, model=MODEL, largest_hole=n) for n in (0, 28))
    np.testing.assert_array_equal(plain, fitted)


class Watched(Generator):
    """A generator that remembers what it was asked to complete."""

    def complete(self, image, mask):
        self.seen = np.asarray(image)[0], np.asarray(mask)[0, :, :, 0]
        return super().complete(image, mask)


def test_a_larger_hole_is_filled_at_a_size_at_which_the_model_knows_it():
    """Seen from what reaches the network: a hole of 64 in 128 pixels, as one of 16 in 32, all of it a hole."""
    image = np.full((128, 128, 3), 90, np.uint8)
    image[32:96, 32:96] = 255  # what is to be removed
    mask = centre_hole(128, 128)
    model = Watched(width=4)
    result = inpaint(image, mask, model=model, largest_hole=16)
    pixels, small = model.seen
    assert pixels.shape == (32, 32, 3)
    assert small[8:24, 8:24].all()
    assert 16**2 <= small.sum() <= 20**2  # and no more than the pixels that shrinking mixes with it
    np.testing.assert_allclose(pixels, 90 / 127.5 - 1, atol=1e-6)  # nothing of it leaks into the known pixels
    np.testing.assert_array_equal(result[~mask], 90)
    assert len(np.unique(result[mask], axis=0)) > 1


def test_a_pixel_that_has_a_part_in_the_hole_counts_as_hole():
    """Odd positions, so that shrinking by two mixes known and unknown; the network is told of all of them."""
    mask = np.zeros((96, 96), bool)
    mask[33:63, 35:65] = True
    model = Watched(width=4)
    inpaint(picture(96, 96), mask, model=model, largest_hole=15)
    small = model.seen[1]
    touched = mask[: 2 * len(small), : 2 * len(small)].reshape(len(small), 2, len(small), 2).any((1, 3))
    assert touched.shape == small.shape
    assert small[touched].all()


@pytest.mark.parametrize(("shrink", "shape"), [(1, (5 * 24, 5 * 24)), (2, (5 * 24, 5 * 24))])
def test_the_surroundings_reach_twice_as_far_as_the_hole_on_each_side(shrink, shape):
    """In a large picture: 48 + 24 + 48 pixels as the network sees them, whatever the hole's own size."""
    mask = np.zeros((600, 640), bool)
    mask[300 : 300 + 24 * shrink, 280 : 280 + 24 * shrink] = True
    model = Watched(width=4)
    inpaint(picture(600, 640), mask, model=model, largest_hole=24)
    assert model.seen[0].shape == (*shape, 3)


def test_sizes_that_are_no_multiple_of_eight_are_mirrored_not_repeated():
    """What reaches the layers of a picture of 13 × 22: rows 12, 11, 10 and columns 21, 20 once more, hole and all."""

    class Layers(Generator):
        def __call__(self, image, mask):
            self.fed = image.numpy(), mask.numpy()
            return super().__call__(image, mask)

    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (1, 13, 22, 3)).astype(np.float32)
    mask = (rng.random((1, 13, 22, 1)) < 0.3).astype(np.float32)
    model = Layers(width=4)
    done = model.complete(image, mask)
    frame = ((0, 0), (0, 3), (0, 2), (0, 0))
    np.testing.assert_array_equal(model.fed[1], np.pad(mask, frame, mode="symmetric"))
    np.testing.assert_array_equal(model.fed[0], np.pad(image * (1 - mask), frame, mode="symmetric"))
    assert done.coarse.shape == done.refined.shape == done.result.shape == image.shape


def test_a_thin_known_rim_is_enough():
    """One known pixel all around: shrunk, it is still known."""
    image, mask = np.full((64, 64, 3), 90, np.uint8), np.ones((64, 64), bool)
    mask[[0, -1]] = mask[:, [0, -1]] = False
    result = inpaint(image, mask, model=MODEL, largest_hole=20)
    np.testing.assert_array_equal(result[~mask], 90)


def test_a_small_hole_of_a_huge_picture_is_looked_at_alone():
    """Whole, it would not fit into any memory."""
    image = np.full((8000, 8000, 3), 90, np.uint8)
    mask = np.zeros((8000, 8000), np.uint8)
    mask[4000:4010, 4000:4010] = 1
    result = inpaint(image, mask, model=MODEL, largest_hole=16)
    assert (result[mask == 0] == 90).all()


def test_no_hole_is_less_than_nothing():
    with pytest.raises(UserError, match="largest_hole=-1"):
        inpaint(picture(16, 16), centre_hole(16, 16), model=MODEL, largest_hole=-1)


# -- methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_fills_the_hole_and_nothing_else(method):
    """Or says in one line what to install."""
    image, mask = picture(40, 48), np.zeros((40, 48), bool)
    mask[:6, :7] = mask[20:30, 20:33] = mask[39, 47] = True
    other = np.where(mask[:, :, None], 255 - image, image)
    options = {"method": method, "model": MODEL if method in ("guided", "network") else None}
    if method in filling.METHODS and (why := filling.why_unavailable(method)):
        assert "\n" not in why
        with pytest.raises(UserError, match="install"):
            ca_numpy.inpaint(image, mask, **options)
        return
    results = [ca_numpy.inpaint(x, mask, **options) for x in (image, other)]
    np.testing.assert_array_equal(*results)
    assert (results[0].shape, results[0].dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(results[0][~mask], image[~mask])
    assert (results[0][mask] != image[mask]).any(-1).mean() > 0.9


def test_a_method_is_guided_unless_another_is_chosen():
    image, mask = picture(32, 32), centre_hole(32, 32)
    filled = {method: ca_numpy.inpaint(image, mask, model=MODEL, method=method) for method in ("guided", "network")}
    np.testing.assert_array_equal(ca_numpy.inpaint(image, mask, model=MODEL), filled["guided"])
    np.testing.assert_array_equal(inpaint_details(image, mask, model=MODEL).result, filled["guided"])
    assert (filled["guided"] != filled["network"]).any()


@pytest.mark.parametrize("method", ["patchmatch", "mean", "biharmonic"])
def test_a_method_without_a_model_loads_none_and_is_that_of_fill(method, monkeypatch):
    def opened(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("ca_numpy.filling.inpainting.opened", opened)
    image, mask = picture(24, 30), centre_hole(24, 30)
    filled = ca_numpy.inpaint(image, mask, method=method)
    expected = np.round((filling.fill(method, image, mask) + 1) * 127.5)
    assert np.abs(filled - expected)[mask].max() <= 1
    np.testing.assert_array_equal(filled[~mask], image[~mask])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "magic"}, "'magic'.*guided, network, patchmatch"),
        ({"method": "mean", "model": MODEL}, "'mean' uses no model"),
        ({"method": "telea", "model": "nowhere"}, "'telea' uses no model"),
    ],
)
def test_a_method_that_does_not_exist_or_needs_no_model_is_one_line(options, said):
    with pytest.raises(UserError, match=said) as caught:
        ca_numpy.inpaint(picture(16, 16), centre_hole(16, 16), **options)
    assert "\n" not in str(caught.value)
