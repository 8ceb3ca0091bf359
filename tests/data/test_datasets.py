"""Sources of pictures: which files count, what they are called, and how they are divided."""

import contextlib
import importlib.util
import socket
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ca_numpy.data import (
    Concat,
    Dataset,
    ImageFolder,
    Images,
    Photographs,
    Subset,
    Textures,
    split,
    to_float,
    to_uint8,
)
from ca_numpy.data.images import load_pixels
from ca_numpy.data.sources import open_dataset, resolved
from ca_numpy.data.textures import KINDS
from ca_numpy.errors import UserError


def picture(value, height=4, width=5):
    return np.full((height, width, 3), value, np.uint8)


def of_names(*names):
    """A dataset of tiny pictures with these names; picture i has value i."""
    return Images([picture(i % 256, 1, 1) for i in range(len(names))], names=names)


def save(path, value=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(value)).save(path, **options)


def assert_is_dataset(dataset):
    assert len(dataset) == len(dataset.names) > 0
    for i in range(len(dataset)):
        image = dataset[i]
        assert image.dtype == np.float32
        assert image.ndim == 3
        assert image.shape[-1] == 3
        assert np.abs(image).max() <= 1
        np.testing.assert_array_equal(to_uint8(image), dataset.pixels(i))
    np.testing.assert_array_equal(dataset[-1], dataset[len(dataset) - 1])
    for wrong in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match=str(wrong)):
            dataset[wrong]
    assert len(list(dataset)) == len(dataset)  # so that a plain for loop ends


# -- arrays -----------------------------------------------------------------------------------------------


def test_arrays_are_a_dataset():
    dataset = Images([picture(7), to_float(picture(9, 3, 2))])
    assert_is_dataset(dataset)
    assert dataset.names == ("image-0", "image-1")
    np.testing.assert_array_equal(dataset.pixels(1), picture(9, 3, 2))


def test_arrays_must_be_images_with_a_name_each():
    with pytest.raises(UserError, match="at least one"):
        Images([])
    with pytest.raises(UserError, match="2 images have 1 names"):
        Images([picture(0), picture(1)], names=["a"])
    with pytest.raises(UserError, match="cat has shape"):
        Images([np.zeros((3, 3))], names=["cat"])


def test_a_dataset_of_your_own_needs_names_and_pixels():
    class Ramp(Dataset):
        names = ("dark", "light")

        def pixels(self, index):
            return picture(250 * index)

    assert_is_dataset(Ramp())


# -- a folder ---------------------------------------------------------------------------------------------


def test_a_folder_gives_every_picture_below_it_in_order(tmp_path):
    for value, name in enumerate(["b.png", "a/z.PNG", "a/b/c.Tiff", "c.bmp", "B.ppm", "d.gif"]):
        save(tmp_path / name, value)
    for ignored in ("notes.txt", ".hidden.png", ".thumbnails/x.png", "png", "a/x.png.part"):
        (tmp_path / ignored).parent.mkdir(exist_ok=True)
        (tmp_path / ignored).write_bytes(b"no picture")
    (tmp_path / "folder.png").mkdir()
    dataset = ImageFolder(tmp_path)
    assert dataset.names == ("B.ppm", "a/b/c.Tiff", "a/z.PNG", "b.png", "c.bmp", "d.gif")
    assert_is_dataset(dataset)
    np.testing.assert_array_equal(dataset.pixels(2), picture(1))


def test_a_folder_says_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"nothing' does not exist"):
        ImageFolder(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"has no images.*\.png"):
        ImageFolder(tmp_path)
    save(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"x\.png' is a file"):
        ImageFolder(tmp_path / "x.png")


def test_a_broken_picture_is_named_when_it_is_asked_for(tmp_path):
    save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    dataset = ImageFolder(tmp_path)
    assert dataset.names == ("bad.png", "good.png")
    with pytest.raises(UserError, match=r"bad\.png"):
        dataset[0]
    assert dataset[1].shape == (4, 5, 3)


def count_reads(monkeypatch):
    from ca_numpy.data import datasets

    reads, load = [], datasets.load_pixels

    def counting(path):
        reads.append(path.name)
        return load(path)

    monkeypatch.setattr(datasets, "load_pixels", counting)
    return reads


def test_decoded_pictures_are_kept_as_long_as_there_is_room_and_the_oldest_goes_first(tmp_path, monkeypatch):
    for i in range(3):
        save(tmp_path / f"{i}.png", i)
    reads = count_reads(monkeypatch)
    two = ImageFolder(tmp_path, cache_bytes=2 * picture(0).nbytes)
    assert reads == []  # nothing is opened before it is asked for
    for i in (0, 1, 0, 2, 0, 1):
        np.testing.assert_array_equal(two.pixels(i), picture(i))
    assert reads == ["0.png", "1.png", "2.png", "1.png"]


def test_the_cache_can_be_off(tmp_path, monkeypatch):
    save(tmp_path / "0.png", 3)
    reads = count_reads(monkeypatch)
    dataset = ImageFolder(tmp_path, cache_bytes=0)
    np.testing.assert_array_equal(dataset[0], dataset[0])
    assert reads == ["0.png", "0.png"]
    with pytest.raises(UserError, match="cache_bytes=-1"):
        ImageFolder(tmp_path, cache_bytes=-1)


def test_nobody_can_paint_on_what_is_kept(tmp_path):
    save(tmp_path / "0.png", 3)
    dataset = ImageFolder(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        dataset.pixels(0)[:] = 0
    dataset[0][:] = 0  # a copy
    np.testing.assert_array_equal(dataset.pixels(0), picture(3))


# -- photographs and textures -----------------------------------------------------------------------------


def test_the_photographs_are_here_without_a_network(monkeypatch):
    def no_network(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    dataset = Photographs()
    assert dataset.names == ("astronaut", "coffee", "chelsea", "rocket", "brick", "grass", "gravel")
    assert_is_dataset(dataset)
    for name, image in zip(dataset.names, dataset, strict=True):
        assert min(image.shape[:2]) >= 256
        assert image.std() > 0.1  # a picture, not a flat area
        grey = (image[..., 0] == image[..., 2]).all()
        assert grey == (name in ("brick", "grass", "gravel"))


def test_without_scikit_image_the_photographs_say_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-image"):
        Photographs()


def test_the_photographs_do_not_import_scikit_image():
    import subprocess

    code = "import sys; from ca_numpy.data import Photographs; Photographs()[0]; sys.exit('skimage' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_textures_of_every_kind_differ_and_are_not_flat():
    dataset = Textures(2 * len(KINDS), size=32, seed=1)
    assert_is_dataset(dataset)
    assert {name.split("-")[0] for name in dataset.names} == set(KINDS)
    assert len({image.tobytes() for image in dataset}) == len(dataset)
    for image in dataset:
        assert image.shape == (32, 32, 3)
        assert image.std() > 0.05


@given(st.integers(0, 20), st.integers(0, 2**31))
def test_a_texture_depends_on_its_seed_and_number_alone(index, seed):
    few, many = Textures(index + 1, size=8, seed=seed), Textures(index + 30, size=8, seed=seed)
    assert few.names[index] == many.names[index]
    np.testing.assert_array_equal(few[index], many[index])
    assert (few[index] != Textures(index + 1, size=8, seed=seed + 1)[index]).any()


@pytest.mark.parametrize(("count", "size", "seed"), [(0, 32, 0), (1, 7, 0), (1, 32, -1)])
def test_textures_need_sensible_numbers(count, size, seed):
    with pytest.raises(UserError, match="count >= 1"):
        Textures(count, size=size, seed=seed)


# -- parts and wholes -------------------------------------------------------------------------------------


def test_subset_and_concat_are_datasets_with_the_right_pictures():
    first, second = of_names("a", "b", "c"), of_names("d", "e")
    subset, whole = Subset(first, [2, 0]), Concat(first, second, first)
    assert_is_dataset(subset)
    assert_is_dataset(whole)
    assert subset.names == ("c", "a")
    assert [subset.pixels(i).max() for i in range(2)] == [2, 0]
    assert whole.names == ("a", "b", "c", "d", "e", "a", "b", "c")
    assert [whole.pixels(i).max() for i in range(8)] == [0, 1, 2, 0, 1, 0, 1, 2]


def test_concat_steps_over_empty_parts():
    empty = Subset(of_names("x"), [])
    whole = Concat(empty, of_names("a"), empty, of_names("b", "c"), empty)
    assert [whole.pixels(i).max() for i in range(3)] == [0, 0, 1]
    assert_is_dataset(whole)


@pytest.mark.parametrize("wrong", [-1, 2])
def test_a_subset_stays_within_its_dataset(wrong):
    with pytest.raises(UserError, match=f"picture {wrong}"):
        Subset(of_names("a", "b"), [0, wrong])


names = st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=30, unique=True)


@given(names, st.floats(0.01, 0.99))
def test_a_split_is_a_partition_with_something_on_either_side(names, validation):
    train, held_out = split(of_names(*names), validation=validation)
    assert len(train) >= 1
    assert len(held_out) >= 1
    assert sorted(train.names + held_out.names) == sorted(names)


@given(names, st.floats(0.01, 0.99), st.randoms())
def test_the_order_of_the_pictures_does_not_change_a_split(names, validation, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    first, second = (split(of_names(*order), validation=validation) for order in (names, shuffled))
    assert [set(side.names) for side in first] == [set(side.names) for side in second]


def test_a_picture_keeps_its_side_when_others_come():
    few = [f"photo-{i}.jpg" for i in range(200)]
    more = [f"new-{i}.jpg" for i in range(100)]
    (train, held_out), (train_later, held_out_later) = (
        split(of_names(*names), validation=0.2) for names in (few, more + few)
    )
    assert set(train.names) <= set(train_later.names)
    assert set(held_out.names) <= set(held_out_later.names)
    assert 20 <= len(held_out) <= 60  # about a fifth of 200


def test_a_single_picture_is_on_both_sides():
    train, held_out = split(of_names("only"), validation=0.1)
    assert train.names == held_out.names == ("only",)


def test_a_split_needs_a_fraction_and_pictures():
    for wrong in (0, 1, -0.5, float("nan")):
        with pytest.raises(UserError, match="fraction"):
            split(of_names("a", "b"), validation=wrong)
    with pytest.raises(UserError, match="empty"):
        split(Subset(of_names("a"), []), validation=0.5)


@pytest.mark.parametrize("name", ["a\0b", "n" * 5000, "loop", "celeba:loop", "dtd:a\0b"])
def test_names_that_no_folder_can_have_are_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    for use in (open_dataset, load_pixels):
        with pytest.raises(UserError) as caught:
            use(name)
        assert str(caught.value).isprintable()
    with contextlib.suppress(UserError):
        assert resolved(name).endswith(("loop", name))  # which opens nothing
