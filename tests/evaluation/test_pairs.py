"""Lists of pictures and holes: the same ones again from a file, or a refusal."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from numpy.testing import assert_array_equal

from ca_numpy.data import Concat, ImageFolder, Images, Photographs, Subset, Textures, save_image, validation_crops
from ca_numpy.data.masks import BoundingBox
from ca_numpy.errors import UserError
from ca_numpy.evaluation import load_pairs, make_pairs
from ca_numpy.evaluation import pairs as pairs_module


@pytest.fixture
def folder(tmp_path, rng):
    (tmp_path / "pictures").mkdir()
    for name in ("a b.png", "ü.png"):
        save_image(tmp_path / "pictures" / name, rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    return tmp_path


def everything(folder):
    return Concat(Subset(Photographs(), [0, 3]), Textures(8), ImageFolder(folder / "pictures"))


@pytest.mark.parametrize("holes", ["centre", "box", "boxes", "free-form", "mixed"])
def test_a_list_comes_back_from_its_file(folder, holes):
    dataset = Concat(ImageFolder(folder / "pictures"), Subset(Photographs(), [3]), Subset(Textures(64), [5]))
    pairs = make_pairs(dataset, size=32, count=6, holes=holes, seed=4)
    pairs.save(folder / "list.json")
    again = load_pairs(folder / "list.json")
    for mine, theirs in zip(pairs.read(), again.read(), strict=True):
        assert_array_equal(mine, theirs)
    assert again.names == pairs.names == ["a b", "ü", "rocket", dataset.names[3], "a b", "ü"]


def test_the_crops_are_those_of_validation_and_the_holes_are_holes(folder):
    dataset = everything(folder)
    images, masks = make_pairs(dataset, size=24, count=70, window=0.6, holes="mixed").read()
    assert_array_equal(images, validation_crops(dataset, size=24, count=70, window=0.6))
    assert set(np.unique(masks)) == {0, 1}
    assert_array_equal(np.argwhere(masks[4, ..., 0])[[0, -1]], [[6, 6], [17, 17]])  # every fourth is in the centre
    assert len({m.tobytes() for m in masks[1::4]}) > 10


def test_the_list_moves_with_its_pictures_and_holds_their_hashes(folder):
    make_pairs(ImageFolder(folder / "pictures"), size=16, count=2).save(folder / "list.json")
    entries = json.loads((folder / "list.json").read_text(encoding="utf-8"))["pairs"]
    content = (folder / "pictures" / "a b.png").read_bytes()
    assert entries[0]["file"] == "pictures/a b.png"
    assert entries[0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert entries[0]["hole"] == {"kind": "centre", "box": [4, 4, 8, 8]}
    moved = folder.rename(folder.with_name("elsewhere"))
    assert load_pairs(moved / "list.json").read()[0].shape == (2, 16, 16, 3)


@pytest.mark.parametrize("link", [False, True])
def test_pictures_outside_a_lists_folder_need_the_readers_word(folder, link):
    (folder / "lists").mkdir()
    path = folder / "lists" / "list.json"
    make_pairs(ImageFolder(folder / "pictures"), size=16, count=2).save(path)
    if link:
        (folder / "lists" / "pictures").symlink_to(folder / "pictures")
        edited(path, '"../pictures/', '"pictures/')
    with pytest.raises(UserError, match=r"outside its folder.*--root"):
        load_pairs(path)
    with pytest.raises(UserError, match="outside its folder"):
        load_pairs(path, root=folder / "pictures" / "a b.png")
    assert len(load_pairs(path, root=folder / "pictures").read()[0]) == 2


def test_another_picture_under_the_same_name_is_refused(folder):
    make_pairs(ImageFolder(folder / "pictures"), size=16, count=2).save(folder / "list.json")
    (folder / "pictures" / "ü.png").write_bytes((folder / "pictures" / "a b.png").read_bytes())
    with pytest.raises(UserError, match=r"ü\.png.*SHA-256"):
        load_pairs(folder / "list.json").read()


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"seed": [0, 0]', '"seed": [0, 1]', "draws another"),
        ('"photograph": "astronaut"', '"photograph": "cosmonaut"', "no photograph"),
        ('"photograph": "astronaut"', '"texture": "stripes-00001"', "no texture"),
        ('"photograph": "astronaut"', '"file": "nowhere.png"', "cannot read"),
        ('"photograph": "astronaut"', '"painting": "astronaut"', "not a list of pairs"),
        ("ca-numpy pairs 1", "ca-numpy pairs 2", "format"),
        ('"window": [64, 64', '"window": [640, 64', "not inside"),
        ('"hole"', '"whole"', "not a list of pairs"),
        ('"size": 32', '"size": 32x', "not a list of pairs"),
        ('"pairs": [', '"pairs": ["cat.jpg", ', "not a list of pairs"),
    ],
)
def test_a_damaged_list_is_refused_in_one_line(tmp_path, old, new, told):
    make_pairs(Photographs(), size=32, count=1, holes="free-form").save(tmp_path / "list.json")
    with pytest.raises(UserError, match=told) as caught:
        load_pairs(edited(tmp_path / "list.json", old, new)).read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("box", ["[0, 0, 32, 32]", "[40, 40, 8, 8]"])
def test_a_box_that_leaves_nothing_known_or_nothing_to_fill_is_refused(tmp_path, box):
    make_pairs(Photographs(), size=32, count=1).save(tmp_path / "list.json")
    with pytest.raises(UserError, match="hole"):
        load_pairs(edited(tmp_path / "list.json", "[8, 8, 16, 16]", box)).read()


# ---- polygons ----------------------------------------------------------------------------------------------------


def with_polygons(folder: Path, points: object) -> Path:
    """A list of one crop of 32 pixels with the polygons `points`."""
    make_pairs(Photographs(), size=32, count=1).save(folder / "list.json")
    return edited(
        folder / "list.json", '"kind": "centre", "box": [8, 8, 16, 16]', f'"kind": "polygon", "points": {points}'
    )


def test_a_polygon_takes_the_pixels_whose_centres_it_holds_and_its_upper_and_left_boundary():
    square = pairs_module.polygon_mask(((2, 3), (2, 7), (5, 7), (5, 3)), size=10)
    assert_array_equal(np.argwhere(square[..., 0]), [(i, j) for i in (2, 3, 4) for j in (3, 4, 5, 6)])
    triangle = pairs_module.polygon_mask(((0, 0), (4, 4), (4, 0)), size=6)
    assert_array_equal(np.argwhere(triangle[..., 0]), [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])


@given(st.lists(st.tuples(st.floats(-5, 21), st.floats(-5, 21)), min_size=3, max_size=9))
def test_polygons_are_those_of_an_independent_implementation(points):
    """matplotlib's, but for centres that lie on the boundary up to rounding."""
    centres = np.argwhere(np.ones((16, 16)))
    outline = Outline([*points, points[0]], closed=True)
    theirs = outline.contains_points(centres).reshape(16, 16)
    start, end = np.array(points, float), np.roll(np.array(points, float), -1, axis=0)
    edge = end - start
    along = np.einsum("pek,ek->pe", centres[:, None] - start, edge) / np.maximum((edge**2).sum(-1), 1e-30)
    nearest = start + along.clip(0, 1)[..., None] * edge
    clear = (np.linalg.norm(centres[:, None] - nearest, axis=-1).min(1) > 1e-6).reshape(16, 16)
    assert_array_equal(pairs_module.polygon_mask(tuple(points), size=16)[..., 0].astype(bool)[clear], theirs[clear])


def test_polygons_that_share_an_edge_share_no_pixel_and_leave_none_between():
    whole = ((1, 1), (1, 12), (13, 12), (13, 1))
    parts = (((1, 1), (1, 12), (13, 1)), ((1, 12), (13, 12), (13, 1)))
    total = sum(pairs_module.polygon_mask(part, size=16) for part in parts)
    assert_array_equal(total, pairs_module.polygon_mask(whole, size=16))


def test_a_hole_of_several_polygons_is_their_union_and_comes_back_from_its_file(tmp_path):
    pairs = load_pairs(with_polygons(tmp_path, "[[[4, 4], [4, 10], [12, 10], [12, 4]], [[8, 6], [8, 20], [10.5, 6]]]"))
    (mask,) = pairs.read()[1]
    assert_array_equal(np.flatnonzero(mask[..., 0].any(1)), np.arange(4, 12))
    assert mask[9, 7] == 1  # in both: a union, not even-odd between polygons
    assert mask[8, 19] == 1
    pairs.save(tmp_path / "again.json")
    assert_array_equal(load_pairs(tmp_path / "again.json").read()[1][0], mask)


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ("[]", "length >= 1"),
        ("[[[1, 1], [2, 2]]]", "length >= 3"),
        ("[[[1, 1], [2, 2], [NaN, 3]]]", "malformed"),
        ("[[[1, 1], [2, 2], [3, 3, 3]]]", "not a list of pairs"),
        ('[[["a", 1], [2, 2], [3, 3]]]', "not a list of pairs"),
        ("[[[1, 1], [2, 2], null]]", "not a list of pairs"),
        ("7", "not a list of pairs"),
        ("[[[50, 50], [50, 60], [60, 60]]]", "is empty"),
        ("[[[-1, -1], [-1, 40], [40, 40], [40, -1]]]", "covers everything"),
    ],
)
def test_a_polygon_that_is_none_is_refused_in_one_line(tmp_path, points, told):
    with pytest.raises(UserError, match=told) as caught:
        load_pairs(with_polygons(tmp_path, points)).read()
    assert "\n" not in str(caught.value)


def test_what_no_list_can_name_is_refused(tmp_path, rng):
    arrays = make_pairs(Images([rng.uniform(-1, 1, (20, 20, 3))]), size=16, count=1)
    with pytest.raises(UserError, match="arrays are not in"):
        arrays.save(tmp_path / "pairs.json")
    with pytest.raises(UserError, match="no holes 'round'"):
        make_pairs(Photographs(), size=16, count=1, holes="round")
    with pytest.raises(UserError, match="cannot read"):
        load_pairs(tmp_path / "nowhere.json")


def test_a_window_of_a_picture_that_its_set_resizes_is_told_of_the_file() -> None:
    """CelebA's 218 × 178 pixels count as 315 × 256: the list names the file's pixels, and shows the same content."""
    view = pairs_module._on_file(BoundingBox(29, 0, 256, 256), (315, 256, 3), (218, 178, 3))
    assert view == BoundingBox(20, 0, 177, 178)
    assert pairs_module._on_file(BoundingBox(1, 2, 3, 4), (9, 9, 3), (9, 9, 3)) == BoundingBox(1, 2, 3, 4)


# ---- lists from strangers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"photograph": "astronaut"', '"file": "/dev/zero"', "outside its folder"),
        ('"photograph": "astronaut"', '"file": "pipe"', "not a file"),
        ('"photograph": "astronaut"', '"file": "."', "not a file"),
        ('"photograph": "astronaut"', '"file": "\\u001b[31m\\u202e"', r"\\x1b\[31m\\u202e"),
        ('"photograph": "astronaut"', '"file": "a\\u0000b"', "no file"),
        ('"photograph": "astronaut"', '"file": "loop/a.png"', "cannot read"),
        ('"photograph": "astronaut"', '"file": "' + "n" * 300 + '"', "cannot read"),
        ('"photograph": "astronaut"', '"texture": "stripes-999999999999"', "no texture"),
        ('"photograph": "astronaut"', '"photograph": "astronaut", "texture": "x"', "not one of"),
        ('"box": [8, 8, 16, 16]', '"box": [-8, 8, 16, 16]', r"hole\.box"),
        ('"box": [8, 8, 16, 16]', '"box": [8, 8, 16.5, 16]', r"hole\.box"),
        ('"box": [8, 8, 16, 16]', '"seed": [-1], "sha256": "' + "0" * 64 + '"', r"hole\.seed"),
        ('"box": [8, 8, 16, 16]', '"box": [8, 8, 16, 16], "seed": [1]', "one of box"),
        ('"box": [8, 8, 16, 16]', '"points": [[' + ", ".join(["[1, 2]"] * 10_001) + "]]", "10000"),
        ('"size": 32', '"size": 100000000', r"\$\.size"),
        ('"pairs": [', '"pairs": ' + "[" * 100_000, "not a list of pairs"),
    ],
)  # fmt: skip
def test_a_hostile_list_is_refused_in_one_line_at_once(tmp_path, old, new, told):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    make_pairs(Photographs(), size=32, count=1).save(tmp_path / "list.json")
    with pytest.raises(UserError, match=told) as caught:
        load_pairs(edited(tmp_path / "list.json", old, new)).read()
    assert str(caught.value).isprintable()


def test_points_and_pictures_are_limited_in_total(tmp_path, monkeypatch):
    many = ", ".join(["[1, 2]"] * 9000)
    path = with_polygons(tmp_path, f"[[{many}]]")
    with pytest.raises(UserError, match="too many points"):
        load_pairs(edited(path, '"size": 32', '"size": 4096'))
    pairs = make_pairs(Photographs(), size=32, count=2)
    monkeypatch.setattr(pairs_module.machine, "memory", lambda: 16 * 32 * 32)
    with pytest.raises(UserError, match="2 pictures of 32×32 pixels need"):
        pairs.read()
