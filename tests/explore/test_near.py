"""A part of the output is the whole output's, in the hole and next to it."""

import numpy as np
import pytest
from explore_cases import generator
from scipy.ndimage import binary_dilation

from ca_numpy.attention import PAPER, AttentionChoices, AttentionOptions
from ca_numpy.engine.autograd import no_grad
from ca_numpy.explore.near import output_near

SIZE = (160, 192)
OPTIONS = AttentionOptions(softmax_scale=3.0)
MIDDLE, CORNER = (slice(70, 90), slice(80, 110)), (slice(5, 30), slice(80, 110))


def outputs(where, options):
    """The network's whole output, a part, the part's place, and the hole."""
    rng = np.random.default_rng(0)
    image, hole = rng.uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32), np.zeros(SIZE, np.bool_)
    hole[where] = True
    model, mask = generator(), hole[None, ..., None].astype(np.float32)
    with no_grad():
        x = model.erase(image, mask)
        branches = model.branches(x, mask, model.coarse(x, mask))
        both = [
            output_near(model, branches, hole, OPTIONS._replace(**options), exact=exact, progress=lambda share: None)
            for exact in (True, False)
        ]
    (whole, everywhere), (part, place) = both
    assert [n.indices(size)[1] for n, size in zip(everywhere, SIZE, strict=True)] == list(SIZE)
    return whole, part, place, hole


@pytest.mark.parametrize("where", [MIDDLE, CORNER])
@pytest.mark.parametrize(
    "options",
    [{}, {"rate": 1}, {"fuse": False}, {"fuse_k": 5}, {"rate": 4, "fuse": False},
     {"choices": AttentionChoices(wrap=False)}, {"choices": AttentionChoices(masked="exclude", normalize="both")}],
)  # fmt: skip
def test_it_is_the_whole_in_the_hole_and_next_to_it(where, options):
    whole, part, place, hole = outputs(where, options)
    assert part.shape[:2] != SIZE
    near = binary_dilation(hole)
    assert near[place].sum() == near.sum()
    np.testing.assert_allclose(part[near[place]], whole[place][near[place]], atol=2e-5)


def test_only_what_is_needed_is_computed():
    _, _, place, _ = outputs(MIDDLE, {"fuse": False})
    assert place == (slice(24, 136), slice(40, 152))  # 1 + 23 + 2 × 8 pixels on each side, to whole cells


def test_the_papers_attention_is_computed_whole():
    whole, part, _, _ = outputs(MIDDLE, {"choices": PAPER})
    assert np.array_equal(part, whole)
