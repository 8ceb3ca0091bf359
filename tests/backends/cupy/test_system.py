"""The whole system on the emulated GPU backend trains and fills pictures as on the NumPy backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ca_numpy
import ca_numpy.registry as registry
from ca_numpy import grad, no_grad, tensor, use_backend
from ca_numpy.backends.cupy_backend import CupyBackend
from ca_numpy.backends.cupy_backend.device import Device, precisions_of
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.emulation.kernels import EmulatedKernels
from ca_numpy.backends.cupy_backend.tiles import every_instance
from ca_numpy.errors import UserError
from ca_numpy.models import Generator
from ca_numpy.registry import why_unavailable
from ca_numpy.training import TrainConfig, train
from ca_numpy.training.checkpoint import load_checkpoint

Array = NDArray[Any]
NAME = "cupy-emulated"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_unavailable(NAME) is not None, reason=str(why_unavailable(NAME))),
]

#: A few seconds emulated; the critics join at step 1.
TINY = TrainConfig(
    width=4, critic_width=4, size=32, box=16, max_shrink=2, batch=2, steps=2, pretrain=1, critic_steps=1,
    validate_every=2, pictures_every=100, checkpoint_every=100,
)  # fmt: skip


def generator_and_gradients(backend: str, dtype: Any) -> list[Array]:
    """Both results of a generator, and the gradients of their mean by all its parameters, on the host."""
    rng = np.random.default_rng(0)
    image, mask = rng.uniform(-1, 1, (2, 32, 40, 3)), np.zeros((2, 32, 40, 1))
    mask[0, 8:24, 8:24], mask[1, 4:12, 20:36] = 1, 1
    with use_backend(backend):
        generator = Generator(rng=rng, width=8)
        for p in generator.parameters().values():
            p.data = tensor(p.numpy().astype(dtype)).data
        coarse, refined = generator(tensor((image * (1 - mask)).astype(dtype)), mask.astype(dtype))
        loss = ((coarse - image.astype(dtype)) ** 2).mean() + ((refined - image.astype(dtype)) ** 2).mean()
        gradients = grad(loss, list(generator.parameters().values()))
        return [x.numpy() for x in (coarse, refined, *gradients)]


@pytest.fixture(scope="module")
def exact() -> list[Array]:
    return generator_and_gradients("numpy", np.float64)


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-5), ("tf32", 2e-3), ("bf16", 2e-2)])
def test_the_generator_and_its_gradients_are_as_precise_as_they_say(
    precision: str, bound: float, exact: list[Array]
) -> None:
    """Relative to the largest number of each result; of all gradients together, since some are next to nothing."""
    found = generator_and_gradients(f"{NAME}:{precision}", np.float32)
    for y, right in zip(found[:2], exact[:2], strict=True):
        assert y.dtype == np.float32
        assert np.abs(y - right).max() < bound * np.abs(right).max()
    distance = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(found[2:], exact[2:], strict=True)))
    assert distance < bound * np.sqrt(sum(np.sum(b**2) for b in exact[2:]))


def test_training_follows_the_textbooks_path_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    textbook = train(TINY, backend="numpy", out=tmp_path / "numpy", quiet=True)
    whole = train(TINY, backend=NAME, out=tmp_path / "whole", quiet=True, precision="float32")
    train(TINY, backend=NAME, out=tmp_path / "parts", quiet=True, precision="float32", stop_after=1)
    parts = train(resume=tmp_path / "parts", backend=NAME, quiet=True)
    last = [run.records[-1]["validation_l1_refined"] for run in (textbook, whole, parts)]
    assert last[1] == pytest.approx(last[0], rel=1e-4)
    assert last[2] == last[1]
    files = [run.folder / "generator.safetensors" for run in (whole, parts)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("backend", "precision", "told"),
    [(NAME, "auto", f"{NAME}:tf32"), (f"{NAME}:bf16", "auto", f"{NAME}:bf16"), (NAME, "float32", f" on {NAME};"),
     ("numpy", "auto", " on numpy;")],
)  # fmt: skip
def test_training_takes_tensor_cores_unless_told_otherwise(
    backend: str, precision: Any, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(TINY, backend=backend, precision=precision, out=tmp_path / "run", stop_after=1)
    assert told in "".join(capsys.readouterr())
    assert load_checkpoint(run.folder)[2].precision == precision


def test_on_a_gpu_without_tf32_training_launches_no_kernel_for_tensor_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a T4: all that it launches is among what is compiled for that GPU."""
    kernels, launched = EmulatedKernels(), set()
    right = kernels.launch
    monkeypatch.setattr(kernels, "launch", lambda *launch: (launched.add(launch[1]), right(*launch))[1])
    backend = CupyBackend(Device(arrays, kernels, precisions_of("Tesla T4", 7, 5)))
    monkeypatch.setitem(registry._loaded, "cupy", backend)
    run = train(TINY, backend="cupy", out=tmp_path / "run", quiet=True)
    assert load_checkpoint(run.folder)[2].precision == "auto"
    assert {name.split("<")[0] for name in launched} >= {"convolve", "correlate", "diagonal_sums", "adam"}
    assert [name for name in launched if "Tensor" in name] == []
    assert launched <= {name for names in every_instance().values() for name in names}


def test_a_precision_that_a_backend_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'numpy' cannot compute in 'tf32': choose float32"):
        train(TINY, backend="numpy", precision="tf32", out=tmp_path / "run", quiet=True)


def test_a_picture_is_filled_as_the_textbook_fills_it() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (37, 50, 3)).astype(np.uint8), np.zeros((37, 50), np.uint8)
    mask[8:20, 10:30] = 1
    results = []
    for backend in ("numpy", NAME):
        with use_backend(backend):
            generator = Generator(rng=np.random.default_rng(1), width=4)
        results.append(ca_numpy.inpaint(image, mask, model=generator, backend=backend).astype(int))
    assert np.abs(results[0] - results[1]).max() <= 1
    assert np.array_equal(results[1][mask == 0], image[mask == 0])


def test_a_model_may_have_been_loaded_or_trained_on_another_backend(tmp_path: Path) -> None:
    image, mask = np.full((16, 24, 3), 90, np.uint8), np.zeros((16, 24), np.uint8)
    mask[4:8, 4:12] = 1
    loaded = Generator(rng=np.random.default_rng(1), width=4)  # of NumPy's arrays
    here = ca_numpy.inpaint(image, mask, model=loaded, backend="numpy").astype(int)
    there = ca_numpy.inpaint(image, mask, model=loaded, backend=NAME).astype(int)
    assert np.abs(here - there).max() <= 1
    assert np.array_equal(ca_numpy.inpaint(image, mask, model=loaded, backend="numpy"), here)
    trained = train(TINY, backend=NAME, out=tmp_path / "run", quiet=True, stop_after=1).generator
    assert all(type(p.data) is np.ndarray for p in trained.parameters().values())
    table = ca_numpy.evaluate(trained, backend=NAME, count=2, size=32, data="textures")
    assert "refined" in table.to_markdown()


def test_reading_attention_works_on_the_device() -> None:
    with use_backend(NAME), no_grad():
        generator = Generator(rng=np.random.default_rng(1), width=4)
        image, mask = np.zeros((1, 32, 32, 3), np.float32), np.zeros((1, 32, 32, 1), np.float32)
        mask[:, 8:16, 8:16] = 1
        looked, grid = generator.attention_map(image, mask)
        assert np.asarray(looked).shape == (1, *grid)
