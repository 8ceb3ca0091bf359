"""What may stand in the attention's place (section 5.1): same position, same width, and files that know which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import oracles
import pytest
from generator_cases import draw_weights, oracle_options, pictures, shapes
from scipy.ndimage import map_coordinates

import ca_numpy
from ca_numpy import grad, weights
from ca_numpy.errors import UserError
from ca_numpy.models import OFFICIAL, Generator, Variant
from ca_numpy.models.io import save

KINDS = ("contextual", "none", "spatial-transformer", "appearance-flow")
OURS = {
    "spatial-transformer": {
        "inpaint_net/pm_transformer_conv/kernel": (3, 3, 8, 8),
        "inpaint_net/pm_transformer_conv/bias": (8,),
        "inpaint_net/pm_transformer_fc/kernel": (8, 6),
        "inpaint_net/pm_transformer_fc/bias": (6,),
    },
    "appearance-flow": {"inpaint_net/pm_flow/kernel": (3, 3, 8, 2), "inpaint_net/pm_flow/bias": (2,)},
}


def drawn(kind: Any, **options: Any) -> Generator:
    """A generator of width 2 in float64, none of whose weights is zero."""
    generator = Generator(attention=kind, width=2, dtype=np.float64, **options)
    rng = np.random.default_rng(1)
    generator.load_arrays({n: a + rng.uniform(-0.1, 0.1, a.shape) for n, a in generator.arrays().items()})
    return generator


@pytest.mark.parametrize("kind", OURS)
def test_it_adds_its_own_variables_to_the_authors(kind: Any) -> None:
    generator = Generator(attention=kind, width=2)
    assert {name: p.shape for name, p in generator.parameters().items()} == shapes(width=2) | OURS[kind]


@pytest.mark.parametrize(("kind", "numbers"), [("spatial-transformer", 148_358), ("appearance-flow", 2_306)])
def test_at_the_papers_width_it_has_this_many_numbers_more(kind: Any, numbers: int) -> None:
    assert Generator(attention=kind).count() == 3_601_542 + numbers


@pytest.mark.parametrize(("given", "kind"), [(True, "contextual"), (False, "none"), *((k, k) for k in KINDS)])
def test_true_and_false_stand_for_the_papers_model_and_its_baseline(given: Any, kind: str) -> None:
    assert Generator(attention=given, width=2).attention == kind


@pytest.mark.parametrize("given", ["contextal", 1, None])
def test_an_unknown_kind_is_refused_with_the_known_ones(given: Any) -> None:
    with pytest.raises(UserError, match="'appearance-flow'"):
        Generator(attention=given, width=2)


@pytest.mark.parametrize("kind", OURS)
def test_the_features_go_through_it_where_attention_was(kind: Any) -> None:
    """Against the tables of layers, with SciPy's interpolation at the positions it predicts."""
    generator = drawn(kind)
    image, mask = pictures(1, 16, 24)

    def attend(f: np.ndarray) -> np.ndarray:
        assert generator.warp is not None
        where = np.moveaxis(generator.warp.positions(f[None]).numpy()[0], -1, 0)
        channels = [map_coordinates(f[:, :, c], where, order=1, mode="nearest") for c in range(f.shape[2])]
        return np.stack(channels, axis=-1)

    expected = oracles.generator(
        generator.arrays(), image[0], mask[0, :, :, 0], **oracle_options(OFFICIAL), attend=attend
    )
    for actual, wanted in zip(generator(image, mask), expected, strict=True):
        np.testing.assert_allclose(actual.numpy()[0], wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", OURS)
def test_every_parameter_learns(kind: Any) -> None:
    generator = drawn(kind)
    gradients = grad((generator(*pictures(2))[1] ** 2).sum(), list(generator.parameters().values()))
    still = [n for n, g in zip(generator.parameters(), gradients, strict=True) if not abs(g.numpy()).max() > 0]
    assert still == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", ["official", "paper"])
def test_a_file_knows_its_kind(tmp_path: Any, kind: Any, variant: str) -> None:
    generator = drawn(kind, variant=variant)
    save(tmp_path / "mine.safetensors", generator)
    np.savez(tmp_path / "mine.npz", **generator.arrays())
    for name in ("mine.safetensors", "mine.npz"):
        loaded = ca_numpy.load(tmp_path / name, dtype="float64")
        assert loaded.attention == kind
        for a, b in zip(loaded(*pictures()), generator(*pictures()), strict=True):
            assert np.array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("kind", OURS)
def test_a_missing_variable_is_named(kind: Any) -> None:
    arrays = Generator(attention=kind, width=2).arrays()
    last = list(OURS[kind])[-1]
    del arrays[last]
    with pytest.raises(UserError, match=last):
        Generator.from_tf(arrays)


@pytest.mark.parametrize("kind", OURS)
def test_the_map_tells_the_nearest_pixel_that_is_looked_at(kind: Any) -> None:
    generator = drawn(kind)
    where, grid = generator.attention_map(*pictures(2, 16, 24))
    assert where.shape == (2, 4, 6)
    assert grid == (4, 6)
    assert where.min() >= 0
    assert where.max() < 24


def test_a_flow_of_nothing_looks_at_itself() -> None:
    generator = Generator(attention="appearance-flow", width=2)
    generator.load_arrays({n: a * (0 if "pm_flow" in n else 1) for n, a in generator.arrays().items()})
    where, (h, w) = generator.attention_map(*pictures(1, 16, 24, dtype=np.float32))
    assert np.array_equal(where, np.arange(h * w).reshape(1, h, w))


# ---- propagation off -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("composite", [False, True])
def test_without_propagation_each_position_chooses_for_itself(composite: bool) -> None:
    chosen = replace(OFFICIAL.attention, normalize="both") if composite else OFFICIAL.attention
    variant = replace(OFFICIAL, attention=chosen, propagation=False)
    arrays = draw_weights(width=2)
    image, mask = pictures(1, 32, 32)
    options = oracle_options(variant)
    expected = oracles.generator(
        arrays, image[0], mask[0, :, :, 0], **options | {"choices": options["choices"] | {"fuse": False}}
    )[1]
    propagated = oracles.generator(arrays, image[0], mask[0, :, :, 0], **options)[1]
    generator = Generator.from_tf(arrays, variant=variant)
    np.testing.assert_allclose(generator(image, mask)[1].numpy()[0], expected, rtol=1e-7, atol=1e-9)
    assert abs(expected - propagated).max() > 1e-6


def test_a_file_knows_that_propagation_is_off_and_older_files_have_it(tmp_path: Any) -> None:
    save(tmp_path / "off.safetensors", Generator(width=2, variant=replace(OFFICIAL, propagation=False)))
    assert not ca_numpy.load(tmp_path / "off.safetensors").variant.propagation
    before = OFFICIAL.to_json().replace(', "propagation": true', "")
    assert "propagation" not in before
    weights.write(tmp_path / "old.safetensors", Generator(width=2).arrays(), metadata={"variant": before})
    assert ca_numpy.load(tmp_path / "old.safetensors").variant == OFFICIAL
    assert Variant.from_json(before).propagation
