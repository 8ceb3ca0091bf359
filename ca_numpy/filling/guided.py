"""Guided completion: the network decides what goes where, and copying supplies the pixels.

The paper's introduction states the two halves: methods that copy patches cannot invent, and convolutions that invent
blur (section 1). This is not in the paper, which pastes the network's output; its figures are those of
`method="network"`.

    1. The network's fill, low-passed, is the guide. PatchMatch compares it at the patches' centres, next to colours and
       texture, but never copies it: strongly in the coarsest level, where the layout is decided, weakly in the finer
       ones, where a blurred fill knows less than the picture (`patchmatch.GUIDANCE`).
    2. The copied pixels' *gradients* are joined, with the known pixels as boundary (`blending.joined`): copies from
       different places meet without a seam, and large areas keep the network's colours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_image, check_mask, resize
from ca_numpy.errors import UserError
from ca_numpy.filling.blending import joined
from ca_numpy.filling.patchmatch import Copies, copied, moved
from ca_numpy.filling.pyramid import Floats
from ca_numpy.filling.windows import surroundings

#: Standard deviation of the guide's low-pass, in pixels of the guess.
SIGMA = 4.0
#: The same for the colours that joined copies take from the guess.
COLOUR_SIGMA = 16.0
#: How much the joined copies keep to these colours, per pixel of the guess: half of a difference in colour at the rim
#: is gone after about 20 pixels.
KEPT = 0.001


def complete(
    image: NDArray[Any],
    mask: NDArray[Any],
    guess: NDArray[Any],
    *,
    place: tuple[slice, slice] | None = None,
    rng: np.random.Generator | None = None,
    radius: int = 3,
    quiet: bool = True,
) -> Floats:
    """Fill the holes of an image by copying, guided by a guess: H W 3 in [-1, 1], with known pixels unchanged.

    image    H W 3, uint8 or float in [-1, 1]
    mask     H W or H W 1, 1 = hole; any number of holes of any shape
    guess    h w 3 in [-1, 1], the image, or the part at `place`, at any size, with the network's fill in the hole
    place    rows and columns of the image, with all its holes; copies may come from outside
    rng, radius, quiet   as in `patchmatch.complete`

    Runs on the current backend, or the fastest one. Raises UserError as `patchmatch.complete`, and for a guess that is
    no image.
    """
    return complete_with_copies(image, mask, guess, place=place, rng=rng, radius=radius, quiet=quiet)[0]


def complete_with_copies(
    image: NDArray[Any], mask: NDArray[Any], guess: NDArray[Any], *,
    place: tuple[slice, slice] | None = None, **options: Any,
) -> tuple[Floats, Copies]:  # fmt: skip
    """As `complete`, and where each pixel was copied from. Options as for `patchmatch.copied`. Raises UserError."""
    x = check_image(image)
    hole = check_mask(mask, x)[..., 0] > 0.5
    guess = check_image(guess, name="guess")
    if not np.isfinite(guess).all():
        raise UserError("the guess is not finite: check the model")
    rows, columns = place or (slice(0, hole.shape[0]), slice(0, hole.shape[1]))
    whole = x.copy()  # with the guess in the hole
    covered = hole[rows, columns]
    whole[rows, columns][covered] = resize(guess, covered.shape)[covered]
    near = surroundings(hole)
    size = [max(1, round(n * g / c)) for n, g, c in zip(hole[near].shape, guess.shape, covered.shape, strict=False)]
    filled = x.copy()
    filled[near], copies = _complete(x[near], hole[near], resize(whole[near], (size[0], size[1])), **options)
    return filled, moved(copies, near)


def _complete(x: Floats, hole: NDArray[np.bool_], guess: Floats, **options: Any) -> tuple[Floats, Copies]:
    copies = copied(x, hole, guess=guess, low=_low(guess, SIGMA), **options)
    pasted = x.copy()
    pasted[tuple(copies.pixels.T)] = x[tuple(copies.sources.T)]
    # Large areas take the guess's colours, as far as the picture has such colours; computed at the guess's size.
    shift = resize(_low(guess - resize(pasted, guess.shape[:2]), COLOUR_SIGMA), hole.shape)
    known = x[~hole]
    colours = (pasted + shift).clip(known.min(0), known.max(0))
    scale = guess.shape[0] * guess.shape[1] / hole.size
    return joined(x, hole, copies, colours, kept=KEPT * scale), copies


def _low(image: Floats, sigma: float) -> Floats:
    from scipy.ndimage import gaussian_filter  # slow to import

    return np.asarray(gaussian_filter(image, (sigma, sigma, 0), mode="nearest"), np.float32)
