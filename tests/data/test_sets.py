"""The paper's sets on small folders of their layouts: who trains, who validates, how crops are cut, what is missing."""

import shutil

import numpy as np
import pytest
from PIL import Image

from ca_numpy.data import (
    SETS,
    Loader,
    open_dataset,
    open_set,
    open_split,
    resolved,
    to_uint8,
    validation_crops,
)
from ca_numpy.errors import UserError


def picture(path, *, width=20, height=24, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path, format="PNG")


def text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def places2(root):
    for name in ("a/airfield/1.jpg", "a/airfield/2.jpg", "z/zoo/1.jpg"):
        picture(root / "data_large" / name)
    for name in ("Places365_val_1.jpg", "Places365_val_2.jpg"):
        picture(root / "val_large" / name)


def places2_by_lists(root):
    places2(root)
    text(root / "places365_train_standard.txt", "/a/airfield/2.jpg 0", "/z/zoo/1.jpg 364")
    text(root / "places365_val.txt", "Places365_val_2.jpg 3")


def celeba(root):
    for i in range(1, 7):
        picture(root / "img_align_celeba" / f"00000{i}.jpg", width=178, height=218, value=i)
    parts = enumerate((0, 0, 0, 1, 2, 1), start=1)
    text(root / "list_eval_partition.txt", *(f"00000{i}.jpg {part}" for i, part in parts))


def celeba_as_csv(root):
    celeba(root)
    lines = (root / "list_eval_partition.txt").read_text().replace(" ", ",").splitlines()
    text(root / "list_eval_partition.csv", "image_id,partition", *lines)
    (root / "list_eval_partition.txt").unlink()
    (root / "inner").mkdir()
    shutil.move(root / "img_align_celeba", root / "inner" / "img_align_celeba")
    (root / "inner").rename(root / "img_align_celeba")


def celeba_hq(root):
    for i in range(4):
        picture(root / "CelebA-HQ-img" / f"{i}.jpg", width=64, height=64)
    rows = ((0, 5, "000006.jpg"), (1, 1, "000002.jpg"), (2, 4, "000005.jpg"), (3, 3, "000004.jpg"))
    text(
        root / "CelebA-HQ-to-CelebA-mapping.txt", "idx orig_idx orig_file", *("  ".join(map(str, row)) for row in rows)
    )
    text(root / "list_eval_partition.txt", "000002.jpg 0", "000004.jpg 1", "000005.jpg 2", "000006.jpg 0")


def two_folders(root):
    for name in ("train/male/1.jpg", "train/female/2.jpg", "val/male/3.jpg"):
        picture(root / name, width=64, height=64)


def dtd(root):
    for name in ("banded/banded_1.jpg", "woven/woven_1.jpg", "woven/woven_2.jpg", "woven/woven_3.jpg"):
        picture(root / "dtd" / "images" / name)
    text(root / "dtd/labels/train1.txt", "banded/banded_1.jpg", "woven/woven_2.jpg")
    text(root / "dtd/labels/val1.txt", "woven/woven_1.jpg")
    text(root / "dtd/labels/test1.txt", "woven/woven_3.jpg")


def imagenet(root):
    for name in ("train/n01440764/n01440764_1.JPEG", "train/n01440764/n01440764_2.JPEG", "val/ILSVRC2012_val_1.JPEG"):
        picture(root / name)


def imagenet_as_on_kaggle(root):
    imagenet(root / "ILSVRC/Data/CLS-LOC")
    text(root / "ILSVRC/ImageSets/CLS-LOC/train_cls.txt", "n01440764/n01440764_1 1", "n01440764/n01440764_2 2")
    text(root / "ILSVRC/ImageSets/CLS-LOC/val.txt", "ILSVRC2012_val_1 1")


def scenes(root):
    for name in ("sea0.jpg", "sea1.jpg", "sky0.jpg", "else.jpg"):
        picture(root / name)
    text(root / "train.txt", "sea0.jpg", "sky0.jpg")
    text(root / "validation.txt", "sea1.jpg")


LAYOUTS = [
    # set, what makes it, names to train on, names to validate on
    ("places2", places2, [f"data_large/{n}" for n in ("a/airfield/1.jpg", "a/airfield/2.jpg", "z/zoo/1.jpg")],
     ["val_large/Places365_val_1.jpg", "val_large/Places365_val_2.jpg"]),
    ("places2", places2_by_lists, ["data_large/a/airfield/2.jpg", "data_large/z/zoo/1.jpg"],
     ["val_large/Places365_val_2.jpg"]),
    ("celeba", celeba, ["000001.jpg", "000002.jpg", "000003.jpg"], ["000004.jpg", "000006.jpg"]),
    ("celeba", celeba_as_csv, ["000001.jpg", "000002.jpg", "000003.jpg"], ["000004.jpg", "000006.jpg"]),
    ("celeba-hq", celeba_hq, ["0.jpg", "1.jpg"], ["3.jpg"]),
    ("celeba-hq", two_folders, ["train/female/2.jpg", "train/male/1.jpg"], ["val/male/3.jpg"]),
    ("dtd", dtd, ["images/banded/banded_1.jpg", "images/woven/woven_2.jpg"], ["images/woven/woven_1.jpg"]),
    ("dtd", two_folders, ["train/female/2.jpg", "train/male/1.jpg"], ["val/male/3.jpg"]),
    ("imagenet", imagenet, ["train/n01440764/n01440764_1.JPEG", "train/n01440764/n01440764_2.JPEG"],
     ["val/ILSVRC2012_val_1.JPEG"]),
    ("imagenet", imagenet_as_on_kaggle, ["train/n01440764/n01440764_1.JPEG", "train/n01440764/n01440764_2.JPEG"],
     ["val/ILSVRC2012_val_1.JPEG"]),
    ("scenes", scenes, ["sea0.jpg", "sky0.jpg"], ["sea1.jpg"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "train", "validation"), LAYOUTS, ids=lambda x: getattr(x, "__name__", None))
def test_a_set_is_found_in_its_layout_and_divided_as_its_makers_did(tmp_path, name, make, train, validation):
    make(tmp_path)
    parts = open_set(name, tmp_path)
    assert [list(part.names) for part in parts] == [train, validation]
    for part in parts:
        assert part[0].ndim == 3
    opened = open_split(f"{name}:{tmp_path}", validation=0.5)  # the fraction is for pictures that come undivided
    assert [list(part.names) for part in opened] == [train, validation]
    assert list(open_dataset(f"{name}:{tmp_path}").names) == train + validation
    assert list(open_dataset(f"{name}:{tmp_path}", held_out=True).names) == validation


def test_every_set_is_tried_here():
    assert {name for name, *_ in LAYOUTS} == set(SETS)


# -- crops ------------------------------------------------------------------------------------------------


def test_celeba_is_brought_to_315_by_256_and_cropped_over_its_whole_width(tmp_path):
    """A ramp from top to bottom tells from where a crop was taken: 60 places, every one with the whole width."""
    celeba(tmp_path)
    ramp = np.repeat(np.linspace(0, 255, 218)[:, None], 178, axis=1)
    for file in (tmp_path / "img_align_celeba").iterdir():
        Image.fromarray(np.repeat(ramp[..., None], 3, axis=-1).astype(np.uint8)).save(file, format="PNG")
    train, _ = open_set("celeba", tmp_path)
    assert train.pixels(0).shape == (315, 256, 3)
    loader = Loader(train, batch=200, size=256, window=(0.1, 0.2), rng=np.random.default_rng(0))
    crops = to_uint8(next(loader)).astype(float)
    heights = crops[:, -1].mean(axis=(1, 2)) - crops[:, 0].mean(axis=(1, 2))
    np.testing.assert_allclose(heights, 255 * 256 / 315, atol=3)
    tops = crops[:, 0].mean(axis=(1, 2)) * 315 / 255
    assert tops.min() < 2
    assert 57 < tops.max() < 61


def test_celeba_hq_is_shrunk_whole(tmp_path):
    two_folders(tmp_path)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
    for file in (tmp_path / "train").rglob("*.jpg"):
        Image.fromarray(pixels).save(file, format="PNG")
    train, _ = open_set("celeba-hq", tmp_path)
    crop = next(Loader(train, batch=1, size=16, flip=False, rng=np.random.default_rng(0)))[0]
    whole = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC, reducing_gap=3.0)
    np.testing.assert_array_equal(to_uint8(crop), np.asarray(whole))


@pytest.mark.parametrize("name", ["places2", "dtd", "imagenet"])
def test_places2_dtd_and_imagenet_give_pixels_as_they_are(tmp_path, name):
    {"places2": places2, "dtd": dtd, "imagenet": imagenet}[name](tmp_path)
    rows, columns = np.mgrid[:90, :70]
    for file in tmp_path.rglob("*.[jJ]*"):
        Image.fromarray(np.dstack([rows, columns, 0 * rows]).astype(np.uint8)).save(file, format="PNG")
    train, validation = open_set(name, tmp_path)
    crops = to_uint8(next(Loader(train, batch=60, size=32, flip=False, rng=np.random.default_rng(0)))).astype(int)
    assert (np.diff(crops[..., 0], axis=1) == 1).all()  # from one pixel to the next, one row: not resized
    assert (np.diff(crops[..., 1], axis=2) == 1).all()
    assert crops[:, 0, 0, 0].min() < 8
    assert crops[:, 0, 0, 0].max() > 50
    held_out = to_uint8(validation_crops(validation, size=32, count=1))[0].astype(int)
    assert held_out[0, 0, :2].tolist() == [29, 19]  # in the middle
    small = next(Loader(train, batch=1, size=96, rng=np.random.default_rng(0)))  # larger than the picture: enlarged
    assert small.shape == (1, 96, 96, 3)


def test_the_rule_can_be_overruled(tmp_path):
    celeba(tmp_path)
    train, _ = open_set("celeba", tmp_path)
    plain = Loader(train, batch=2, size=8, crops="windows", rng=np.random.default_rng(3))
    ruled = Loader(train, batch=2, size=8, rng=np.random.default_rng(3))
    next(plain), next(ruled)
    assert plain.state()["rng"] != ruled.state()["rng"]  # a window's side was drawn too


# -- what is missing --------------------------------------------------------------------------------------


def without(path):
    return lambda root: shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


WRONG = [
    ("places2", places2, without("data_large"), "none of data_large"),
    ("places2", places2, without("val_large"), "val_large"),
    ("places2", places2_by_lists, without("data_large/z/zoo/1.jpg"), "zoo/1.jpg"),
    ("places2", places2_by_lists, lambda r: text(r / "places365_val.txt", "../x.jpg 1"), "outside its folder"),
    ("celeba", celeba, without("img_align_celeba"), "img_align_celeba"),
    ("celeba", celeba, without("list_eval_partition.txt"), "list_eval_partition.txt"),
    ("celeba", celeba, lambda r: text(r / "list_eval_partition.txt", "nothing"), "get CelebA's list"),
    ("celeba", celeba, lambda r: text(r / "list_eval_partition.txt", "../x.jpg 0"), "outside its folder"),
    ("celeba", celeba, lambda r: text(r / "list_eval_partition.txt", "/etc/passwd 0"), "outside its folder"),
    (
        "celeba-hq",
        celeba_hq,
        lambda r: text(r / "CelebA-HQ-to-CelebA-mapping.txt", "i", "../1 000002.jpg"),
        "outside its",
    ),
    ("celeba", celeba, lambda r: (r / "list_eval_partition.txt").write_bytes(b"\xff\xfe\x00"), "cannot read the list"),
    ("celeba-hq", celeba_hq, without("CelebA-HQ-to-CelebA-mapping.txt"), "mapping"),
    ("celeba-hq", celeba_hq, lambda r: text(r / "list_eval_partition.txt", "9.jpg 0"), "CelebA's list lacks"),
    ("celeba-hq", two_folders, without("val"), "none of val"),
    ("dtd", dtd, without("dtd/labels/val1.txt"), "labels/val1.txt"),
    ("dtd", dtd, without("dtd/images"), "images"),
    ("dtd", dtd, lambda r: text(r / "dtd/labels/val1.txt", "woven/woven_2.jpg"), "both parts"),
    ("imagenet", imagenet, without("train/n01440764"), "no pictures for train"),
    ("imagenet", imagenet_as_on_kaggle, without("ILSVRC/ImageSets/CLS-LOC/val.txt"), "val.txt"),
    ("scenes", scenes, without("train.txt"), "ca-numpy data scenes"),
    ("scenes", scenes, lambda r: text(r / "validation.txt"), "no pictures for validation"),
]


@pytest.mark.parametrize(("name", "make", "spoil", "said"), WRONG)
def test_what_the_layout_lacks_is_named_in_one_line(tmp_path, name, make, spoil, said):
    make(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError) as caught:
        open_dataset(f"{name}:{tmp_path}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# -- names of data ----------------------------------------------------------------------------------------


def test_a_set_that_does_not_exist_and_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no set 'place2': choose from places2, celeba"):
        open_dataset(f"place2:{tmp_path}")
    with pytest.raises(UserError, match="is not a folder"):
        open_dataset(f"places2:{tmp_path}/nowhere")


def test_sets_join_what_is_divided_freely_and_keep_their_own_division(tmp_path):
    dtd(tmp_path / "a+b")
    picture(tmp_path / "mine" / "1.png")
    picture(tmp_path / "mine" / "2.png")
    train, validation = open_split(f"dtd:{tmp_path}/a+b+{tmp_path}/mine", validation=0.5)
    assert set(train.names) > {"images/banded/banded_1.jpg", "images/woven/woven_2.jpg"}
    assert "images/woven/woven_1.jpg" in validation.names
    assert len(train) + len(validation) == 3 + 2
    assert {train.crops(i) for i in range(len(train))} == {"windows", "pixels"}
    assert {validation.crops(i) for i in range(len(validation))} == {"windows", "pixels"}


def test_what_is_joined_is_divided_as_one_so_that_no_picture_is_on_both_sides(tmp_path):
    """A single picture divided by itself would be. Each picture here has a grey of its own."""
    picture(tmp_path / "one" / "0.png", value=200)
    for i in range(6):
        picture(tmp_path / "many" / f"{i}.png", value=i)
    for data in (f"{tmp_path}/one+{tmp_path}/many", f"{tmp_path}/many+{tmp_path}/one"):
        sides = open_split(data, validation=0.3)
        train, held_out = ({int(side.pixels(i).max()) for i in range(len(side))} for side in sides)
        assert not train & held_out
        assert train | held_out == {0, 1, 2, 3, 4, 5, 200}


def test_what_was_divided_before_there_were_sets_is_divided_alike(tmp_path):
    from ca_numpy.data import Concat, Photographs, Textures, split

    both = split(Concat(Photographs(), Textures(64, size=256, seed=0)), validation=0.3)
    assert [part.names for part in open_split("photographs+textures", validation=0.3)] == [p.names for p in both]


def test_names_are_made_whole_so_that_a_run_is_resumed_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b").mkdir()
    (tmp_path / "mine").mkdir()
    assert resolved("photographs") == "photographs"
    assert resolved("a+b") == f"{tmp_path}/a+b"
    assert resolved("dtd:a+b") == f"dtd:{tmp_path}/a+b"
    assert resolved("photographs+mine+celeba:mine") == f"photographs+{tmp_path}/mine+celeba:{tmp_path}/mine"
    assert resolved("mine+dtd:a+b+textures") == f"{tmp_path}/mine+dtd:{tmp_path}/a+b+textures"
    assert resolved(resolved("mine+a+b")) == resolved("mine+a+b")


@pytest.mark.parametrize("data", ["", "photographs+", "+photographs", "photographs++textures"])
def test_a_place_that_names_nothing_is_not_the_current_folder(data):
    with pytest.raises(UserError, match="empty name"):
        open_dataset(data)


def test_no_picture_is_on_both_sides_under_two_names(tmp_path):
    """Of two folders, one in the other, the same file has two names, and so might be on both sides."""
    picture(tmp_path / "cats" / "1.png")
    picture(tmp_path / "cats-too" / "1.png")
    (tmp_path / "link").symlink_to(tmp_path / "cats")
    for other in ("cats", "link", "cats/../cats"):
        for data in (f"{tmp_path}+{tmp_path}/{other}", f"{tmp_path}/{other}+{tmp_path}/cats"):
            with pytest.raises(UserError, match="share pictures"):
                open_dataset(data)
    with pytest.raises(UserError, match="twice"):
        open_dataset("photographs+photographs")
    assert len(open_dataset(f"{tmp_path}/cats+{tmp_path}/cats-too")) == 2


def test_one_bad_picture_in_a_folder_is_left_to_the_loader_and_a_folder_of_bad_ones_is_not(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png.*repair or remove"):
        open_dataset(str(tmp_path))
    picture(tmp_path / "b.png")
    dataset = open_dataset(str(tmp_path))
    assert len(dataset) == 2
    assert validation_crops(dataset, size=8, count=3).shape == (3, 8, 8, 3)
