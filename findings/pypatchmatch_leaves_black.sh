#!/usr/bin/env bash
# PyPatchMatch: a hole deep relative to the picture is filled with black, or fades to black, and no error is raised.
#
# Seen with PyPatchMatch 2.2.0 and NumPy 2.4.6 on Python 3.11. Picture: one colour, 100, 40 pixels high and 160 wide, of which the
# left 100 columns are the hole. Expected: 100 everywhere, as there is nothing else to copy. Seen: nearly every pixel of the hole
# is darker, and columns of it are 0. With 64 × 256 pixels and half of them missing, all pixels are 100.
# What ca_numpy does: method "pypatchmatch" raises an error for holes deeper than half of the picture's shorter side.
# Exits 0 while PyPatchMatch behaves so, and 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'PyPatchMatch==2.2.0' 'numpy==2.4.6' 2>/dev/null
venv/bin/python - <<'P'
import sys
from importlib.metadata import version

import numpy as np
import patchmatch


def wrong(height, width, missing):
    """Pixels of the hole that are not the picture's only colour, those that are black, and all of the hole."""
    image = np.full((height, width, 3), 100, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[:, :missing] = 255
    patchmatch.set_random_seed(0)
    hole = patchmatch.inpaint(image, mask, patch_size=7)[:, :missing]
    return int((hole != 100).any(-1).sum()), int((hole == 0).all(-1).sum()), hole[..., 0].size


print("PyPatchMatch", version("PyPatchMatch"), "NumPy", np.__version__, "Python", sys.version.split()[0])
deep, shallow = wrong(40, 160, 100), wrong(64, 256, 128)
print("40 x 160, 100 columns missing: {} wrong, {} of them black, of {} pixels".format(*deep))
print("64 x 256, 128 columns missing: {} wrong, {} of them black, of {} pixels".format(*shallow))
sys.exit(not (deep[0] > 2000 and deep[1] > 0 and shallow[0] == 0))
P
