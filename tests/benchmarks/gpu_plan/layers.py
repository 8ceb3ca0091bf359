"""The generator's convolutions one by one: kernels beside cuDNN's, or errors against NumPy's float64."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import ExitStack
from typing import Any

from ca_numpy.errors import UserError
from gpu_plan import measures
from gpu_plan.measures import bound_of
from gpu_plan.records import Plan, plan


def kernels(the: Plan) -> int:
    """The layers that occur most often first, since the time may run out."""
    fast, size, width = measures.fast(the.backend), int(the.options["size"]), int(the.options["width"])
    failed = False
    with ExitStack() as stack:
        device = None
        if importlib.util.find_spec("torch"):
            from ca_numpy.bench import peer

            device = peer.device_for("auto", [the.backend])
            stack.enter_context(peer.on(device))
        for layer in sorted(measures.layers(size, width), key=lambda layer: -layer.count):
            try:
                seconds = measures.kernels(layer, fast, device, repeats=int(the.options["repeats"]))
                the.record("kernels", layer.title, {"count": layer.count, "seconds": seconds})
            except (MemoryError, UserError) as e:
                the.record("left out", layer.title, " ".join(str(e).split()))
                failed = True
    return int(failed)


def errors(the: Plan) -> int:
    names, size, width = measures.names_of(the.backend), int(the.options["error_size"]), int(the.options["width"])
    found: dict[str, Any] = {}
    whole = f"the generator at {size}×{size}"
    for layer in measures.layers(size, width):
        found[layer.title] = measures.layer_errors(layer, names)
        the.record("errors", layer.title, found[layer.title])
    found[whole] = measures.generator_errors(size, width, names)
    the.record("errors", whole, found[whole])
    imprecise = exceeded(found)
    print(*(f"less precise than it may be: {what}" for what in imprecise), sep="\n")
    return int(bool(imprecise))


def exceeded(errors: dict[str, Any]) -> list[str]:
    """What is less precise than it may be."""
    return [
        f"{title}, {kind} in {precision}: {value:.1e}"
        for title, found in errors.items()
        for precision, kinds in found.items()
        for kind, value in kinds.items()
        if not value <= bound_of(title, precision)
    ]


if __name__ == "__main__":
    sys.exit({"kernels": kernels, "errors": errors}[sys.argv[1]](plan()))
