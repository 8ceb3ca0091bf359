"""Loss curves: every number of the log in the panel where one looks for it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

from ca_numpy.errors import UserError
from ca_numpy.viz import loss_curves, save


def panels(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line(ax, name):
    """The named curve, not its faint twin."""
    (found,) = (one for one in ax.lines if one.get_label().startswith(name + "  "))
    return found


def test_each_quantity_goes_to_its_panel():
    record = {
        "step": 1,
        "reconstruction": 1.0,
        "l1_hole": 1.0,
        "critic": -1.0,
        "penalty": 1.0,
        "generator_adversarial": 1.0,
        "validation_l1": 1.0,
        "validation_psnr": 20.0,
        "validation_ssim": 0.5,
        "temperature": 1.0,
        "seconds": 1.0,
        "learning_rate": 1e-4,
        "gradient_critics": 1.0,
        "memory": 1.0,
    }

    def names(**options):
        drawn = panels(loss_curves([record], **options))
        return {title: [text.split("  ")[0] for text in legend(ax)] for title, ax in drawn.items()}

    expected = {
        "reconstruction": ["reconstruction", "l1 hole"],
        "adversarial": ["critic", "penalty", "generator adversarial"],
        "validation error": ["l1"],
        "validation PSNR": ["psnr"],
        "validation SSIM": ["ssim"],
        "gradients": ["gradient critics"],
        "other": ["temperature"],
    }
    assert names() == expected
    assert names(costs=True) == expected | {"step time": ["seconds"], "memory": ["memory"]}


def test_keys_may_come_and_go():
    records = [{"step": 0, "l1": 3.0}, {"step": 1, "critic": 1.0}, {"step": 2, "l1": 1.0, "critic": None}]
    drawn = panels(loss_curves(records, window=1))
    assert_array_equal(line(drawn["reconstruction"], "l1").get_xydata(), [[0, 3], [2, 1]])
    assert_array_equal(line(drawn["adversarial"], "critic").get_xydata(), [[1, 1]])


def test_lines_without_a_step_and_things_that_are_no_numbers_are_skipped():
    records = [{"config": {"l1": 1.2}, "l1": 9.0}, {"step": 0, "l1": 1.0, "note": "hello", "l1_paused": True}]
    (ax,) = loss_curves(records).axes
    assert legend(ax) == ["l1  1"]


def test_after_a_resume_the_later_value_of_a_step_counts():
    records = [{"step": s, "l1": v} for s, v in ((0, 1.0), (1, 2.0), (2, 9.0), (1, 5.0), (2, 6.0))]
    (ax,) = loss_curves(records, window=1).axes
    assert_array_equal(line(ax, "l1").get_xydata(), [[0, 1], [1, 5], [2, 6]])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_leaves_a_gap_a_cross_and_a_count(bad, tmp_path):
    records = [{"step": s, "critic": bad if s in (3, 4) else 1.0 * s} for s in range(100)]
    records = [json.loads(json.dumps(record)) for record in records]
    figure = loss_curves(records)
    (ax,) = figure.axes
    assert_array_equal(np.isnan(line(ax, "critic").get_ydata()), np.isin(np.arange(100), (3, 4)))
    (crosses,) = (one for one in ax.lines if one.get_marker() == "x")
    assert_array_equal(crosses.get_xdata(), [3, 4])
    assert legend(ax)[0].endswith("(× 2 not finite)")
    save(figure, tmp_path / "curves.png")


def test_a_loss_that_never_was_finite_is_still_named(tmp_path):
    figure = loss_curves([{"step": 0, "l1": float("nan")}])
    save(figure, tmp_path / "curves.png")
    assert legend(figure.axes[0]) == ["l1  –  (× 1 not finite)"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100) | st.just(float("nan")), min_size=1, max_size=30), st.integers(1, 40))
def test_the_strong_line_is_the_mean_of_the_neighbouring_finite_records(values, window):
    figure = loss_curves([{"step": s, "l1": v} for s, v in enumerate(values)], window=window)
    drawn = line(figure.axes[0], "l1").get_ydata()
    reach = min(window, len(values))
    for k, value in enumerate(values):
        near = np.array(values[max(0, k - reach // 2) : k + (reach + 1) // 2])
        expected = np.nan if np.isnan(value) else near[~np.isnan(near)].mean()
        assert_allclose(drawn[k], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "scale"),
    [((1.0, 20.0), "log"), ((1.0, 9.0), "linear"), ((-1.0, 20.0), "linear"), ((0.0, 20.0), "linear")],
)
def test_the_scale_is_logarithmic_for_positive_values_over_more_than_a_decade(values, scale):
    (ax,) = loss_curves([{"step": s, "l1": v} for s, v in enumerate(values)]).axes
    assert ax.get_yscale() == scale


def test_references_are_lines_across_the_validation_panel_only():
    records = [{"step": s, "l1": 1.0, "validation_l1": 0.5 / (s + 1)} for s in range(5)]
    drawn = panels(loss_curves(records, references={"mean colour": 0.31, "nearest": 0.2}))
    assert legend(drawn["validation error"])[1:] == ["mean colour  0.31", "nearest  0.2"]
    assert_array_equal(line(drawn["validation error"], "mean colour").get_ydata(), [0.31, 0.31])
    assert len(legend(drawn["reconstruction"])) == 1


def test_curves_differ_by_line_style_for_a_grey_print():
    records = [{"step": s, **{f"l1_{name}": s + 1.0 for name in "abcd"}} for s in range(3)]
    (ax,) = loss_curves(records).axes
    styles = {line(ax, f"l1 {name}").get_linestyle() for name in "abc"}
    assert len(styles) == 3


def test_panels_share_the_range_of_steps():
    records = [{"step": s, "l1": 1.0} for s in range(100)] + [{"step": 50, "critic": 1.0}]
    assert {ax.get_xlim() for ax in loss_curves(records).axes} == {(0.0, 99.0)}


def test_given_axes_make_room_for_the_panels(tmp_path):
    figure = Figure()
    ax = figure.add_subplot()
    assert loss_curves([{"step": 0, "l1": 1.0, "critic": 2.0}], ax=ax) is figure
    assert len(ax.child_axes) == 2
    save(figure, tmp_path / "curves.png")


@pytest.mark.parametrize("records", [[], [{"l1": 1.0}], [{"step": 1}], [{"step": None, "l1": 2.0}]])
def test_a_log_with_nothing_to_draw_is_refused(records):
    with pytest.raises(UserError, match="training log"):
        loss_curves(records)


def test_a_window_without_records_is_refused():
    with pytest.raises(UserError, match="window"):
        loss_curves([{"step": 0, "l1": 1.0}], window=0)
