#!/usr/bin/env bash
# NumPy: large arrays never begin with a cache line, and arrays made in Numba's compiled code do so by chance: loops with 64-byte
# vectors run at up to half their speed, or at either from one call to the next.
#
# Seen with NumPy 2.4.6 and Numba 0.68.1 on Python 3.11, glibc 2.36, Linux x86-64. Expected: large arrays begin with a page, or at least
# with a line of 64 bytes. Seen: numpy.empty of 32 MB to 512 MB always begins 16 bytes into a line, behind the C library's header;
# numpy.empty in compiled code, of 4 to 160 KB, begins at a line or in the middle of one. On a processor with AVX-512, where
# each vector of such an array crosses a line, a loop over arrays in the first-level cache took 2.6 times as long (printed below, not
# checked: it depends on the processor).
# What ca_numpy does: its pool of memory and the scratch memory of kernels begin with a line (backends/numba_memory.py).
# Exits 0 while the libraries behave so, and 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'numpy==2.4.6' 'numba==0.68.1' 2>/dev/null
venv/bin/python - <<'P'
import platform
import sys
import time

import numba
import numpy as np

LINE = 64


@numba.njit
def place(size):
    return np.empty(size, np.float32).ctypes.data % LINE


@numba.njit
def double(x, y, times):
    for _ in range(times):
        for i in range(len(x)):
            y[i] = 2 * x[i]


def seconds(offset):
    """The time of a loop over 4 KB that begin `offset` bytes into a line."""
    room = np.zeros(1 << 14, np.uint8)
    start = -room.ctypes.data % LINE + offset
    x, y = (room[at : at + 4096].view(np.float32) for at in (start, start + 8192))
    double(x, y, 1)
    taken = []
    for _ in range(15):
        began = time.perf_counter()
        double(x, y, 20_000)
        taken.append(time.perf_counter() - began)
    return min(taken)


print("NumPy", np.__version__, "Numba", numba.__version__, "Python", sys.version.split()[0], *platform.libc_ver())
large = {np.empty(1 << k, np.uint8).ctypes.data % LINE for k in range(25, 30) for _ in range(10)}
compiled = {place(size) for size in range(1000, 40_000, 7)}
print("numpy.empty, 32 to 512 MB, bytes after the beginning of a line:", sorted(large))
print("numpy.empty in compiled code, 4 to 160 KB:", sorted(compiled))
print(f"a loop over arrays 16 bytes into a line takes {seconds(16) / seconds(0):.1f} times as long as over aligned ones")
sys.exit(not (large == {16} and compiled == {0, 32}))
P
