"""Loss curves from a training log."""

import re
from collections.abc import Iterable, Mapping, Set
from itertools import cycle
from typing import Any, TypeGuard

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from ca_numpy.errors import UserError
from ca_numpy.viz.output import figure_of

Floats = NDArray[np.float64]
Series = dict[str, tuple[Floats, Floats]]  # name -> steps, values

PANELS = {  # title -> unit of the vertical axis, from top to bottom
    "reconstruction": "loss",
    "adversarial": "loss",
    "validation error": "%",
    "validation PSNR": "dB",
    "validation SSIM": "SSIM",
    "gradients": "norm",
    "other": "value",
    "step time": "s",
    "memory": "MiB",
}
ADVERSARIAL = {"adversarial", "critic", "discriminator", "gan", "gp", "penalty", "wasserstein"}
RECONSTRUCTION = {"ae", "coarse", "known", "l1", "l2", "perceptual", "reconstruction", "refined", "style",
                  "texture", "tv"}  # fmt: skip
COSTS = {"memory": "memory", "second": "step time", "seconds": "step time"}  # word -> panel
NOT_A_LOSS = {"step", "epoch", "iteration", "lr", "rate", "time"}

# Okabe and Ito's colours, distinct for colour-blind readers; line styles distinguish them in greyscale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINE_STYLES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)))
REFERENCE_STYLES: tuple[Any, ...] = (":", (0, (5, 1, 1, 1, 1, 1)))


def loss_curves(
    records: Iterable[Mapping[str, Any]],
    *,
    references: Mapping[str, float] | None = None,
    window: int | None = None,
    costs: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Plot all quantities in a training log, one panel for each kind.

    The kinds are reconstruction terms, adversarial terms (the critics' losses, the Wasserstein estimate, the penalty)
    validation, and norms of gradients, recognised by the words in their names; the rest is "other". Learning rates are
    omitted, and without `costs` the time of steps and the memory, too.
    Validation is in the units of `ca_numpy.metrics`: percent, and dB for PSNR.

    Records are drawn faintly and their running mean strongly, with its last value next to its name. A panel is
    logarithmic if all its values are positive and span more than a decade. Non-finite values leave a gap, and a cross
    on the lower edge.

    records: dicts, one per line of the log: `step` and any numbers. Keys may vary; records without a step are skipped;
    if a step occurs twice, as after a resume, the later value counts. references: named horizontal lines for the first
    validation panel, {"mean colour": 15.2}. window: records in the running mean; by default 1/40 of them. With `ax`,
    the panels share its area. Raises UserError if there is nothing to draw.
    """
    if window is not None and window < 1:
        raise UserError(f"window: {window} is not a number of records; give at least 1, or None")
    panels = _panels(_read(records, hidden=NOT_A_LOSS if costs else NOT_A_LOSS | COSTS.keys()))
    first, last = _step_range(panels)
    figure, axes = _panel_axes(len(panels), ax)
    lined = next((title for title in panels if title.startswith("validation")), next(iter(panels)))
    for panel_ax, (title, series) in zip(axes, panels.items(), strict=True):
        _draw_panel(panel_ax, title, series, window=window, references=references if title == lined else None)
        if last > first:
            panel_ax.set_xlim(first, last)
        panel_ax.tick_params(labelbottom=panel_ax is axes[-1])
    axes[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[-1].set_xlabel("step     (faint: every record, strong: running mean)", fontsize=8)
    return figure


def _read(records: Iterable[Mapping[str, Any]], *, hidden: Set[str]) -> Series:
    """Steps and values of each quantity, sorted by step."""
    found: dict[str, dict[float, float]] = {}
    for record in records:
        step = record.get("step")
        if not _is_number(step):
            continue
        for name, value in record.items():
            if _is_number(value) and not hidden & _words(name):
                found.setdefault(name, {})[float(step)] = float(value)
    if not found:
        raise UserError("records: none has a 'step' and a loss; pass the lines of a training log, parsed as JSON")
    return {name: _sorted_arrays(values) for name, values in found.items()}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower()))


def _sorted_arrays(values: dict[float, float]) -> tuple[Floats, Floats]:
    steps = np.array(sorted(values))
    return steps, np.array([values[step] for step in steps])


def _panel_of(name: str) -> str:
    words = _words(name)
    for word in words & COSTS.keys():
        return COSTS[word]
    if "gradient" in words:
        return "gradients"
    if words & {"validation", "val"}:
        if "psnr" in words:
            return "validation PSNR"
        return "validation SSIM" if "ssim" in words else "validation error"
    if words & ADVERSARIAL:
        return "adversarial"
    return "reconstruction" if words & RECONSTRUCTION else "other"


def _panels(series: Series) -> dict[str, Series]:
    grouped: dict[str, Series] = {title: {} for title in PANELS}
    for name, curve in series.items():
        grouped[_panel_of(name)][name] = curve
    return {title: members for title, members in grouped.items() if members}


def _step_range(panels: dict[str, Series]) -> tuple[float, float]:
    steps = np.concatenate([steps for series in panels.values() for steps, _ in series.values()])
    return float(steps.min()), float(steps.max())


def _panel_axes(count: int, ax: Axes | None) -> tuple[Figure, list[Axes]]:
    """`count` axes in a column: on a new figure, or in the area of `ax`."""
    if ax is None:
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        figure = Figure(figsize=(7.2, 0.5 + 1.7 * count), layout=layout)
        return figure, list(figure.subplots(count, squeeze=False)[:, 0])
    ax.set_axis_off()
    share = 0.72  # of the area; the rest is for titles and legends
    boxes = [(0.0, 1 - (k + 1) / count, share, share / count) for k in range(count)]
    return figure_of(ax), [ax.inset_axes(box) for box in boxes]


def _draw_panel(
    ax: Axes, title: str, series: Series, *, window: int | None, references: Mapping[str, float] | None
) -> None:
    references = references or {}
    looks = zip(cycle(COLOURS), cycle(LINE_STYLES), strict=False)
    for (name, (steps, values)), (colour, style) in zip(series.items(), looks, strict=False):
        _draw_curve(ax, _label(name, title), steps, values, window=window, colour=colour, style=style)
    for (name, value), style in zip(references.items(), cycle(REFERENCE_STYLES), strict=False):
        ax.axhline(value, color="0.35", linewidth=1.2, linestyle=style, label=f"{name}  {value:.3g}")
    _scale(ax, np.concatenate([*(values for _, values in series.values()), list(references.values())]))
    ax.set_title(title, fontsize=9, loc="left")
    ax.set_ylabel(PANELS[title], fontsize=8)
    ax.tick_params(labelsize=7)
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=7, handlelength=2.8)


def _draw_curve(
    ax: Axes, label: str, steps: Floats, values: Floats, *, window: int | None, colour: str, style: Any
) -> None:
    finite = np.isfinite(values)
    shown = np.where(finite, values, np.nan)
    records = min(window or max(1, len(values) // 40), len(values))
    mean = _running_mean(shown, records)
    last = f"{mean[finite][-1]:.3g}" if finite.any() else "–"
    if not finite.all():
        last += f"  (× {np.count_nonzero(~finite)} not finite)"
    if records > 1:
        ax.plot(steps, shown, color=colour, linewidth=0.6, alpha=0.3)
    marker = "o" if len(values) <= 40 else None
    (line,) = ax.plot(steps, mean, color=colour, linestyle=style, linewidth=1.4, marker=marker, markersize=2.5)
    line.set_label(f"{label}  {last}")
    if not finite.all():
        crossed = steps[~finite]
        edge = ax.get_xaxis_transform()
        ax.plot(crossed, 0 * crossed, "x", color=colour, markersize=4, transform=edge, clip_on=False)


def _running_mean(values: Floats, window: int) -> Floats:
    """Mean of the finite values within half a window on each side; NaN stays NaN."""
    finite = np.isfinite(values)
    totals = np.cumsum(np.append(0.0, np.where(finite, values, 0.0)))
    counts = np.cumsum(np.append(0, finite))
    here = np.arange(len(values))
    start, stop = np.maximum(here - window // 2, 0), np.minimum(here + (window + 1) // 2, len(values))
    mean = (totals[stop] - totals[start]) / np.maximum(counts[stop] - counts[start], 1)
    return np.where(finite, mean, np.nan)


def _label(name: str, title: str) -> str:
    words = [word for word in re.split(r"[_/.\s]+", name) if word]
    if title.startswith("validation"):
        words = [word for word in words if word.lower() not in ("validation", "val")] or words
    return " ".join(words)


def _scale(ax: Axes, values: Floats) -> None:
    """Use a logarithmic axis if all values are positive and span more than a decade."""
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() <= 0 or finite.max() <= 10 * finite.min():
        return
    ax.set_yscale("log")
    if finite.max() < 1000 * finite.min():
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
