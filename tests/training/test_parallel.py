"""Ranks that share each batch learn what one process learns, write one run, and end together.

Threads stand for ranks in the first tests; the others start `mpiexec`, and are skipped without it and mpi4py.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from parallel_cases import iteration
from training_cases import TINY, loader_of

from ca_numpy import tensor
from ca_numpy.data import Loader, open_split
from ca_numpy.errors import UserError
from ca_numpy.training import losses, train
from ca_numpy.training.checkpoint import load_checkpoint
from ca_numpy.training.parallel import Ranks

HERE = Path(__file__).parents[1]
CLOSE = {"float32": 1e-6, "float64": 1e-12}
ENVIRONMENT = os.environ | {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # Open MPI 5
    "OMPI_MCA_rmaps_base_oversubscribe": "1",  # and before
    "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
}  # fmt: skip


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
        return types.SimpleNamespace(Wait=lambda: None)


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


def test_a_part_of_the_loader_is_a_part_of_its_batches():
    whole = loader_of(TINY)
    part = Loader(
        open_split(TINY.data, validation=TINY.validation).train, batch=2, size=32,
        window=(TINY.smallest_window, TINY.largest_window), rng=np.random.default_rng(TINY.seed).spawn(4)[0],
        part=slice(1, 2),
    )  # fmt: skip
    for _ in range(3):
        np.testing.assert_array_equal(next(part), next(whole)[1:])
    assert part.state() == whole.state()


def test_more_ranks_than_pictures_and_other_pictures_are_refused():
    with pytest.raises(UserError, match="3 ranks cannot share a batch of 2"):
        Ranks(types.SimpleNamespace(size=3), 2)

    def work(comm):
        with pytest.raises(UserError, match="different pictures"):
            Ranks(comm, 2).refuse_different(comm.rank)

    in_threads(2, work)


def ranks(count, *arguments, **options):
    launcher = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return subprocess.run(
        [launcher, "-n", str(count), sys.executable, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, env=ENVIRONMENT, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def mpi():
    pytest.importorskip("mpi4py", reason="pip install 'ca-numpy[mpi]' mpich")
    try:
        program = "from mpi4py import MPI; MPI.COMM_WORLD.rank or print(MPI.COMM_WORLD.size)"
        found = ranks(2, "-c", program).stdout.split()
    except TypeError:
        pytest.skip("no mpiexec: pip install mpich")
    if found != ["2"]:
        pytest.skip("mpiexec is not that of mpi4py's MPI")


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_ranks_gives_the_gradients_of_one_process(mpi, alone, tmp_path, count, dtype):
    done = ranks(count, HERE / "parallel_cases.py", dtype, tmp_path / "found.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        assert_same_learning(dict(found), alone[dtype], dtype)


COMMAND = ["-m", "ca_numpy", "train", "--backend", "numpy", "--data", "photographs", "--width", 4, "--critic-width", 4,
           "--size", 32, "--box", 16, "--max-shrink", 2, "--batch", 2, "--steps", 5, "--pretrain", 2,
           "--critic-steps", 2, "--validate-every", 2, "--pictures-every", 100]  # fmt: skip


def numbers(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_of_two_ranks_stops_and_goes_on_with_one(mpi, tmp_path):
    done = ranks(2, *COMMAND, "--out", tmp_path / "run", "--minutes", 0)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("stopped after step 1") == 1
    assert load_checkpoint(tmp_path / "run").state["step"] == 1
    train(resume=tmp_path / "run", backend="numpy", quiet=True)
    train(TINY, out=tmp_path / "alone", backend="numpy", quiet=True)
    expected = numbers(tmp_path / "alone")
    for record, other in zip(numbers(tmp_path / "run"), expected, strict=True):
        assert record.keys() == other.keys()
        for name in record.keys() - {"seconds"}:
            assert record[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5), name


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
    done = ranks(2, "-c", program)
    assert done.returncode != 0
    assert "kill" in how or "unforeseen" in done.stderr
    assert load_checkpoint(tmp_path / "run").state["step"] == 2


def test_what_no_rank_can_do_is_one_line(mpi, tmp_path):
    for options in (["--out", tmp_path / "run", "--batch", 1], ["--out", tmp_path / "run", "--data", "nowhere"]):
        done = ranks(2, *COMMAND, *options)
        assert done.returncode == 2
        assert sum(line.startswith("ca-numpy:") for line in done.stderr.splitlines()) == 1
        assert not (tmp_path / "run").exists()
