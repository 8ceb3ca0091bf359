"""The gallery shows every hole of its script, and its pictures stay small."""

import re

import gallery
import numpy as np
import pytest
from PIL import Image

from ca_numpy.data import load_pixels


@pytest.fixture
def scenes(tmp_path):
    """Stand-ins for the landscapes, which are not in the repository."""
    for name in ("beach1", "mountain1"):
        noise = np.random.default_rng(0).integers(0, 256, (720, 1440, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}@2x.jpg")
    return tmp_path


def test_the_page_shows_every_hole_and_each_once(scenes):
    page = (gallery.DOCS / "gallery.md").read_text("utf-8")
    shown = re.findall(r"\]\(pictures/gallery/(\w+)\.jpg\)", page)
    assert sorted(shown) == sorted(gallery.holes(scenes))
    assert {file.stem for file in (gallery.DOCS / "pictures" / "gallery").iterdir()} == set(shown)


def test_all_pictures_together_stay_below_a_megabyte_and_a_half():
    files = [f for name in ("gallery", "remove") for f in (gallery.DOCS / "pictures" / name).iterdir()]
    assert 0 < sum(file.stat().st_size for file in files) < 1.5e6


def test_every_hole_has_known_pixels_and_lies_in_what_is_shown(scenes):
    for name, (picture, hole, (left, top, side)) in gallery.holes(scenes).items():
        assert hole.shape == picture.shape[:2], name
        assert 0 < hole.mean() < 0.5, name
        seen = hole[top : top + side, left : left + side]
        assert min(seen.shape) == side, f"{name}: the view leaves the picture"
        assert seen.sum() == hole.sum() or name == "scratches", name


def test_a_row_has_the_input_the_fills_and_the_original(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "METHODS", {"mean": {"method": "mean"}})
    gallery.main(["--scenes", str(scenes), "--out", str(tmp_path / "out"), "--only", "grass"])
    (file,) = (tmp_path / "out" / "gallery").iterdir()
    height, width, _ = load_pixels(file).shape
    assert width > 3 * gallery.TILE > gallery.TILE < height < 2 * gallery.TILE


def test_the_box_that_the_page_says_to_type_is_the_one_shown():
    page = (gallery.DOCS / "remove_an_object.md").read_text("utf-8")
    (typed,) = re.findall(r"--box (\S+)", page)
    assert typed == ",".join(map(str, gallery.BOAT))
