"""A run folder from a stranger: sound, or one line; no type, range or name in it is believed unseen."""

import json
import os
import shutil

import numpy as np
import pytest
from training_cases import TINY

import ca_numpy
from ca_numpy import train, weights
from ca_numpy.errors import UserError
from ca_numpy.training import TrainConfig

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = json.loads(TINY.to_json())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train(TINY, out=folder, backend="numpy", quiet=True, stop_after=1, checkpoints=1).folder


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run, and what replaces a part of its checkpoint's metadata."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)

    def change(**changes):
        path = folder / "checkpoint.safetensors"
        metadata = {name: text for name, text in weights.read_metadata(path).items() if name != "sha256"}
        weights.write(path, weights.read(path), metadata=metadata | changes)
        return folder

    return change


def refused(folder, *words):
    with pytest.raises(UserError) as caught:
        train(resume=folder, backend="numpy", quiet=True)
    assert str(caught.value).isprintable()
    for word in words:
        assert word in str(caught.value)


WRONG = {
    "type": ({"flip": "no"}, "$.flip"), "fraction": ({"steps": 1.5}, "$.steps"), "number": ({"data": 5}, "$.data"),
    "length": ({"betas": [0.5]}, "$.betas"), "range": ({"smallest_window": 9}, "smallest_window"),
    "huge": ({"batch": 10**7}, "at most 4096"), "infinite": ({"rate": 1e400}, "malformed"),
    "choice": ({"masks": "round"}, "$.masks"), "nested": ({"vgg": [[[[]]]]}, "$.vgg"),
    "unknown": ({"\x1b[2J": 1}, "no training option '\\x1b[2J'"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "word"), WRONG.values(), ids=WRONG)
def test_a_configuration_is_checked_before_it_is_used(copy, tmp_path, change, word):
    text = json.dumps(CONFIG | change)
    refused(copy(config=text), "checkpoint.safetensors", word)
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        ca_numpy.evaluate(tmp_path / "run", methods=["mean"], count=1)
    with pytest.raises(UserError):
        TrainConfig.from_json(text)


@pytest.mark.parametrize("field", ["width", "critic_width", "size"])
def test_a_configuration_of_larger_networks_than_the_checkpoint_takes_no_memory(copy, field):
    refused(copy(config=json.dumps(CONFIG | {field: 512 if field != "size" else 4096})), "larger networks")


def test_deep_nesting_and_other_bytes_are_one_line(copy, tmp_path):
    for text in ("[" * 100_000, '{"a":' * 100_000, "", "null", "{}"):
        refused(copy(state=text), "checkpoint.safetensors", "state")
        refused(copy(config=text if text != "{}" else "[]"), "checkpoint.safetensors")
    (tmp_path / "run" / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"config\.json"):
        ca_numpy.evaluate(tmp_path / "run", methods=["mean"], count=1)


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1}, {"step": "1"}, {"clocks": {}}, {"clocks": {"generator": 10**400}}, {"loader": {}},
        {"mask_rng": {"bit_generator": "MT19937"}}, {"penalty_rng": None}, {"clocks": 1},
    ],
)  # fmt: skip
def test_a_state_is_checked_before_it_is_restored(copy, run, change):
    state = json.loads(weights.read_metadata(run / "checkpoint.safetensors")["state"])
    refused(copy(state=json.dumps(state | change)), "checkpoint")
    words = {"state": 2**200, "inc": 1}
    refused(copy(state=json.dumps(state | {"penalty_rng": state["penalty_rng"] | {"state": words}})), "checkpoint")


@pytest.mark.parametrize("line", [b"{}", b"[]", b"\xff", b'{"step": "1"}', b'{"step": 0, "rate": [1]}', b"[" * 100_000])
def test_a_log_of_anything_else_is_refused(copy, tmp_path, line):
    folder = copy()
    with (folder / "log.jsonl").open("ab") as log:
        log.write(line + b"\n")
    refused(folder, "log.jsonl", "is damaged: line")


def test_pipes_in_a_run_folder_do_not_block(copy):
    folder = copy()
    for name in ("log.jsonl", "config.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    refused(folder, "log.jsonl", "not a file")


def test_a_resumed_run_says_which_pictures_it_opens(copy, capsys):
    train(resume=copy(), backend="numpy", stop_after=2)
    assert "pictures: photographs;" in capsys.readouterr().err


def test_a_sound_run_goes_on(copy):
    done = train(resume=copy(), backend="numpy", quiet=True, stop_after=2)
    assert all(np.isfinite(array).all() for array in done.generator.arrays().values())
