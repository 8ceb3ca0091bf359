"""The results as tables, `gpu.md`: how each step ended, what was the least, what the goal, and all figures below them.

python tests/benchmarks/gpu.py --out FOLDER --report
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ca_numpy.atomic import write_text
from ca_numpy.bench import Timing
from gpu_plan.measures import BOUNDS, KINDS, WHOLE, bound_of
from gpu_plan.records import REPORT, RESULTS, read, statuses

LAYERS = 42
#: The kinds of records that the report shows.
SECTIONS = ("machine", "ceilings", "compiled", "suite", "tests", "numbers", "pace", "profiles", "times", "kernels",
            "errors", "left out")  # fmt: skip
#: How the row of a work begins that the options leave out.
NOT_ASKED = "Algorithm 1, an iteration, 0×0"


class Goal(NamedTuple):
    """One row: what was measured, what it should be at least, what was hoped for; None where nothing is known."""

    work: str
    tf32: str
    bf16: str
    peer: str
    ratio: str
    least: str
    is_least: bool | None
    goal: str
    is_goal: bool | None


def goals(known: dict[str, Any]) -> list[Goal]:
    """The four works and the kernels, judged by TF32: what PyTorch computes in, too."""
    options = {"size": 512, "large": 2048, "training_size": 256, "batch": 16} | known.get("plan", {}).get("options", {})
    size, large, trained = (f"{n}×{n}" for n in (options["size"], options["large"], options["training_size"]))
    forward, attention, huge, iteration = (
        timing_of(known, key) for key in ("forward", "attention", "large", "iteration")
    )
    ms, fast, faster, rate = seconds(forward), ratio(forward), ratio(attention), seconds(iteration)
    fits = None if huge is None or not (huge.peer() or peer_failed(huge)) else bool(ours(huge)) and not huge.peer()
    share = percent(known.get("kernels", {}))
    rows: list[tuple[Any, ...]] = [
        (f"generator, forward, {size}", forward, "as fast as PyTorch", above(fast, 1),
         "3 times as fast, and under 5 ms", both(above(fast, 3), below(ms, 0.005))),
        (f"attention at {size}", attention, "5 times as fast", above(faster, 5), "20 times", above(faster, 20)),
        (f"generator, forward, {large}", huge, "fits where PyTorch does not", fits, "under 250 ms",
         below(seconds(huge), 0.25)),
        (f"Algorithm 1, an iteration, {trained}, batch {options['batch']}", iteration, "as fast as PyTorch",
         above(ratio(iteration), 1), "5 a second", below(rate, 0.2)),
    ]  # fmt: skip
    found = [Goal(work, *shown(timing), *judged) for work, timing, *judged in rows if not work.startswith(NOT_ASKED)]
    shares = text(share, "{:.0f} %"), text(percent(known.get("kernels", {}), "bf16"), "{:.0f} %")
    found.append(Goal(f"{LAYERS} convolutions at {size}, kernels alone", *shares, "100 %", "", "40 % of cuDNN in TF32",
                      above(share, 40), "80 %", above(share, 80)))  # fmt: skip
    return found


# ---- what is known of a work -------------------------------------------------------------------------------------
def timing_of(known: dict[str, Any], key: str) -> Timing | None:
    found = known.get("times", {}).get(key)
    return Timing(**{name: value for name, value in found.items() if name != "peaks"}) if found else None


def ours(timing: Timing | None, precision: str = "tf32") -> str | None:
    """Our contender's name, if it was timed."""
    return next((name for name in timing.seconds if name.endswith(f":{precision}")), None) if timing else None


def seconds(timing: Timing | None, precision: str = "tf32") -> float | None:
    name = ours(timing, precision)
    return timing.median(name) if timing and name else None


def ratio(timing: Timing | None) -> float | None:
    """How many times as fast as PyTorch's better format."""
    name, peer = ours(timing), timing.peer() if timing else None
    return timing.ratio(peer, name) if timing and name and peer else None


def peer_failed(timing: Timing) -> bool:
    return any(name.startswith("PyTorch") for name in timing.skipped)


def percent(kernels: dict[str, Any], precision: str = "tf32", kind: str = "forward") -> float | None:
    """cuDNN's time over ours, of all layers, each as often as it occurs; None until all are known."""
    if sum(row["count"] for row in kernels.values()) != LAYERS:
        return None
    totals = [[row["count"] * value for value in share_of(row, precision, kind)] for row in kernels.values()]
    return None if not all(totals) else 100 * sum(t[1] for t in totals) / sum(t[0] for t in totals)


def share_of(row: dict[str, Any], precision: str, kind: str) -> list[float]:
    """Our seconds and cuDNN's; empty if one is missing."""
    found = row["seconds"][kind]
    name = next((name for name in found if name.endswith(f":{precision}")), None)
    return [found[name], found["PyTorch"]] if name and "PyTorch" in found else []


def above(value: float | None, least: float) -> bool | None:
    return None if value is None else value >= least


def below(value: float | None, most: float) -> bool | None:
    return None if value is None else value < most


def both(a: bool | None, b: bool | None) -> bool | None:
    return None if a is None or b is None else a and b


# ---- words -------------------------------------------------------------------------------------------------------
def text(value: float | None, format: str) -> str:
    return "" if value is None else format.format(value)


def milliseconds(value: float | None) -> str:
    return "" if value is None else f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def shown(timing: Timing | None) -> tuple[str, str, str, str]:
    """TF32, BF16, PyTorch, and how many times as fast the first is as the last."""
    peer = timing.median(timing.peer() or "") if timing else None
    theirs = "(cannot)" if timing and not peer and peer_failed(timing) else milliseconds(peer)
    times = milliseconds(seconds(timing)), milliseconds(seconds(timing, "bf16"))
    return *times, theirs, text(ratio(timing), "{:.2f}")


def table(*rows: Iterable[str]) -> str:
    """The first row is the head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *body])


def goals_table(known: dict[str, Any]) -> str:
    words = {None: "", True: "yes", False: "**no**"}
    head = ("work", "TF32", "BF16", "PyTorch", "TF32 is faster by", "minimum", "reached", "goal", "reached")
    rows = [[words[v] if v is None or isinstance(v, bool) else v for v in row] for row in goals(known)]
    return table(head, *rows)


def errors_table(known: dict[str, Any]) -> str:
    columns = [(precision, kind) for precision in BOUNDS for kind in KINDS]
    rows = []
    for title, found in known["errors"].items():
        values = [(precision, found.get(precision, {}).get(kind)) for precision, kind in columns]
        cells = [text(v, "{:.1e}") if v is None or v <= bound_of(title, p) else f"**{v:.1e}**" for p, v in values]
        rows.append([title, *cells])
    return table(["", *(f"{precision} {kind}" for precision, kind in columns)], *rows)


def kernels_table(known: dict[str, Any]) -> str:
    columns = [(precision, kind) for precision in ("tf32", "bf16") for kind in KINDS]
    rows = []
    for title, row in known["kernels"].items():
        pairs = [share_of(row, *column) for column in columns]
        percents = [f"{100 * pair[1] / pair[0]:.0f} %" if pair else "" for pair in pairs]
        forward = row["seconds"]["forward"]
        mine = next((value for name, value in forward.items() if name.endswith(":tf32")), None)
        times = [text(None if t is None else 1e6 * t, "{:.3g}") for t in (mine, forward.get("PyTorch"))]
        rows.append([title, *times, *percents])
    total = [text(percent(known["kernels"], *column), "{:.0f} %") for column in columns]
    head = ["layer", "TF32, µs", "cuDNN, µs", *(f"{precision} {kind}" for precision, kind in columns)]
    return table(head, *rows, [f"all {LAYERS} convolutions", "", "", *total])


def peaks_table(known: dict[str, Any]) -> str:
    rows = []
    for found in known["times"].values():
        for name, peak in found["peaks"].items():
            rows.append([found["title"], name, text(None if peak is None else peak / 2**20, "{:.0f} MiB")])
    return table(("work", "by", "peak memory"), *rows)


def known_from(records: list[dict[str, Any]]) -> dict[str, Any]:
    """{kind: {title: value}}, the later of two with the same title; and how each step ended."""
    known: dict[str, Any] = {kind: {} for kind in SECTIONS}
    for record in records:
        if "value" in record:
            known.setdefault(record["kind"], {})[record["title"]] = record["value"]
    ends = {record["step"]: record for record in records if record.get("kind") == "ended"}
    known["steps"] = {name: ends.get(name, {}) | {"status": status} for name, status in statuses(records).items()}
    known["steps"].pop("report", None)  # it is being written
    return known


def steps_table(known: dict[str, Any]) -> str:
    rows = [[name, found.get("purpose", ""), found["status"], text(found.get("seconds"), "{:.0f}")]
            for name, found in known["steps"].items()]  # fmt: skip
    return table(("step", "what it does", "how it ended", "seconds"), *rows)


def facts(found: dict[str, Any]) -> str:
    """Titles and values, one a line."""
    return "\n".join(f"- {title}: {_short(value)}" for title, value in found.items())


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(v)}" for key, v in value.items() if v is not None)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def failures(found: dict[str, Any]) -> str:
    """How many have no error, and the first line of each error; nothing if there are none at all."""
    if not found:
        return ""
    wrong = {title: value["error"] for title, value in found.items() if value.get("error")}
    lines = [f"- {title}: `{error.splitlines()[0][:200]}`" for title, error in wrong.items()]
    return "\n\n".join([f"{len(found) - len(wrong)} of {len(found)} without an error.", "\n".join(lines)]).strip()


def profile_table(found: dict[str, Any], most: int = 12) -> str:
    rows = [[f"`{name[:70]}`", str(count), milliseconds(seconds), f"{100 * seconds / found['in kernels']:.0f} %"]
            for name, count, seconds in found["kernels"][:most]]  # fmt: skip
    host, device = (milliseconds(found[what]) for what in ("host", "device"))
    head = f"{host} for the host, {device} for the device; {found['launches']} launches ({found['by']})."
    return f"{head}\n\n{table(('kernel', 'launches', 'time', 'share'), *rows)}"


def to_markdown(records: list[dict[str, Any]]) -> str:
    """The whole report, of what is known so far."""
    known = known_from(records)
    bounds = ", ".join(f"{bound:g} in {precision}" for precision, bound in BOUNDS.items())
    left_out, machine = dict(known["left out"]), known["machine"]
    for found in known["times"].values():
        left_out |= {f"{found['title']}, {name}": why for name, why in found["skipped"].items()}
    title = f"{machine.get('device', 'an unknown device')}; {machine.get('machine', {}).get('cpu', 'an unknown CPU')}"
    sections = {
        "Steps": known["steps"] and steps_table(known),
        "Least and goal": (known["times"] or known["kernels"]) and goals_table(known),
        "Ceilings": facts(known["ceilings"]),
        "Kernels compiled": failures(known["compiled"]),
        "The suite's cases": failures(known["suite"]),
        "Tests": failures(known["tests"]),
        "Training": facts(known["numbers"] | known["pace"]),
        **{f"Profile: {what}": profile_table(found) for what, found in known["profiles"].items()},
        "Peak memory": known["times"] and f"Of CuPy's pool, and of PyTorch's tensors.\n\n{peaks_table(known)}",
        "Convolution kernels": known["kernels"]
        and "Time on the device alone, and cuDNN's time in TF32 over ours, in percent. Ours has bias and ELU in it; "
        f"cuDNN's picture is padded, and doubled, beforehand.\n\n{kernels_table(known)}",
        "Errors": known["errors"]
        and f"max |y − y₆₄| / max |y₆₄| against NumPy's float64. Allowed: {bounds}. For the whole generator "
        f"‖y − y₆₄‖ / ‖y₆₄‖, and {WHOLE} times as much.\n\n{errors_table(known)}",
        "Left out": facts(left_out),
    }
    parts = [f"# On a GPU\n\n{title}. Compared with {machine.get('peer', 'nothing')}."]
    return "\n\n".join([*parts, *(f"## {what}\n\n{text}" for what, text in sections.items() if text)]) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_text(folder / REPORT, to_markdown(read(folder / RESULTS)))
