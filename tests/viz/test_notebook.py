"""A figure shown in a notebook carries its text, and is the same bytes each time."""

import base64

from matplotlib.figure import Figure

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
