"""The benchmark: what it times, how it counts, and what it says when something is left out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ca_numpy.bench as module
from ca_numpy import UserError
from ca_numpy.bench import GROUPS, Report, Timing, bench, turn
from ca_numpy.bench.works import Work, layer_shapes, works

torch_is_here = importlib.util.find_spec("torch") is not None


@pytest.fixture(autouse=True, scope="module")
def without_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAUSE", 0.0)
        patch.setattr(module, "TURN", 0.0)
        yield


# ---- what is timed -----------------------------------------------------------------------------------------------
def test_the_layers_are_the_42_of_the_generator() -> None:
    shapes = layer_shapes(512, 32)
    assert sum(shapes.values()) == 42
    # Products at 512×512 as counted before this was written: 89.7 thousand million.
    products = 0
    for (k, stride, _, c, o, side, doubled), count in shapes.items():
        out = 2 * side if doubled else side // stride
        products += count * out * out * k * k * c * o
    assert products == pytest.approx(89.7e9, rel=0.005)


@pytest.mark.skipif(not torch_is_here, reason="the peer needs torch")
def test_the_layers_are_those_of_the_peer() -> None:
    from ca_numpy.bench.torch_peer import layer_table

    ours = sorted((k, s, d, c, o) for (k, s, d, c, o, *_), n in layer_shapes(64, 32).items() for _ in range(n))
    assert ours == sorted(row[1:] for row in layer_table(32))


@pytest.mark.parametrize("group", ["layers", "attention", "forward"])
def test_every_work_runs_on_small_pictures(group: str) -> None:
    report = bench(["numpy"], groups=[group], sizes=[64], rounds=2, peer=False, width=4)
    assert report.timings
    for timing in report.timings:
        assert [len(s) for s in timing.seconds.values()] == [2]
        assert all(s > 0 for s in timing.seconds["numpy"])


@pytest.mark.slow
@pytest.mark.parametrize("group", ["critic", "iteration"])
def test_training_runs(group: str) -> None:
    report = bench(["numpy"], groups=[group], batch=1, rounds=1, peer=False, width=4)
    assert report.timings[0].median("numpy")


@pytest.mark.skipif(not torch_is_here, reason="the peer needs torch")
@pytest.mark.parametrize("group", GROUPS)
def test_the_peer_does_the_same_works(group: str) -> None:
    for work in works((group,), sizes=(64,), batch=1, width=4):
        for channels_last in (False, True):
            work.theirs(channels_last)()


# ---- how it counts -----------------------------------------------------------------------------------------------
def report_of(*timings: Timing) -> Report:
    return Report(["numpy", "numba"], list(timings), {})


def test_a_turn_is_the_median_of_runs_after_one_that_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 10.0)
    times = iter([0.0, 3.0, 3.0, 5.0, 5.0, 15.0])  # runs of 3, 2 and 10 seconds
    calls: list[int] = []
    assert turn(lambda: calls.append(1), clock=lambda: next(times)) == 3.0
    assert len(calls) == 4
    times = iter([0.0, 3.0])
    assert turn(lambda: calls.append(1), long=True, clock=lambda: next(times)) == 3.0
    assert len(calls) == 5


def test_the_ratio_is_the_median_of_the_rounds_ratios_and_the_peer_is_its_better_format() -> None:
    t = Timing("forward", "256: the generator")
    t.seconds = {"numpy": [4.0, 9.0, 2.0], "numba": [1.0, 3.0, 2.0],
                 "PyTorch": [9.0, 1.0, 9.0], "PyTorch, channels last": [6.0, 6.0, 6.0]}  # fmt: skip
    assert t.ratio("numpy", "numba") == 3.0
    assert t.peer() == "PyTorch, channels last"
    assert t.ratio("PyTorch, channels last", "numba") == 3.0
    row = report_of(t).to_markdown().splitlines()[2]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "256: the generator", "4000", "2000", "6000", "3.00", "3.00",
    ]  # fmt: skip


def test_layers_are_summed_as_often_as_they_occur() -> None:
    a, b = Timing("layers", "64: one", 3), Timing("layers", "64: other", 1)
    a.seconds, b.seconds = {"numpy": [1.0, 2.0], "numba": [1.0, 1.0]}, {"numpy": [5.0, 5.0], "numba": [1.0, 2.0]}
    (total,) = report_of(a, b).sums()
    assert total.title == "64: all 4 convolutions"
    assert total.seconds == {"numpy": [8.0, 11.0], "numba": [4.0, 5.0]}


def test_what_does_not_fit_in_memory_is_left_out_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unaffordable() -> object:
        raise AssertionError("must not run")

    work = Work("attention", "huge", lambda: unaffordable, lambda last: unaffordable, positions=(2000, 2000))
    monkeypatch.setattr(module, "works", lambda *a, **k: iter([work]))
    report = bench(["numpy"], groups=["attention"], peer=False)
    assert "numpy needs about" in report.to_markdown()
    assert "GiB" in report.to_markdown()


def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> object:
        raise KeyboardInterrupt

    two = [Work("forward", "first", lambda: lambda: None, lambda last: interrupted),
           Work("forward", "second", lambda: interrupted, lambda last: interrupted)]  # fmt: skip
    monkeypatch.setattr(module, "works", lambda *a, **k: iter(two))
    report = bench(["numpy"], groups=["forward"], rounds=1, peer=False)
    assert [t.title for t in report.timings] == ["first"]
    assert "stopped" in capsys.readouterr().err


# ---- the command -------------------------------------------------------------------------------------------------
def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ca_numpy", "bench", *arguments], capture_output=True, text=True)


def test_the_command_prints_a_table_and_writes_all_seconds(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    done = command("--what", "attention", "--sizes", "64", "--rounds", "2", "--backend", "numpy", "--peer", "False",
                   "--json", str(path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| 64: 16×16×128 features |" in done.stdout
    assert "attention 64" in done.stderr
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["machine"]["cores"] >= 1
    assert len(written["works"][0]["seconds"]["numpy"]) == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--what", "everything"], "unknown work 'everything': choose from layers"),
        (["--sizes", "100"], "multiples of 32"),
        (["--json", "no/such/folder/x.json"], "cannot write no/such/folder/x.json"),
    ],
)
def test_mistakes_are_told_in_one_line_before_any_work(arguments: list[str], why: str) -> None:
    done = command(*arguments)
    assert done.returncode != 0
    assert why in done.stderr.splitlines()[-1]


def test_the_comparison_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install torch"):
        bench(["numpy"], peer=True)
