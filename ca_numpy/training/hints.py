"""What is normal in a run's log, in words: docs/watching.md explains each rule."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

Records = list[dict[str, Any]]

#: A rule looks at the last tenth of the records, and needs so many steps.
FEWEST = 20


def hints(steps: Records, checks: Records) -> list[tuple[bool, str]]:
    """(whether it is normal, a sentence) of everything that the log allows to judge.

    steps    the records of training, in order; `checks`, those of validation. Fields may be missing
    """
    found = _validation(checks)
    adversarial = [r for r in steps if "adversarial" in r]
    joined = adversarial[0]["step"] if adversarial else -1  # from then on a step takes more memory
    for records, name, judge in (
        (steps, "l1_refined", _error),
        (adversarial, "wasserstein", _gap),
        (adversarial, "penalty", _penalty),
        (steps, "gradient_generator", functools.partial(_gradient, "generator")),
        (adversarial, "gradient_critics", functools.partial(_gradient, "critics")),
        (adversarial or steps, "seconds", _time),
        ([r for r in checks if r["step"] > joined], "memory", _memory),
    ):
        values = np.array([float(r[name]) for r in records if name in r])
        if len(values) >= (FEWEST if name != "memory" else 3):
            found.append(judge(values))
    return found


def best_validation(checks: Records) -> tuple[int, float] | None:
    """Step and ℓ1 in percent of the best validation, of an average of the weights if there is one."""
    names = {name for r in checks for name in r if name.startswith("validation_") and name.endswith("_l1_refined")}
    name = min(names, default="validation_l1_refined")
    return min(((r["step"], r[name]) for r in checks if name in r), key=lambda found: found[1], default=None)


def _validation(checks: Records) -> list[tuple[bool, str]]:
    measured = [r for r in checks if "validation_l1_refined" in r]
    if not measured:
        return []
    last, best = measured[-1]["validation_l1_refined"], min(r["validation_l1_refined"] for r in measured)
    found = []
    if "mean_colour" in measured[-1]:
        mean = measured[-1]["mean_colour"]
        fine = last < mean
        verdict = "the network is better" if fine else "it is not learned yet; not normal after a thousand steps"
        found.append(
            (fine, f"the held-out error is {last:.2f} %, that of filling in the mean colour {mean:.2f} %: {verdict}.")
        )
    if len(measured) > 2:
        fine = last <= 1.15 * best
        verdict = "" if fine else "; normal for a while after the critics join, else it forgets or memorises"
        found.append((fine, f"the held-out error is {100 * (last / best - 1):.0f} % above the lowest so far{verdict}."))
    return found


def _halves(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The medians of the first half, and of the last tenth."""
    return float(np.median(values[: -(-len(values) // 2)])), float(np.median(values[-max(len(values) // 10, 1) :]))


def _error(values: np.ndarray[Any, Any]) -> tuple[bool, str]:
    remedy = "it rises; start again with a smaller rate or adversarial weight"
    return _not_risen(values, 1.3, "the error in training is {0:.3g}, in the first half {1:.3g}", remedy)


def _time(values: np.ndarray[Any, Any]) -> tuple[bool, str]:
    reason = "something else uses the machine, or it is short of memory"
    return _not_risen(values, 1.5, "a step takes {0:.2g} s, in the first half {1:.2g} s", reason)


def _not_risen(values: np.ndarray[Any, Any], factor: float, what: str, otherwise: str) -> tuple[bool, str]:
    before, now = _halves(values)
    fine = now < factor * before
    return fine, what.format(now, before) + ("." if fine else f": {otherwise}.")


def _gap(values: np.ndarray[Any, Any]) -> tuple[bool, str]:
    _, now = _halves(values)
    fine = now > 0.1
    return fine, f"the critics score real pictures {now:.3g} above filled ones" + (
        "." if fine else ": they cannot tell them apart, so the generator learns nothing from them."
    )


def _penalty(values: np.ndarray[Any, Any]) -> tuple[bool, str]:
    _, now = _halves(values)
    fine = now < 1
    return fine, f"the gradient penalty is {now:.2g}" + (
        "." if fine else ": over 1 the critics are not held smooth; use a smaller rate for them."
    )


def _gradient(whose: str, values: np.ndarray[Any, Any]) -> tuple[bool, str]:
    before, now = _halves(values)
    what = f"the gradient of the {whose} is {now:.2g} long, in the first half {before:.2g}"
    if now == 0 or now < before / 100:
        return False, f"{what}: it vanishes; the network has collapsed or its output is saturated."
    fine = now < 10 * before
    return fine, what + ("." if fine else ": it grows; a smaller rate, or it will diverge.")


def _memory(values: np.ndarray[Any, Any]) -> tuple[bool, str]:
    settled, now = float(values[len(values) // 2]), float(values[-1])
    fine = now < 1.1 * settled
    return fine, f"the process has taken at most {now:.0f} MiB of memory" + (
        "." if fine else f", {settled:.0f} by the middle of the run: it should stop growing."
    )
