"""Stages follow one another, go on where they were, and say what cannot be changed."""

import dataclasses
import json

import numpy as np
import pytest

import ca_numpy
from ca_numpy.errors import UserError
from ca_numpy.registry import why_unavailable
from ca_numpy.training import STAGES, TrainConfig, train_in_stages
from ca_numpy.training.checkpoint import load_checkpoint
from ca_numpy.training.stages import with_overrides

TINY = TrainConfig(
    width=4, critic_width=4, size=16, box=8, max_shrink=1, batch=1, steps=2, pretrain=2,
    critic_steps=1, validate_every=100, pictures_every=100, checkpoint_every=100,
)  # fmt: skip


@pytest.fixture
def tiny(monkeypatch, undrawn):
    larger = dataclasses.replace(TINY, size=32, box=16, max_shrink=2, pretrain=1, seed=1)
    monkeypatch.setitem(STAGES, "tiny", (TINY, larger))
    return {"name": "tiny", "backend": "numpy", "quiet": True}


def weights(folder):
    return ca_numpy.load(folder).arrays()


def test_the_second_stage_begins_with_what_the_first_learnt(tiny, tmp_path):
    done = train_in_stages(**tiny, out=tmp_path / "run")
    assert done.finished
    assert done.folder == tmp_path / "run" / "2-32"
    assert done.config.init == str(tmp_path / "run" / "1-16")
    again = ca_numpy.train(STAGES["tiny"][1], init=tmp_path / "run" / "1-16", out=tmp_path / "by-hand", quiet=True,
                           backend="numpy")  # fmt: skip
    for name, array in again.generator.arrays().items():
        np.testing.assert_array_equal(array, done.generator.arrays()[name])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_same_call_goes_on_to_the_same_weights(tiny, tmp_path, backend):
    if reason := why_unavailable(backend):
        pytest.skip(reason)
    options = tiny | {"backend": backend, "ema": 0.9}
    whole = train_in_stages(**options, out=tmp_path / "whole")
    calls = 0
    while not (done := train_in_stages(**options, out=tmp_path / "parts", minutes=0)).finished:
        calls += 1
        assert calls < 5  # each call does a step at least
    assert calls
    for folder in ("1-16", "2-32"):
        expected, found = (load_checkpoint(tmp_path / run / folder).arrays for run in ("whole", "parts"))
        assert expected.keys() == found.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(array, found[name])
    assert done.folder == tmp_path / "parts" / whole.folder.name


def test_on_record_is_called_in_every_stage(tiny, tmp_path):
    seen = []
    train_in_stages(**tiny, out=tmp_path / "run", on_record=seen.append)
    logs = [(tmp_path / "run" / stage / "log.jsonl").read_text() for stage in ("1-16", "2-32")]
    assert seen == [json.loads(line) for log in logs for line in log.splitlines()]


def test_a_finished_stage_is_left_alone(tiny, tmp_path):
    train_in_stages(**tiny, out=tmp_path / "run")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "1-16").iterdir()}
    train_in_stages(**tiny, out=tmp_path / "run")
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "1-16").iterdir()}


def test_ctrl_c_in_the_last_step_of_a_stage_stops_before_the_next(tiny, tmp_path, monkeypatch):
    from ca_numpy.training import stages

    def interrupted(*args, **options):
        return trained(*args, **options)._replace(signal=2)

    trained = stages.train
    with monkeypatch.context() as patch:
        patch.setattr(stages, "train", interrupted)
        assert train_in_stages(**tiny, out=tmp_path / "run").folder.name == "1-16"
    assert not (tmp_path / "run" / "2-32").exists()
    assert train_in_stages(**tiny, out=tmp_path / "run").folder.name == "2-32"


def test_the_first_stage_may_begin_with_the_weights_that_ship(tiny, tmp_path):
    with pytest.raises(UserError, match="cannot initialise from 'shipped'"):  # by its name: what is wrong is the width
        train_in_stages(**tiny, init="shipped", out=tmp_path / "run")


def test_other_options_need_another_folder(tiny, tmp_path):
    train_in_stages(**tiny, out=tmp_path / "run")
    with pytest.raises(UserError, match="other options"):
        train_in_stages(**tiny, out=tmp_path / "run", attention="none")


def test_what_the_stages_set_themselves_cannot_be_given(tiny):
    with pytest.raises(UserError, match="set size themselves"):
        train_in_stages(**tiny, size=64)
    with pytest.raises(UserError, match="no training option 'widht'"):
        train_in_stages(**tiny, widht=8)
    with pytest.raises(UserError, match="choose from scenes"):
        train_in_stages("landscapes")


def test_data_is_exchanged_and_what_is_added_stays():
    first, *_, last = with_overrides("scenes", {"data": "my/pictures", "width": 8})
    assert (first.data, last.data) == ("my/pictures+textures", "my/pictures")
    assert {stage.width for stage in with_overrides("scenes", {"width": 8})} == {8}


def test_every_stage_can_be_run():
    for stages in STAGES.values():
        for stage in stages:
            stage.check()
