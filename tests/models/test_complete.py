"""One door to every network: RGB in, RGB out, known pixels exact; and a network of another kind is one new file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from generator_cases import draw_weights
from hypothesis import given
from hypothesis import strategies as st

import ca_numpy
from ca_numpy import UserError, grad, tensor, weights
from ca_numpy.models import BaseGenerator, Generator, Learnt, architecture, architectures
from ca_numpy.models.generator import colours_turned
from ca_numpy.models.io import save

MODEL = Generator.from_tf(draw_weights(width=2))


def drawn(n: int, height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and one mask for each, float64."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, height, width, 3)), (rng.random((n, height, width, 1)) < 0.4).astype(float)


@given(n=st.integers(1, 2), height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 99))
def test_known_pixels_are_exact_and_what_lies_in_the_hole_does_not_matter(
    n: int, height: int, width: int, seed: int
) -> None:
    images, masks = drawn(n, height, width, seed)
    coarse, refined, result = (y.numpy() for y in MODEL.complete(images, masks))
    assert coarse.shape == refined.shape == result.shape == images.shape
    assert np.array_equal(result, np.where(masks == 1, refined, images))
    other = np.where(masks == 1, -images, images)
    assert np.array_equal(MODEL.complete(other, masks).refined.numpy(), refined)


def test_at_multiples_of_eight_it_is_the_network_and_nothing_else() -> None:
    images, masks = drawn(2, 16, 24, 0)
    coarse, refined = MODEL(MODEL.erase(images, masks), masks)
    done = MODEL.complete(images, masks)
    assert np.array_equal(done.coarse.numpy(), coarse.numpy())
    assert np.array_equal(done.refined.numpy(), refined.numpy())


def test_one_mask_serves_all_images() -> None:
    images, masks = drawn(3, 16, 16, 1)
    one = MODEL.complete(images, masks[:1]).result.numpy()
    each = MODEL.complete(images, np.repeat(masks[:1], 3, axis=0)).result.numpy()
    assert np.array_equal(one, each)


def test_arrays_take_the_networks_dtype() -> None:
    images, masks = drawn(1, 16, 16, 2)
    single = Generator(width=2)
    assert single.complete(images, masks).result.dtype == np.float32
    assert np.isfinite(single.complete(images, masks).result.numpy()).all()


def test_a_gradient_by_the_image_reaches_known_pixels_only() -> None:
    images, masks = drawn(1, 13, 11, 3)
    x = tensor(images)
    g = grad(MODEL.complete(x, masks).refined.sum(), x).numpy()
    assert not g[masks[..., 0] == 1].any()
    assert g[masks[..., 0] == 0].any()


def test_turned_weights_do_with_rgb_what_the_others_do_with_bgr() -> None:
    images, masks = drawn(2, 16, 24, 4)
    arrays = draw_weights(width=2)
    turned = Generator.from_tf(arrays, channel_order="bgr")
    for y, z in zip(turned.complete(images, masks), MODEL.complete(images[..., ::-1], masks), strict=True):
        np.testing.assert_allclose(y.numpy(), z.numpy()[..., ::-1], atol=1e-12)
    again = colours_turned(turned.arrays())
    assert all(np.array_equal(again[name], array) for name, array in MODEL.arrays().items())


def test_the_fgvc_port_sees_bgr_and_is_turned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its names say so, as the authors' format does."""
    monkeypatch.setattr(weights, "origin", lambda path: "fgvc")
    np.savez(tmp_path / "port.npz", **MODEL.arrays())
    loaded = ca_numpy.load(tmp_path / "port.npz", dtype="float64")
    first = "inpaint_net/conv1/kernel"
    assert np.array_equal(loaded.arrays()[first][:, :, :3], MODEL.arrays()[first][:, :, 2::-1])
    assert loaded.learnt == Learnt(hole=128, size=256)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("name", ["conv17/kernel", "allconv17/bias", "xconv1/kernel"])
def test_incomplete_weights_are_one_line_in_either_order(name: str, order: str, tmp_path: Path) -> None:
    missing, flat = (draw_weights(width=2) for _ in range(2))
    del missing[f"inpaint_net/{name}"]
    flat[f"inpaint_net/{name}"] = np.zeros(3)
    for arrays in (missing, flat if "kernel" in name else missing):
        weights.write(tmp_path / "some.safetensors", arrays, metadata={"channel_order": order})
        with pytest.raises(UserError, match=f"inpaint_net/{name}") as caught:
            ca_numpy.load(tmp_path / "some.safetensors")
        assert "\n" not in str(caught.value)


def test_bare_arrays_are_rgb_and_say_nothing_of_their_training(tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", **MODEL.arrays())
    loaded = ca_numpy.load(tmp_path / "bare.npz", dtype="float64")
    assert all(np.array_equal(a, MODEL.arrays()[name]) for name, a in loaded.arrays().items())
    assert loaded.learnt == Learnt()


# ---- architectures by name ---------------------------------------------------------------------------------------
GATED = """
from ca_numpy import functional as F
from ca_numpy.models.generator import Generator

class Gated(Generator):
    \"\"\"As the paper's, its refinement dimmed by half.\"\"\"

    architecture = "gated-for-test"

    def refine(self, image, mask, coarse):
        return super().refine(image, mask, coarse) * 0.5
"""


@pytest.fixture
def gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One new file in the folder of the models."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "gated_for_test.py").write_text(GATED)
    known = dict(architectures._ARCHITECTURES)
    monkeypatch.setattr(architectures, "_ARCHITECTURES", known)
    monkeypatch.setattr(ca_numpy.models, "__path__", [*ca_numpy.models.__path__, str(tmp_path / "models")])
    yield "gated-for-test"
    sys.modules.pop("ca_numpy.models.gated_for_test", None)


def test_a_network_of_another_kind_is_found_by_its_name_trained_and_loaded_back(gated: str, tmp_path: Path) -> None:
    tiny = {"width": 4, "critic_width": 4, "size": 32, "box": 16, "max_shrink": 2, "batch": 2, "steps": 1}
    run = ca_numpy.train(architecture=gated, pretrain=1, out=tmp_path / "run", quiet=True, backend="numpy", **tiny)
    assert type(run.generator).__name__ == "Gated"
    loaded = ca_numpy.load(run.folder)
    assert type(loaded) is type(run.generator) is architecture(gated)
    assert loaded.learnt == Learnt(hole=16, size=32)
    images, masks = (a.astype(np.float32) for a in drawn(1, 16, 16, 5))
    plain = Generator.from_tf(loaded.arrays()).complete(images, masks).refined.numpy()
    assert np.array_equal(loaded.complete(images, masks).refined.numpy(), plain * np.float32(0.5))


def test_an_unknown_architecture_is_one_line_that_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'quantum'.*two-stage"):
        architecture("quantum")
    weights.write(tmp_path / "odd.safetensors", MODEL.arrays(), metadata={"architecture": "os.system"})
    with pytest.raises(UserError, match=r"odd\.safetensors.*'os\.system'"):
        ca_numpy.load(tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match="quantum"):
        ca_numpy.train(architecture="quantum", quiet=True)


def test_a_file_says_what_the_model_is(tmp_path: Path) -> None:
    model = Generator(width=4, variant="paper", attention="none")
    model.learnt = Learnt(hole=48, licence="CC0-1.0")
    save(tmp_path / "model.safetensors", model)
    said = weights.read_metadata(tmp_path / "model.safetensors")
    assert said == model.describe()
    assert {name: said[name] for name in ("architecture", "attention", "width", "hole", "licence")} == {
        "architecture": "two-stage", "attention": "none", "width": "4", "hole": "48", "licence": "CC0-1.0",
    }  # fmt: skip
    assert "size" not in said
    loaded = ca_numpy.load(tmp_path / "model.safetensors")
    assert isinstance(loaded, BaseGenerator)
    assert loaded.describe() == said
