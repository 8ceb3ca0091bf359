#!/usr/bin/env bash
# Pillow: an uncompressed 16-bit RGB TIFF with one plane per colour is decoded into other pixels, and no error is raised.
#
# Seen with Pillow 13.0.0, tifffile 2026.3.3 and NumPy 2.4.6 on Python 3.11. The file: 64 × 64 pixels, a smooth gradient, written by
# tifffile with planarconfig="separate". Expected of Image.open: the upper bytes of its samples, as for interleaved samples, or an
# error. Seen: 98 % of the bytes differ from them, by up to 200; the mode is RGB. Interleaved, or in 8 bits, all are right.
# What ca_numpy does: TIFF in planes, and of more than 8 bits, is read by tifffile (ca_numpy/data/deep.py).
# Exits 0 while Pillow behaves so, and 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'pillow==13.0.0' 'tifffile==2026.3.3' 'numpy==2.4.6' 2>/dev/null
venv/bin/python - <<'P'
import sys
import warnings

import numpy as np
import PIL
import tifffile
from PIL import Image

warnings.simplefilter("ignore")
rows, columns = np.mgrid[:64, :64]
rgb = np.stack([columns * 600 + 20000, rows * 600 + 10000, (columns + rows) * 300 + 5000]).astype(np.uint16)


def wrong(samples, planes):
    """Share of bytes that are not the samples' upper ones, and the largest difference."""
    if planes:
        tifffile.imwrite("a.tif", samples, photometric="rgb", planarconfig="separate")
    else:
        tifffile.imwrite("a.tif", samples.transpose(1, 2, 0), photometric="rgb", planarconfig="contig")
    with Image.open("a.tif") as image:
        found = np.asarray(image.convert("RGB")).astype(int)
    upper = (samples >> 8 if samples.dtype == np.uint16 else samples).transpose(1, 2, 0).astype(int)
    away = np.abs(found - upper)
    return (away > 1).mean(), int(away.max())


print("Pillow", PIL.__version__, "tifffile", tifffile.__version__, "NumPy", np.__version__, "Python", sys.version.split()[0])
results = {
    "16 bits in planes": wrong(rgb, True),
    "16 bits interleaved": wrong(rgb, False),
    "8 bits in planes": wrong((rgb >> 8).astype(np.uint8), True),
}
for name, (share, most) in results.items():
    print(f"{name}: {100 * share:.0f} % of the bytes are wrong, by up to {most}")
sys.exit(not (results["16 bits in planes"][0] > 0.3 and results["16 bits interleaved"][0] == results["8 bits in planes"][0] == 0))
P
