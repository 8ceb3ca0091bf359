"""How a run starts: from initial weights, in a folder of its own, and again if it was killed at once."""

from pathlib import Path

import numpy as np
import pytest
from training_cases import TINY

import ca_numpy
from ca_numpy import weights
from ca_numpy.models import Generator
from ca_numpy.training import train
from ca_numpy.training.presets import PRESETS

pytestmark = pytest.mark.usefixtures("undrawn")


def test_what_is_killed_while_it_first_measures_can_be_resumed(tmp_path, monkeypatch):
    from ca_numpy.training.validation import Validation

    def killed(self, generator):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, out=tmp_path / "run", quiet=True)
    resumed = train(resume=tmp_path / "run", quiet=True)
    whole = train(TINY, out=tmp_path / "whole", quiet=True)
    assert [r.get("l1_refined") for r in resumed.records] == [r.get("l1_refined") for r in whole.records]


def test_a_run_that_is_called_new_is_in_nobodys_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "new").mkdir(parents=True)
    (tmp_path / "runs" / "new" / "checkpoint.safetensors").write_bytes(b"of another run")
    assert train(TINY, quiet=True).folder == Path("runs/001")


def test_weights_that_see_bgr_are_turned_to_begin_with(tmp_path):
    """A run from the authors' weights starts with their results."""
    given = Generator(width=TINY.width)
    weights.write(tmp_path / "bgr.safetensors", given.arrays(), metadata={"channel_order": "bgr"})
    begun = train(TINY, init=tmp_path / "bgr.safetensors", rate=1e-12, steps=1, pretrain=1, out=tmp_path / "run",
                  quiet=True)  # fmt: skip
    image = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    mask = np.zeros((1, 16, 16, 1), np.float32)
    mask[:, 4:12, 4:12] = 1
    for bgr, rgb in zip(given(image[..., ::-1], mask), begun.generator(image, mask), strict=True):
        np.testing.assert_allclose(bgr.numpy()[..., ::-1], rgb.numpy(), atol=1e-6)


@pytest.mark.slow
def test_finetuning_begins_with_the_weights_that_ship(tmp_path):
    small = {"size": 32, "box": 16, "max_shrink": 2, "batch": 1, "steps": 1, "pretrain": 1}
    begun = train(PRESETS["finetune"], **small, rate=1e-12, out=tmp_path / "run", backend="numpy", quiet=True)
    shipped = ca_numpy.load("shipped").arrays()
    for name, w in begun.generator.arrays().items():
        np.testing.assert_allclose(w, shipped[name], atol=1e-9)
    assert begun.config.init == "shipped"  # not a path: it is where the package is
