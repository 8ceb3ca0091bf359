"""Figures that follow sliders and clicks: plain ones without a front end, and in JupyterLab what a reader does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ca_numpy import viz

pytest.importorskip("anywidget", reason="pip install 'ca-numpy[tutorials]'")

from interactive import Beside, interactive

TUTORIALS = Path(__file__).parents[2] / "tutorials"


def draw(scale: float = 1.0, at: tuple[float, float] = (2.0, 1.0)) -> Figure:
    """A picture of 6 × 4 pixels, twice, with a cross on a pixel."""
    figure = Figure(figsize=(4, 2), layout="constrained", dpi=50)
    for axes in figure.subplots(1, 2):
        axes.imshow(scale * np.arange(24.0).reshape(4, 6), vmin=0, vmax=24)
        axes.plot(*np.round(at), "x")
    return figure


def png(**values: Any) -> bytes:
    return viz.show(draw(**values), alt="…").png


def shares(x: float, y: float, *, panel: int) -> list[float]:
    """A place in the figure, from its top left, of a place in a panel's pixels."""
    figure = draw()
    viz.show(figure, alt="…")  # which lays it out
    across, up = figure.axes[panel].transData.transform((x, y))
    return [across / figure.bbox.width, 1 - up / figure.bbox.height]


def test_a_message_changes_what_is_drawn() -> None:
    beside = interactive(draw, alt="…", scale=[0.5, 1.0, 2.0])
    widget = beside.widget
    assert widget.png == beside.shown.png == png()
    assert widget.chosen == {"scale": 1}
    widget.received(widget, {"scale": 2}, [])
    assert widget.png == png(scale=2.0)
    for panel in (0, 1):
        widget.received(widget, {"click": shares(4.5, 2.25, panel=panel)}, [])
        assert widget.values["at"] == pytest.approx((4.5, 2.25))
    widget.received(widget, {"step": [-1, 1]}, [])
    assert widget.values["at"] == pytest.approx((3.5, 3.25))
    widget.received(widget, {"click": [0, 0]}, [])  # outside both panels
    assert widget.values["at"] == pytest.approx((3.5, 3.25))
    assert widget.png == png(scale=2.0, at=widget.values["at"])


def test_the_figure_stays_without_anywidget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    beside = interactive(draw, alt="…", scale=[1.0])
    assert beside.widget is None
    assert beside.shown.png == png()
    assert Beside(beside.shown, viz.explorer).widget is None


CELL = f"""
import sys
sys.path[:0] = {[str(TUTORIALS), str(Path(__file__).parents[1])]!r}
from interactive import interactive
from tutorials.test_interactive import draw
shown = interactive(draw, alt="a picture with a cross", scale=[0.5, 1.0, 2.0])
shown
"""


def test_without_a_front_end_a_notebook_keeps_the_figure() -> None:
    """As GitHub and nbviewer show it."""
    nbformat = pytest.importorskip("nbformat")
    from tutorials.test_notebooks import tool

    cell = nbformat.v4.new_code_cell(CELL)
    notebook = tool.execute(nbformat.v4.new_notebook(cells=[cell]))
    (outputs,) = [cell.outputs for cell in notebook.cells]
    assert [list(output.data) for output in outputs] == [["image/png", "text/plain"], ["text/markdown"]]


@pytest.mark.slow
def test_in_jupyterlab_it_follows_slider_click_and_keys(tmp_path: Path) -> None:
    from lab_cases import in_jupyterlab

    with in_jupyterlab(tmp_path, CELL) as page:
        picture = page.locator("img[tabindex]")
        picture.wait_for(timeout=120_000)

        def shows(**values: Any) -> None:
            """Wait until the picture is that of these values."""
            read = "async (image) => [...new Uint8Array(await (await fetch(image.src)).arrayBuffer())]"
            expected = png(**values)
            for _ in range(600):
                if bytes(picture.evaluate(read)) == expected:
                    return
                page.wait_for_timeout(100)
            raise AssertionError(values)

        shows()
        slider = page.get_by_label("scale")
        slider.focus()
        slider.press("ArrowRight")
        shows(scale=2.0)
        assert page.get_by_label("scale").locator("xpath=..").locator("output").text_content() == "2"
        size = picture.bounding_box()
        across, down = shares(4, 2, panel=1)
        picture.click(position={"x": across * size["width"], "y": down * size["height"]})
        shows(scale=2.0, at=(4, 2))
        picture.press("ArrowLeft")
        shows(scale=2.0, at=(3, 2))
