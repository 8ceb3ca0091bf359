"""Each field of a variant does what it says; and how far the coarse network sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import oracles
import pytest
from generator_cases import CHANGED, draw_weights, pictures, table_of

from ca_numpy import grad, tensor
from ca_numpy.models import OFFICIAL, PAPER, Generator


# ---- the variants' other fields --------------------------------------------------------------------------------------
@pytest.mark.parametrize("changed", [name for name, v in CHANGED.items() if table_of(v) == table_of(OFFICIAL)][1:])
def test_each_field_of_a_variant_changes_the_result(changed: str) -> None:
    weights = draw_weights(width=2)
    for part in ("kernel", "bias"):
        weights[f"inpaint_net/pmconv6/{part}"] *= 0.05  # so mild a softmax that every patch has its share
    image, _ = pictures(1, 32, 32)
    mask = np.zeros((1, 32, 32, 1))
    mask[:, :8, :8] = 1  # in a corner, so that known patches remain
    a, b = (Generator.from_tf(weights, variant=v)(image, mask)[1].numpy() for v in (OFFICIAL, CHANGED[changed]))
    assert np.abs(a - b).max() > 1e-6


def test_the_two_named_variants_are_the_released_code_and_the_text() -> None:
    assert Generator(width=2).variant is OFFICIAL
    assert Generator(width=2, variant="paper").variant is PAPER
    assert (OFFICIAL.padding, OFFICIAL.hole_value, OFFICIAL.hole_is_one) == ("same", 0.0, True)
    assert (PAPER.padding, PAPER.hole_value, PAPER.hole_is_one) == ("reflect", 1.0, False)
    assert OFFICIAL.attention_relu
    assert not PAPER.attention_relu
    assert PAPER.coarse_is_detached
    assert not OFFICIAL.coarse_is_detached


@pytest.mark.parametrize("detached", [True, False])
def test_a_detached_coarse_result_keeps_stage_twos_gradients_from_stage_one(detached: bool) -> None:
    generator = Generator.from_tf(draw_weights(width=2), variant=replace(OFFICIAL, coarse_is_detached=detached))
    coarse, refined = generator(*pictures())
    stage_one = [p for name, p in generator.parameters().items() if name.startswith("inpaint_net/conv")]
    stage_two = [p for name, p in generator.parameters().items() if not name.startswith("inpaint_net/conv")]
    reach = sum(float(abs(g.numpy()).sum()) for g in grad(refined, stage_one))
    assert (reach == 0) == detached
    assert all(abs(g.numpy()).sum() > 0 for g in grad(coarse, stage_one))
    assert all(abs(g.numpy()).sum() > 0 for g in grad(refined, stage_two))


def test_detaching_changes_gradients_only() -> None:
    weights, inputs = draw_weights(width=2), pictures()
    a, b = (
        Generator.from_tf(weights, variant=replace(OFFICIAL, coarse_is_detached=d))(*inputs)[1].numpy()
        for d in (True, False)
    )
    assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("variant", "fill"), [("official", 0.0), ("paper", 1.0), (replace(OFFICIAL, hole_value=0.25), 0.25)]
)
def test_erase_fills_the_hole_and_nothing_else(variant: Any, fill: float) -> None:
    image, mask = pictures(2)
    erased = Generator(width=2, variant=variant).erase(image, mask).numpy()
    hole = np.broadcast_to(mask == 1, image.shape)
    assert np.array_equal(erased[hole], np.full(hole.sum(), fill))
    assert np.array_equal(erased[~hole], image[~hole])


# ---- receptive field -------------------------------------------------------------------------------------------------
#: (kernel, stride, dilation) from the picture to the coarse result; "up" doubles.
COARSE: list[Any] = [
    (5, 1, 1), (3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1),
    (3, 1, 2), (3, 1, 4), (3, 1, 8), (3, 1, 16),
    (3, 1, 1), (3, 1, 1), "up", (3, 1, 1), (3, 1, 1), "up", (3, 1, 1), (3, 1, 1), (3, 1, 1),
]  # fmt: skip


def seen(layers: list[Any], pixel: int, n: int) -> set[int]:
    """The pixels of a line of n that one pixel of the result depends on, walking the layers back to front."""
    sizes = [n]
    for layer in layers:
        sizes.append(2 * sizes[-1] if layer == "up" else oracles.outputs(sizes[-1], layer[1]))
    now = {pixel}
    for layer, size in zip(reversed(layers), reversed(sizes[:-1]), strict=True):
        if layer == "up":
            now = {i // 2 for i in now}
        else:
            k, s, d = layer
            before = oracles.zeros_before(size, k, s, d)
            now = {j for i in now for u in range(k) if 0 <= (j := i * s + u * d - before) < size}
    return now


def test_every_pixel_of_the_coarse_result_sees_past_a_hole_of_128() -> None:
    n, middle = 640, 320
    generator = Generator(width=2, dtype=np.float64)
    for name, p in generator.parameters().items():  # positive weights: nothing cancels
        if name.endswith("kernel"):
            p.data = np.abs(p.data)
    generator.layers["conv1"].kernel.data[:, :, 3:] = 0  # and at a black picture every slope is 1
    image = tensor(np.zeros((1, 8, n, 3)))
    seed = np.zeros((1, 8, n, 3))
    seed[0, 4, middle] = 1
    g = grad(generator.coarse(image, np.zeros((1, 8, n, 1))), image, seed=seed).numpy()
    reached = set(np.flatnonzero(abs(g).sum((0, 1, 3))))
    assert reached == seen(COARSE, middle, n)
    assert set(range(middle - 128, middle + 129)) <= reached


def test_without_dilation_it_would_not_see_past_the_hole() -> None:
    plain = [layer if layer == "up" else (*layer[:2], 1) for layer in COARSE]
    assert len(seen(plain, 320, 640)) < 128
