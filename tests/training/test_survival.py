"""A run survives what happens in days of training: it is never hurt, and never lost."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from training_cases import TINY

from ca_numpy import weights
from ca_numpy.cli import main
from ca_numpy.data import Images, Loader
from ca_numpy.errors import UserError
from ca_numpy.training import train
from ca_numpy.training.checkpoint import load_checkpoint
from ca_numpy.training.lock import FolderLock
from ca_numpy.training.log import Log
from ca_numpy.training.pictures import draw_photograph
from ca_numpy.training.run import Run

pytestmark = pytest.mark.usefixtures("undrawn")

OPTIONS: dict[str, Any] = {"backend": "numpy", "quiet": True}
intense = pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE") != "intense", reason="minutes: HYPOTHESIS_PROFILE=intense"
)
unix = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")

#: As a command: some seconds of steps, and a checkpoint after each other one.
COMMAND = [
    sys.executable, "-m", "ca_numpy", "train", "--out", "run", "--backend", "numpy", "--size", "32", "--box", "16",
    "--width", "4", "--critic-width", "4", "--batch", "2", "--max-shrink", "2", "--pretrain", "10",
    "--validate-every", "15", "--pictures-every", "1000", "--checkpoint-every", "2",
]  # fmt: skip


def checkpoint(folder: Path) -> bytes:
    return (folder / "checkpoint.safetensors").read_bytes()


def lines(folder: Path) -> int:
    log = folder / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def wait_for_lines(folder: Path, count: int, process: subprocess.Popen[Any]) -> None:
    until = time.monotonic() + 300
    while lines(folder) < count:
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < until
        time.sleep(0.01)


# ---- one process --------------------------------------------------------------------------------------------------
def test_a_folder_is_trained_in_by_one_process_which_others_name(tmp_path: Path) -> None:
    part = train(TINY, out=tmp_path / "run", stop_after=1, **OPTIONS)
    before = checkpoint(part.folder)
    with FolderLock() as lock:
        lock.hold(part.folder)
        with pytest.raises(UserError, match=f"is being trained by process {os.getpid()} on "):
            train(resume=part.folder, **OPTIONS)
    assert checkpoint(part.folder) == before
    assert train(resume=part.folder, **OPTIONS).finished, "the lock ends with its holder"


def test_two_processes_do_not_start_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with FolderLock() as lock:
        lock.hold(tmp_path / "run")
        with pytest.raises(UserError, match="is being trained by process"):
            train(TINY, out=tmp_path / "run", **OPTIONS)


# ---- checkpoints --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(TINY, out=tmp_path_factory.mktemp("runs") / "whole", **OPTIONS).folder


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_the_last_checkpoints_are_kept(tmp_path: Path, kept: int) -> None:
    run = train(TINY, out=tmp_path / "run", checkpoint_every=1, checkpoints=kept, **OPTIONS)
    steps = [TINY.steps - n for n in range(1, kept)]
    found = {path.name for path in run.folder.glob("checkpoint*")}
    assert found == {"checkpoint.safetensors"} | {f"checkpoint-{step:06d}.safetensors" for step in steps}
    for step in steps:
        path = run.folder / f"checkpoint-{step:06d}.safetensors"
        assert json.loads(weights.read_metadata(path)["state"])["step"] == step


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(
    whole_run: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    part = train(TINY, out=tmp_path / "run", checkpoint_every=1, stop_after=3, **OPTIONS)
    newest = part.folder / "checkpoint.safetensors"
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes({"cut": bytes(content[:-200]), "flipped": bytes(content), "empty": b""}[damage])
    done = train(resume=part.folder, backend="numpy")
    assert "goes on from step 2: " in capsys.readouterr().err
    assert (part.folder / "damaged.safetensors").exists()
    whole, mine = (weights.read(folder / "checkpoint.safetensors") for folder in (whole_run, done.folder))
    for name, array in whole.items():
        np.testing.assert_array_equal(array, mine[name])


def test_a_resumed_run_reads_its_arrays_once(whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, seen, read = train(TINY, out=tmp_path / "run", stop_after=3, **OPTIONS), [], weights.read
    monkeypatch.setattr("ca_numpy.training.checkpoint.weights.read", lambda path: seen.append(path) or read(path))
    assert main(["train", "--resume", str(part.folder), "--quiet"]) == 0
    assert seen == [part.folder / "checkpoint.safetensors"]
    assert checkpoint(part.folder) == checkpoint(whole_run)


@pytest.mark.parametrize("where", ["generator", "checkpoint", "log"])
def test_a_full_disk_is_one_line_and_what_was_saved_stays(
    whole_run: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = train(TINY, out=tmp_path / "run", checkpoint_every=1, stop_after=2, **OPTIONS)
    before, flush, room = checkpoint(part.folder), os.fsync, [0 if where == "generator" else 1]

    def full(file: int) -> None:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0] -= 1
        flush(file)

    def half(self: Log, record: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write('{"step":')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    with monkeypatch.context() as patch:
        patch.setattr(*((Log, "append", half) if where == "log" else (os, "fsync", full)))
        assert main(["train", "--resume", str(part.folder), "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line
    assert checkpoint(part.folder) == before
    assert not list(part.folder.rglob("*.tmp"))
    done = train(resume=part.folder, checkpoint_every=100, **OPTIONS)
    assert checkpoint(done.folder) == checkpoint(whole_run)


def test_without_an_intact_checkpoint_the_newest_is_named(tmp_path: Path) -> None:
    part = train(TINY, out=tmp_path / "run", checkpoint_every=1, stop_after=3, **OPTIONS)
    for path in part.folder.glob("checkpoint*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"/checkpoint\.safetensors"):
        train(resume=part.folder, **OPTIONS)


def test_the_best_generator_is_that_of_the_lowest_error_in_validation(tmp_path: Path) -> None:
    part = train(TINY, out=tmp_path / "run", validate_every=1, checkpoint_every=1, stop_after=3, **OPTIONS)
    run = train(resume=part.folder, **OPTIONS)
    measured = {r["step"]: r["validation_l1_refined"] for r in run.records if "validation_l1_refined" in r}
    best = load_checkpoint(run.folder).state["best"]
    assert best["l1"] == min(measured.values()) == measured[best["step"]]
    same = train(TINY, out=tmp_path / "same", validate_every=1, stop_after=max(best["step"], 1), **OPTIONS)
    if best["step"]:
        kept = weights.read(run.folder / "generator-best.safetensors")
        for name, array in same.generator.arrays().items():
            np.testing.assert_array_equal(array, kept[name])


# ---- killed, stopped, and started again ---------------------------------------------------------------------------
def test_a_run_killed_before_its_first_checkpoint_starts_again_by_the_same_command(
    whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Run) -> None:
        (self.folder / "generator.safetensors").write_bytes(b"half")
        (self.folder / f".{'0' * 32}.tmp").write_bytes(b"half")
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train(TINY, out=tmp_path / "run", **OPTIONS)
    with pytest.raises(UserError, match="repeat the command that started it"):
        train(resume=tmp_path / "run", **OPTIONS)
    assert checkpoint(train(TINY, out=tmp_path / "run", **OPTIONS).folder) == checkpoint(whole_run)
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_folder_with_anything_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        train(TINY, out=tmp_path / "run", **OPTIONS)


@unix
@pytest.mark.parametrize("number", [getattr(signal, n, 15) for n in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")])
def test_a_signal_saves_and_gives_an_exit_status_of_its_own(tmp_path: Path, number: signal.Signals) -> None:
    """Also if nobody reads what it says: `ca-numpy train 2>&1 | tee log` loses tee by the same Ctrl-C."""
    command = [*COMMAND, "--steps", "10000"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # as if not started by nohup, or in the background
    )  # fmt: skip
    assert process.stderr is not None
    try:
        wait_for_lines(tmp_path / "run", 3, process)
        with pytest.raises(UserError, match=f"is being trained by process {process.pid} on "):
            train(resume=tmp_path / "run", **OPTIONS)
        process.stderr.close()
        process.send_signal(number)
        assert process.wait(timeout=120) == 128 + number
    finally:
        process.kill()
        process.wait()
    state = load_checkpoint(tmp_path / "run").state
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert state["step"] == sum("rate" in record for record in records) > 0, "nothing was lost"


def test_killed_at_random_moments_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL within a few steps of where it went on, so also during saves; each time the same command continues."""
    kills, before, hit = int(os.environ.get("CA_NUMPY_KILLS", "3")), 0, 0
    command = [*COMMAND, "--steps", str(15 + 6 * kills)]
    subprocess.run([*command, "--quiet"], cwd=(tmp_path / "a").mkdir() or tmp_path / "a", check=True)
    folder = tmp_path / "b"
    folder.mkdir()
    draw, resume = random.Random(0), [*command[: command.index("--out")], "--resume", "run", "--backend", "numpy"]
    log = folder / "run" / "log.jsonl"
    for _ in range(kills):
        begun = (folder / "run" / "checkpoint.safetensors").exists()
        old, goal, began = log.stat().st_ino if log.exists() else 0, before + draw.randrange(4), time.monotonic()
        process = subprocess.Popen([*(resume if begun else command), "--quiet"], cwd=folder)
        while process.poll() is None:
            assert time.monotonic() - began < 300
            # Going on, it writes a new log, up to the checkpoint.
            if log.exists() and log.stat().st_ino != old and log.read_text().count('"rate"') > goal:
                break
            time.sleep(0.002)
        time.sleep(draw.random() * 0.1)
        if process.poll() is not None:  # it has finished
            break
        hit += 1
        process.kill()
        process.wait()
        if (folder / "run" / "checkpoint.safetensors").exists():
            step = load_checkpoint(folder / "run").state["step"]
            assert step >= max(before, goal - 1), "no more than the interval between checkpoints is lost"
            before = step
    assert hit > kills / 2, "it was running"
    if (folder / "run" / "checkpoint.safetensors").exists():
        command = resume
    subprocess.run([*command, "--quiet"], cwd=folder, check=True)
    assert checkpoint(folder / "run") == checkpoint(tmp_path / "a" / "run")


@intense
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_forty_steps_stopped_at_random_points_end_in_the_same_bytes(tmp_path: Path, backend: str) -> None:
    options = OPTIONS | {"backend": backend, "steps": 40, "pretrain": 10, "ema": 0.9}
    whole = train(TINY, out=tmp_path / "whole", **options)
    first, *later = sorted(random.Random(0).sample(range(1, 40), 6))
    train(TINY, out=tmp_path / "parts", stop_after=first, **options)
    for stop in (*later, None):
        parts = train(resume=tmp_path / "parts", stop_after=stop, backend=backend, quiet=True)
    assert checkpoint(parts.folder) == checkpoint(whole.folder)


@intense
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory as Linux counts it")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_memory_does_not_grow_over_two_thousand_steps(tmp_path: Path, backend: str) -> None:
    used: list[int] = []

    def measure(record: dict[str, Any]) -> None:
        used.append(int(Path("/proc/self/statm").read_text().split()[1]))  # pages in memory

    every = dict.fromkeys(("validate_every", "pictures_every", "checkpoint_every"), 25)  # all within the first hundred
    options = OPTIONS | every | {"pretrain": 0, "critic_steps": 1, "backend": backend}
    train(TINY, out=tmp_path / "run", steps=2000, on_record=measure, **options)
    assert max(used[-200:]) < 1.02 * max(used[:100]), (max(used[:100]), max(used[-200:]))


# ---- what a run learns from, and with -----------------------------------------------------------------------------
def pictures(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for n, name in enumerate(names):
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 40, 3), np.uint8)).save(folder / name)
    return folder


def test_a_resumed_run_learns_from_the_same_pictures() -> None:
    def loader(*names: str) -> Loader:
        images = [np.zeros((8, 8, 3), np.uint8)] * len(names)
        return Loader(Images(images, names=names), batch=1, size=8, rng=np.random.default_rng(0))

    state = loader("a.png", "b.png").state()
    loader("a.png", "b.png").restore(state)
    older = {name: value for name, value in state.items() if name != "names"}
    loader("a.png", "c.png").restore(older)
    for others in (("a.png", "c.png"), ("b.png", "a.png")):
        with pytest.raises(UserError, match="renamed or replaced"):
            loader(*others).restore(state)


def test_a_picture_too_small_to_measure_is_passed_over_before_training(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", [f"{n}.png" for n in range(6)])
    for n in range(6):
        Image.new("RGB", (1, 1)).save(data / f"spacer{n}.gif")
    run = train(TINY, data=str(data), out=tmp_path / "run", validation=0.5, **OPTIONS)
    assert run.finished


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture is read from its file each time."""
    monkeypatch.setattr("ca_numpy.data.datasets._Cache.get", lambda self, index, make: make(index))


def test_pictures_that_go_bad_within_an_epoch_are_passed_over_and_named(
    tmp_path: Path, uncached: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ca_numpy.training.loop.draw_photograph", draw_photograph)  # this run draws
    data = pictures(tmp_path / "data", [f"{n:02d}.png" for n in range(40)])

    def spoil(record: dict[str, Any]) -> None:
        if record["step"] == 1:
            for file in sorted(data.iterdir())[::2]:
                file.write_bytes(file.read_bytes()[:200])

    run = train(TINY, data=str(data), out=tmp_path / "run", steps=8, on_record=spoil, **OPTIONS)
    assert run.finished
    assert (run.folder / "pictures" / "photograph-steps.png").exists(), "of the first that can still be read"
    assert run.skipped
    assert all(int(name[:2]) % 2 == 0 for name in run.skipped)


def test_without_its_pictures_a_run_ends_and_goes_on_when_they_are_back(
    whole_run: Path, tmp_path: Path, uncached: None
) -> None:
    data = pictures(tmp_path / "data", [f"{n:02d}.png" for n in range(20)])
    options = OPTIONS | {"data": str(data), "checkpoint_every": 1, "steps": 8}
    whole = train(TINY, out=tmp_path / "whole", **options)

    def unmount(record: dict[str, Any]) -> None:
        if record["step"] == 1 and data.exists():
            data.rename(tmp_path / "away")

    with pytest.raises(UserError, match=r"none of the .* pictures can be read"):
        train(TINY, out=tmp_path / "run", on_record=unmount, **options)
    assert load_checkpoint(tmp_path / "run").state["step"] >= 2
    with pytest.raises(UserError, match="data"):
        train(resume=tmp_path / "run", **OPTIONS)
    (tmp_path / "away").rename(data)
    assert checkpoint(train(resume=tmp_path / "run", **OPTIONS).folder) == checkpoint(whole.folder)


def test_a_picture_with_nan_is_one_that_cannot_be_read(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", [f"{n:02d}.png" for n in range(6)])
    poisoned = np.full((40, 40), np.nan, np.float32)
    for n in range(6):
        Image.fromarray(poisoned).save(data / f"nan{n}.tif")
    run = train(TINY, data=str(data), out=tmp_path / "run", steps=8, **OPTIONS)
    assert run.finished
    assert run.skipped
    assert all(name.startswith("nan") and "not finite" in why for name, why in run.skipped.items())


def test_a_resumed_run_keeps_its_backend_unless_it_is_given_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = train(TINY, out=tmp_path / "run", stop_after=1, **OPTIONS)
    assert load_checkpoint(part.folder).state["backend"] == "numpy"
    resumed = train(resume=part.folder, quiet=True, stop_after=2)
    assert load_checkpoint(resumed.folder).state["backend"] == "numpy"
    monkeypatch.setattr(Run, "save", lambda self, save=Run.save: (setattr(self, "backend", "abacus"), save(self)))
    train(resume=part.folder, stop_after=3, **OPTIONS)
    with pytest.raises(UserError, match=r"trained with 'abacus', but .* choose another --backend"):
        train(resume=part.folder, quiet=True)
    assert train(resume=part.folder, **OPTIONS).finished


def test_a_divergence_names_the_step_and_the_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = train(TINY, out=tmp_path / "run", stop_after=1, **OPTIONS)
    restore = Run.restore

    def poisoned(self: Run, arrays: dict[str, Any], state: dict[str, Any]) -> None:
        restore(self, arrays, state)
        self.system.generator.parameters()[name].data[...] = np.nan

    name = list(part.generator.parameters())[5]
    monkeypatch.setattr(Run, "restore", poisoned)
    with pytest.raises(
        UserError, match=r"at step 1 .*nor are \d+ of \d+ arrays, the first inpaint_net/conv1/kernel; the"
    ):
        train(resume=part.folder, **OPTIONS)
