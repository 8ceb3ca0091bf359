"""Every row of section 5.1's comparisons trains, is resumed to the same bytes, and changes what it says it changes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vgg_cases import draw_vgg

import ca_numpy
from ca_numpy.errors import UserError
from ca_numpy.training import TrainConfig, train
from ca_numpy.training.ablations import ABLATIONS
from ca_numpy.training.config import configured

TINY = TrainConfig(
    width=4, critic_width=4, size=32, box=16, max_shrink=2, batch=2, steps=3, pretrain=1, critic_steps=1,
    validate_every=2, pictures_every=100, checkpoint_every=100,
)  # fmt: skip
QUIET: dict[str, Any] = {"backend": "numpy", "quiet": True}


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg.npz"
    np.savez(path, **draw_vgg(dtype=np.float32))
    return path


def changed(row: str, vgg: Path) -> dict[str, Any]:
    fields = ABLATIONS[row]
    return fields | ({"vgg": vgg} if fields.keys() & {"perceptual_weight", "style_weight"} else {})


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("checkpoint.safetensors", "generator.safetensors")}


# ---- every row -------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("row", ABLATIONS)
def test_every_row_trains_is_resumed_to_the_same_bytes_and_loads_back(tmp_path: Path, vgg: Path, row: str) -> None:
    whole = train(TINY, out=tmp_path / "whole", **changed(row, vgg), **QUIET)
    assert all(np.isfinite(value) for record in whole.records for value in record.values())
    part = train(TINY, out=tmp_path / "part", stop_after=2, **changed(row, vgg), **QUIET)
    assert not part.finished
    train(resume=part.folder, **QUIET)
    assert bytes_of(part.folder) == bytes_of(whole.folder)
    loaded = ca_numpy.load(whole.folder)
    assert loaded.attention == whole.config.attention
    assert loaded.variant.propagation == whole.config.propagation
    for name, array in whole.generator.arrays().items():
        assert np.array_equal(loaded.arrays()[name], array)


@pytest.mark.parametrize("row", ["spatial-transformer", "appearance-flow"])
def test_where_other_kinds_look_is_drawn(tmp_path: Path, vgg: Path, row: str) -> None:
    run = train(TINY, out=tmp_path / "run", steps=1, **changed(row, vgg), **QUIET)
    for name in ("step-000001.png", "photograph-steps.png"):
        assert (run.folder / "pictures" / name).stat().st_size > 0


def test_every_row_is_a_configuration_and_no_two_are_the_same(vgg: Path) -> None:
    configs = [configured(TINY, changed(row, vgg)) for row in ABLATIONS]
    for config in configs:
        config.check()
        assert TrainConfig.from_json(config.to_json()) == config
    assert len({config.to_json() for config in configs}) == len(ABLATIONS)


# ---- what each changes -----------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("refine_l1", [True, False])
def test_without_the_refinements_l1_only_the_coarse_stage_learns_by_reconstruction(
    tmp_path: Path, refine_l1: bool
) -> None:
    run = train(TINY, out=tmp_path / "run", steps=1, pretrain=1, refine_l1=refine_l1, **QUIET)
    before = ca_numpy.models.Generator(width=4, rng=np.random.default_rng(TINY.seed).spawn(4)[3]).arrays()
    moved = {name for name, a in run.generator.arrays().items() if not np.array_equal(a, before[name])}
    stage_one = {name for name in before if name.startswith("inpaint_net/conv")}
    assert stage_one <= moved
    assert bool(moved - stage_one) == refine_l1


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["dcgan", "lsgan"])
def test_other_critics_have_no_penalty_and_no_wasserstein_estimate(tmp_path: Path, kind: Any) -> None:
    run = train(TINY, out=tmp_path / "run", adversarial=kind, **QUIET)
    last = [record for record in run.records if "rate" in record][-1]
    assert {"critic", "adversarial"} <= last.keys()
    assert not {"wasserstein", "penalty"} & last.keys()
    assert last["critic"] > 0


@pytest.mark.usefixtures("undrawn")
def test_losses_without_a_weight_are_not_even_computed(tmp_path: Path, vgg: Path) -> None:
    options = {"tv_weight": 0.1, "style_weight": 0.1, "vgg": vgg}
    run = train(TINY, out=tmp_path / "run", steps=1, pretrain=1, **options, **QUIET)
    assert {"tv", "style"} <= run.records[1].keys()
    assert "perceptual" not in run.records[1]
    plain = train(TINY, out=tmp_path / "plain", steps=1, pretrain=1, **QUIET)
    assert not {"tv", "style", "perceptual"} & plain.records[1].keys()
    assert bytes_of(run.folder) != bytes_of(plain.folder)


@pytest.mark.usefixtures("undrawn")
def test_a_run_with_vgg_is_resumed_from_another_place(tmp_path: Path, vgg: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(vgg.parent)
    part = train(TINY, out=tmp_path / "run", perceptual_weight=0.1, vgg=vgg.name, stop_after=1, **QUIET)
    monkeypatch.chdir(tmp_path)
    assert train(resume=part.folder, **QUIET).finished


# ---- configurations --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("written", "kind"), [(True, "contextual"), (False, "none")])
def test_configurations_of_older_runs_have_a_truth_value_for_attention(written: bool, kind: str) -> None:
    fields = json.loads(TINY.to_json()) | {"attention": written}
    for name in ("propagation", "adversarial", "refine_l1", "tv_weight", "perceptual_weight", "style_weight", "vgg"):
        del fields[name]
    assert TrainConfig.from_json(json.dumps(fields)).attention == kind
    given: Any = written
    assert TrainConfig(attention=given).attention == kind
    assert configured(TINY, {"attention": written}).attention == kind


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "apearance-flow"}, "appearance-flow"),
        ({"adversarial": "gan"}, "lsgan"),
        ({"style_weight": 0.1}, "need vgg"),
        ({"perceptual_weight": 0.1, "vgg": "nowhere.npz"}, r"nowhere\.npz"),
        ({"tv_weight": -1.0}, "cannot be negative"),
        ({"texture_weight": 1.0, "box": 10}, "a box of at least 11 pixels"),
        ({"style_weight": float("inf")}, "finite"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_in_one_line_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        train(TINY, out=tmp_path / "run", **options, **QUIET)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


# ---- the table of all rows -------------------------------------------------------------------------------------------
@pytest.fixture
def benchmark() -> Any:
    path = Path(__file__).parents[1] / "benchmarks" / "ablations.py"
    spec = importlib.util.spec_from_file_location("ablations_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("undrawn")
def test_the_table_is_of_all_runs_and_none_is_trained_twice(
    tmp_path: Path, benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = f"--steps 1 --size 32 --width 4 --count 2 --backend numpy --out {tmp_path}".split()
    command = [*small, "--seeds", "2", "--rows", "full", "lsgan", "style"]
    assert benchmark.main(command) == 0
    printed = capsys.readouterr()
    assert "left out: style" in printed.err
    written = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [(line["row"], line["runs"]) for line in written] == [
        ("full", 2), ("lsgan", 2), ("style", 0), ("mean colour", 0),
    ]  # fmt: skip
    assert len(set(written[0]["l1"]["values"])) == 2
    monkeypatch.setattr(ca_numpy, "train", None)  # calling it would raise
    assert benchmark.main(command) == 0
    assert capsys.readouterr().out == printed.out
    assert benchmark.main([*command, "--steps", "2"]) == 2
    assert "another --out" in capsys.readouterr().err


def test_the_interval_over_seeds_is_students(benchmark: Any) -> None:
    """Five values 1 … 5: s = √2.5, and 2.776 is the 97.5 % quantile with four degrees of freedom."""
    mean, half = benchmark.mean_and_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3
    assert half == pytest.approx(2.776 * (2.5 / 5) ** 0.5, rel=1e-3)
    assert benchmark.mean_and_interval([7.0]) == (7, None)


def test_a_diverged_run_is_counted_and_not_averaged(benchmark: Any) -> None:
    fine = {
        "row": "lsgan",
        "seed": 0,
        "measured": {"l1": 2.0, "l2": 1.0, "psnr": 20.0},
        "mean_colour": {"l1": 3.0, "l2": 2.0, "psnr": 9.0},
    }
    lines = benchmark.table([fine, {"row": "lsgan", "seed": 1, "diverged": "at step 3"}], ["lsgan", "dcgan"])
    text = benchmark.to_markdown(lines, "title")
    assert "| lsgan | 2.00 | 1.00 | 20.00 |  | 2, 1 diverged |" in text
    assert "| dcgan | not yet run | not yet run | not yet run |  |  |" in text
    assert "| mean colour | 3.00 | 2.00 | 9.00 |  |  |" in text


def test_rows_are_compared_with_the_full_system_of_the_same_seed(benchmark: Any) -> None:
    """Seeds differ by 10 dB here, and the row from the full system by 1 and 2."""

    def run(row: str, seed: int, psnr: float) -> dict[str, Any]:
        return {"row": row, "seed": seed, "measured": {"l1": 1.0, "l2": 1.0, "psnr": psnr}}

    runs = [
        run("full", 0, 10.0),
        run("full", 1, 20.0),
        run("lsgan", 0, 11.0),
        run("lsgan", 1, 22.0),
        run("lsgan", 2, 9),
    ]
    full, lsgan = benchmark.table(runs, ["full", "lsgan"])
    assert full["lead"] is None
    assert lsgan["lead"]["mean"] == 1.5
    students = 12.706 * (0.5 / 2) ** 0.5  # with one degree of freedom
    assert lsgan["lead"]["half"] == pytest.approx(students, rel=1e-3)


def test_results_from_before_there_was_a_field_still_count_and_others_do_not(
    tmp_path: Path, benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--steps", "1", "--size", "32", "--width", "4", "--count", "2", "--backend", "numpy"]
    command = [*small, "--seeds", "1", "--rows", "full", "--out", "out"]
    assert benchmark.main(command) == 0
    file = tmp_path / "out" / "full" / "seed-0" / "result.json"
    kept = json.loads(file.read_text())
    del kept["options"]["jitter"]
    file.write_text(json.dumps(kept))
    monkeypatch.setattr(ca_numpy, "train", None)  # calling it would raise
    assert benchmark.main(command) == 0
    kept["options"]["rate"] = 0.5
    file.write_text(json.dumps(kept))
    assert benchmark.main(command) == 2
