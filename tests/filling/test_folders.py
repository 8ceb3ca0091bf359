"""Many pictures: pairs by name, bad files named at the end, results never lost, doubled or overwritten."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from ca_numpy.cli import main
from ca_numpy.errors import UserError
from ca_numpy.filling import inpaint_folder, inpaint_photo

HOLE = np.zeros((16, 20), np.uint8)
HOLE[5:11, 6:14] = 255


def picture(seed):
    return np.random.default_rng(seed).integers(0, 255, (16, 20, 3), dtype=np.uint8)


@pytest.fixture
def place(tmp_path):
    """Pictures a.png, sub/b.jpg and sub/c.tif, each with a mask."""
    for n, name in enumerate(("a.png", "sub/b.jpg", "sub/c.tif")):
        for folder in ("pictures", "masks"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(n)).save(tmp_path / "pictures" / name)
        Image.fromarray(HOLE).save((tmp_path / "masks" / name).with_suffix(".png"))
    return tmp_path


def fill(place, **options):
    return inpaint_folder(place / "pictures", place / "masks", place / "out", **{"method": "mean"} | options)


def results(place):
    out = place / "out"
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_each_picture_is_filled_with_the_mask_of_its_name(place):
    report = fill(place)
    assert report.filled == {"a.png": "a.png", "sub/b.jpg": "sub/b.png", "sub/c.tif": "sub/c.tif"}
    assert not report.failed
    for name, result in report.filled.items():
        expected = inpaint_photo(place / "pictures" / name, HOLE, method="mean").array()
        np.testing.assert_array_equal(np.asarray(Image.open(place / "out" / result)), expected)


def test_what_is_there_stays_unless_told_otherwise(place):
    fill(place)
    (place / "out" / "a.png").write_bytes(b"mine")
    (place / "out" / "sub" / "c.tif").unlink()
    report = fill(place)
    assert set(report.filled) == {"sub/c.tif"}
    assert set(report.there) == {"a.png", "sub/b.jpg"}
    assert results(place)["a.png"] == b"mine"
    assert set(fill(place, overwrite=True).filled) == {"a.png", "sub/b.jpg", "sub/c.tif"}
    assert results(place)["a.png"] != b"mine"


def test_names_that_differ_in_the_suffix_alone_have_results_of_their_own(place):
    Image.fromarray(picture(7)).save(place / "pictures" / "a.bmp")
    Image.fromarray(picture(8)).save(place / "pictures" / "A.webp", lossless=True)
    Image.fromarray(HOLE).save(place / "masks" / "A.png")
    report = fill(place)
    assert report.filled["a.png"] == "a.png.png"
    assert report.filled["a.bmp"] == "a.bmp.bmp"
    assert report.filled["A.webp"] == "A.webp.webp"
    assert len({name.casefold() for name in report.filled.values()}) == len(report.filled) == 5


def test_bad_files_do_not_stop_the_others_and_are_named_at_the_end(place, capsys):
    (place / "pictures" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    Image.fromarray(HOLE).save(place / "masks" / "broken.png")
    Image.fromarray(picture(9)).save(place / "pictures" / "lonely.png")
    Image.fromarray(picture(9)).save(place / "pictures" / "twice.png")
    for suffix in ("bmp", "gif"):
        Image.fromarray(HOLE).save(place / "masks" / f"twice.{suffix}")
    command = [
        "inpaint",
        str(place / "pictures"),
        str(place / "masks"),
        "--out",
        str(place / "out"),
        "--method",
        "mean",
    ]
    assert main([*command, "--report", str(place / "report.json")]) == 1
    told = capsys.readouterr()
    assert "3 filled, 0 there before, 3 failed" in told.out
    for name, why in (("broken.png", "not an image"), ("lonely.png", "no mask"), ("twice.png", "2 masks")):
        (line,) = [line for line in told.err.splitlines() if line.startswith(f"ca-numpy: {name}")]
        assert why in line
    report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    assert set(report["failed"]) == {"broken.png", "lonely.png", "twice.png"}
    for name in report["failed"]:
        (place / "pictures" / name).unlink()
    assert main(command) == 0


def test_one_mask_or_boxes_serve_all_pictures(place):
    assert len(fill(place, overwrite=True).filled) == 3
    by_masks = results(place)
    for masks, options in ((place / "masks" / "a.png", {}), (None, {"boxes": [(6, 5, 8, 6)]})):
        report = inpaint_folder(place / "pictures", masks, place / "out", method="mean", overwrite=True, **options)
        assert len(report.filled) == 3
        assert results(place) == by_masks


def test_links_are_followed_once(place):
    (place / "pictures" / "again").symlink_to(place / "pictures" / "sub", target_is_directory=True)
    (place / "pictures" / "sub" / "round").symlink_to(place / "pictures", target_is_directory=True)
    (place / "elsewhere").mkdir()
    Image.fromarray(picture(5)).save(place / "elsewhere" / "d.png")
    (place / "pictures" / "linked").symlink_to(place / "elsewhere", target_is_directory=True)
    report = inpaint_folder(place / "pictures", place / "masks" / "a.png", place / "out", method="mean")
    assert len(report.filled) == 4
    assert "linked/d.png" in report.filled


def test_results_below_the_pictures_are_no_pictures(place):
    for _ in range(2):
        report = inpaint_folder(place / "pictures", place / "masks", place / "pictures" / "done", method="mean")
        assert set(report.filled) | set(report.there) == {"a.png", "sub/b.jpg", "sub/c.tif"}


def test_folders_that_cannot_be_right_are_refused(place):
    for images, out, said in (
        ("nowhere", "out", "no folder"),
        ("pictures", "pictures", "holds the pictures"),
        ("empty", "out", "no pictures"),
    ):  # fmt: skip
        (place / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=said):
            inpaint_folder(place / images, place / "masks", place / out)


#: Pictures and kills: more with HYPOTHESIS_PROFILE=intense.
PICTURES, KILLS = (200, 20) if os.environ.get("HYPOTHESIS_PROFILE") == "intense" else (40, 3)


def test_killed_at_random_moments_and_run_again_it_is_complete_and_nothing_is_done_twice(place):
    for n in range(PICTURES - 3):
        Image.fromarray(picture(100 + n)).save(place / "pictures" / f"p{n}.png")
    options = ["pictures", "masks/a.png", "--out", "out", "--method", "mean"]
    command = [sys.executable, "-m", "ca_numpy", "inpaint", *options]
    rng, seen = np.random.default_rng(0), dict[str, tuple[int, int]]()

    def kept():
        """Files and when they were written: those that were there before are as they were."""
        files = [path for path in (place / "out").rglob("*") if path.is_file() and not path.name.startswith(".")]
        now = {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
        assert seen.items() <= now.items()
        for path in files:
            with Image.open(path) as image:
                image.load()  # whole
        return now

    (place / "out").mkdir()
    for _ in range(KILLS):
        process = subprocess.Popen(
            command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        wanted = len(seen) + int(rng.integers(1, 2 + PICTURES // KILLS // 2))
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline and len(list((place / "out").iterdir())) < wanted:
            pass
        time.sleep(float(rng.uniform(0, 0.01)))
        with contextlib.suppress(ProcessLookupError):  # it was done already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen = kept()
    (place / "out" / f".{'0' * 32}.tmp").write_bytes(b"what a killed process was writing")
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300, check=True)
    assert f"{PICTURES - len(seen)} filled, {len(seen)} there before, 0 failed" in done.stdout
    assert len(kept()) == PICTURES
    assert len(results(place)) == PICTURES, "leftovers are removed"
    inpaint_folder(place / "pictures", place / "masks" / "a.png", place / "once", method="mean")
    for name, content in results(place).items():
        assert (place / "once" / name).read_bytes() == content


def test_what_is_there_is_recognised_without_decoding_its_picture(place, monkeypatch):
    Image.fromarray(picture(3).astype(np.float32)[..., 0] / 255).save(place / "pictures" / "float.tif")
    Image.fromarray(HOLE).save(place / "masks" / "float.png")
    assert not fill(place).failed
    for module in ("data.photo", "filling.folders"):
        monkeypatch.setattr(f"ca_numpy.{module}.read_photo", None)
    report = fill(place)
    assert report.there == {
        "a.png": "a.png",
        "float.tif": "float.tif",
        "sub/b.jpg": "sub/b.png",
        "sub/c.tif": "sub/c.tif",
    }


def test_one_picture_is_not_overwritten_either(place, capsys):
    files = [str(place / "pictures" / "a.png"), str(place / "masks" / "a.png")]
    told = []
    for _ in range(3):
        assert main(["inpaint", *files, "--method", "mean"]) == 0
        told.append(capsys.readouterr().out.strip().rsplit("/", 1)[1])
    assert told == ["a-inpainted.png", "a-inpainted-2.png", "a-inpainted-3.png"]
    out = ["--out", str(place / "pictures" / "a-inpainted.png")]
    assert main(["inpaint", *files, "--method", "mean", *out]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["inpaint", *files, "--method", "mean", *out, "--overwrite"]) == 0
