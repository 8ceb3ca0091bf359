"""What a weight file says of its model is checked: types, ranges, depth, length. Anything else is one line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from generator_cases import CHANGED
from hypothesis import given
from hypothesis import strategies as st

import ca_numpy
from ca_numpy import weights
from ca_numpy.errors import UserError
from ca_numpy.models import OFFICIAL, Generator, Variant

FIELDS = asdict(OFFICIAL)


@pytest.mark.parametrize("variant", CHANGED.values(), ids=CHANGED)
def test_every_variant_is_read_back(variant: Variant) -> None:
    assert Variant.from_json(variant.to_json()) == variant


WRONG: dict[str, dict[str, Any]] = {
    "padding": {"padding": "mirror"},
    "padding that changes the size": {"padding": "valid"},
    "padding in a list": {"padding": ["same"]},
    "hole_value as text": {"hole_value": "0"},
    "hole_value": {"hole_value": 1.5},
    "hole_value nan": {"hole_value": float("nan")},
    "hole_value true": {"hole_value": True},
    "ones_channel": {"ones_channel": 1},
    "coarse_is_detached": {"coarse_is_detached": None},
    "propagation": {"propagation": "yes"},
    "name": {"name": 3},
    "a long name": {"name": "n" * 1000},
    "a name with escape codes": {"name": "\x1b[31m"},
    "attention": {"attention": "official"},
    "masked": {"attention": FIELDS["attention"] | {"masked": "one"}},
    "wrap": {"attention": FIELDS["attention"] | {"wrap": 1}},
    "an unknown option": {"\x1b[31m": 1},
    "an unknown choice": {"attention": {"x": 1}},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_wrong_options_are_one_line(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="variant cannot be read") as caught:
        Variant.from_json(json.dumps(FIELDS | fields))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(name=st.sampled_from([*FIELDS, "attention.masked", "attention.wrap", "new"]), value=JSON)
def test_any_value_of_any_option_is_a_variant_or_one_line(name: str, value: Any) -> None:
    outer, _, inner = name.partition(".")
    fields = FIELDS | {outer: FIELDS[outer] | {inner: value} if inner else value}
    try:
        variant = Variant.from_json(json.dumps(fields))
    except UserError as error:
        message = str(error)
    else:
        message = ""
        assert Variant.from_json(variant.to_json()) == variant
    assert message.isprintable()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", "1" * 10_000, "null", "", '{"attention": 1}'])
def test_nested_and_other_json_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match="variant cannot be read") as caught:
        Variant.from_json(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("variant", "[" * 100_000), ("architecture", "a\n" * 1000), ("hole", "-1"), ("size", "1e9"),
        ("licence", "CC0\x1b[31m"), ("licence", "l" * 1000), ("channel_order", "gbr"),
    ],
)  # fmt: skip
def test_each_field_of_a_file_is_checked(tmp_path: Path, field: str, text: str) -> None:
    path = tmp_path / "a.safetensors"
    model = Generator(width=2)
    weights.write(path, model.arrays(), metadata=model.describe() | {field: text})
    with pytest.raises(UserError, match=f"a.safetensors.*{field}") as caught:
        ca_numpy.load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_a_variant_in_python_is_checked_too() -> None:
    with pytest.raises(ValueError, match="hole_value must be a number in"):
        replace(OFFICIAL, hole_value=2.0)
