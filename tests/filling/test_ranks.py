"""A folder shared between the ranks of MPI: the same bytes for any number, one report, and no rank left waiting.

Without mpi4py and a launcher the tests that need them are skipped.
"""

import os
import shutil
import sys
import types

import numpy as np
import pytest
from PIL import Image

from ca_numpy.cli import main


@pytest.fixture
def place(tmp_path):
    """Seven pictures with masks."""
    rng = np.random.default_rng(0)
    for n in range(7):
        height, width = rng.integers(24, 60, 2)
        mask = np.zeros((height, width), np.uint8)
        mask[5:12, 6:14] = 255
        for folder, pixels in (("pictures", rng.integers(0, 255, (height, width, 3), np.uint8)), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{n}.png")
    return tmp_path


COMMAND = ["-m", "ca_numpy", "inpaint", "pictures", "masks", "--backend", "numpy"]


def own_lines(done):
    """What the command itself says on standard error; launchers add lines of their own."""
    return [line for line in done.stderr.splitlines() if line.startswith("ca-numpy:")]


def test_the_results_and_the_report_are_the_same_for_any_number_of_ranks(mpi, place):
    seen = []
    for count in (1, 2, 3):
        out = place / "out"
        done = mpi(count, *COMMAND, "--out", out, "--report", "report.json", cwd=place)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("7 filled, 0 there before, 0 failed") == 1
        seen.append({path.name: path.read_bytes() for path in [*out.iterdir(), place / "report.json"]})
        shutil.rmtree(out)
    assert len(seen[0]) == 8
    assert seen[0] == seen[1] == seen[2]


def test_bad_files_are_named_once_and_the_status_says_so(mpi, place):
    (place / "pictures" / "bad.png").write_bytes(b"no picture")
    done = mpi(2, *COMMAND, "--out", "out", "--method", "mean", cwd=place)
    assert done.returncode == 1
    assert len(own_lines(done)) == 1
    assert len(list((place / "out").iterdir())) == 7
    (place / "pictures" / "bad.png").unlink()
    again = mpi(3, *COMMAND, "--out", "out", "--method", "mean", cwd=place)
    assert again.returncode == 0
    assert "0 filled, 7 there before" in again.stdout


def test_what_no_rank_can_use_is_one_line(mpi, place):
    done = mpi(3, *COMMAND, "--out", "out", "--model", "nowhere.pth", cwd=place)
    assert done.returncode == 2
    assert len(own_lines(done)) == 1
    assert "nowhere.pth" in done.stderr


def test_ranks_with_work_of_their_own_are_refused(mpi, place):
    program = """
import sys
from mpi4py import MPI
from ca_numpy.cli import main
sys.exit(main(["inpaint", ("pictures", "masks")[MPI.COMM_WORLD.rank], "masks", "--out", "out", "--method", "mean"]))
"""
    done = mpi(2, "-c", program, cwd=place)
    assert done.returncode == 2
    assert "different folders" in "".join(own_lines(done))
    assert not (place / "out").exists()


def test_a_rank_that_fails_ends_all(mpi, place):
    """Rank 1 meets an error that nobody foresaw: the others, which would wait for it, end as well."""
    program = """
import os, sys
from mpi4py import MPI
from ca_numpy.filling import folders
def fails(*_, **__):
    {how}
if MPI.COMM_WORLD.rank == 1:
    folders.inpaint_photo = fails
folders.inpaint_folder("pictures", "masks", "out", method="mean", backend="numpy", comm=MPI.COMM_WORLD)
"""
    for how in ("raise RuntimeError('unforeseen')", "os.kill(os.getpid(), 9)"):
        shutil.rmtree(place / "out", ignore_errors=True)
        done = mpi(2, "-c", program.format(how=how), cwd=place)
        assert done.returncode != 0
        assert "kill" in how or "unforeseen" in done.stderr


def test_ranks_of_one_host_share_its_cores_and_memory(mpi):
    program = """
import os
from mpi4py import MPI
from ca_numpy import machine
assert machine.ranks() == 2
from ca_numpy.filling.ranks import divided_cores
with divided_cores(MPI.COMM_WORLD):
    threads = MPI.COMM_WORLD.gather(os.environ["NUMBA_NUM_THREADS"])
if threads:
    print(*threads)
"""
    threads = [int(number) for number in mpi(2, "-c", program).stdout.split()]
    cores = len(os.sched_getaffinity(0))
    assert len(threads) == 2
    assert sum(threads) <= max(2, cores)


@pytest.mark.parametrize("variables", [("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")])
@pytest.mark.parametrize("problem", ["no mpi4py", "another MPI"])
def test_processes_that_do_not_know_of_each_other_are_refused(place, monkeypatch, capsys, variables, problem):
    for name, value in zip(variables, "02", strict=True):
        monkeypatch.setenv(name, value)
    world = types.SimpleNamespace(size=1)
    other = types.SimpleNamespace(
        MPI=types.SimpleNamespace(COMM_WORLD=world, Get_library_version=lambda: "Some MPI, 1.0")
    )
    monkeypatch.setitem(sys.modules, "mpi4py", None if problem == "no mpi4py" else other)
    out = str(place / "out")
    assert main(["inpaint", str(place / "pictures"), str(place / "masks"), "--out", out, "--method", "mean"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ("ca-numpy[mpi]" if problem == "no mpi4py" else "another MPI (Some MPI, 1.0)") in line
    assert not os.path.exists(out)
