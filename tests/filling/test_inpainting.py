"""Any size, any number of holes, known pixels untouched; and one line for everything that can be wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ca_numpy
from ca_numpy.errors import UserError
from ca_numpy.filling.inpainting import inpaint_details
from ca_numpy.models import OFFICIAL, Generator
from ca_numpy.models.io import save

MODEL = Generator(width=4, rng=np.random.default_rng(3))


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
    result = ca_numpy.inpaint(image, mask, model=MODEL, backend="numpy")
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[~mask], image[~mask])


def test_what_lies_in_the_hole_does_not_matter():
    image, mask = picture(24, 32), centre_hole(24, 32)
    other = np.where(mask[:, :, None], 255 - image, image)
    results = [ca_numpy.inpaint(x, mask, model=MODEL, backend="numpy") for x in (image, other)]
    np.testing.assert_array_equal(*results)


def test_files_and_arrays_give_the_same(tmp_path):
    image, mask = picture(24, 40), centre_hole(24, 40)
    Image.fromarray(image).save(tmp_path / "photo.png")
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(tmp_path / "mask.png")
    Image.fromarray(np.where(mask, 0, 255).astype(np.uint8)).save(tmp_path / "inverted.png")
    save(tmp_path / "model.safetensors", MODEL)
    expected = ca_numpy.inpaint(image, mask, model=MODEL, backend="numpy")
    files = tmp_path / "photo.png", tmp_path / "mask.png"
    np.testing.assert_array_equal(ca_numpy.inpaint(*files, model=tmp_path / "model.safetensors"), expected)
    np.testing.assert_array_equal(
        ca_numpy.inpaint(tmp_path / "photo.png", tmp_path / "inverted.png", model=MODEL, invert=True), expected
    )
    floats = image / np.float32(127.5) - 1
    np.testing.assert_array_equal(ca_numpy.inpaint(floats, mask.astype(np.float32)[:, :, None], model=MODEL), expected)


def test_an_inverted_array_is_inverted_too():
    image, mask = picture(24, 40), centre_hole(24, 40)
    expected = ca_numpy.inpaint(image, mask, model=MODEL, backend="numpy")
    np.testing.assert_array_equal(ca_numpy.inpaint(image, ~mask, model=MODEL, backend="numpy", invert=True), expected)


def test_a_variant_of_your_own_survives_its_file(tmp_path):
    import dataclasses

    from ca_numpy.attention import PAPER as PAPER_ATTENTION

    mine = dataclasses.replace(OFFICIAL, name="mine", padding="reflect", attention=PAPER_ATTENTION)
    save(tmp_path / "mine.safetensors", Generator(variant=mine, width=4))
    assert ca_numpy.load(tmp_path / "mine.safetensors").variant == mine


def test_bgr_weights_see_bgr_and_answer_rgb():
    import dataclasses

    image, mask = picture(16, 16), centre_hole(16, 16)
    bgr = Generator.from_tf(MODEL.arrays(), variant=dataclasses.replace(OFFICIAL, channel_order="bgr"))
    expected = ca_numpy.inpaint(image[:, :, ::-1], mask, model=MODEL, backend="numpy")[:, :, ::-1]
    np.testing.assert_array_equal(ca_numpy.inpaint(image, mask, model=bgr, backend="numpy"), expected)


def test_a_half_precision_file_is_widened(tmp_path):
    from ca_numpy import weights

    weights.write(tmp_path / "half.safetensors", {n: a.astype(np.float16) for n, a in MODEL.arrays().items()})
    assert all(a.dtype == np.float32 for a in ca_numpy.load(tmp_path / "half.safetensors").arrays().values())


def test_details_tell_the_coarse_guess_and_where_the_attention_looked():
    done = inpaint_details(picture(20, 28), centre_hole(20, 28), model=MODEL, backend="numpy", attention=True)
    assert done.coarse.shape == (20, 28, 3)
    index, background = done.attention
    assert index.shape == background == (3, 4)  # an eighth of 24 × 32
    assert 0 <= index.min() <= index.max() < 12


def bad_inputs() -> dict[str, tuple[object, object, str]]:
    image, mask = picture(16, 16), centre_hole(16, 16)
    nan = image / np.float32(127.5) - 1
    nan[3, 3, 1] = np.nan
    return {
        "mask of another size": (image, mask[:-1], "15"),
        "empty mask": (image, np.zeros((16, 16)), "mask"),
        "full mask": (image, np.ones((16, 16)), "mask"),
        "NaN in the image": (nan, mask, "NaN|finite"),
        "grey array": (image[:, :, 0], mask, "image"),
        "range": (image.astype(np.float32), mask, r"\[-1, 1\]"),
        "missing file": ("nowhere.png", mask, "nowhere.png"),
    }


@pytest.mark.parametrize("name", list(bad_inputs()))
def test_bad_input_is_one_line_that_names_it(name):
    image, mask, said = bad_inputs()[name]
    with pytest.raises(UserError, match=said) as caught:
        ca_numpy.inpaint(image, mask, model=MODEL)
    assert "\n" not in str(caught.value)


def test_no_model_a_wrong_model_and_an_unknown_backend_are_told(tmp_path):
    image, mask = picture(16, 16), centre_hole(16, 16)
    (tmp_path / "notes.txt").write_text("not a model")
    for options in ({"model": tmp_path / "notes.txt"}, {"model": tmp_path}, {"model": MODEL, "backend": "abacus"}):
        with pytest.raises(UserError) as caught:
            ca_numpy.inpaint(image, mask, **options)
        assert "\n" not in str(caught.value)


def test_a_picture_too_large_for_the_memory_is_refused_before_any_work():
    with pytest.raises(UserError, match="GiB"):
        ca_numpy.inpaint(np.zeros((8000, 8000, 3), np.uint8), np.eye(8000, dtype=bool), model=MODEL)


def test_memory_is_asked_for_attention_only_where_there_is_attention(monkeypatch):
    from ca_numpy.filling.inpainting import _check_memory
    from ca_numpy.registry import current_backend

    monkeypatch.setattr(type(current_backend()), "memory", lambda self: 16 << 30)
    with pytest.raises(UserError, match="GiB"):
        _check_memory((2000, 2000, 3), MODEL)
    for kind in ("none", "spatial-transformer", "appearance-flow"):
        _check_memory((2000, 2000, 3), Generator(width=4, attention=kind))


def test_the_order_of_colours_is_told_by_the_file(tmp_path):
    """Ours by its metadata, in a folder too; arrays without any are taken for RGB."""
    import dataclasses

    from ca_numpy import weights

    bgr = Generator.from_tf(MODEL.arrays(), variant=dataclasses.replace(OFFICIAL, channel_order="bgr"))
    (tmp_path / "folder").mkdir()
    save(tmp_path / "folder" / "any-name.safetensors", bgr)
    save(tmp_path / "rgb.safetensors", MODEL)
    np.savez(tmp_path / "bare.npz", **MODEL.arrays())
    weights.write(tmp_path / "bare.safetensors", MODEL.arrays())
    orders = {"folder": "bgr", "rgb.safetensors": "rgb", "bare.npz": "rgb", "bare.safetensors": "rgb"}
    assert {name: ca_numpy.load(tmp_path / name).variant.channel_order for name in orders} == orders


def test_blended_what_is_filled_in_meets_the_known_pixels():
    """On a flat picture the shift takes any fill to that colour at the edge; a fill of one colour, everywhere."""
    image, mask = np.full((24, 32, 3), 90, np.uint8), centre_hole(24, 32)
    flat = Generator(width=4)
    for name, layer in flat.layers.items():
        if name == "allconv17":
            layer.kernel = layer.kernel * 0.0
    filled = ca_numpy.inpaint(image, mask, model=flat, backend="numpy")
    assert (filled[mask] != 90).all()
    np.testing.assert_array_equal(ca_numpy.inpaint(image, mask, model=flat, backend="numpy", blend=True), image)
    np.testing.assert_array_equal(ca_numpy.inpaint(image, mask, model=flat, blend=True, largest_hole=4), image)


# -- pictures and holes that are larger than those the model knows -----------------------------------------


@given(height=st.integers(2, 40), width=st.integers(2, 40), seed=st.integers(0, 9), largest=st.integers(1, 50))
def test_at_any_size_known_pixels_stay_and_what_lies_in_the_hole_does_not_matter(height, width, seed, largest):
    image, mask = picture(height, width, seed), np.random.default_rng(seed).random((height, width)) < 0.3
    mask[0, 0], mask[-1, -1] = True, False
    other = np.where(mask[:, :, None], 255 - image, image)
    options = {"model": MODEL, "backend": "numpy", "largest_hole": largest}
    try:
        results = [ca_numpy.inpaint(x, mask, **options) for x in (image, other)]
    except UserError:
        with pytest.raises(UserError, match="nothing is known"):  # shrunk, which then is told
            ca_numpy.inpaint(image, mask, **options)
        return
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(results[0][~mask], image[~mask])


def test_holes_that_the_model_knows_are_filled_as_they_are():
    """The surroundings reach over the whole picture here, and nothing is shrunk."""
    image, mask = picture(48, 56), centre_hole(48, 56)
    plain, fitted = (ca_numpy.inpaint(image, mask, model=MODEL, largest_hole=n) for n in (None, 28))
    np.testing.assert_array_equal(plain, fitted)


def test_a_larger_hole_is_filled_at_a_size_at_which_the_model_knows_it(monkeypatch):
    """Seen from what reaches the networks: a hole of 64 in 128 pixels, as one of 16 in 32, all of it a hole."""
    from ca_numpy.filling import inpainting

    seen = []
    details = inpainting.inpaint_details

    def watched(image, mask, **options):
        seen.append((image.shape, np.asarray(mask)))
        return details(image, mask, **options)

    monkeypatch.setattr(inpainting, "inpaint_details", watched)
    image = np.full((128, 128, 3), 90, np.uint8)
    mask = centre_hole(128, 128)
    result = ca_numpy.inpaint(image, mask, model=MODEL, largest_hole=16)
    ((shape, small),) = seen
    assert shape == (32, 32, 3)
    assert small[8:24, 8:24].all()
    assert 16**2 <= small.sum() <= 20**2  # and no more than the pixels that shrinking mixes with it
    np.testing.assert_array_equal(result[~mask], 90)
    assert len(np.unique(result[mask], axis=0)) > 1


def test_a_small_hole_of_a_huge_picture_is_looked_at_alone():
    """Whole, it would not fit into any memory."""
    image = np.full((8000, 8000, 3), 90, np.uint8)
    mask = np.zeros((8000, 8000), np.uint8)
    mask[4000:4010, 4000:4010] = 1
    result = ca_numpy.inpaint(image, mask, model=MODEL, largest_hole=16)
    assert (result[mask == 0] == 90).all()


def test_no_hole_below_one_pixel():
    with pytest.raises(UserError, match="largest_hole=0"):
        ca_numpy.inpaint(picture(16, 16), centre_hole(16, 16), model=MODEL, largest_hole=0)
