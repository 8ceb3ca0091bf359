"""The two-stage generator against its tables of layers carried out in loops; its manners."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import oracles
import pytest
from generator_cases import CHANGED, Array, draw_weights, oracle_options, pictures, shapes, table_of

from ca_numpy import Tensor, grad, no_grad
from ca_numpy.errors import UserError
from ca_numpy.models import OFFICIAL, PAPER, Generator, Variant


# ---- sizes and names -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "table", "count"),
    [
        ({}, {}, 3_601_542),
        ({"variant": "paper"}, {"inputs": 4, "wide": True}, 3_765_158),
        ({"attention": False}, {"attention": False}, 2_896_454),
    ],
    ids=["official", "paper", "baseline"],
)
def test_the_generator_has_the_authors_variables_and_as_many_numbers(
    options: dict[str, Any], table: dict[str, Any], count: int
) -> None:
    generator = Generator(**options)
    assert {name: p.shape for name, p in generator.parameters().items()} == shapes(**table)
    assert generator.count() == count


def test_the_baseline_is_two_equal_stages_without_an_attention_branch() -> None:
    names = Generator(attention=False, width=2).parameters()
    assert not [name for name in names if "/pm" in name]
    assert Generator(attention=False).count() == 2 * 1_448_227


@pytest.mark.parametrize("width", [2, 8])
def test_the_width_scales_every_layer_but_the_last(width: int) -> None:
    parameters = Generator(width=width).parameters()
    assert {name: p.shape for name, p in parameters.items()} == shapes(width=width)


def test_initial_weights_are_drawn_from_the_given_generator_only() -> None:
    def drawn(seed: int) -> Array:
        return Generator(width=2, rng=np.random.default_rng(seed)).arrays()["inpaint_net/xconv5/kernel"]

    assert np.array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))
    assert np.array_equal(drawn(0), Generator(width=2).arrays()["inpaint_net/xconv5/kernel"])


# ---- against the tables carried out in loops -------------------------------------------------------------------------
@pytest.mark.parametrize("changed", CHANGED)
def test_both_stages_are_their_tables_of_layers(changed: str) -> None:
    variant = CHANGED[changed]
    weights = draw_weights(**table_of(variant))
    image, mask = pictures(1, 16, 24)
    coarse, refined = Generator.from_tf(weights, variant=variant)(image, mask)
    expected = oracles.generator(weights, image[0], mask[0, :, :, 0], **oracle_options(variant))
    for actual, wanted in zip((coarse, refined), expected, strict=True):
        assert (np.abs(wanted) < 1).mean() > 0.2  # the clip has left something to compare
        np.testing.assert_allclose(actual.numpy()[0], wanted, rtol=1e-8, atol=1e-10)


def test_the_baseline_is_its_table_of_layers() -> None:
    weights = draw_weights(width=2, attention=False)
    image, mask = pictures()
    coarse, refined = Generator.from_tf(weights)(image, mask)
    options = oracle_options(OFFICIAL) | {"with_attention": False}
    expected = oracles.generator(weights, image[0], mask[0, :, :, 0], **options)
    np.testing.assert_allclose(coarse.numpy()[0], expected[0], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(refined.numpy()[0], expected[1], rtol=1e-8, atol=1e-10)


# ---- forward ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("size", [(8, 8), (16, 40)])
def test_results_have_the_images_shape_and_lie_in_its_range(variant: str, size: tuple[int, int]) -> None:
    table = table_of(OFFICIAL if variant == "official" else PAPER)
    generator = Generator.from_tf(draw_weights(gain=4.0, dtype=np.float32, **table))  # strong enough to need the clip
    image, mask = pictures(2, *size, dtype=np.float32)
    for y in generator(image, mask):
        assert y.shape == (2, *size, 3)
        assert y.dtype == np.float32
        assert np.abs(y.numpy()).max() == 1


def test_one_mask_serves_a_whole_batch() -> None:
    generator = Generator.from_tf(draw_weights(width=2))
    image, mask = pictures(3)
    one, repeated = generator(image, mask[:1]), generator(image, mask[:1].repeat(3, 0))
    for a, b in zip(one, repeated, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("variant", ["official", "paper"])
def test_a_batch_is_its_images_one_by_one_each_with_its_own_mask(variant: str) -> None:
    table = table_of(OFFICIAL if variant == "official" else PAPER)
    generator = Generator.from_tf(draw_weights(**table))
    image, mask = pictures(3)
    together = generator(image, mask)
    for n in range(3):
        alone = generator(image[n : n + 1], mask[n : n + 1])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a.numpy()[n : n + 1], b.numpy(), rtol=1e-9, atol=1e-12)


def test_calling_the_generator_is_coarse_then_refine() -> None:
    generator = Generator.from_tf(draw_weights(width=2))
    image, mask = pictures(2)
    coarse, refined = generator(image, mask)
    assert np.array_equal(generator.coarse(image, mask).numpy(), coarse.numpy())
    assert np.array_equal(generator.refine(image, mask, coarse).numpy(), refined.numpy())


def test_of_the_coarse_result_only_the_hole_is_used() -> None:
    generator = Generator.from_tf(draw_weights(width=2))
    image, mask = pictures()
    coarse = generator.coarse(image, mask).numpy()
    outside = generator.refine(image, mask, coarse + (1 - mask)).numpy()
    inside = generator.refine(image, mask, coarse * (1 - mask)).numpy()
    refined = generator.refine(image, mask, coarse).numpy()
    assert np.array_equal(refined, outside)
    assert not np.array_equal(refined, inside)


@pytest.mark.parametrize("mask_dtype", [np.bool_, np.uint8, np.float64])
def test_a_mask_of_another_dtype_gives_the_same_float32_result(mask_dtype: Any) -> None:
    generator = Generator.from_tf(draw_weights(width=2, dtype=np.float32))
    image, mask = pictures(dtype=np.float32)
    _, refined = generator(generator.erase(image, mask.astype(mask_dtype)), mask.astype(mask_dtype))
    _, expected = generator(generator.erase(image, mask), mask)
    assert refined.dtype == np.float32
    np.testing.assert_allclose(refined.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


# ---- the attention map -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("variant", "background"), [(OFFICIAL, (4, 6)), (PAPER, (8, 12))], ids=["official", "paper"])
def test_the_attention_map_points_from_an_eighth_of_the_picture_into_the_background(
    variant: Variant, background: tuple[int, int]
) -> None:
    generator = Generator.from_tf(draw_weights(**table_of(variant)), variant=variant)
    image, mask = pictures(2, 32, 48)
    where, grid = generator.attention_map(image, mask)
    assert where.shape == (2, 4, 6)
    assert np.issubdtype(where.dtype, np.integer)
    assert grid == background
    assert where.min() >= 0
    assert where.max() < background[0] * background[1]


def test_the_attention_map_never_points_into_the_hole() -> None:
    generator = Generator.from_tf(draw_weights(width=2))
    image, _ = pictures(1, 64, 64)
    mask = np.zeros((1, 64, 64, 1))
    mask[:, 16:40, 24:48] = 1
    where, (h, w) = generator.attention_map(image, mask)
    rows, columns = np.divmod(where, w)
    assert h == w == 8
    assert not (((rows >= 2) & (rows < 5)) & ((columns >= 3) & (columns < 6))).any()
    assert len(np.unique(where)) > 1


def test_a_generator_without_attention_has_no_map() -> None:
    generator = Generator(width=2, attention=False)
    with pytest.raises(ValueError, match="without attention"):
        generator.attention_map(*pictures())


# ---- memory ----------------------------------------------------------------------------------------------------------
def tape(y: Tensor) -> Iterator[Tensor]:
    """y and everything it was made of."""
    stack, met = [y], set()
    while stack:
        t = stack.pop()
        if id(t) not in met:
            met.add(id(t))
            yield t
            stack.extend(t.inputs)


def test_without_a_tape_the_numbers_are_the_same_and_nothing_is_held() -> None:
    generator, inputs = Generator.from_tf(draw_weights(width=2)), pictures()
    taped = generator(*inputs)
    with no_grad():
        bare = generator(*inputs)
    for a, b in zip(taped, bare, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())
        assert a.op is not None
        assert b.op is None
        assert b.inputs == ()


def test_the_tape_is_freed_with_the_results_without_the_garbage_collector() -> None:
    generator, inputs = Generator.from_tf(draw_weights(width=2)), pictures()
    gc.collect()
    gc.disable()
    try:
        coarse, refined = generator(*inputs)
        gradients = grad(refined, list(generator.parameters().values()))
        kept = {id(p) for p in generator.parameters().values()}
        references = [weakref.ref(t) for t in tape(refined) if id(t) not in kept]
        assert len(references) > 50
        del coarse, refined, gradients
        assert [r for r in references if r() is not None] == []
    finally:
        gc.enable()


def test_the_inputs_are_left_as_they_were() -> None:
    generator = Generator.from_tf(draw_weights(width=2))
    image, mask = pictures()
    for x in (image, mask):
        x.flags.writeable = False
    grad(generator(image, mask)[1], list(generator.parameters().values()))  # a write would raise
    assert np.array_equal(image, pictures()[0])
    assert np.array_equal(mask, pictures()[1])


# ---- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", [0, 1, 3, -2])
def test_an_odd_or_empty_width_is_refused(width: int) -> None:
    with pytest.raises(UserError, match="even"):
        Generator(width=width)


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="official, paper"):
        Generator(variant="offical")


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ((1, 16, 20, 3), (1, 16, 20, 1), "multiples of 8"),
        ((1, 12, 16, 3), (1, 12, 16, 1), "multiples of 8"),
        ((1, 16, 16, 1), (1, 16, 16, 1), "N H W 3"),
        ((1, 16, 16, 4), (1, 16, 16, 1), "N H W 3"),
        ((16, 16, 3), (16, 16, 1), "N H W 3"),
        ((1, 16, 16, 3), (1, 16, 16, 3), "mask N H W 1"),
        ((1, 16, 16, 3), (1, 8, 8, 1), "mask N H W 1"),
        ((1, 16, 16, 3), (16, 16), "mask N H W 1"),
        ((2, 16, 16, 3), (3, 16, 16, 1), "mask"),
        ((1, 16, 16, 3), (3, 16, 16, 1), "mask"),
    ],
)
def test_images_and_masks_that_do_not_fit_are_refused_in_one_line(
    image: tuple[int, ...], mask: tuple[int, ...], message: str
) -> None:
    generator = Generator(width=2)
    with pytest.raises(ValueError, match=message) as error:
        generator(np.zeros(image, np.float32), np.zeros(mask, np.float32))
    assert "\n" not in str(error.value)
