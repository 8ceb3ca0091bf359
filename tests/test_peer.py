"""ca_numpy computes what PyTorch computes: every layer, both networks, the penalty, and their gradients.

First against stored numbers (`peer_numbers.npz`), which needs no PyTorch; then, where PyTorch is installed,
against the peer itself on cases that Hypothesis draws. Everything is float64 and agrees to nine digits of the
largest element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from peer_cases import (
    ATTENTION,
    CASES,
    CONV,
    CRITIC,
    GENERATOR,
    NUMBERS,
    PENALTY,
    SUMS,
    Array,
    AttentionCase,
    Case,
    ConvCase,
    CriticCase,
    GeneratorCase,
    Parts,
    PenaltyCase,
    critic_shapes,
    generator_shapes,
    summaries,
    weights_of,
)

import ca_numpy
from ca_numpy import Tensor, functional, tensor
from ca_numpy.models import Critic, Generator
from ca_numpy.training.losses import gradient_penalty

TOLERANCE = 1e-9
#: A result whose largest element is smaller is what larger numbers leave when they cancel: it is compared with this.
SMALLEST_SCALE = 1e-3


# ---------------------------------------------------------------------------------------------------------
# ca_numpy's side of every case
# ---------------------------------------------------------------------------------------------------------


def gradients(scalar: Tensor, wanted: Mapping[str, Tensor]) -> Parts:
    grads = ca_numpy.grad(scalar, list(wanted.values()))
    for (name, x), g in zip(wanted.items(), grads, strict=True):
        assert g.shape == x.shape, f"the gradient for {name} has shape {g.shape}, not {x.shape}"
    return {f"d {name}": g.data for name, g in zip(wanted, grads, strict=True)}


def in_order(parameters: Mapping[str, Tensor], weights: Parts) -> dict[str, Tensor]:
    """A network's parameters in the order of the weights it was made from: all of them, and no others."""
    assert set(parameters) == set(weights)
    return {name: parameters[name] for name in weights}


def run_conv(case: ConvCase, inputs: Parts) -> Parts:
    x, w, b = (tensor(inputs[name]) for name in "xwb")
    y = functional.conv2d(x, w, b, stride=case.stride, dilation=case.dilation)
    return {"y": y.data, **gradients((y * tensor(inputs["r"])).sum(), {"x": x, "w": w, "b": b})}


def run_attention(case: AttentionCase, inputs: Parts, fused: bool) -> Parts:
    f = tensor(inputs["f"])
    b = tensor(inputs["b"]) if "b" in inputs else f
    mask = tensor(inputs["mask"]) if "mask" in inputs else None
    y = functional.contextual_attention(f, b, mask, **case.options, fused=fused)
    wanted = {"f": f} if b is f else {"f": f, "b": b}
    return {"y": y.data, **gradients((y * tensor(inputs["r"])).sum(), wanted)}


def run_generator(case: GeneratorCase, inputs: Parts) -> Parts:
    weights = weights_of(inputs)
    generator = Generator.from_tf(weights)
    image = tensor(inputs["image"])
    coarse, refined = generator(image, tensor(inputs["mask"]))
    results = {"coarse": coarse.data, "refined": refined.data}
    if case.gradients:
        scalar = (coarse * tensor(inputs["r1"])).sum() + (refined * tensor(inputs["r2"])).sum()
        results |= gradients(scalar, {"image": image, **in_order(generator.parameters(), weights)})
    return results


def critic_of(case: CriticCase | PenaltyCase, weights: Parts) -> Critic:
    """The weights alone tell a square size; any other has to be said."""
    height, width = case.hw
    return Critic.from_tf(weights, which=case.which, size=None if height == width else case.hw)


def run_critic(case: CriticCase, inputs: Parts) -> Parts:
    weights = weights_of(inputs)
    critic = critic_of(case, weights)
    x = tensor(inputs["x"])
    scores = critic(x)
    wanted = {"x": x, **in_order(critic.parameters(), weights)}
    return {"scores": scores.data, **gradients((scores * tensor(inputs["r"])).sum(), wanted)}


def run_penalty(case: PenaltyCase, inputs: Parts) -> Parts:
    weights = weights_of(inputs)
    critic = critic_of(case, weights)
    penalty = gradient_penalty(critic, *(tensor(inputs[name]) for name in ("real", "fake", "mask", "t")))
    return {"penalty": penalty.data, **gradients(penalty, in_order(critic.parameters(), weights))}


# ---------------------------------------------------------------------------------------------------------
# Against the stored numbers
# ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored() -> dict[str, Array]:
    with np.load(NUMBERS, allow_pickle=False) as file:
        return dict(file)


def assert_agrees_with_stored(case: Case, inputs: Parts, results: Parts, stored: Array) -> None:
    remaining, wrong = stored, []
    for name, found in summaries(case, inputs, results):
        expected, remaining = remaining[: found.size], remaining[found.size :]
        assert expected.size == found.size, f"{name}: more was found than is stored"
        largest, total = expected[:2]
        scale = np.full(found.size, max(largest, SMALLEST_SCALE))
        scale[1:SUMS] = max(total, SMALLEST_SCALE)
        difference = np.max(np.abs(found - expected) / scale)
        if name == "inputs":
            assert difference < 1e-12, "other inputs than those stored: run tests/make_peer_numbers.py again"
        if not difference <= TOLERANCE:
            wrong.append(f"{name}: differs by {difference:.1e} of its largest element or sum")
    assert not wrong, "\n".join(wrong)
    assert not remaining.size, "less was found than is stored"


def parametrize(cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.id)


both_attentions = pytest.mark.parametrize("fused", [True, False], ids=["fused", "composite"])


def test_the_file_holds_exactly_the_cases(stored: dict[str, Array]) -> None:
    assert list(stored) == [case.id for case in CASES]


@parametrize(CONV)
def test_convolution_and_its_gradients_are_the_peers(case: ConvCase, stored: dict[str, Array]) -> None:
    inputs = case.inputs()
    assert_agrees_with_stored(case, inputs, run_conv(case, inputs), stored[case.id])


@both_attentions
@parametrize(ATTENTION)
def test_attention_and_its_gradients_are_the_peers(case: AttentionCase, fused: bool, stored: dict[str, Array]) -> None:
    inputs = case.inputs()
    assert_agrees_with_stored(case, inputs, run_attention(case, inputs, fused), stored[case.id])


@parametrize(GENERATOR)
def test_generator_and_its_gradients_are_the_peers(case: GeneratorCase, stored: dict[str, Array]) -> None:
    inputs = case.inputs()
    assert_agrees_with_stored(case, inputs, run_generator(case, inputs), stored[case.id])


@parametrize(CRITIC)
def test_critic_and_its_gradients_are_the_peers(case: CriticCase, stored: dict[str, Array]) -> None:
    inputs = case.inputs()
    assert_agrees_with_stored(case, inputs, run_critic(case, inputs), stored[case.id])


@parametrize(PENALTY)
def test_penalty_and_its_gradients_are_the_peers(case: PenaltyCase, stored: dict[str, Array]) -> None:
    inputs = case.inputs()
    assert_agrees_with_stored(case, inputs, run_penalty(case, inputs), stored[case.id])


# ---------------------------------------------------------------------------------------------------------
# Against the peer itself
# ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    """The module that asks the PyTorch peer."""
    pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    import make_peer_numbers

    return make_peer_numbers


def assert_agrees_with_peer(case: Case, run: Callable[[Case, Parts], Parts], peer: ModuleType) -> None:
    inputs = case.inputs()
    expected = peer.run(case, inputs)
    # The peer's square roots have no gradient at zero: for a patch of zeros, or a hole of no pixels.
    assume(all(np.isfinite(array).all() for array in expected.values()))
    found = run(case, inputs)
    assert list(found) == list(expected)
    for name, array in expected.items():
        scale = max(np.abs(array).max(), SMALLEST_SCALE)
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name] / scale, array / scale, rtol=0, atol=TOLERANCE, err_msg=name)


def sizes(least: int, most: int, multiple: int = 1) -> st.SearchStrategy[tuple[int, int]]:
    side = st.integers(least, most).map(lambda n: n * multiple)
    return st.tuples(side, side)


seeds = st.integers(0, 2**32 - 1)


@st.composite
def conv_cases(draw: st.DrawFn) -> ConvCase:
    # At stride 1 the peer pads alike on both sides, which is TF's SAME for odd kernels only.
    stride = draw(st.integers(1, 3))
    ksize = draw(st.sampled_from((1, 3, 5)) if stride == 1 else st.integers(1, 5))
    return ConvCase(draw(sizes(1, 16)), ksize, stride, draw(st.integers(1, 16)), seed=draw(seeds))


@st.composite
def attention_cases(draw: st.DrawFn) -> AttentionCase:
    rate = draw(st.integers(1, 4))
    return AttentionCase(
        draw(sizes(1, 8, rate)),
        draw(st.none() | sizes(1, 8, rate)),
        draw(st.sampled_from(("none", "known", "hole", "box", "dots"))),
        batch=draw(st.integers(1, 2)),
        ksize=draw(st.sampled_from((1, 3, 5))),
        rate=rate,
        fuse_k=draw(st.sampled_from((1, 3, 5))),
        softmax_scale=draw(st.sampled_from((1.0, 10.0))),
        fuse=draw(st.booleans()),
        channels=draw(st.integers(1, 5)),
        seed=draw(seeds),
    )


generator_cases = st.builds(
    GeneratorCase,
    sizes(1, 5, 8),
    cnum=st.sampled_from((2, 4)),
    batch=st.integers(1, 2),
    mask=st.sampled_from(("known", "hole", "box", "dots")),
    seed=seeds,
)
which = st.sampled_from(("local", "global"))
critic_cases = st.builds(CriticCase, which, sizes(1, 40), cnum=st.integers(1, 4), seed=seeds)
masks = st.sampled_from(("hole", "box", "dots"))
penalty_cases = st.builds(PenaltyCase, which, sizes(4, 40), masks, cnum=st.integers(1, 4), seed=seeds)


@settings(deadline=None)
@given(case=conv_cases())
def test_any_convolution_is_the_peers(case: ConvCase, peer: ModuleType) -> None:
    assert_agrees_with_peer(case, run_conv, peer)


@both_attentions
@settings(deadline=None)
@given(case=attention_cases())
def test_any_attention_is_the_peers(case: AttentionCase, fused: bool, peer: ModuleType) -> None:
    assert_agrees_with_peer(case, lambda case, inputs: run_attention(case, inputs, fused), peer)


@settings(deadline=None, max_examples=10)
@given(case=generator_cases)
def test_any_generator_is_the_peers(case: GeneratorCase, peer: ModuleType) -> None:
    assert_agrees_with_peer(case, run_generator, peer)


@settings(deadline=None, max_examples=20)
@given(case=critic_cases)
def test_any_critic_is_the_peers(case: CriticCase, peer: ModuleType) -> None:
    assert_agrees_with_peer(case, run_critic, peer)


@settings(deadline=None, max_examples=20)
@given(case=penalty_cases)
def test_any_penalty_is_the_peers(case: PenaltyCase, peer: ModuleType) -> None:
    assert_agrees_with_peer(case, run_penalty, peer)


@pytest.mark.parametrize("cnum", [2, 8, 32])
def test_the_weights_drawn_have_the_peers_names_and_shapes(cnum: int, peer: ModuleType) -> None:
    from ca_numpy.bench.torch_peer import random_critic_weights, random_weights

    assert {name: w.shape for name, w in random_weights(cnum=cnum).items()} == generator_shapes(cnum)
    critics = critic_shapes("local", cnum, 40, 40) | critic_shapes("global", cnum, 64, 64)
    drawn = random_critic_weights(cnum=cnum, local_hw=40, global_hw=64)
    assert {name: w.shape for name, w in drawn.items()} == critics
