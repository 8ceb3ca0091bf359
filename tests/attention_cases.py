"""Small pictures, masks and options for contextual attention, and what plain loops make of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import oracles
from hypothesis import strategies as st
from numpy.typing import NDArray

from ca_numpy import Tensor
from ca_numpy.attention import OFFICIAL, AttentionChoices

Array = NDArray[np.float64]
MASKS = ("none", "known", "dots", "box", "hole")


@dataclass(frozen=True)
class Case:
    """Features, a mask and options; arrays are drawn from the seed."""

    seed: int = 0
    batch: int = 1
    f_size: tuple[int, int] = (6, 6)
    b_size: tuple[int, int] = (6, 6)
    channels: int = 2
    mask_kind: str = "dots"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @property
    def f(self) -> Array:
        return away_from_zero(self.rng.normal(size=(self.batch, *self.f_size, self.channels)))

    @property
    def b(self) -> Array:
        return away_from_zero(self.rng.normal(size=(self.batch + 1, *self.b_size, self.channels))[1:])

    @property
    def mask(self) -> Array | None:
        if self.mask_kind == "none":
            return None
        rng = self.rng
        mask = np.full((self.batch, *self.b_size, 1), float(self.mask_kind == "hole"))
        for sample in mask:
            if self.mask_kind == "dots":
                sample[...] = rng.random(sample.shape) < 0.1
            if self.mask_kind == "box":
                top, left = (int(rng.integers(n)) for n in self.b_size)
                sample[top : top + 3, left : left + 2] = 1
        return mask

    def masks(self) -> list[Array | None]:
        """The mask of each sample as the oracle takes it, H W."""
        return [None] * self.batch if self.mask is None else list(self.mask[..., 0])


def away_from_zero(x: Array) -> Array:
    """Dividing by a patch's norm has a kink where the norm is 0: finite differences must not step across it."""
    return x + np.copysign(0.3, x)


@st.composite
def cases(draw: st.DrawFn, *, divisible: bool = False, strides: tuple[int, ...] = (1,), **fixed: Any) -> Case:
    """Small pictures. With `divisible` the sizes are multiples of the rate, as the fused kernel asks."""
    rate = draw(st.sampled_from([1, 2, 2, 3]))
    side = st.integers(1, 8 // rate).map(lambda n: n * rate) if divisible else st.integers(1, 7)
    options = {
        "ksize": draw(st.sampled_from([1, 2, 3, 3, 5])),
        "stride": draw(st.sampled_from(strides)),
        "rate": rate,
        "fuse_k": draw(st.sampled_from([1, 3, 3, 5])),
        "softmax_scale": draw(st.sampled_from([0.0, 0.3, 1.0, 10.0])),
        "fuse": draw(st.booleans()),
    }
    drawn = {
        "seed": draw(st.integers(0, 2**16)),
        "batch": draw(st.integers(1, 2)),
        "f_size": draw(st.tuples(side, side)),
        "b_size": draw(st.tuples(side, side)),
        "channels": draw(st.integers(1, 3)),
        "mask_kind": draw(st.sampled_from(MASKS)),
    }
    return Case(**(drawn | fixed), options=options)


every_choice = st.builds(
    AttentionChoices,
    propagate=st.sampled_from(["scores", "attention"]),
    normalize=st.sampled_from(["background", "both"]),
    wrap=st.booleans(),
    masked=st.sampled_from(["zero", "exclude"]),
    rebuild=st.sampled_from(["raw", "matched"]),
    downscale=st.sampled_from(["both", "foreground"]),
)


def as_oracle_names(choices: AttentionChoices) -> dict[str, Any]:
    return {
        "propagation": choices.propagate, "normalize": choices.normalize, "wrap": choices.wrap,
        "masked": choices.masked, "downscale": choices.downscale,
    }  # fmt: skip


def by_loops(case: Case, choices: AttentionChoices = OFFICIAL) -> Array:
    """The whole attention, sample by sample, in plain loops."""
    options = case.options | as_oracle_names(choices) | {"pasted": choices.rebuild}
    return np.stack(
        [oracles.contextual_attention(f, b, m, **options) for f, b, m in zip(case.f, case.b, case.masks(), strict=True)]
    )


def scores_by_loops(case: Case, choices: AttentionChoices = OFFICIAL) -> Array:
    options = case.options | as_oracle_names(choices)
    return np.stack(
        [oracles.attention(f, b, m, **options) for f, b, m in zip(case.f, case.b, case.masks(), strict=True)]
    )


def close(actual: Any, expected: Any, tolerance: float = 1e-10) -> None:
    actual = actual.numpy() if isinstance(actual, Tensor) else actual
    np.testing.assert_allclose(
        actual, expected, rtol=tolerance, atol=tolerance * max(1.0, float(np.max(np.abs(expected))))
    )
