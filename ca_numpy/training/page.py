"""A report of a run: one HTML file with its curves, pictures and numbers, which opens offline."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from datetime import datetime
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ca_numpy.atomic import write_text
from ca_numpy.errors import UserError, quoted, reason
from ca_numpy.schemas import content, log_record
from ca_numpy.training.checkpoint import CONFIG, LOG, REPORT
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.hints import best_validation, hints
from ca_numpy.training.log import LONGEST

Records = list[dict[str, Any]]

#: At most so many points are drawn of each curve, rows are in a table, and pictures are shown during training.
POINTS, ROWS, PICTURES = 1500, 60, 12
#: Names and values that can be drawn; what a hostile log has besides is left out.
NAME, LARGEST = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}"), 1e30
PNG = b"\x89PNG\r\n\x1a\n"


def report(run: str | PathLike[str], *, out: str | PathLike[str] | None = None) -> Path:
    """Write a run's report to one HTML file, and return its path: curves, pictures, hints, numbers, configuration.

    run   the folder of a finished, interrupted or running run
    out   the file; by default `report.html` in that folder. An existing file is replaced

    The file refers to nothing outside, and has no script. Lines of the log that cannot be read are counted and left
    out. Raises UserError if the folder holds no run, or the file cannot be written.
    """
    folder = Path(run)
    target = folder / REPORT if out is None else Path(out)
    if not (folder / LOG).is_file() and not (folder / CONFIG).is_file():
        stages = sorted(path.parent for path in folder.glob(f"*/{LOG}"))
        todo = f"give one of its stages, such as {stages[-1]}" if stages else "give a folder made by `ca-numpy train`"
        raise UserError(f"there is no run in {quoted(str(folder))}: {todo}")
    records, damaged = read_log(folder / LOG)
    page = _page(folder, records, damaged)
    try:
        write_text(target, page)
    except OSError as e:
        raise UserError(f"cannot write {quoted(str(target))} ({e.strerror}): give another file with --out") from e
    return target


def read_log(path: Path) -> tuple[Records, int]:
    """The records in the order of their steps, and the number of lines that are none. A repeated step counts once."""
    found: dict[tuple[int, bool], dict[str, Any]] = {}
    damaged = 0
    for line in content(path, at_most=LONGEST).split(b"\n") if path.exists() else []:
        if not line.strip():
            continue
        try:
            record = log_record(line, "no record")
        except UserError:
            damaged += 1
            continue
        kept = {k: v for k, v in record.items() if v is not None and NAME.fullmatch(k) and -LARGEST < v < LARGEST}
        found[record["step"], "rate" in record] = kept
    return [found[key] for key in sorted(found)], damaged


def _thinned(records: Records, most: int) -> Records:
    """At most so many records: means of equally many successive ones, at the last one's step."""
    each = -(-len(records) // most) or 1
    thinned = []
    for start in range(0, len(records), each):
        group = records[start : start + each]
        names = dict.fromkeys(name for record in group for name in record)
        means = {name: float(np.mean([r[name] for r in group if name in r])) for name in names}
        thinned.append(means | {"step": group[-1]["step"]})
    return thinned


# ---- the page ----------------------------------------------------------------------------------------------------
def _page(folder: Path, records: Records, damaged: int) -> str:
    steps, checks = [r for r in records if "rate" in r], [r for r in records if "rate" not in r]
    try:
        config = TrainConfig.from_json(content(folder / CONFIG))
    except UserError as e:
        config, unread = None, reason(e)
    name = escape(folder.resolve().name)
    parts = [
        f"<h1>Run {name}</h1>",
        f"<p>{_state(folder, steps, config)}</p>",
        f"<p>{damaged} damaged lines of the log are left out.</p>" if damaged else "",
        "<h2>What the numbers say</h2>",
        _hints(steps, checks),
        "<h2>Curves</h2>",
        _curves(steps, checks),
        "<h2>Pictures</h2>",
        _pictures(folder / "pictures"),
        "<h2>Numbers</h2>",
        _table("Training", steps),
        _table("Validation on held-out pictures", checks),
        "<h2>Configuration</h2>",
        _configuration(config) if config else f"<p>It cannot be read: {escape(unread)}</p>",
    ]
    return f"{HEAD.format(title=name)}<main>\n" + "\n".join(filter(None, parts)) + "\n</main></html>\n"


def _state(folder: Path, steps: Records, config: TrainConfig | None) -> str:
    """How far the run is."""
    if not steps:
        return "No step has been logged yet."
    done = steps[-1]["step"] + 1
    when = datetime.fromtimestamp((folder / LOG).stat().st_mtime).strftime("%Y-%m-%d %H:%M")
    if config is None:
        return f"{done} steps, the last at {when}."
    if done >= config.steps:
        return f"Finished: {done} steps, the last at {when}."
    return f"{done} of {config.steps} steps, the last at {when}: it is still running, or was interrupted."


def _hints(steps: Records, checks: Records) -> str:
    found = hints(steps, checks)
    best = best_validation(checks)
    lines = []
    if best:
        lines.append(
            f"<li>Best validation: step {best[0]}, {best[1]:.2f} % (<code>generator-best.safetensors</code>).</li>"
        )
    lines += [
        f"<li class={'ok' if fine else 'look'}>{'Normal' if fine else 'Look'}: {text}</li>" for fine, text in found
    ]
    return f"<ul>{''.join(lines)}</ul>" if lines else "<p>Nothing yet.</p>"


def _curves(steps: Records, checks: Records) -> str:
    """All curves as one drawing, in the page's colours."""
    from ca_numpy import viz  # matplotlib is slow to import

    drawn = _thinned(steps, POINTS) + _thinned(checks, POINTS)
    mean = [r.pop("mean_colour") for r in drawn if "mean_colour" in r]
    if not any(set(r) - {"step", "rate"} for r in drawn):
        return "<p>Nothing yet.</p>"
    figure = viz.loss_curves(drawn, references={"mean colour": mean[-1]} if mean else None, costs=True)
    figure.patch.set_alpha(0)
    for ax in figure.axes:
        ax.patch.set_alpha(0)
    file = io.StringIO()
    figure.savefig(file, format="svg")
    svg = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->| xmlns(:xlink)?=\"[^\"]*\"", "", file.getvalue(), flags=re.DOTALL
    )
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    svg = svg.replace("#e6e6e6", "#88888866")
    names = ", ".join(dict.fromkeys(k.replace("_", " ") for r in drawn for k in r if k not in ("step", "rate")))
    each = -(-len(steps) // POINTS)
    note = f"<p>Each point is the mean of {each} steps.</p>" if each > 1 else ""
    label = escape(f"Curves over the steps, with numbers in the tables below: {names}", quote=True)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f"<figure>{svg}</figure>{note}"


def _pictures(folder: Path) -> str:
    """The pictures of the run: those during training, evenly over time, and the photograph at the end."""
    during = sorted(folder.glob("step-*.png"))
    if len(during) > PICTURES:
        during = [during[i] for i in np.linspace(0, len(during) - 1, PICTURES).round().astype(int)]
    shown = [
        *((path, f"held-out crops at {path.stem.replace('-', ' ')}") for path in during),
        *((path, path.stem.replace("-", " ")) for path in sorted(folder.glob("photograph-*.png"))),
    ]
    lines = []
    for path, title in shown:
        try:
            data = content(path)
        except UserError:  # removed, or being replaced
            continue
        if data.startswith(PNG):
            text = escape(title, quote=True)
            code = base64.b64encode(data).decode()
            lines.append(
                f'<figure><img alt="{text}" src="data:image/png;base64,{code}"><figcaption>{text}</figcaption></figure>'
            )
    return "\n".join(lines) or "<p>None yet.</p>"


def _table(title: str, records: Records) -> str:
    """The records' numbers, at most `ROWS` rows."""
    rows = _thinned(records, ROWS)
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "step"]
    if not rows:
        return ""
    each = -(-len(records) // ROWS)
    mean = f", means of {each} records" if each > 1 else ""
    lines = ([f"{row['step']:.0f}", *(_number(row.get(name)) for name in names)] for row in rows)
    head = _cells("th", (name.replace("_", " ") for name in ("step", *names)))
    body = "\n".join(_cells("td", line) for line in lines)
    return (
        f"<details><summary>{title}{mean}</summary><div class=wide><table><thead>{head}</thead>"
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _cells(kind: str, texts: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(text)}</{kind}>' for text in texts)}</tr>"


def _configuration(config: TrainConfig) -> str:
    """All fields; those that differ from the defaults are bold."""
    default = vars(TrainConfig())
    rows = []
    for name, value in vars(config).items():
        mark = " class=set" if value != default[name] else ""
        rows.append(f"<tr{mark}><td>{name}</td><td>{escape(str(value))}</td></tr>")
    return (
        "<details><summary>All settings, with those that differ from the defaults in bold</summary>"
        f"<table>{''.join(rows)}</table></details>"
    )


HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Run {title}</title>
<style>
:root {{ color-scheme: light dark; --text: #1c1c1c; --back: #fff; --soft: #595959; --look: #9c3d00 }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #e8e8e8; --back: #16181b; --soft: #a8a8a8; --look: #ffb27a }} }}
body {{ margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif }}
main {{ max-width: 60rem; margin: auto; padding: 1rem }}
figure {{ margin: 1rem 0 }} figcaption {{ color: var(--soft) }}
svg, img {{ max-width: 100%; height: auto }} svg {{ width: 100%; fill: currentColor }} img {{ background: #fff }}
.look {{ color: var(--look); font-weight: 600 }} .set {{ font-weight: 600 }}
.wide {{ overflow-x: auto }} table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .1rem .6rem; text-align: right; white-space: nowrap }} td:first-child {{ text-align: left }}
</style></head>
"""
