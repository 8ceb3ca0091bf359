"""The weights that come with the package: whole, small, from open pictures, and better than the simplest ways."""

import csv
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import ca_numpy
from ca_numpy import filling
from ca_numpy.data import Photographs, validation_crops
from ca_numpy.data.scenes import validates
from ca_numpy.models.io import SHIPPED
from ca_numpy.weights import read


def test_it_is_the_papers_full_generator_in_half_precision():
    generator = ca_numpy.load()
    assert generator.count() == 3_601_542
    assert generator.attention == "contextual"
    assert {array.dtype for array in read(SHIPPED).values()} == {np.dtype("float16")}
    assert SHIPPED.stat().st_size < 8_000_000


def test_every_picture_it_saw_is_in_the_public_domain_and_none_validates():
    rows = list(csv.DictReader((SHIPPED.parent / "pictures.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 162
    assert {row["licence"] for row in rows} == {"public-domain"}
    assert not any(validates(row["sha256"]) for row in rows)


def test_its_licence_and_list_are_installed_beside_it():
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["package-data"]["ca_numpy.models"] == ["pretrained/*"]
    assert {p.name for p in SHIPPED.parent.iterdir()} == {"scenes.safetensors", "pictures.csv", "LICENSE.md"}


@pytest.mark.slow
def test_it_fills_photographs_that_it_never_saw_better_than_the_mean_colour():
    images = validation_crops(Photographs(), size=128, count=7)
    mask = np.zeros((128, 128), bool)
    mask[40:88, 40:88] = True
    gains = []
    for image in images:
        pixels = np.rint((image + 1) * 127.5).astype(np.uint8)
        filled = ca_numpy.inpaint(pixels, mask)
        np.testing.assert_array_equal(filled[~mask], pixels[~mask])
        mean = filling.fill("mean", image, mask[:, :, None].astype(np.float32))
        errors = (np.abs(x - image)[mask].mean() for x in (mean, filled / 127.5 - 1))
        gains.append(next(errors) / next(errors))
    assert np.mean(gains) > 1.1


def test_the_model_card_says_what_the_file_is():
    card = (Path(__file__).parents[2] / "docs" / "model_card.md").read_text(encoding="utf-8")
    (size,) = re.findall(r"([\d,]+) bytes", card)
    assert int(size.replace(",", "")) == SHIPPED.stat().st_size
