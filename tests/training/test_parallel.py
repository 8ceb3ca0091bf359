"""Ranks that share each batch learn what one process learns, write one run, and end together.

Threads stand for ranks in the first tests; the others start `mpiexec`, and are skipped without it and mpi4py.
"""

import dataclasses
import io
import json
import signal
import struct
import threading
import time
import types
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from parallel_cases import iteration
from PIL import ExifTags, Image
from training_cases import TINY, draw_system

from ca_numpy import grad, tensor, use_backend
from ca_numpy.backends.numpy_backend import NumpyBackend
from ca_numpy.data import Images
from ca_numpy.errors import UserError
from ca_numpy.registry import load_backend, why_unavailable
from ca_numpy.training import losses, train
from ca_numpy.training.algorithm1 import update_critics
from ca_numpy.training.batches import Batches
from ca_numpy.training.checkpoint import load_checkpoint
from ca_numpy.training.parallel import Ranks

CLOSE = {"float32": 1e-6, "float64": 1e-12}
PROGRAM = Path(__file__).parents[1] / "parallel_cases.py"


class Thread:
    """A communicator of threads."""

    def __init__(self, rank, size, board, barrier):
        self.rank, self.size, self._board, self._barrier = rank, size, board, barrier

    def allgather(self, value):
        self._board[self.rank] = value
        self._barrier.wait(60)
        found = list(self._board)
        self._barrier.wait(60)
        return found

    def Iallreduce(self, mine, total):
        total[...] = sum(self.allgather(mine.copy()))
        return types.SimpleNamespace(Test=lambda: True, Wait=lambda: None)


def in_threads(count, work):
    board, barrier = [None] * count, threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, [Thread(rank, count, board, barrier) for rank in range(count)]))


def assert_same_learning(found, alone, dtype):
    """Each optimiser's gradient as one vector, and each loss; ten times that for each parameter: sums may cancel."""
    assert found.keys() == alone.keys()
    errors = {name: np.linalg.norm(found[name] - expected) for name, expected in alone.items()}
    sizes = {name: np.linalg.norm(expected) for name, expected in alone.items()}
    for part in ("generator/", "critics/", *(name for name in alone if name.startswith("loss/"))):
        error, size = (np.linalg.norm([v for n, v in of.items() if n.startswith(part)]) for of in (errors, sizes))
        assert error <= CLOSE[dtype] * size, (part, error / size)
    for name in alone:
        assert found[name].dtype == alone[name].dtype
        assert errors[name] <= 10 * CLOSE[dtype] * max(sizes[name], 1e-3), (name, errors[name] / sizes[name])


@pytest.fixture(scope="module")
def alone():
    return {dtype: iteration(None, dtype) for dtype in CLOSE}


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("count", [2, 3])
def test_parts_of_a_batch_give_its_gradients_also_if_they_are_unequal(alone, count, dtype):
    for found in in_threads(count, lambda comm: iteration(comm, dtype)):
        assert_same_learning(found, alone[dtype], dtype)


def test_buckets_keep_shapes_order_and_dtypes(monkeypatch):
    monkeypatch.setattr("ca_numpy.training.parallel.BUCKET", 40)
    rng = np.random.default_rng(0)
    arrays = [rng.random(shape).astype(d) for shape, d in (((3, 4), "f4"), ((), "f4"), ((5,), "f8"), ((7, 1), "f8"))]

    def work(comm):
        return Ranks(comm, 2).mean([tensor(a * (1 + 2 * comm.rank)) for a in arrays])

    for means in in_threads(2, work):
        for mean, array in zip(means, arrays, strict=True):
            assert mean.dtype == array.dtype
            np.testing.assert_allclose(mean.numpy(), 2 * array, rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.perceptual_loss, losses.style_loss])
def test_distances_relative_to_the_batch_are_not_relative_to_a_part(loss):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 3, 4, 4, 2)) * np.array([1, 10, 100])[:, None, None, None]

    def work(comm):
        ranks = Ranks(comm, 3)
        part = loss([tensor(x[ranks.part])], [tensor(y[ranks.part])], average=ranks.mean_of)
        return float(ranks.mean_of(part))

    np.testing.assert_allclose(in_threads(2, work), float(loss([tensor(x)], [tensor(y)])), rtol=1e-12)


def test_gradients_are_sent_before_those_of_earlier_layers_are_computed(monkeypatch):
    monkeypatch.setattr("ca_numpy.training.parallel.BUCKET", 1)
    rng, events = np.random.default_rng(0), []
    x, *weights = (tensor(rng.standard_normal((3, 3))) for _ in range(4))

    class Watched(NumpyBackend):
        def matmul(self, a, b):
            events.append("product")
            return super().matmul(a, b)

    class Alone:
        rank, size = 0, 1

        def Iallreduce(self, mine, total):
            events.append("sent")
            total[...] = mine
            return types.SimpleNamespace(Test=lambda: True, Wait=lambda: None)

    y = x
    for w in weights:
        y = y @ w
    expected = grad(y.sum(), weights)
    monkeypatch.setattr("ca_numpy.engine.autograd.current_backend", Watched)
    found = Ranks(Alone(), 1).grad(y.sum(), weights)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    # Of each layer but the first: its input's gradient, and its weights', in either order.
    assert [e for e in events if e == "sent"] == ["sent"] * 3
    assert events.index("sent") <= 2
    assert events[-1] == "sent"


def test_the_penalty_does_not_delay_the_critics_gradients(monkeypatch):
    """Each weight is needed twice: for the penalty, which comes first in the backward pass, and for the scores."""
    events, compute = [], NumpyBackend.conv2d_dw_db

    class Watch(Ranks):
        def grad(self, loss, parameters):
            events.clear()
            with monkeypatch.context() as patch:
                patch.setattr(NumpyBackend, "conv2d_dw_db", lambda *a, **k: events.append("") or compute(*a, **k))
                found = grad(loss, parameters, ready=lambda i, g: events.append(names[i]))
            for mine, expected in zip(found, grad(loss, parameters), strict=True):
                np.testing.assert_array_equal(mine.numpy(), expected.numpy())
            return found

    with use_backend("numpy"):
        system, _ = draw_system(TINY)
        names = [name.removeprefix("discriminator/") for name in system.optimisers["critics"].parameters]
        update_critics(dataclasses.replace(system, ranks=Watch()), TINY)
    assert sorted(filter(None, events)) == sorted(names)
    for critic, others in (("local", 4), ("global", 0)):  # the global critic's gradients follow the local one's
        for layer in (1, 2, 3, 4):
            after = events[events.index(f"discriminator_{critic}/conv{layer}/kernel") :].count("")
            assert after == others + layer - 1, (critic, layer)


def test_a_gpu_sends_a_bucket_in_one_copy(monkeypatch):
    if reason := why_unavailable("cupy-emulated"):
        pytest.skip(reason)
    device, copies = load_backend("cupy-emulated"), []
    monkeypatch.setattr(type(device), "to_host", lambda self, x: copies.append(x.size) or self.to_numpy(x))
    arrays = [np.full(shape, 2, np.float32) for shape in ((3, 4), (5,))]

    def work(comm):
        with use_backend("cupy-emulated"):
            return [mean.numpy() for mean in Ranks(comm, 2).mean([tensor(a * (1 + comm.rank)) for a in arrays])]

    for means in in_threads(2, work):
        for mean, array in zip(means, arrays, strict=True):
            np.testing.assert_array_equal(mean, 1.5 * array)
    assert copies == [17, 17]


# ---- each rank opens its own pictures --------------------------------------------------------------------------------
class Opened(Images):
    """Pictures of many sizes that count who decodes them; `bad` ones cannot be, and `turned` ones turn out turned."""

    def __init__(self, count, *, bad=(), turned=()):
        rng = np.random.default_rng(count)
        sizes = [(20 + n % 7, 30 - n % 5) for n in range(count)]
        super().__init__([rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes])
        self.bad, self.turned, self.decoded = bad, turned, []

    def pixels(self, index):
        self.decoded.append(index)
        if index in self.bad:
            raise UserError(f"{index} is bad")
        pixels = super().pixels(index)
        return pixels.swapaxes(0, 1) if index in self.turned else pixels

    def shape(self, index):
        return self._pixels[index].shape[:2]


def batches_of(dataset, comm=None, *, batch):
    config = dataclasses.replace(TINY, batch=batch)
    generators = [np.random.default_rng(seed) for seed in (1, 2)]
    return Batches(dataset, config, crop_rng=generators[0], mask_rng=generators[1], ranks=Ranks(comm, batch))


@pytest.mark.parametrize(("bad", "turned"), [((), ()), ((3, 4, 17), ()), ((), (5, 11)), ((0, 3, 9), (1, 2, 19))])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_ranks_that_open_their_own_pictures_have_the_batches_of_one_process(count, bad, turned):
    """Whatever a picture turns out to be; and what one rank finds, all know."""
    whole = batches_of(Opened(20, bad=bad, turned=turned), batch=7)
    with whole.loader:
        expected = [(whole(), whole.state()) for _ in range(8)]

    def work(comm):
        found = batches_of(Opened(20, bad=bad, turned=turned), comm, batch=7)
        with found.loader:
            for batch, state in expected:
                part = Ranks(comm, 7).part
                for mine, all_of_it in zip(found(), batch, strict=True):
                    np.testing.assert_array_equal(mine, all_of_it[part])
                assert found.state() == state
        return found.loader.skipped.keys()

    for skipped in in_threads(count, work):
        assert skipped == whole.loader.skipped.keys() == {f"image-{n}" for n in bad}


def test_a_rank_decodes_its_share():
    sets = [Opened(64) for _ in range(4)]

    def work(comm):
        found = batches_of(sets[comm.rank], comm, batch=8)
        with found.loader:
            for _ in range(8):  # an epoch
                found()

    in_threads(4, work)
    epoch = [set(dataset.decoded[:16]) for dataset in sets]  # then batches of the next one, which are made ahead
    assert set().union(*epoch) == set(range(64))
    assert all(len(dataset.decoded) <= 32 for dataset in sets)


def test_nothing_but_bad_pictures_is_one_error_on_all_ranks():
    def work(comm):
        found = batches_of(Opened(5, bad=range(5)), comm, batch=2)
        with found.loader, pytest.raises(UserError, match="none of the 5 pictures can be read"):
            found()

    in_threads(2, work)


def test_more_ranks_than_pictures_and_other_pictures_are_refused():
    with pytest.raises(UserError, match="3 ranks cannot share a batch of 2"):
        Ranks(types.SimpleNamespace(size=3), 2)

    def work(comm):
        with pytest.raises(UserError, match="different pictures"):
            Ranks(comm, 2).refuse_different(comm.rank)

    in_threads(2, work)


# ---- with MPI --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_ranks_gives_the_gradients_of_one_process(mpi, alone, tmp_path, count):
    done = mpi(count, PROGRAM, tmp_path / "found.npz", *CLOSE)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        for dtype in CLOSE:
            mine = {name.partition(" ")[2]: found[name] for name in found if name.startswith(f"{dtype} ")}
            assert_same_learning(mine, alone[dtype], dtype)


COMMAND = ["-m", "ca_numpy", "train", "--backend", "numpy", "--data", "photographs", "--width", 4, "--critic-width", 4,
           "--size", 32, "--box", 16, "--max-shrink", 2, "--batch", 2, "--steps", 5, "--pretrain", 2,
           "--critic-steps", 2, "--validate-every", 2, "--pictures-every", 100]  # fmt: skip


def numbers(folder):
    *lines, _ = (folder / "log.jsonl").read_text().split("\n")  # what follows the last one is being written
    return [json.loads(line) for line in lines]


def test_a_run_of_two_ranks_stops_and_goes_on_with_one(mpi, tmp_path):
    """Also where a picture cannot be read, and another is not of the size that its header claims."""
    data = tmp_path / "data"
    data.mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    note = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(note) - 4) + note + struct.pack(">I", zlib.crc32(note))
    for n in range(12):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 60, 3), np.uint8)).save(file, "PNG")
        png = file.getvalue()
        turned = png[:-12] + chunk + png[-12:]  # its header does not say so
        (data / f"{n}.png").write_bytes((png, turned, png[:3000])[n % 3])
    done = mpi(2, *COMMAND, "--data", data, "--out", tmp_path / "run", "--minutes", 0)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("stopped after step 1") == 1
    assert load_checkpoint(tmp_path / "run").state["step"] == 1
    train(resume=tmp_path / "run", backend="numpy", quiet=True)
    train(TINY, data=str(data), out=tmp_path / "alone", backend="numpy", quiet=True)
    for record, other in zip(numbers(tmp_path / "run"), numbers(tmp_path / "alone"), strict=True):
        assert record.keys() == other.keys()
        for name in record.keys() - {"seconds", "memory"}:  # which differ from process to process
            assert record[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM", "SIGINT"])
def test_a_signal_to_the_launcher_ends_all_ranks_and_the_run_can_be_resumed(mpi, tmp_path, name):
    """Open MPI passes on only the first, and kills the ranks after the others."""
    passed_on = name == "SIGUSR1" or mpi.name == "MPICH"
    options = ["--out", tmp_path / "run", "--steps", 10_000, "--checkpoint-every", 1000 if passed_on else 1]
    process, log, until = mpi.start(2, *COMMAND, *options), tmp_path / "run" / "log.jsonl", time.monotonic() + 120
    try:
        while not log.exists() or len(numbers(tmp_path / "run")) < 5:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode != 0
    step = load_checkpoint(tmp_path / "run").state["step"]
    assert step == sum("rate" in record for record in numbers(tmp_path / "run")) if passed_on else step > 0
    done = mpi(1, *COMMAND[:5], "--resume", tmp_path / "run", "--minutes", 0)
    assert done.returncode == 0, done.stderr
    assert load_checkpoint(tmp_path / "run").state["step"] == step + 1


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), 9)", "raise RuntimeError('unforeseen')"])
def test_a_rank_that_dies_ends_all_and_leaves_a_checkpoint(mpi, tmp_path, how):
    program = f"""
import os, sys
from mpi4py import MPI
from ca_numpy.cli import main
from ca_numpy.training import loop
update = loop.update_generator
def fails(system, *rest, **options):
    if MPI.COMM_WORLD.rank == 1 and system.optimisers["generator"].clock.t == 2:
        {how}
    return update(system, *rest, **options)
loop.update_generator = fails
main({[*map(str, COMMAND[2:]), "--out", str(tmp_path / "run"), "--checkpoint-every", "1"]})
"""
    done = mpi(2, "-c", program)
    assert done.returncode != 0
    assert ("unforeseen" if "unforeseen" in how else "signal 9") in done.stdout + done.stderr, "it says why"
    assert load_checkpoint(tmp_path / "run").state["step"] == 2


def test_what_no_rank_can_do_is_one_line(mpi, tmp_path):
    for options in (["--out", tmp_path / "run", "--batch", 1], ["--out", tmp_path / "run", "--data", "nowhere"]):
        done = mpi(2, *COMMAND, *options)
        assert done.returncode == 2
        assert sum(line.startswith("ca-numpy:") for line in done.stderr.splitlines()) == 1
        assert not (tmp_path / "run").exists()
