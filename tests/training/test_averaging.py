"""The moving average of the weights: its values, that it does not affect training, and that it is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ca_numpy
from ca_numpy import weights
from ca_numpy.cli import main
from ca_numpy.errors import UserError
from ca_numpy.models import Generator
from ca_numpy.training import TrainConfig, loop, train
from ca_numpy.training.averaging import ExponentialAverage

STEPS, DECAY = 5, 0.75
QUIET: dict[str, Any] = {"backend": "numpy", "quiet": True}
EMA = "generator-ema.safetensors"
Arrays = dict[str, np.ndarray[Any, Any]]


pytestmark = pytest.mark.usefixtures("undrawn")


def weighted_mean(history: list[Arrays], *, decay: float) -> Arrays:
    """Σᵢ decayᵗ⁻ⁱ·wᵢ / Σᵢ decayᵗ⁻ⁱ, in float64: the definition, all at once."""
    shares = np.array([decay ** (len(history) - 1 - i) for i in range(len(history))])
    return {
        name: np.tensordot(shares / shares.sum(), np.stack([w[name] for w in history]).astype(np.float64), 1)
        for name in history[0]
    }


def drawn_weights(generator: Generator, rng: np.random.Generator) -> Arrays:
    return {name: rng.standard_normal(a.shape).astype(a.dtype) for name, a in generator.arrays().items()}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def log_of(folder: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "memory")} for r in records]


# ---- the average -----------------------------------------------------------------------------------------------------
@given(decay=st.floats(0, 0.9999), updates=st.integers(1, 12), seed=st.integers(0, 99))
def test_it_is_the_exponentially_weighted_mean_of_all_weights_so_far(decay: float, updates: int, seed: int) -> None:
    """The initial weights do not contribute to it."""
    rng, generator = np.random.default_rng(seed), Generator(width=2, dtype=np.float64)
    average, history = ExponentialAverage(generator, decay=decay), []
    for _ in range(updates):
        history.append(drawn_weights(generator, rng))
        generator.load_arrays(history[-1])
        average.update()
    expected = weighted_mean(history, decay=decay)
    for name, a in average.generator.arrays().items():
        np.testing.assert_allclose(a, expected[name], rtol=1e-10, atol=1e-10)
        assert np.array_equal(generator.arrays()[name], history[-1][name])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_backend_averages_where_the_weights_lie(backend: str, dtype: type) -> None:
    rng, generator = np.random.default_rng(0), Generator(width=2, dtype=dtype)
    average, history = ExponentialAverage(generator, decay=0.9), []
    for _ in range(3):
        history.append(drawn_weights(generator, rng))
        generator.load_arrays(history[-1])
        average.update()
    expected = weighted_mean(history, decay=0.9)
    for name, p in average.generator.parameters().items():
        assert type(p.data) is type(generator.parameters()[name].data)
        assert p.dtype == dtype
        np.testing.assert_allclose(p.numpy(), expected[name], atol=1e-6 if dtype is np.float32 else 1e-13)


def test_before_the_first_update_it_is_the_generator_itself() -> None:
    """Also where that took over other weights, as `init` makes it."""
    generator = Generator(width=2)
    average = ExponentialAverage(generator, decay=0.9)
    given = drawn_weights(generator, np.random.default_rng(0))
    generator.load_arrays(given)
    assert all(np.array_equal(a, given[name]) for name, a in average.generator.arrays().items())


def test_after_the_first_update_it_has_these_weights_of_its_own() -> None:
    generator = Generator(width=2)
    average = ExponentialAverage(generator, decay=0.999)
    first = drawn_weights(generator, np.random.default_rng(0))
    generator.load_arrays(first)
    average.update()
    generator.load_arrays(drawn_weights(generator, np.random.default_rng(1)))
    assert all(np.array_equal(a, first[name]) for name, a in average.generator.arrays().items())


# ---- in a run --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A second's run, on pictures of noise; the critics join at step 2."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in "abcdef":
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / f"{name}.png")
    return TrainConfig(
        data=str(folder), width=2, critic_width=2, size=16, box=8, max_shrink=1, batch=1, steps=STEPS, pretrain=2,
        critic_steps=1, validate_every=2, pictures_every=100, checkpoint_every=100, rate=1e-2, ema=DECAY,
        checkpoints=1,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["numpy", "numba"])
def whole(
    tiny: TrainConfig, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A backend, and a run on it that was not interrupted."""
    if request.param not in ca_numpy.available_backends():
        pytest.skip(f"{request.param} does not work here")
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_pictures", "draw_curves", "draw_photograph"):
            patch.setattr(loop, name, lambda *_: [])
        train(tiny, out=folder, backend=request.param, quiet=True)
    return request.param, folder


@settings(max_examples=3)
@given(stops=st.sets(st.integers(1, STEPS - 1), min_size=1))
def test_a_run_that_was_stopped_has_the_same_bytes(
    tiny: TrainConfig, whole: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory, stops: set[int]
) -> None:
    backend, straight = whole
    folder = tmp_path_factory.mktemp("runs") / "parts"
    first, *later = sorted(stops)
    train(tiny, out=folder, stop_after=first, backend=backend, quiet=True)
    for stop in later:
        train(resume=folder, stop_after=stop, backend=backend, quiet=True)
    assert bytes_of(folder) != bytes_of(straight)
    train(resume=folder, backend=backend, quiet=True)
    assert bytes_of(folder) == bytes_of(straight)
    assert log_of(folder) == log_of(straight)


def test_what_is_saved_is_the_mean_of_the_weights_after_each_update(tiny: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    history = [train(tiny, out=run, stop_after=1, **QUIET).generator.arrays()]
    history += [train(resume=run, stop_after=n, **QUIET).generator.arrays() for n in range(2, STEPS + 1)]
    expected, raw = weighted_mean(history, decay=DECAY), ca_numpy.load(run).arrays()
    for name, a in ca_numpy.load(run / EMA).arrays().items():
        np.testing.assert_allclose(a, expected[name], atol=1e-6)
    assert max(np.abs(raw[name] - expected[name]).max() for name in raw) > 1e-3  # it is not the last weights


def test_training_does_not_notice(tiny: TrainConfig, whole: tuple[str, Path], tmp_path: Path) -> None:
    backend, averaged = whole
    plain = train(tiny, ema=0.0, out=tmp_path / "plain", backend=backend, quiet=True).folder
    assert not (plain / EMA).exists()
    assert bytes_of(plain)["generator.safetensors"] == bytes_of(averaged)["generator.safetensors"]
    without = [{k: v for k, v in r.items() if "_ema_" not in k} for r in log_of(averaged)]
    assert log_of(plain) == without


def test_it_is_measured_beside_the_generator_each_time(whole: tuple[str, Path]) -> None:
    measured = [r for r in log_of(whole[1]) if "validation_psnr" in r]
    assert [r["step"] for r in measured] == [0, 2, 4, 5]
    for kind in ("l1_coarse", "l1_refined", "psnr"):
        averaged, raw = ([r[f"{name}_{kind}"] for r in measured] for name in ("validation_ema", "validation"))
        assert averaged[0] == raw[0]  # nothing has been learnt yet
        assert all(a != r for a, r in zip(averaged[1:], raw[1:], strict=True))


def test_its_file_is_a_generators_like_the_other(whole: tuple[str, Path]) -> None:
    backend, folder = whole
    raw, averaged = folder / "generator.safetensors", folder / EMA
    assert weights.read_metadata(averaged) == weights.read_metadata(raw)
    assert {n: a.shape for n, a in weights.read(averaged).items()} == {n: a.shape for n, a in weights.read(raw).items()}
    image, mask = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)
    mask[4:8, 4:8] = 255
    filled = [ca_numpy.inpaint(image, mask, method="network", model=p, backend=backend) for p in (raw, averaged)]
    assert not np.array_equal(*filled)


def test_the_command_line_has_it(tiny: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--width 2 --critic-width 2 --size 16 --box 8 --max-shrink 1 --batch 1 --steps 1 --pretrain 1"
    args = ["train", "--data", tiny.data, *options.split(), "--ema", "0.999", "--out", str(tmp_path / "run")]
    assert main([*args, "--backend", "numpy"]) == 0
    assert (tmp_path / "run" / EMA).is_file()
    assert " ema " in next(line for line in capsys.readouterr().err.splitlines() if "step    1/1" in line)


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_that_averages_nothing_is_refused(tiny: TrainConfig, tmp_path: Path, decay: float) -> None:
    with pytest.raises(UserError, match="ema"):
        train(tiny, ema=decay, out=tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()
