"""Starting ranks under each MPI that is installed: beside Python, or on PATH.

The wheels of MPICH and of Open MPI both bring `mpiexec`, so one of them is in an environment of its own.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MPIS = ("MPICH", "Open MPI")
HERE = Path(__file__).parent


class Mpi:
    """`mpi(2, "-m", "ca_numpy", …)` runs Python with these arguments in two ranks; `start` does not wait for them."""

    def __init__(self, name: str) -> None:
        self.name, self.launcher = name, launchers()[name]
        library = next(iter(sorted((self.launcher.parent.parent / "lib").glob("libmpi.so.*"))), None)
        self.environment = os.environ | {
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # Open MPI 5
            "OMPI_MCA_rmaps_base_oversubscribe": "1",  # and before
            "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        } | ({"MPI4PY_LIBMPI": str(library)} if library else {})  # fmt: skip

    def _command(self, count: int, arguments: tuple[Any, ...]) -> list[str]:
        return [str(self.launcher), "-n", str(count), sys.executable, *map(str, arguments)]

    def __call__(self, count: int, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(count, arguments),
            capture_output=True, text=True, timeout=300, env=self.environment, **options,
        )  # fmt: skip

    def start(self, count: int, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(count, arguments),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self.environment, **options,
        )  # fmt: skip


@functools.cache
def launchers() -> dict[str, Path]:
    """The first `mpiexec` of each MPI."""
    found: dict[str, Path] = {}
    for folder in (Path(sys.executable).parent, *map(Path, os.get_exec_path())):
        launcher = folder / "mpiexec"
        if launcher.is_file() and os.access(launcher, os.X_OK):
            said = subprocess.run([launcher, "--version"], capture_output=True, text=True).stdout
            found.setdefault("Open MPI" if "Open MPI" in said or "OpenRTE" in said else "MPICH", launcher)
    return found


def usable(name: str) -> Mpi:
    """The MPI of this name. Skips the test without it, or without mpi4py for it."""
    pytest.importorskip("mpi4py", reason="pip install 'ca-numpy[mpi]'")
    if name not in launchers():
        pytest.skip(f"no mpiexec of {name}: pip install {name.lower().replace(' ', '')}, one of the two on PATH only")
    mpi = Mpi(name)
    done = mpi(2, "-c", "from mpi4py import MPI; MPI.COMM_WORLD.rank or print(MPI.COMM_WORLD.size)")
    if done.stdout.split() != ["2"]:
        pytest.skip(f"mpi4py does not start with {mpi.launcher}: {' '.join(done.stderr.split())[-200:]}")
    return mpi
