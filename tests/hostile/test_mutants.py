"""Whatever bytes a file has: a sound result or one line; no crash, no hang, no greed, nothing executed."""

import os

import pytest
from hostile import hunt, mutants

from ca_numpy.machine import cores

pytest.importorskip("resource", reason="limits of memory are those of Unix")

#: A tenth of what `python tests/hostile/hunt.py` runs.
COUNT = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "intense" else 2000


@pytest.mark.slow
def test_mutated_files_end_as_a_result_or_one_line():
    kinds = {name: kind.share for name, kind in mutants.KINDS.items()}
    counts, bad = hunt.hunt(COUNT, workers=cores(), kinds=kinds)
    assert not bad
    assert counts.total() == COUNT
    assert counts["result"] > COUNT // 20  # mutants get past the door,
    assert counts["refused"] > COUNT // 3  # and most do not
