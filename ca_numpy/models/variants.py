"""Differences between the released code and the paper's text in the networks, numbered as in docs/departures.md."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from ca_numpy import attention
from ca_numpy.attention import AttentionChoices
from ca_numpy.errors import UserError, quoted, reason
from ca_numpy.functional import Padding
from ca_numpy.schemas import parsed

#: The second stage's attention branch (section 5.1, docs/ablations.md).
AttentionKind = Literal["contextual", "none", "spatial-transformer", "appearance-flow"]

# The layers keep the size of their input, which "valid" does not.
_PADDINGS = tuple(padding for padding in get_args(Padding) if padding != "valid")


def attention_kind(attention: object) -> AttentionKind:
    """The kind of that name; True is "contextual" and False "none". Raises UserError for an unknown name."""
    kind = {True: "contextual", False: "none"}[attention] if isinstance(attention, bool) else attention
    if kind not in get_args(AttentionKind):
        raise UserError(f"attention must be one of {', '.join(map(repr, get_args(AttentionKind)))}, got {attention!r}")
    return cast(AttentionKind, kind)


@dataclass(frozen=True)
class Variant:
    """Options of the networks.

    attention            (1-6) see `AttentionChoices`
    padding              (7) of every generator convolution
    ones_channel         (7) an input channel of ones, which distinguishes the image from zero padding
    wide_encoders        (9, 13) whether the second stage's encoders are as wide as the first's
    attention_relu       (10) a ReLU instead of an ELU before the attention
    hole_value           (12) input value of hole pixels: 0 grey, 1 white
    hole_is_one          (12) whether the network's mask channel is 1 in the hole, or 0
    coarse_is_detached   (14) whether stage two's gradients stop before stage one
    propagation          whether attention is propagated; on in both, off for an ablation

    Raises ValueError for any other type or value; `hole_value` is in [-1, 1].
    """

    name: str
    attention: AttentionChoices
    padding: Padding
    ones_channel: bool
    wide_encoders: bool
    attention_relu: bool
    hole_value: float
    hole_is_one: bool
    coarse_is_detached: bool
    propagation: bool = True

    def __post_init__(self) -> None:
        name, hole = self.name, self.hole_value
        right = dict.fromkeys((field.name for field in dataclasses.fields(self)), "True or False")
        right |= {"name": "a short text", "attention": "AttentionChoices", "hole_value": "a number in [-1, 1]"}
        right["padding"] = f"one of {', '.join(map(repr, _PADDINGS))}"
        checked = {
            "name": isinstance(name, str) and name.isprintable() and len(name) <= 80,
            "attention": isinstance(self.attention, AttentionChoices),
            "padding": self.padding in _PADDINGS,
            "hole_value": type(hole) in (int, float) and -1 <= hole <= 1,
        }
        for field, what in right.items():
            value = getattr(self, field)
            if not checked.get(field, type(value) is bool):
                raise ValueError(f"{field} must be {what}, got {quoted(value)}")

    def to_json(self) -> str:
        """All options, for a weight file's metadata."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Variant:
        """The variant written by `to_json`. Raises UserError for anything else."""
        what = "its metadata's variant cannot be read"
        fields = parsed(text, dict[str, Any], what)
        fields.pop("channel_order", None)  # in older files
        try:
            return cls(**fields | {"attention": AttentionChoices(**fields["attention"])})
        except (ValueError, TypeError, KeyError) as e:
            raise UserError(f"{what} ({reason(e)})") from e

    @property
    def in_channels(self) -> int:
        """Channels of each encoder's input: image, mask and, if enabled, ones."""
        return 5 if self.ones_channel else 4


#: The released code.
OFFICIAL = Variant(
    name="official",
    attention=attention.OFFICIAL,
    padding="same",
    ones_channel=True,
    wide_encoders=False,
    attention_relu=True,
    hole_value=0.0,
    hole_is_one=True,
    coarse_is_detached=False,
)

#: The paper's text.
PAPER = Variant(
    name="paper",
    attention=attention.PAPER,
    padding="reflect",
    ones_channel=False,
    wide_encoders=True,
    attention_relu=False,
    hole_value=1.0,
    hole_is_one=False,
    coarse_is_detached=True,
)


def variant_of(variant: str | Variant) -> Variant:
    """The variant of that name. Raises UserError for an unknown name."""
    if isinstance(variant, Variant):
        return variant
    named = {v.name: v for v in (OFFICIAL, PAPER)}
    if variant not in named:
        raise UserError(f"unknown variant {variant!r}: choose from {', '.join(named)}")
    return named[variant]
