"""The columns of Table 1, and the table as Markdown and JSON. To add a measure, such as LPIPS, add it to `MEASURES`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy import metrics

Values = NDArray[np.float64]
#: A mean and the half-width of its 95 % interval.
Interval = tuple[float, float]

REGIONS = {"hole": "over the hole", "whole": "over the whole picture"}


class Measure(NamedTuple):
    """A column: its heading, its digits, and `of(truth, result, mask)`, N H W 3 in [-1, 1] and N H W 1 or None -> N."""

    heading: str
    digits: int
    of: Callable[[Any, Any, Any], Values]


MEASURES: dict[str, Measure] = {
    "l1": Measure("ℓ1 %", 2, lambda x, y, mask: metrics.l1(x, y, mask=mask)),
    "l2": Measure("ℓ2 %", 2, lambda x, y, mask: metrics.l2(x, y, mask=mask)),
    "psnr": Measure("PSNR dB", 2, lambda x, y, mask: metrics.psnr(x, y, mask=mask)),
    "tv": Measure("TV %", 2, lambda x, y, mask: metrics.tv(y, mask=mask)),
    "ssim": Measure("SSIM", 3, lambda x, y, mask: metrics.ssim(x, y, mask=mask)),
    "swd": Measure("SWD", 0, lambda x, y, mask: metrics.swd(y, x, mask=mask)),
}

#: Below each table.
ADVICE = (
    "ℓ1, ℓ2 and PSNR prefer a blur to a sharp texture in the wrong place. Read TV (best near the truth's) and SWD, the "
    "distance of textures (best low), beside them, and look at the pictures."
)


def measure(x: NDArray[Any], y: NDArray[Any], m: NDArray[Any]) -> dict[str, Values]:
    """All of `MEASURES` for each sample: region -> N K, one column per measure.

    x, y   truth and result, N H W 3 in [-1, 1]
    m      N H W 1, 1 = hole
    """
    return {
        region: np.stack([measure.of(x, y, m if region == "hole" else None) for measure in MEASURES.values()], axis=-1)
        for region in REGIONS
    }


def summary(values: Values) -> dict[str, Interval]:
    """The mean and interval of each column of N K: {measure: (mean, half interval)}."""
    return {name: metrics.mean_and_interval(values[:, k]) for k, name in enumerate(MEASURES)}


class Evaluation(NamedTuple):
    """`rows[method][region][measure]` = (mean, half of its 95 % interval); `settings` are the options used.

    `wins[method]`: the fraction of images whose PSNR in the hole exceeds Telea's, if that was measured.
    `leads[method][measure]`: per-picture difference in the hole, refined minus method, (mean, half interval), much
    narrower than the rows' intervals, since images differ more than methods.
    """

    rows: dict[str, dict[str, dict[str, Interval]]]
    settings: dict[str, Any]
    wins: dict[str, float] = {}
    leads: dict[str, dict[str, Interval]] = {}

    def to_markdown(self) -> str:
        """The tables as Markdown."""
        lines = []
        for region, title in REGIONS.items():
            lines += _table(title, {method: regions[region] for method, regions in self.rows.items()})
        if self.leads:
            lines += _table("refined minus method, per picture, over the hole", self.leads)
        if self.wins:
            lines += ["\nPSNR in the hole above Telea's\n", "| method | of the pictures |", "|---|---|"]
            lines += [f"| {method} | {share:.0%} |" for method, share in self.wins.items()]
        s = self.settings
        head = f"{s['count']} crops of {s['size']}×{s['size']} pixels of {s['data']}; holes: {s['holes']}; "
        few = f", too narrow: there are only {s['pictures']} pictures" if s["pictures"] < s["count"] else ""
        return head + f"mean ± 95 % interval{few}\n" + "\n".join(lines) + f"\n\n{ADVICE}\n"

    def to_json(self) -> str:
        """The same as JSON; infinite numbers, such as the truth's PSNR, are null."""
        return json.dumps(_finite(self._asdict()), indent=2) + "\n"


def _table(title: str, rows: dict[str, dict[str, Interval]]) -> list[str]:
    headings = " | ".join(measure.heading for measure in MEASURES.values())
    lines = [f"\n{title}\n", f"| method | {headings} |", "|---" * (1 + len(MEASURES)) + "|"]
    for method, measured in rows.items():
        lines.append(f"| {method} | {' | '.join(_cell(*measured[k], digits=m.digits) for k, m in MEASURES.items())} |")
    return lines


def _cell(mean: float, half: float, *, digits: int) -> str:
    if math.isinf(mean):
        return "∞"
    return f"{mean:.{digits}f} ± {half:.{digits}f}" if math.isfinite(half) else f"{mean:.{digits}f}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
