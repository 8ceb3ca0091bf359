"""Generators from weights under the authors' names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from generator_cases import draw_weights, pictures

from ca_numpy.errors import UserError
from ca_numpy.models import OFFICIAL, PAPER, Generator, Variant


# ---- weights by the authors' names -----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("table", "variant", "attention"),
    [
        ({"width": 4}, OFFICIAL, True),
        ({"width": 6, "inputs": 4, "wide": True}, PAPER, True),
        ({"width": 2, "attention": False}, OFFICIAL, False),
        ({"width": 2, "inputs": 4, "attention": False}, PAPER, False),
    ],
)
def test_from_tf_reads_width_branch_variant_and_dtype_off_the_arrays(
    dtype: Any, table: dict[str, Any], variant: Variant, attention: bool
) -> None:
    weights = draw_weights(dtype=dtype, **table)
    generator = Generator.from_tf(weights)
    assert generator.variant is variant
    assert generator.attention == ("contextual" if attention else "none")
    assert generator.width == table["width"]
    assert generator.arrays().keys() == weights.keys()
    for name, a in generator.arrays().items():
        assert a.dtype == dtype
        assert np.array_equal(a, weights[name])


def test_from_tf_minds_names_not_order_and_passes_over_the_critics() -> None:
    weights = draw_weights(width=2)
    shuffled = dict(reversed(weights.items())) | {"discriminator/dout_local_fc/bias": np.zeros(1)}
    inputs = pictures()
    a, b = (Generator.from_tf(w)(*inputs)[1].numpy() for w in (weights, shuffled))
    assert np.array_equal(a, b)


def test_a_given_variant_overrules_what_the_arrays_suggest() -> None:
    variant = replace(OFFICIAL, padding="symmetric")
    assert Generator.from_tf(draw_weights(width=2), variant=variant).variant is variant


@pytest.mark.parametrize(
    "name", ["inpaint_net/conv1/kernel", "inpaint_net/allconv17/bias", "inpaint_net/pmconv9/kernel"]
)
def test_a_missing_variable_is_named(name: str) -> None:
    weights = draw_weights(width=2)
    del weights[name]
    with pytest.raises(UserError, match=name) as error:
        Generator.from_tf(weights)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("inpaint_net/conv1/kernel", (5, 5, 3, 2)),  # another network's input channels
        ("inpaint_net/conv1/kernel", (5, 5, 5)),
        ("inpaint_net/conv1/kernel", (5, 5, 5, 3)),  # an odd width
        ("inpaint_net/xconv4_downsample/kernel", (3, 3, 4, 8)),  # the paper's width in the released code's network
        ("inpaint_net/conv11/bias", (1,)),
    ],
)
def test_a_wrong_shape_is_refused_in_one_line(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError) as error:
        Generator.from_tf(draw_weights(width=2) | {name: np.zeros(shape)})
    assert "\n" not in str(error.value)
