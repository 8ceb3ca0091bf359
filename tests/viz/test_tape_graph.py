"""The drawn tape: every operation and array once, time runs downwards, nothing lies on anything else."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.testing import assert_allclose

import ca_numpy as ca
from ca_numpy import functional as F
from ca_numpy.errors import UserError
from ca_numpy.viz import tape_graph
from ca_numpy.viz.layout import ascending, crossings, laid_out


def penalty():
    rng = np.random.default_rng(0)
    x, w = ca.tensor(rng.standard_normal((4, 3))), ca.tensor(rng.standard_normal((3, 5)))
    y = F.elu(x @ w).sum()
    g = ca.grad(y, w, create_graph=True)
    return ((g * g).sum() ** 0.5 - 1.0) ** 2 + y, {"x": x, "w": w}


def labels(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@st.composite
def graphs(draw):
    """Sources of each node, all before it; the same one twice is allowed."""
    count = draw(st.integers(1, 25))
    return [
        draw(st.lists(st.integers(0, k - 1), max_size=3)) if k else [] for k in range(count)
    ], draw(st.lists(st.floats(0.2, 2.0), min_size=count, max_size=count))  # fmt: skip


# ---- the layout --------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(graphs())
def test_edges_run_downwards_layer_by_layer_and_boxes_keep_their_distance(graph):
    sources, widths = graph
    layout = laid_out(sources, widths, gap=0.3)
    boxes = [(layout.layer[k], layout.middle[k], widths[k]) for k in range(len(sources))]
    for k, its in enumerate(sources):
        for port, source in enumerate(its):
            bends = layout.bends[k, port]
            assert [layer for _, layer in bends] == list(range(layout.layer[source] + 1, layout.layer[k]))
            boxes += [(layer, x, 0.0) for x, layer in bends]
    assert min(layer for layer, _, _ in boxes) >= 0
    assert max(layer for layer, _, _ in boxes) < layout.layers
    for (layer, x, width), (layer2, x2, width2) in itertools.combinations(boxes, 2):
        if layer == layer2 and width + width2:
            assert abs(x - x2) >= (width + width2) / 2 + 0.3 - 1e-9
    assert min(x - width / 2 for _, x, width in boxes) >= -1e-9
    assert max(x + width / 2 for _, x, width in boxes) <= layout.width + 1e-9


def test_a_tree_is_drawn_without_crossings():
    sources = [[], [], [], [], [2, 0], [3, 1], [5, 4]]
    layout = laid_out(sources, [1.0] * 7, gap=0.3)
    rows = [sorted(np.flatnonzero(np.array(layout.layer) == n), key=layout.middle.__getitem__) for n in range(3)]
    links = [(source, k, port) for k, its in enumerate(sources) for port, source in enumerate(its)]
    assert crossings(rows, links) == 0


def test_crossings_are_counted():
    assert crossings([[0, 1], [2, 3]], [(0, 3, 0), (1, 2, 0)]) == 1
    assert crossings([[0, 1], [2, 3]], [(0, 2, 0), (1, 3, 0)]) == 0
    assert crossings([[0, 1], [2]], [(0, 2, 1), (1, 2, 0)]) == 1  # enter it in the other order
    assert crossings([[0, 1], [2]], [(0, 2, 0), (1, 2, 1)]) == 0


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12))
def test_ascending_is_the_least_squares_fit(wanted):
    """By the min-max formula: at i the largest, over beginnings, of the smallest mean, over ends, of what holds i."""
    count = len(wanted)
    fit = [max(min(np.mean(wanted[a : b + 1]) for b in range(i, count)) for a in range(i + 1)) for i in range(count)]
    assert_allclose(ascending(np.array(wanted)), fit, atol=1e-9)


# ---- the drawing -------------------------------------------------------------------------------------------------
def test_every_operation_and_array_is_there_once():
    y, names = penalty()
    seen, stack = {}, [y]
    while stack:
        t = stack.pop()
        if id(t) not in seen:
            seen[id(t)] = t
            stack.extend(t.inputs)
    operations = sorted(t.op.name for t in seen.values() if t.op)
    figure = tape_graph(y, names=names)
    ax = figure.axes[0]
    assert sorted(label for label in labels(figure) if label in operations) == operations
    assert len(labels(figure)) == len(seen) + len(operations)
    assert ax.get_title() == f"the tape: {len(operations)} operations, {len(seen)} arrays"
    edges = sum(len(t.inputs) + 1 for t in seen.values() if t.op)
    assert sum(isinstance(patch, FancyArrowPatch) for patch in ax.patches) == edges
    assert {"x: 4×3", "w: 3×5", "y: one number", "1"} <= set(labels(figure))


def test_a_result_stands_below_what_it_was_made_from():
    x = ca.tensor(np.ones((2, 3)))
    figure = tape_graph(x * x + x, names={"x": x})
    height = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    assert height["x: 2×3"] < height["mul"] < height["add"] < height["y: 2×3"]
    low, high = figure.axes[0].get_ylim()
    assert low > high  # and so down is down


def test_words_fit_into_their_boxes():
    y, names = penalty()
    figure = tape_graph(y, names=names)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    for text, box in zip(ax.texts, boxes, strict=True):
        words = text.get_window_extent()
        assert box.x0 < words.x0 < words.x1 < box.x1


def test_kinds_are_told_apart_without_colours():
    x = ca.tensor(np.ones(3))
    figure = tape_graph(x * np.array([1.0, 2.0, 3.0]))
    looks = {
        (patch.get_facecolor(), patch.get_linewidth(), patch.get_linestyle())
        for patch in figure.axes[0].patches
        if isinstance(patch, FancyBboxPatch)
    }
    assert len(looks) == 4
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "operation",
        "computed array",
        "leaf: gradients may be asked",
        "constant",
    ]


def test_a_deep_tape_and_one_that_was_not_recorded_are_refused():
    x = ca.tensor(np.ones(2))
    y = x
    for _ in range(61):
        y = y * 2.0
    with pytest.raises(UserError, match="more than 60"):
        tape_graph(y)
    with ca.no_grad():
        z = x * 2.0
    for nothing in (x, z, np.ones(3)):
        with pytest.raises(UserError, match="no recorded operation"):
            tape_graph(nothing)
