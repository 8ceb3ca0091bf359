#!/usr/bin/env bash
# Pillow: the quantisation tables given to a JPEG's save are scaled by `quality`, if that is given too.
#
# Seen with Pillow 13.0.0 on Python 3.11. The tables of a file saved with quality=60 are passed to the next save as qtables=…, to write
# another picture as the first was. Expected: these tables in the file, whatever else is given. Seen: with quality=95 beside them
# every entry is a tenth as large, and the file twice as long; with quality=50 they are as given, and without quality, whose default
# is 75, too.
# What ca_numpy does: it leaves out quality where a source's tables are known (ca_numpy/data/photo.py).
# Exits 0 while Pillow behaves so, and 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'pillow==13.0.0' 2>/dev/null
venv/bin/python - <<'P'
import io
import sys

import PIL
from PIL import Image

picture = Image.effect_noise((128, 128), 60).convert("RGB")


def saved(**options):
    """The tables of the written file, and its length."""
    out = io.BytesIO()
    picture.save(out, "JPEG", **options)
    length = out.tell()
    return Image.open(out).quantization, length


print("Pillow", PIL.__version__, "Python", sys.version.split()[0])
given, length = saved(quality=60)
print("quality=60:", given[0][:6], length, "bytes")
results = {}
for options in ({}, {"quality": 50}, {"quality": 95}):
    results[str(options)], length = saved(qtables=given, **options)
    print("the same tables as qtables,", options, results[str(options)][0][:6], length, "bytes")
plain, half, fine = results.values()
sys.exit(not (plain == half == given and fine != given and sum(fine[0]) < sum(given[0]) / 5))
P
