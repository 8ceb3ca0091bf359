"""Settings of the attention that the front end's sliders change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ca_numpy import attention as attend
from ca_numpy.errors import UserError
from ca_numpy.models import Generator
from ca_numpy.registry import current_backend

#: Of the network's attention: as the model was trained, as in the released code, or as in the paper's text.
VariantName = Literal["model", "official", "paper"]


@dataclass(frozen=True)
class Settings:
    """Of the attention (section 4.1); defaults as the model was trained.

    softmax_scale   inverse temperature, above 0
    fuse_k          width of the propagation kernel, odd; 0 for no propagation
    rate            downscaling of the features before matching: 1, 2 or 4
    variant         whose choices between the paper's text and the released code: see `AttentionChoices`

    Raises UserError for any other value.
    """

    softmax_scale: float = 10.0
    fuse_k: int = 3
    rate: int = 2
    variant: VariantName = "model"

    def __post_init__(self) -> None:
        numbers = {"softmax_scale": (1e-3, 1e3), "fuse_k": (0, 15), "rate": (1, 4)}
        for name, (low, high) in numbers.items():
            value = getattr(self, name)
            whole = name == "softmax_scale" or isinstance(value, int)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not whole or not low <= value <= high:
                raise UserError(f"{name} must be a number from {low:g} to {high}, got {value!r:.40}")
        if (self.fuse_k % 2 == 0 and self.fuse_k) or self.rate == 3:
            raise UserError(f"fuse_k must be odd, or 0; rate 1, 2 or 4; got {self.fuse_k} and {self.rate}")
        if self.variant not in get_args(VariantName):
            raise UserError(f"variant must be one of {', '.join(get_args(VariantName))}, got {self.variant!r:.40}")


def options_of(generator: Generator, settings: Settings) -> attend.AttentionOptions:
    """The options of a generator's attention with these settings."""
    choices = {"model": generator.variant.attention, "official": attend.OFFICIAL, "paper": attend.PAPER}
    propagates = generator.variant.propagation or settings.variant != "model"
    return attend.AttentionOptions(
        softmax_scale=float(settings.softmax_scale), rate=settings.rate, fuse_k=settings.fuse_k or 1,
        fuse=settings.fuse_k > 0 and propagates, choices=choices[settings.variant],
    )  # fmt: skip


def check_memory(size: tuple[int, ...], options: attend.AttentionOptions) -> None:
    """Raises UserError where the attention's matrices, for features of that height and width, would not fit."""
    rate, choices = options.rate, options.choices
    f, b = ([-(-n // by) for n in size] for by in (rate, choices.b_rate(rate)))
    if choices == attend.OFFICIAL and all(n % rate == 0 for n in size):
        numbers = current_backend().attention_numbers(f[0], f[1])
    else:
        row, reach = f[1] * b[0] * b[1], options.reach
        banded = min(f[0] * row, max(attend.BAND, row) + 2 * reach * row)
        numbers = 8 * (f[0] * row if choices.wrap and reach else banded)
    there = current_backend().memory()
    if there is not None and 4 * numbers > 0.8 * there:
        raise UserError(
            f"these settings need about {4 * numbers / 2**30:.0f} GiB of memory, of {there / 2**30:.0f}: "
            "choose a larger rate, the official variant, or a smaller hole"
        )
