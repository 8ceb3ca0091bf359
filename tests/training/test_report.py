"""A run is watched: what the log holds, and the page that shows it, from runs in any state."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import loss_curves
import numpy as np
import pytest
from PIL import Image
from training_cases import TINY, draw_system

from ca_numpy.cli import main
from ca_numpy.errors import UserError
from ca_numpy.machine import peak_memory
from ca_numpy.registry import use_backend, why_unavailable
from ca_numpy.training import TensorBoard, report, train
from ca_numpy.training.algorithm1 import update_critics, update_generator
from ca_numpy.training.hints import best_validation, hints

Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = dataclasses.replace(TINY, pictures_every=2)
    return train(config, out=tmp_path_factory.mktemp("runs") / "run", backend="numpy", quiet=True).folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def records_of(folder: Path) -> Records:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def write_log(folder: Path, records: Records) -> None:
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and the texts of cells."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


# ---- the log -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("network", ["critics", "generator"])
def test_the_logged_norm_is_that_of_the_gradient_that_the_optimiser_gets(network: str) -> None:
    system, _ = draw_system(TINY, recording=True)
    if network == "critics":
        values = update_critics(system, TINY)
    else:
        values = update_generator(system, TINY, rate=1e-3, adversarial=True)
    gradients: Any = system.optimisers[network]
    flat = np.concatenate([g.ravel() for g in gradients.gradients])
    assert len(flat) == sum(p.size for p in gradients.parameters.values())
    assert float(values[f"gradient_{network}"]) == pytest.approx(np.linalg.norm(flat), rel=1e-12)


@pytest.mark.parametrize("name", ["numpy", "numba", "cupy-emulated"])
def test_every_backend_has_the_norm_of_all_tensors_together(name: str) -> None:
    if why := why_unavailable(name):
        pytest.skip(why)
    arrays = [np.full((2, 3), 2.0, np.float32), np.full((1, 1, 4), -5, np.float32), np.array(1e30, np.float32)]
    with use_backend(name) as backend:
        for xs in (arrays[:2], arrays):  # the last one's square is no float32
            norm = float(backend.to_numpy(backend.norm([backend.asarray(x) for x in xs])))
            assert norm == pytest.approx(np.sqrt(sum((x.astype(np.float64) ** 2).sum() for x in xs)), rel=1e-12)


def test_every_step_has_its_norms_and_every_validation_the_memory(finished: Path) -> None:
    records = records_of(finished)
    steps, checks = [r for r in records if "rate" in r], [r for r in records if "rate" not in r]
    assert all(r["gradient_generator"] > 0 for r in steps)
    assert [r.get("gradient_critics", 0) > 0 for r in steps] == [s >= TINY.pretrain for s in range(TINY.steps)]
    assert len({r["mean_colour"] for r in checks}) == 1
    if peak_memory() is not None:
        assert all(20 < r["memory"] < 2**20 for r in checks)


# ---- the page ----------------------------------------------------------------------------------------------------
def test_the_report_has_every_curve_and_picture_and_refers_to_nothing_outside(folder: Path) -> None:
    page = Page(report(folder))
    (drawing,) = page.all("svg")
    names = {name for record in records_of(folder) for name in record} - {"step", "rate", "mean_colour"}
    assert names >= {"l1_refined", "wasserstein", "penalty", "gradient_generator", "gradient_critics", "seconds"}
    for name in names:
        assert name.replace("_", " ") in drawing["aria-label"]
        assert f"<th>{name.replace('_', ' ')}</th>" in page.source
    pictures = sorted(path.name for path in (folder / "pictures").iterdir())
    assert len(page.all("img")) == len(pictures) == 5
    assert all(image["alt"] and image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert "http" not in page.source.replace("http-equiv", "")
    assert not page.all("script")
    referred = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href", "xlink:href")]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in referred)
    assert "url(" not in re.sub(r"url\(#", "", page.source)
    assert "Finished: 5 steps" in page.text
    assert f"<td>critic_width</td><td>{TINY.critic_width}</td>" in page.source


def test_the_numbers_are_those_of_the_log(folder: Path) -> None:
    page, records = Page(report(folder)), records_of(folder)
    for table in ([r for r in records if "rate" in r], [r for r in records if "rate" not in r]):
        names = [name for name in dict.fromkeys(name for r in table for name in r) if name != "step"]
        for r in table:
            numbers = "".join(f"<td>{r[name]:.4g}</td>" if name in r else "<td></td>" for name in names)
            assert f"<tr><td>{r['step']}</td>{numbers}</tr>" in page.source


def test_what_files_say_is_escaped(folder: Path) -> None:
    hostile = "<script>alert('x')</script>&\"$x^{$"
    moved = folder.rename(folder.parent / hostile.replace("/", "∕"))
    config = dataclasses.replace(TINY, data=hostile)
    (moved / "config.json").write_text(config.to_json())
    write_log(moved, [*records_of(moved), {"step": 4, "rate": 1, hostile: 1.0}, {"step": 4, "rate": 1, "$x^{$": 2.0}])
    shutil.copy(moved / "pictures" / "step-000005.png", moved / "pictures" / "photograph-<img src=x onerror=y>.png")
    (moved / "pictures" / "step-000006.png").write_text("<svg onload=alert(1)>")  # no picture
    page = Page(report(moved))
    assert not page.all("script")
    assert hostile in page.text
    assert all(set(image) == {"alt", "src"} for image in page.all("img"))
    assert "onload" not in page.source
    assert "step 000006" not in page.source


def test_runs_in_any_state_have_a_report(folder: Path, tmp_path: Path) -> None:
    whole = records_of(folder)
    with (folder / "log.jsonl").open("a") as log:
        log.write('{"step": 9, "rate": 1, "l1_ref')  # the crash cut this line
    assert "1 damaged line" in Page(report(folder)).text

    old = [{k: v for k, v in r.items() if k in ("step", "rate", "l1_refined", "validation_psnr")} for r in whole[:4]]
    write_log(folder, old)
    (folder / "config.json").write_text("{")
    shutil.rmtree(folder / "pictures")
    page = Page(report(folder, out=tmp_path / "old.html"))
    assert "It cannot be read" in page.text
    assert "None yet" in page.text
    assert "l1 refined" in page.all("svg")[0]["aria-label"]

    write_log(folder, [])
    assert "No step has been logged yet" in Page(report(folder)).text
    (folder / "config.json").write_text(TINY.to_json())
    write_log(folder, whole[:4])
    assert "2 of 5 steps" in Page(report(folder)).text


def test_a_repeated_step_counts_once_as_repeated(folder: Path) -> None:
    write_log(folder, [{"step": 0, "rate": 1, "l1_refined": 7.25}, {"step": 0, "rate": 1, "l1_refined": 3.5}])
    page = Page(report(folder))
    assert "<td>3.5</td>" in page.source
    assert "<td>7.25</td>" not in page.source


def test_long_logs_become_means(folder: Path) -> None:
    """Of equally many steps each: the page of a run of weeks opens, too."""
    write_log(folder, [{"step": i, "rate": 1.0, "l1_refined": i % 4 * 1.0} for i in range(6001)])
    path = report(folder)
    page = Page(path)
    assert path.stat().st_size < 3_000_000
    assert "Each point is the mean of 5 steps" in page.text
    rows = re.findall(r"<tr><td>(\d+)</td><td>1</td><td>([\d.]+)</td></tr>", page.source)
    assert 50 < len(rows) <= 60
    assert all(float(mean) == pytest.approx(1.5, abs=0.05) for _, mean in rows)
    for step in range(0, 2000, 50):
        Image.new("RGB", (2, 2)).save(folder / "pictures" / f"step-{step:06d}.png")
    alts = [image["alt"] for image in Page(report(folder)).all("img")]
    assert len([alt for alt in alts if "held-out" in alt]) == 12
    assert "held-out crops at step 001950" in alts


def test_the_command_writes_and_names_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["report", str(folder), "--out", str(folder.parent / "run.html")]) == 0
    assert capsys.readouterr().out == f"{folder.parent / 'run.html'}\n"
    assert (folder.parent / "run.html").is_file()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run in"):
        report(tmp_path)
    stage = tmp_path / "2-64"
    stage.mkdir()
    (stage / "log.jsonl").write_text("")
    with pytest.raises(UserError, match=r"one of its stages, such as .*2-64"):
        report(tmp_path)
    with pytest.raises(UserError, match="cannot write"):
        report(stage, out=tmp_path / "nowhere" / "run.html")


def test_the_guide_shows_the_commands_that_made_its_pictures(folder: Path, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "watching.md").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", guide.replace("\\\n", ""))
    assert all(loss_curves.command(name) in text for name in loss_curves.RUNS)
    for path in loss_curves.draw(folder, tmp_path):
        with Image.open(path) as image:
            assert image.width > 100


# ---- hints -------------------------------------------------------------------------------------------------------
NORMAL = {
    "l1_refined": 0.1, "adversarial": 1.0, "wasserstein": 4.0, "penalty": 0.05, "gradient_generator": 3.0,
    "gradient_critics": 9.0, "seconds": 0.5,
}  # fmt: skip


def judged(late: dict[str, float], checks: Records | None = None) -> list[str]:
    """What is to be looked at in a run of which the last tenth has other numbers."""
    steps = [{"step": i} | NORMAL | (late if i >= 90 else {}) for i in range(100)]
    return [text for fine, text in hints(steps, checks or []) if not fine]


def test_a_normal_run_has_nothing_to_look_at() -> None:
    good = {"validation_l1_refined": 9.0, "mean_colour": 11.0, "memory": 300}
    checks = [{"step": 0} | good | {"validation_l1_refined": 15.0}, *({"step": i} | good for i in (10, 20))]
    assert judged({}, checks) == []
    assert best_validation(checks) == (10, 9.0)
    assert best_validation([{"step": 3, "validation_l1_refined": 1.0, "validation_ema_l1_refined": 2.0}]) == (3, 2.0)
    assert hints([], []) == []
    assert best_validation([]) is None


@pytest.mark.parametrize(
    ("late", "said"),
    [
        ({"l1_refined": 0.2}, "it rises"),
        ({"wasserstein": 0.01}, "cannot tell them apart"),
        ({"penalty": 3.0}, "not held smooth"),
        ({"gradient_critics": 200.0}, "gradient of the critics is 2e\\+02 long, .*: it grows"),
        ({"gradient_generator": 0.0}, "gradient of the generator is 0 long, .*: it vanishes"),
        ({"seconds": 2.0}, "short of memory"),
    ],
)
def test_what_goes_wrong_is_named(late: dict[str, float], said: str) -> None:
    (text,) = judged(late)
    assert re.search(said, text)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"validation_l1_refined": 12.0}, "above the lowest so far; normal for a while"),
        ({"mean_colour": 8.0}, "not learned yet"),
        ({"memory": 900.0}, "should stop growing"),
    ],
)
def test_what_validation_shows_is_named(last: dict[str, float], said: str) -> None:
    checks = [{"step": i, "validation_l1_refined": 9.0, "mean_colour": 20.0, "memory": 300.0} for i in range(4)]
    (text,) = judged({}, [*checks, checks[-1] | {"step": 4} | last])
    assert said in text


# ---- TensorBoard -------------------------------------------------------------------------------------------------
def test_tensorboard_gets_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, float, int]] = []
    flushed: list[int] = []
    writer = SimpleNamespace(
        add_scalar=lambda *scalar: seen.append(scalar), flush=lambda: flushed.append(len(seen)), close=lambda: None
    )
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=lambda folder: writer))
    options = ["--width", "4", "--critic-width", "4", "--size", "32", "--box", "16", "--max-shrink", "2"]
    short = ["--batch", "2", "--steps", "2", "--pretrain", "1", "--quiet", "--backend", "numpy"]
    run = tmp_path / "run"
    assert main(["train", *options, *short, "--out", str(run), "--tensorboard", str(tmp_path / "board")]) == 0
    expected = [(name, value, r["step"]) for r in records_of(run) for name, value in r.items() if name != "step"]
    assert seen == expected
    assert len(flushed) == sum("rate" not in r for r in records_of(run))


def test_tensorboards_files_hold_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="pip install 'ca-numpy[tensorboard]'")
    board = TensorBoard(tmp_path)
    board({"step": 3, "rate": 0.5, "l1_refined": 0.25})
    board.close()
    (file,) = tmp_path.iterdir()
    assert b"l1_refined" in file.read_bytes()


def test_without_the_library_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match=r"pip install 'ca-numpy\[tensorboard\]'"):
        TensorBoard(tmp_path)
