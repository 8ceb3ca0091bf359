"""One rule for all that draws: `ax` by keyword, a Figure back, a title, and axes on which nothing global depends."""

import inspect
from typing import get_type_hints

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import ca_numpy as ca
from ca_numpy import viz

IMAGE = np.random.default_rng(0).uniform(-1, 1, (16, 16, 3))
MASK = np.zeros((16, 16, 1))
MASK[4:8, 4:8] = 1
INDEX = np.random.default_rng(1).integers(0, 16, (4, 4))

CALLS = {
    "attention_arrows": lambda **ax: viz.attention_arrows(IMAGE, INDEX, background=(4, 4), mask=MASK, **ax),
    "attention_highlight": lambda **ax: viz.attention_highlight(IMAGE, np.eye(16), at=(1, 2), grid=(4, 4), **ax),
    "attention_legend": lambda **ax: viz.attention_legend(**ax),
    "attention_map": lambda **ax: viz.attention_map(INDEX, background=(4, 4), **ax),
    "before_after": lambda **ax: viz.before_after(IMAGE, -IMAGE, mask=MASK, **ax),
    "comparison": lambda **ax: viz.comparison(IMAGE, MASK, IMAGE, IMAGE, IMAGE, index=INDEX, **ax),
    "loss_curves": lambda **ax: viz.loss_curves([{"step": s, "l1": 2.0 / (1 + s), "critic": -s} for s in (0, 1)], **ax),
    "method_sheet": lambda **ax: viz.method_sheet(IMAGE[None], MASK[None], {"telea": IMAGE[None]}, **ax),
    "picture_grid": lambda **ax: viz.picture_grid([[IMAGE, IMAGE]], titles=["a", "b"], **ax),
    "receptive_field": lambda **ax: viz.receptive_field(lambda x: x * 2.0, IMAGE[None], **ax),
    "tape_graph": lambda **ax: viz.tape_graph(ca.tensor(IMAGE) * 2.0, **ax),
}
every_drawing = pytest.mark.parametrize("name", CALLS)


def words(figure):
    """All text of a figure, axes within axes included."""
    return [text.get_text() for text in figure.findobj(Text)]


def test_all_that_draws_is_listed_here():
    returning = {n for n in viz.__all__ if get_type_hints(getattr(viz, n)).get("return") is Figure}
    assert returning == set(CALLS)


@every_drawing
def test_axes_are_an_optional_keyword(name):
    parameter = inspect.signature(getattr(viz, name)).parameters["ax"]
    assert parameter.default is None
    assert parameter.kind is parameter.KEYWORD_ONLY or name == "attention_legend"


@every_drawing
def test_a_figure_of_its_own_is_drawn_with_a_title(name):
    figure = CALLS[name]()
    assert isinstance(figure, Figure)
    titles = [ax.get_title() + ax.get_title(loc="left") for ax in figure.axes] + [t.get_text() for t in figure.texts]
    assert any(titles)
    figure.draw_without_rendering()


@every_drawing
def test_given_axes_are_drawn_into_and_their_neighbour_stays_as_it_was(name):
    figure = Figure(figsize=(9, 5))
    left, right = figure.subfigures(1, 2)[0].subplots(1, 2)
    assert CALLS[name](ax=left) is figure
    figure.draw_without_rendering()
    assert not any([right.images, right.lines, right.texts, right.patches, right.child_axes])
    assert left.images or left.patches or left.child_axes


@every_drawing
def test_the_same_words_stand_in_given_axes(name):
    figure = Figure(figsize=(9, 5))
    CALLS[name](ax=figure.subplots())
    mine = {word for word in words(figure) if word and not word.replace("−", "").replace(".", "").isdigit()}
    alone = {word for word in words(CALLS[name]()) if word and not word.replace("−", "").replace(".", "").isdigit()}
    assert alone - mine <= {"the most attended\npatch lies"}  # a title that the wheel has only when it is alone


@pytest.mark.parametrize("name", ["picture_grid", "comparison", "method_sheet", "before_after"])
@pytest.mark.parametrize("size", [(3, 9), (9, 3)])
def test_a_grid_in_given_axes_keeps_its_proportions_and_stays_inside(name, size):
    figure = Figure(figsize=size)
    ax = figure.subplots()
    CALLS[name](ax=ax)
    figure.draw_without_rendering()
    outer = ax.get_window_extent()
    for cell in ax.child_axes:
        box = cell.get_window_extent()
        assert abs(box.width - box.height) < 1  # the pictures are square
        assert outer.x0 - 1 <= box.x0 < box.x1 <= outer.x1 + 1
        assert outer.y0 - 1 <= box.y0 < box.y1 <= outer.y1 + 1
