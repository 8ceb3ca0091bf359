"""A figure shown in a notebook carries its text, and is the same bytes each time."""

import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ca_numpy.errors import UserError
from ca_numpy.viz import show


def line() -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1], [0, 1])
    return figure


def test_a_shown_figure_has_a_picture_and_a_text() -> None:
    (picture, metadata), (text, _) = show(line(), alt="a line that rises").bundles()
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert picture["text/plain"] == "a line that rises"
    assert metadata["image/png"] == {"alt": "a line that rises"}
    assert text["text/markdown"] == "*a line that rises*"
    assert repr(show(line(), alt="a line that rises")) == "a line that rises"


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert show(line(), alt="").png == show(line(), alt="").png


def test_a_picture_in_few_colours_is_small_and_hardly_another() -> None:
    figure = Figure(figsize=(2, 2))
    figure.subplots().imshow(np.random.default_rng(0).uniform(size=(40, 40, 3)))
    whole, few = show(figure, alt="").png, show(figure, alt="", colours=256).png
    assert len(few) < 0.6 * len(whole)
    assert show(figure, alt="", colours=256).png == few
    pictures = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int) for png in (whole, few)]
    assert len(np.unique(pictures[1].reshape(-1, 3), axis=0)) <= 256
    assert np.abs(pictures[0] - pictures[1]).mean() < 12


def test_a_number_of_colours_that_no_palette_has_is_refused() -> None:
    for colours in (1, 257):
        with pytest.raises(UserError, match="2 to 256"):
            show(line(), alt="", colours=colours)
