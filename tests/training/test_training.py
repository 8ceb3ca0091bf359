"""A run is reproduced by its seed, continues exactly after an interruption, and keeps its promises about files."""

import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from training_cases import TINY, generators_of, loader_of, sampler_of

import ca_numpy
from ca_numpy import weights
from ca_numpy.errors import UserError
from ca_numpy.models import Critic, Generator
from ca_numpy.nn.optim import Adam
from ca_numpy.training import TrainConfig, train
from ca_numpy.training.algorithm1 import update_critics, update_generator
from ca_numpy.training.batches import Batch
from ca_numpy.training.checkpoint import load_checkpoint
from ca_numpy.training.loop import generator_rate
from ca_numpy.training.presets import PRESETS
from ca_numpy.training.system import System


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("checkpoint.safetensors", "generator.safetensors")}


def without_times(folder: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "memory")} for r in records]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return train(TINY, out=folder, backend="numpy", quiet=True)


def test_the_same_seed_gives_the_same_bytes(whole_run, tmp_path):
    again = train(TINY, out=tmp_path / "again", backend="numpy", quiet=True)
    assert bytes_of(again.folder) == bytes_of(whole_run.folder)


def test_the_run_is_algorithm_1_over_parts_built_by_hand(whole_run):
    """What the tests of same bytes compare a run with is itself: this says that it is the right one."""
    weights, adams = generators_of(TINY)[3], {"betas": (0.5, 0.9)}
    generator = Generator(width=4, rng=weights)
    local, whole = Critic("local", size=16, width=4, rng=weights), Critic("global", size=32, width=4, rng=weights)
    loader, sampler, masks = loader_of(TINY), sampler_of(TINY), generators_of(TINY)[1]
    critics = local.parameters() | whole.parameters()
    system = System(
        networks={"generator": generator, "local_critic": local, "global_critic": whole},
        optimisers={"generator": Adam(generator.parameters(), **adams), "critics": Adam(critics, rate=4e-4, **adams)},
        next_batch=lambda: Batch(next(loader), *sampler(masks, 2)),
        rngs={"penalty": generators_of(TINY)[2]},
    )
    for step in range(5):
        for _ in range(2 if step >= 2 else 0):
            update_critics(system, TINY)
        update_generator(system, TINY, rate=1e-3 * (1 - 0.98 * step / 4), adversarial=step >= 2)
    for name, array in generator.arrays().items():
        np.testing.assert_array_equal(array, whole_run.generator.arrays()[name])


def test_another_seed_gives_another_run(whole_run, tmp_path):
    other = train(TINY, out=tmp_path / "other", backend="numpy", quiet=True, seed=1)
    assert bytes_of(other.folder) != bytes_of(whole_run.folder)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_interrupted_and_resumed_a_run_ends_in_the_same_bytes(whole_run, tmp_path, stop):
    """Before, at and after the moment when the critics join."""
    part = train(TINY, out=tmp_path / "run", backend="numpy", quiet=True, stop_after=stop)
    assert not part.finished
    assert bytes_of(part.folder) != bytes_of(whole_run.folder)
    done = train(resume=part.folder, backend="numpy", quiet=True)
    assert done.finished
    assert bytes_of(done.folder) == bytes_of(whole_run.folder)
    assert without_times(done.folder) == without_times(whole_run.folder)


def test_resuming_from_an_older_checkpoint_makes_the_lost_steps_again(whole_run, tmp_path):
    """After a crash, the log contains steps beyond the last checkpoint."""
    part = train(TINY, out=tmp_path / "run", backend="numpy", quiet=True, stop_after=2)
    with (part.folder / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 2, "l1_refined": 9.0, "rate": 1.0}) + "\n")
        log.write(json.dumps({"step": 3, "validation_psnr": 9.0}) + "\n")
        log.write('{"step": 3, "l1_ref')  # the crash cut this line
    done = train(resume=part.folder, backend="numpy", quiet=True)
    assert without_times(done.folder) == without_times(whole_run.folder)


def test_ctrl_c_finishes_the_step_saves_and_can_be_resumed(whole_run, tmp_path):
    def interrupt_soon() -> None:
        while not (tmp_path / "run" / "log.jsonl").exists() or '"rate"' not in (tmp_path / "run/log.jsonl").read_text():
            pass
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
    try:
        thread = threading.Thread(target=interrupt_soon)
        thread.start()
        part = train(TINY, out=tmp_path / "run", backend="numpy", quiet=True)
        thread.join()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not part.finished
    train(resume=part.folder, backend="numpy", quiet=True)
    assert bytes_of(part.folder) == bytes_of(whole_run.folder)


def test_the_folder_holds_everything_about_the_run(whole_run):
    for name in ("config.json", "log.jsonl", "curves.png", "pictures/step-000005.png", "pictures/photograph-steps.png"):
        assert (whole_run.folder / name).stat().st_size > 0, name
    assert TrainConfig.from_json((whole_run.folder / "config.json").read_text()) == TINY
    steps = [r for r in without_times(whole_run.folder) if "rate" in r]
    assert [r["step"] for r in steps] == list(range(TINY.steps))
    assert [("penalty" in r) for r in steps] == [False, False, True, True, True]


def test_the_result_is_a_generator_that_loads_back(whole_run):
    loaded = ca_numpy.load(whole_run.folder)
    for name, array in whole_run.generator.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)


def test_a_finished_run_is_not_written_over(whole_run):
    before = bytes_of(whole_run.folder)
    with pytest.raises(UserError, match="already holds a run"):
        train(TINY, out=whole_run.folder, quiet=True)
    assert bytes_of(whole_run.folder) == before


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        train(TINY, out=tmp_path, quiet=True)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]


def test_pictures_smaller_than_the_crops_train_to_the_end(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for k, size in enumerate([(24, 24), (12, 40), (16, 16)]):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / f"{k}.png")
    result = train(TINY, data=tmp_path, out=tmp_path / "run", quiet=True, backend="numpy", steps=1, pretrain=1)
    assert (result.folder / "pictures" / "photograph-steps.png").exists()


def test_without_a_folder_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("001", "002"):
        assert train(TINY, quiet=True, steps=1, pretrain=1, backend="numpy").folder == Path("runs") / name


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "paper", "discount": "distance", "known_weight": 0.0},
        {"attention": False, "shared_clock": True},
        {"masks": "free-form", "mask_per_batch": True, "discount": "none"},
        {"masks": "boxes", "jitter": 0.3, "betas": (0.3, 0.7)},
    ],
    ids=lambda o: ",".join(map(str, o.values())),
)
def test_options_train_together_and_the_generator_learns(tmp_path, options):
    """`test_config_fields` says of each option what it changes; here several meet in a whole run."""
    result = train(TINY, out=tmp_path / "run", quiet=True, backend="numpy", steps=6, pretrain=5, **options)
    assert all(np.isfinite(v) for r in result.records for v in r.values())
    measured = [r["validation_l1_coarse"] for r in result.records if "validation_l1_coarse" in r]
    assert measured[-1] < measured[0]


def test_a_folder_of_pictures_of_any_size_and_mode(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for k, (mode, size) in enumerate([("RGB", (40, 90)), ("L", (33, 35)), ("RGBA", (64, 64)), ("P", (20, 100))]):
        pixels = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).convert(mode)
        pixels.save(tmp_path / f"{k}.png")
    result = train(TINY, data=str(tmp_path), out=tmp_path / "run", quiet=True, backend="numpy", steps=1, pretrain=0)
    assert result.finished


def test_a_picture_that_goes_bad_is_passed_over_and_named_at_the_end(tmp_path, capsys):
    from PIL import Image

    from ca_numpy.data import open_split

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for k in range(6):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(pictures / f"{k}.png")
    (pictures / "broken.png").write_bytes((pictures / "0.png").read_bytes()[:200])
    (pictures / "gone.png").symlink_to(tmp_path / "nowhere.png")
    train_set, held_out = open_split(pictures, validation=0.4)
    assert "gone.png" in train_set.names
    assert "broken.png" in held_out.names
    options = {"data": pictures, "backend": "numpy", "validation": 0.4, "steps": 4}
    result = train(TINY, out=tmp_path / "run", **options)
    told = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert set(result.skipped) == {"broken.png", "gone.png"}
    assert len(told) == 1
    assert "skipped 2 unreadable" in told[0]
    part = train(TINY, out=tmp_path / "again", quiet=True, stop_after=1, **options)
    done = train(resume=part.folder, quiet=True, backend="numpy")
    assert bytes_of(done.folder) == bytes_of(result.folder)


def test_a_set_trains_by_its_own_rule_and_division(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("1.png", "2.png", "3.png"):
        Image.fromarray(rng.integers(0, 256, (50, 60, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "train.txt").write_text("1.png\n3.png\n")
    (tmp_path / "validation.txt").write_text("2.png\n")
    result = train(TINY, data=f"scenes:{tmp_path}", out=tmp_path / "run", quiet=True, backend="numpy", steps=2)
    assert result.finished
    table = ca_numpy.evaluate(tmp_path / "run", count=1, backend="numpy")
    assert table.settings["data"] == f"scenes:{tmp_path}, held out from training"
    with pytest.raises(UserError, match="crops must be one of"):
        train(TINY, crops="squares", out=tmp_path / "other", quiet=True)


def bad_calls(tmp_path: Path) -> dict[str, dict[str, object]]:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for name in "ab":
        (tmp_path / "broken" / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n, but not really")
    return {
        "missing folder": {"data": str(tmp_path / "nowhere")},
        "empty folder": {"data": str(tmp_path / "empty")},
        "broken image": {"data": str(tmp_path / "broken")},
        "unknown option": {"learning_rate": 1.0},
        "unknown backend": {"backend": "abacus"},
        "box too large": {"box": 64},
        "unknown discount": {"discount": "distnace"},
        "half a picture": {"batch": 2.5},
        "betas": {"betas": (1.0, 0.9)},
        "NaN": {"final_rate": float("nan")},
        "negative seed": {"seed": -1},
        "size no multiple of 8": {"size": 60},
        "nothing to resume": {"resume": tmp_path / "nowhere"},
    }


@pytest.mark.parametrize(
    "name",
    [
        "missing folder",
        "empty folder",
        "broken image",
        "unknown option",
        "unknown backend",
        "box too large",
        "unknown discount",
        "half a picture",
        "betas",
        "NaN",
        "negative seed",
        "size no multiple of 8",
        "nothing to resume",
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, name):
    options = {"out": tmp_path / "run"} | bad_calls(tmp_path)[name]
    if "resume" in options:
        del options["out"]
    with pytest.raises(UserError) as caught:
        train(**options, quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_architecture_is_refused(whole_run, tmp_path):
    arrays, *_ = load_checkpoint(whole_run.folder)

    narrow = {name: a for name, a in arrays.items() if "pmconv5" not in name}
    weights.write(tmp_path / "checkpoint.safetensors", narrow, metadata=weights.read_metadata(
        whole_run.folder / "checkpoint.safetensors"))  # fmt: skip
    with pytest.raises(UserError, match="another architecture"):
        train(resume=tmp_path, quiet=True)
    with pytest.raises(UserError, match="another architecture"):
        ca_numpy.load(tmp_path)


def test_a_damaged_checkpoint_is_refused(whole_run, tmp_path):
    whole = (whole_run.folder / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"checkpoint\.safetensors"):
        train(resume=tmp_path, quiet=True)


def test_options_that_would_change_the_past_cannot_change_on_resume(whole_run):
    with pytest.raises(UserError, match="cannot change"):
        train(resume=whole_run.folder, rate=1.0, quiet=True)


def test_divergence_is_reported_and_the_last_checkpoint_kept(tmp_path):
    options = {"backend": "numpy", "quiet": True, "checkpoint_every": 1}
    with pytest.raises(UserError, match="diverged"), np.errstate(all="ignore"):
        train(TINY, out=tmp_path / "run", steps=200, pretrain=200, rate=1e38, **options)
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines():
        assert "NaN" not in line
        assert "Infinity" not in line
    if (tmp_path / "run" / "checkpoint.safetensors").exists():  # then what it holds is finite
        arrays, *_ = load_checkpoint(tmp_path / "run")
        assert all(np.isfinite(a).all() for a in arrays.values())


def test_on_record_is_called_with_every_line_of_the_log_once_it_is_written(tmp_path):
    seen, written = [], []

    def look(record):
        written.append(json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1]))
        seen.append(dict(record))
        record.clear()  # what is done with it is nobody else's business

    train(TINY, out=tmp_path / "run", backend="numpy", quiet=True, stop_after=3, on_record=look)
    done = train(resume=tmp_path / "run", backend="numpy", quiet=True, on_record=look)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert seen == written == lines == done.records
    assert sum("rate" in record for record in seen) == TINY.steps
    assert sum("validation_psnr" in record for record in seen) == 4


@pytest.mark.parametrize("bad", [0, 1, 4, 7])
def test_what_on_record_raises_ends_the_run_which_can_be_resumed(whole_run, tmp_path, bad):
    """At the first measurement, a step, a measurement after a step, the last step."""
    count = 0

    def fail(record):
        nonlocal count
        if count == bad:
            raise RuntimeError("the disk of the plots is full")
        count += 1

    with pytest.raises(RuntimeError, match="plots"):
        train(TINY, out=tmp_path / "run", backend="numpy", quiet=True, on_record=fail, checkpoint_every=2)
    done = train(resume=tmp_path / "run", backend="numpy", quiet=True, checkpoint_every=TINY.checkpoint_every)
    assert bytes_of(done.folder) == bytes_of(whole_run.folder)
    assert without_times(done.folder) == without_times(whole_run.folder)


def test_the_rate_falls_linearly():
    config = TrainConfig(steps=11, pretrain=0, rate=1.0, final_rate=0.5)
    assert [generator_rate(config, s) for s in (0, 5, 10)] == pytest.approx([1.0, 0.75, 0.5])


def test_the_papers_preset_has_the_papers_numbers():
    paper = PRESETS["paper"]
    assert (paper.width, paper.critic_width, paper.size, paper.box, paper.batch) == (32, 64, 256, 128, 16)
    assert (paper.rate, paper.critic_rate, paper.betas, paper.final_rate) == (1e-4, 1e-4, (0.5, 0.9), 1.0)
    assert (paper.critic_steps, paper.penalty_weight, paper.adversarial_weight) == (5, 10.0, 1e-3)


def test_train_is_a_function_beside_its_folder():
    from ca_numpy.training.config import TrainConfig as FromTheFolder

    assert callable(ca_numpy.train)
    assert FromTheFolder is TrainConfig


def test_a_run_may_begin_with_the_weights_of_another(whole_run, tmp_path):
    """With a rate of next to nothing it stays there; and what does not fit is refused before anything is written."""
    begun = train(TINY, init=str(whole_run.folder), rate=1e-12, steps=1, pretrain=1, out=tmp_path / "on", quiet=True)
    for name, w in whole_run.generator.arrays().items():
        np.testing.assert_allclose(begun.generator.arrays()[name], w, atol=1e-9)
    assert Path(begun.config.init).is_absolute()
    with pytest.raises(UserError, match=r"cannot initialise from .*: .* has shape"):
        train(TINY, init=str(whole_run.folder), width=6, out=tmp_path / "wider", quiet=True)
    with pytest.raises(UserError, match="cannot initialise from 'nowhere'"):
        train(TINY, init="nowhere", out=tmp_path / "none", quiet=True)
    assert not (tmp_path / "wider").exists()
