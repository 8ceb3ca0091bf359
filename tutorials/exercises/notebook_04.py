"""Exercises of notebook 04, dilation and receptive fields: what a stack of layers sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exercises.exercise import Exercise

Layers = list[tuple[int, int, int]]  # kernel, stride, dilation
Dilated = list[tuple[int, int]]  # kernel, dilation


# ---- how wide ----------------------------------------------------------------------------------------------------
def _field(layers: Layers) -> int:
    """From the last layer back: outputs first … last of a layer need inputs s·first … s·last + (k − 1)·d."""
    width = 1
    for k, s, d in reversed(layers):
        width = (width - 1) * s + (k - 1) * d + 1
    return width


def _field_variant(grow: Callable[[int, int, int, int], int], *, late: bool = False) -> Callable[[Layers], int]:
    """A wrong rule: grow(k, s, d, jump) is added; late: the jump is taken after the layer's own stride."""

    def answer(layers: Layers) -> int:
        r, jump = 1, 1
        for k, s, d in layers:
            if late:
                jump *= s
            r += grow(k, s, d, jump)
            if not late:
                jump *= s
        return r

    return answer


def _from_zero(layers: Layers) -> int:
    return _field(layers) - 1


def _added_strides(layers: Layers) -> int:
    r, jump = 1, 1
    for k, s, d in layers:
        r, jump = r + (k - 1) * d * jump, jump + s - 1
    return r


def _field_inputs() -> dict[str, tuple[Any, ...]]:
    return {
        "no layer": ([],),
        "one layer": ([(3, 1, 1)],),
        "three layers": ([(5, 1, 1), (3, 1, 1), (3, 1, 1)],),
        "a dilated layer": ([(3, 1, 4)],),
        "a dilated 5-tap kernel": ([(3, 1, 1), (5, 1, 3)],),
        "stride 2, then a layer": ([(3, 2, 1), (3, 1, 1)],),
        "two strides": ([(3, 2, 1), (3, 2, 1), (3, 1, 1)],),
        "three strides and dilation": ([(5, 2, 1), (3, 3, 2), (3, 2, 1), (3, 1, 8)],),
    }


# ---- which ones --------------------------------------------------------------------------------------------------
def _distances(layers: Dilated) -> list[int]:
    seen = {0}
    for k, d in layers:
        seen = {a + d * u for a in seen for u in range(-(k // 2), k // 2 + 1)}
    return sorted(seen)


def _whole_range(layers: Dilated) -> list[int]:
    reach = sum(k // 2 * d for k, d in layers)
    return list(range(-reach, reach + 1))


def _with_repeats(layers: Dilated) -> list[int]:
    seen = [0]
    for k, d in layers:
        seen = [a + d * u for a in seen for u in range(-(k // 2), k // 2 + 1)]
    return sorted(seen)


def _one_layer_each(layers: Dilated) -> list[int]:
    return sorted({d * u for k, d in layers for u in range(-(k // 2), k // 2 + 1)} | {0})


def _no_last_tap(layers: Dilated) -> list[int]:
    seen = {0}
    for k, d in layers:
        seen = {a + d * u for a in seen for u in range(-(k // 2), k // 2)}
    return sorted(seen)


def _from_the_left(layers: Dilated) -> list[int]:
    return [a - _distances(layers)[0] for a in _distances(layers)]


def _distance_inputs() -> dict[str, tuple[Any, ...]]:
    return {
        "no layer": ([],),
        "one layer": ([(3, 1)],),
        "one dilated layer": ([(3, 4)],),
        "dilations 1, 2": ([(3, 1), (3, 2)],),
        "dilations 2, 2, 2": ([(3, 2), (3, 2), (3, 2)],),
        "a 5-tap kernel": ([(5, 2), (3, 1)],),
        "a gap": ([(3, 1), (3, 5)],),
    }


def _ask_distances(answer: Any, layers: Dilated) -> Any:
    found = answer(layers)
    if isinstance(found, (set, frozenset)):
        raise TypeError("a set has no order: return a sorted list")
    return found


# ---- how many ----------------------------------------------------------------------------------------------------
def _needed(hole: int, field: int, jump: int) -> int:
    n = 0
    while field <= hole:
        n += 1
        field += 2 * 2**n * jump
    return n


def _needed_variant(
    *, first: int = 1, doubled: bool = True, equal: bool = False, jumps: bool = True
) -> Callable[[int, int, int], int]:
    def answer(hole: int, field: int, jump: int) -> int:
        n, width = 0, field
        while width < hole or (width == hole and not equal):
            width += 2 * (2 ** (n + first) if doubled else 2) * (jump if jumps else 1)
            n += 1
        return n

    return answer


def _needed_inputs() -> dict[str, tuple[int, ...]]:
    return {
        "already seen": (10, 31, 4),
        "one layer is enough": (32, 31, 4),
        "a hole exactly as wide as the field": (31, 31, 4),
        "exactly as wide after one layer": (47, 31, 4),
        "the paper's hole": (128, 31, 4),
        "a large hole": (512, 31, 4),
        "jump 1": (64, 3, 1),
        "jump 8": (200, 15, 8),
    }


EXERCISES = [
    Exercise(
        "04.receptive_field",
        "Compute the width of the receptive field of a stack of layers.",
        right=_field,
        inputs=_field_inputs,
        mistakes={
            "The jump is missing: after a stride, one step of a layer is several pixels.": _field_variant(
                lambda k, s, d, jump: (k - 1) * d
            ),
            "The jump is multiplied too early: a layer's own stride counts for the layers after it.": _field_variant(
                lambda k, s, d, jump: (k - 1) * d * jump, late=True
            ),
            "The dilation is missing.": _field_variant(lambda k, s, d, jump: (k - 1) * jump),
            "k taps have k − 1 steps between them, not k.": _field_variant(lambda k, s, d, jump: k * d * jump),
            "Off by one: without a layer, an output sees one pixel, itself.": _from_zero,
            "A dilated kernel spans (k − 1)·d + 1 pixels but adds one less: (k − 1)·d.": _field_variant(
                lambda k, s, d, jump: (k * d - 1) * jump
            ),
            "This uses the stride for the jump: strides multiply over the layers.": _added_strides,
        },
    ),
    Exercise(
        "04.distances",
        "List the distances of all pixels seen.",
        right=_distances,
        inputs=_distance_inputs,
        ask=_ask_distances,
        mistakes={
            "These are all pixels between the ends; some lie in gaps and are not seen.": _whole_range,
            "Some distances occur twice: several paths may lead to one pixel.": _with_repeats,
            "The layers are treated as independent: each extends what the next one sees by its own distances.": (
                _one_layer_each
            ),
            "The last tap of each kernel is missing: `range` excludes its end.": _no_last_tap,
            "These are counted from the first pixel seen: count from the output's own pixel, in both directions.": (
                _from_the_left
            ),
        },
    ),
    Exercise(
        "04.layers_needed",
        "Count the dilated layers needed for a hole.",
        right=_needed,
        inputs=_needed_inputs,
        mistakes={
            "The dilations start at 2, not 1; or the field grew on one side only.": _needed_variant(first=0),
            "The first dilation is 2, the next 4: these start at 4.": _needed_variant(first=2),
            "A field as wide as the hole sees only the hole: it has to be wider.": _needed_variant(equal=True),
            "The jump is missing: a step of these layers is `jump` pixels.": _needed_variant(jumps=False),
            "The dilations stay at 2 here: they should double from layer to layer.": _needed_variant(doubled=False),
        },
    ),
]
