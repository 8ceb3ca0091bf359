"""VGG-16 features from a weight file, compared with loops; one-line errors for invalid files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
from numpy.typing import NDArray
from vgg_cases import LAYERS, draw_vgg

from ca_numpy import losses, tensor
from ca_numpy.errors import UserError
from ca_numpy.nn import Vgg16
from ca_numpy.testing import gradcheck


def by_loops(weights: dict[str, Any], x: NDArray[Any], mean: Any, scale: Any) -> list[NDArray[Any]]:
    x = ((x + 1) * 127.5 - mean) * scale
    found = []
    for name in LAYERS:
        if name.endswith("_1") and name != "conv1_1":
            h, w = x.shape[0] // 2, x.shape[1] // 2
            x = np.array([[x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1)) for j in range(w)] for i in range(h)])
        x = np.maximum(oracles.conv2d(x, weights[f"{name}_W"], weights[f"{name}_b"]), 0)
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3"):
            found.append(x)
    return found


@pytest.mark.parametrize("own", [False, True], ids=["ImageNet's mean", "a mean and a scale of its own"])
def test_the_features_are_those_of_its_layers(tmp_path: Path, own: bool, rng: np.random.Generator) -> None:
    weights = draw_vgg()
    mean, scale = (120.0, 110.0, 100.0), (0.5, 0.25, 2.0)
    np.savez(tmp_path / "vgg.npz", **weights, **({"mean": mean, "scale": scale} if own else {}), fc6_W=np.zeros(3))
    x = rng.uniform(-1, 1, (1, 9, 12, 3))
    features = Vgg16.load(tmp_path / "vgg.npz")(x)
    expected = by_loops(weights, x[0], *((mean, scale) if own else ((123.68, 116.779, 103.939), 1.0)))
    assert [f.shape[1:] for f in features] == [(9, 12, 2), (4, 6, 3), (2, 3, 4), (1, 1, 5)]
    for actual, wanted in zip(features, expected, strict=True):
        assert abs(wanted).max() > 0.01
        np.testing.assert_allclose(actual.numpy()[0], wanted, rtol=1e-5, atol=1e-7)


def test_every_backend_has_the_same_features(backend: str, rng: np.random.Generator) -> None:
    weights, x = draw_vgg(dtype=np.float32), rng.uniform(-1, 1, (1, 8, 8, 3))
    expected = by_loops({k: v.astype(float) for k, v in weights.items()}, x[0], (123.68, 116.779, 103.939), 1.0)
    for actual, wanted in zip(Vgg16(weights)(x.astype(np.float32)), expected, strict=True):
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual.numpy()[0], wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("loss", [losses.perceptual_loss, losses.style_loss])
def test_gradients_go_through_it_to_the_picture(loss: Any, rng: np.random.Generator) -> None:
    vgg = Vgg16(draw_vgg())
    x, y = rng.uniform(-1, 1, (2, 1, 8, 8, 3))
    truth = vgg(y)
    gradcheck(lambda x: loss(vgg(x), truth), [x], rng=rng, order=1)
    assert not any(a.tracked for layer in vgg.layers.values() for a in layer)
    assert not any(f.tracked for f in vgg(tensor(y).detach()))


def damaged(tmp_path: Path) -> dict[str, Path]:
    weights = draw_vgg()
    kernel = weights["conv2_1_W"]
    cases = {
        "missing": {k: v for k, v in weights.items() if k != "conv4_3_b"},
        "O I H W": weights | {"conv2_1_W": kernel.transpose(3, 2, 0, 1)},
        "5×5": weights | {"conv1_1_W": np.zeros((5, 5, 3, 2))},
        "channels": weights | {"conv3_1_W": np.zeros((3, 3, 2, 4))},
        "bias": weights | {"conv3_1_b": np.zeros(3)},
        "integers": weights | {"conv1_1_b": np.zeros(2, int)},
        "NaN": weights | {"conv1_1_b": np.full(2, np.nan)},
        "mean": weights | {"mean": np.zeros(1)},
        "a pickle": weights | {"conv1_1_b": np.array([{}], object)},
    }
    for name, arrays in cases.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "text.npz").write_text("not an archive")
    np.save(tmp_path / "bare.npy", kernel)
    whole = (tmp_path / "mean.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    return {p.stem: p for p in tmp_path.iterdir()} | {"nowhere": tmp_path / "nowhere.npz"}


BAD = ["missing", "O I H W", "5×5", "channels", "bias", "integers", "NaN", "mean", "a pickle", "text", "bare", "cut",
       "nowhere"]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_does_not_fit_is_refused_in_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    path = damaged(tmp_path)[name]
    with pytest.raises(UserError) as caught:
        Vgg16.load(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 7, 8, 3), (1, 8, 8, 1), (8, 8, 3)])
def test_pictures_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="N H W 3"):
        Vgg16(draw_vgg())(np.zeros(shape))
