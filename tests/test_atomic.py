"""Files are written whole or not at all, and what killed writers left is removed, but nothing else."""

import subprocess
import sys

import pytest

from ca_numpy.atomic import remove_leftovers, replacing, write_text

pytest.importorskip("fcntl", reason="leftovers are recognised by locks, which this system does not have")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a") as temporary:
        temporary.rename(tmp_path / "b")
    assert (tmp_path / "a").read_text() == "old"
    (tmp_path / "b").unlink()
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as temporary:
        temporary.write_text(str(1 / 0))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_only_what_killed_processes_of_ours_were_writing_is_removed(tmp_path):
    (tmp_path / "sub").mkdir()
    program = """
import os, sys
from pathlib import Path
from ca_numpy.atomic import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""
    for place in (tmp_path / "a", tmp_path / "sub" / "b"):
        subprocess.run([sys.executable, "-c", program, str(place)], check=False)
    others = [tmp_path / name for name in ("c.tmp", ".c.tmp", "sub/.0123.tmp", f"{'0' * 32}.tmp")]
    for other in others:
        other.write_text("another program's")
    assert len(list(tmp_path.rglob("*.tmp"))) == 6
    with replacing(tmp_path / "d") as temporary:  # still being written
        temporary.write_text("whole")
        remove_leftovers(tmp_path)
        assert set(tmp_path.rglob("*.tmp")) == {temporary, *others}
    assert (tmp_path / "d").read_text() == "whole"
