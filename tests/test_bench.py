"""The benchmark: what it times, how it counts, and what it says when something is left out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ca_numpy.bench as module
from ca_numpy import UserError
from ca_numpy.backends.cupy_backend.device import CudaKernels
from ca_numpy.bench import GROUPS, Report, Timing, bench, turn
from ca_numpy.bench.workloads import Work, layer_shapes, works
from ca_numpy.geometry import ConvGeometry
from ca_numpy.registry import load_backend, use_backend, why_unavailable

torch_is_here = importlib.util.find_spec("torch") is not None


def has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


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
            work.theirs(channels_last, "cpu")()


@pytest.mark.skipif(not torch_is_here, reason="the peer needs torch")
def test_the_peer_computes_wholly_on_its_device_in_any_order_of_works() -> None:
    """PyTorch's device "meta" computes nothing, but like a GPU it refuses tensors that lie elsewhere."""
    import torch

    from ca_numpy.bench import peer, torch_peer

    before = torch_peer.nearest_index, torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    with peer.on("meta"):
        assert torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "high"
        for work in works(GROUPS, sizes=(64,), batch=2, width=4, training_size=64):
            for channels_last in (False, True):
                work.theirs(channels_last, "meta")()
    assert (torch_peer.nearest_index, torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark) == before
    assert torch_peer.torch is torch


@pytest.mark.skipif(not torch_is_here, reason="the peer needs torch")
def test_the_peers_weights_come_to_its_device_in_their_memory_format() -> None:
    import torch

    from ca_numpy.bench import peer

    w = peer.weights_on({"w": np.ones((3, 3, 8, 4), np.float32)}, channels_last=True, device="meta", requires_grad=True)
    assert w["w"].device.type == "meta"
    assert w["w"].is_contiguous(memory_format=torch.channels_last)
    assert w["w"].is_leaf
    assert w["w"].requires_grad


@pytest.mark.skipif(not torch_is_here, reason="the peer needs torch")
@pytest.mark.parametrize("stride", [1, 2])
def test_the_peers_bare_convolution_is_ours(stride: int, rng: np.random.Generator) -> None:
    """What kernels are compared with: its two gradients are those that `conv2d_dx` and `conv2d_dw` compute."""
    from ca_numpy.bench import peer

    x, w = rng.standard_normal((1, 9, 9, 3)).astype(np.float32), rng.standard_normal((3, 3, 3, 4)).astype(np.float32)
    geometry = ConvGeometry(stride=stride)
    with use_backend("numpy") as ours:
        y = ours.conv2d(x, w, geometry=geometry)
        g = rng.standard_normal(y.shape).astype(np.float32)
        right = {"forward": y, "dx": ours.conv2d_dx(g, w, size=(9, 9), geometry=geometry),
                 "dw": ours.conv2d_dw(g, x, ksize=(3, 3), geometry=geometry).transpose(3, 2, 0, 1)}  # fmt: skip
    for kind, expected in right.items():
        run = peer.convolution(kind, x, w, g, stride=stride, dilation=1, channels_last=True, device="cpu")
        found: Any = run()
        found = found.numpy() if kind == "dw" else found.permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


# ---- how it counts -----------------------------------------------------------------------------------------------
def report_of(*timings: Timing) -> Report:
    return Report(["numpy", "numba"], list(timings), {})


def test_a_turn_is_the_median_of_runs_after_one_that_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 10.0)
    times = iter([99.0, 3.0, 2.0, 10.0])
    calls: list[int] = []

    def elapsed(run: Callable[[], object]) -> float:
        run()
        return next(times)

    assert turn(lambda: calls.append(1), elapsed=elapsed) == 3.0
    assert len(calls) == 4
    times = iter([3.0])
    assert turn(lambda: calls.append(1), long=True, elapsed=elapsed) == 3.0
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

    work = Work("attention", "huge", lambda: unaffordable, lambda *_: unaffordable, positions=(2000, 2000))
    monkeypatch.setattr(module, "works", lambda *a, **k: iter([work]))
    report = bench(["numpy"], groups=["attention"], peer=False)
    assert "numpy needs about" in report.to_markdown()
    assert "GiB" in report.to_markdown()


def test_it_is_the_contenders_own_device_whose_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 2048 on a GPU: bands fit where the peer's matrices of all pairs do not."""
    work = Work("forward", "2048", lambda: lambda: None, lambda *_: lambda: None, positions=(256, 256))
    monkeypatch.setattr(module, "works", lambda *a, **k: iter([work]))
    numpy, gib = load_backend("numpy"), 2**30
    monkeypatch.setattr(numpy, "attention_numbers", lambda h, w: 2 * gib // 4, raising=False)
    monkeypatch.setattr(numpy, "memory", lambda: 80 * gib, raising=False)
    report = bench(["numpy"], groups=["forward"], rounds=1, peer=torch_is_here)
    assert report.timings[0].seconds["numpy"]
    if torch_is_here:
        assert report.timings[0].skipped["PyTorch"] == "needs about 320 GiB of memory, its device has 80"
    monkeypatch.setattr(numpy, "memory", lambda: 1 * gib, raising=False)
    monkeypatch.setattr(module, "works", lambda *a, **k: iter([work]))
    report = bench(["numpy"], groups=["forward"], rounds=1, peer=False)
    assert report.timings[0].skipped["numpy"] == "needs about 2 GiB of memory, its device has 1"


@pytest.mark.parametrize("error", [MemoryError("out of memory"), UserError("the GPU has too little memory")])
def test_who_runs_out_of_memory_is_left_out_and_the_others_go_on(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted() -> object:
        raise error

    two = [Work("forward", "large", lambda: exhausted, lambda *_: exhausted),
           Work("forward", "small", lambda: lambda: None, lambda *_: lambda: None)]  # fmt: skip
    monkeypatch.setattr(module, "works", lambda *a, **k: iter(two))
    report = bench(["numpy"], groups=["forward"], rounds=1, peer=False)
    assert report.timings[0].skipped == {"numpy": f"failed: {error}"}
    assert report.timings[1].seconds["numpy"]


@pytest.mark.parametrize(("device", "seconds"), [("cuda", 1.0), ("cpu", 3.0)])
def test_cudnns_search_for_algorithms_does_not_count_and_a_slow_cpu_is_not_asked_twice(
    device: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([9.0, 3.0, 1.0, 1.0] if device == "cpu" else [9.0, 1.0, 1.0, 1.0])
    peer = module.Contender(lambda: None, lambda run: next(times))
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "_add_peer", lambda timing, contenders, *_: contenders.update(PyTorch=peer))
    work = Work("forward", "a work", lambda: lambda: None, lambda *_: lambda: None)
    timing = module._time(work, [], module.Peer(module.PEER, device), rounds=1)
    assert timing.seconds == {"PyTorch": [seconds]}


def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> object:
        raise KeyboardInterrupt

    two = [Work("forward", "first", lambda: lambda: None, lambda *_: interrupted),
           Work("forward", "second", lambda: interrupted, lambda *_: interrupted)]  # fmt: skip
    monkeypatch.setattr(module, "works", lambda *a, **k: iter(two))
    report = bench(["numpy"], groups=["forward"], rounds=1, peer=False)
    assert [t.title for t in report.timings] == ["first"]
    assert "stopped" in capsys.readouterr().err


# ---- on a GPU ----------------------------------------------------------------------------------------------------
class FakeCuda:
    """CUDA's streams and events, whose time passes in milliseconds and only on the device."""

    def __init__(self) -> None:
        self.now, self.log = 0.0, list[str]()
        fake = self

        class Event:
            time: float | None = None

            def record(self, stream: str) -> None:
                fake.log.append(f"record on {stream}")
                self.time = fake.now

            def synchronize(self) -> None:
                fake.log.append("synchronize")

        self.Event = Event

    def get_current_stream(self) -> str:
        return "the current stream"

    def get_elapsed_time(self, began: Any, ended: Any) -> float:
        return float(ended.time - began.time)


def test_a_gpus_time_is_read_off_events_on_the_current_stream() -> None:
    cuda = FakeCuda()

    def run() -> None:
        cuda.log.append("run")
        cuda.now += 2500.0

    kernels = CudaKernels(type("cupy", (), {"cuda": cuda}))
    assert kernels.elapsed(run) == 2.5
    assert cuda.log == ["record on the current stream", "run", "record on the current stream", "synchronize"]


def test_each_contender_is_timed_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = load_backend("numpy")
    monkeypatch.setattr(numpy, "elapsed", lambda run: (run(), 7.0)[1], raising=False)
    report = bench(["numpy"], groups=["attention"], sizes=[64], rounds=2, peer=False, width=4)
    assert report.timings[0].seconds == {"numpy": [7.0, 7.0]}


@pytest.mark.skipif(why_unavailable("cupy-emulated") is not None, reason="needs a C++ compiler")
def test_a_backend_in_another_precision_is_a_contender_of_its_own() -> None:
    names = ["cupy-emulated", "cupy-emulated:tf32"]
    report = bench(names, groups=["attention"], sizes=[64], rounds=1, peer=False, width=4)
    assert "| work | cupy-emulated, ms | cupy-emulated:tf32, ms |" in report.to_markdown()
    written = json.loads(json.dumps(report.to_json()))
    assert list(written["works"][0]["seconds"]) == names
    assert list(written["machine"]["backends"]) == names
    assert 0 < report.timings[0].seconds["cupy-emulated:tf32"][0] < 60  # emulated, it keeps the wall clock


@pytest.mark.skipif(not torch_is_here, reason="the peer needs torch")
@pytest.mark.parametrize(
    ("choice", "names", "has_cuda", "device"),
    [
        ("auto", ["numpy", "cupy:tf32"], True, "cuda"),
        ("auto", ["cupy"], False, "cpu"),
        ("auto", ["numpy", "cupy-emulated"], True, "cpu"),
        ("cpu", ["cupy"], True, "cpu"),
        ("cuda", ["numpy"], True, "cuda"),
    ],
)
def test_the_peer_goes_where_it_can_be_compared(
    choice: str, names: list[str], has_cuda: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from ca_numpy.bench import peer

    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert peer.device_for(choice, names) == device


@pytest.mark.skipif(not torch_is_here, reason="the peer needs torch")
def test_the_peers_time_on_cuda_is_read_off_events_and_lack_of_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from ca_numpy.bench import peer

    log: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            log.append("record")

        def synchronize(self) -> None:
            log.append("synchronize")

        def elapsed_time(self, ended: Event) -> float:
            return 2500.0

    def exhausted() -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 320.00 GiB")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: log.append("released"))
    elapsed = peer.elapsed("cuda")
    assert elapsed(lambda: log.append("run")) == 2.5
    assert log == ["record", "run", "record", "synchronize"]
    with pytest.raises(MemoryError, match="ran out of the GPU's memory"):
        elapsed(exhausted)
    assert log[-1] == "released"
    assert peer.elapsed("cpu")(lambda: log.append("run")) < 1


# ---- the command -------------------------------------------------------------------------------------------------
def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ca_numpy", "bench", *arguments], capture_output=True, text=True)


def test_the_command_prints_a_table_and_writes_all_seconds(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    done = command("--what", "attention", "--sizes", "64", "--rounds", "2", "--backend", "numpy", "--no-peer",
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
        (["--what", "everything"], "unknown benchmark 'everything': choose from layers"),
        (["--sizes", "100"], "multiples of 32"),
        pytest.param(
            ["--backend", "numpy", "--peer-device", "cuda"],
            "PyTorch cannot compute on CUDA here",
            marks=pytest.mark.skipif(not torch_is_here or has_cuda(), reason="needs torch without CUDA"),
        ),
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
