#!/usr/bin/env bash
# Numba: a cached function that inlines a helper from another file keeps the helper's old code after the helper is edited.
#
# Seen with Numba 0.68.1 and NumPy 2.4.6 on Python 3.11. Expected: cache=True recompiles when code it was compiled from has
# changed. Seen: the cache is keyed by the caller's own file only, so the second process silently computes the old result.
# (The manual mentions it as a limitation of cache=True; numba/numba#1833 is open since 2016.)
# What ca_numpy does: ca_numpy/jit.py stamps cached code with a digest of every source file it depends on.
# Exits 0 while Numba behaves so, and 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'numba==0.68.1' 'numpy==2.4.6' 2>/dev/null
cat > helper.py <<'P'
from numba import njit

@njit(cache=True)
def twice(x):
    return 2.0 * x
P
cat > kernel.py <<'P'
from numba import njit
from helper import twice

@njit(cache=True)
def kernel(x):
    return twice(x) + 1.0

print(kernel(1.0))
P
before=$(venv/bin/python kernel.py)
sleep 1.1 # the helper's file gets another time of modification
sed -i 's/2\.0 \* x/20.0 * x/' helper.py
after=$(venv/bin/python kernel.py)
right=$(NUMBA_CACHE_DIR=$(mktemp -d) venv/bin/python kernel.py)
venv/bin/python -c "import numba, numpy, sys; print('Numba', numba.__version__, 'NumPy', numpy.__version__, 'Python', sys.version.split()[0])"
echo "before the edit: $before; after the edit, with the cache: $after; without it: $right"
[ "$before" = 3.0 ] && [ "$after" = 3.0 ] && [ "$right" = 21.0 ]
