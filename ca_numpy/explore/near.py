"""The network's output in and next to the hole, from its attention on: what sliders change, and a reader sees.

A pixel of the output depends on the attention of a few positions around it, each of which is compared with the whole
background. So only these rows of the attention are computed, and only this part is decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.attention import AttentionOptions, contextual_attention, downscale
from ca_numpy.engine import ops
from ca_numpy.models import Generator
from ca_numpy.models.generator import Branches

#: Pixels in a pixel of the features.
SCALE = 4
Place = tuple[slice, slice]


def output_near(
    generator: Generator, branches: Branches, hole: NDArray[np.bool_], options: AttentionOptions, *,
    exact: bool, progress: Callable[[float], None],
) -> tuple[NDArray[Any], Place]:  # fmt: skip
    """A part of `Generator.join`'s output, h w 3, that contains the hole and its neighbours; and its rows and columns.

    hole      H W, of which the features are a quarter in size
    options   of the attention
    exact     give all of the output; a part differs by rounding, since products are summed in another order
    """
    f = branches.features
    assert f is not None
    place = (slice(0, SCALE * f.shape[1]), slice(0, SCALE * f.shape[2])) if exact else _place(generator, hole, options)
    quarter = tuple(slice(n.start // SCALE, n.stop // SCALE) for n in place)
    part = f
    if f.shape[1:3] != (n := tuple(n.stop - n.start for n in quarter)):
        cells = (slice(n.start // options.rate, n.stop // options.rate) for n in quarter)
        part = downscale(f, options.rate)[(slice(None), *cells)]
        part = ops.resize_nearest(part, size=n, align_corners=False)  # to be downscaled to the same again
    attended = contextual_attention(part, f, branches.hole, progress=progress, **options._asdict())
    progress(1.0)
    output = generator.join(branches.dilated[(slice(None), *quarter)], attended)
    return output.numpy()[0], place


def _place(generator: Generator, hole: NDArray[np.bool_], options: AttentionOptions) -> Place:
    """Rows and columns around the hole, with all that its pixels and their neighbours depend on."""
    cell, choices = SCALE * options.rate, options.choices
    step = max(cell, generator.multiple)
    # A cell each for the matched and the pasted patches; the edge of a part is padded otherwise than in the whole.
    margin = 1 + _radius(generator) + (2 + options.reach) * cell
    divisible = choices.rebuild == "raw" and choices.downscale == "both" and not any(n % step for n in hole.shape)
    place = []
    for axis, size in enumerate(hole.shape):
        found = np.flatnonzero(hole.any(1 - axis))
        first, last = (int(found[0]) - margin) // step * step, -(-(int(found[-1]) + 1 + margin) // step) * step
        place.append(slice(first, last) if divisible and first >= 0 and last <= size else slice(0, size))
    return place[0], place[1]


def _radius(generator: Generator) -> int:
    """The pixels that an output pixel depends on to each side, in the layers after the attention."""
    radius, scale = 0, SCALE
    for layer in [*generator.stages["pmdecoder"], *generator.stages["alldecoder"]]:
        scale //= 2 if "_upsample" in layer.name else 1
        radius += layer.ksize // 2 * layer.dilation * scale
    return radius
