"""Open scenes from a package: nothing but pictures is written, each under its licence, once, and never half."""

import csv
import hashlib
import io
import os
import stat
import tarfile

import numpy as np
import pytest
from PIL import Image

from ca_numpy.cli import main
from ca_numpy.data import debian, open_dataset, open_split, scenes
from ca_numpy.errors import UserError

ROOT = "usr/share/game/"
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Source: somewhere

Files: *
Copyright: Somebody
License: GPL-3+

Files: images/*
Copyright: Somebody
License: CC-BY-SA-4.0

Files: images/land/*
Copyright: Various
License: public-domain
 Taken from a collection of photographs
 that have been donated.

Files: images/land/*-ann*
Copyright: Ann
 (ann@example.org)
License: CC-BY-SA-3.0
Comment: Cropped, "edited".

Files:
 images/land/sea1*
 images/land/sky*
Copyright: Various
License: public-domain
 From elsewhere.

Files: images/land/lava?@2x.jpg
Copyright: Bob
License: CC-BY-SA-4.0

License: GPL-3+
 This program is free software.
"""


def jpeg(seed):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 48, 3), np.uint8)).save(stream, format="JPEG")
    return stream.getvalue()


def archive(files, *, mode="w:xz"):
    """A tar file, packed; a value that is no bytes is a tar header to put in as it is."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(f"./{name}")
            if isinstance(content, bytes):
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
            else:
                header.type, header.linkname = content
                tar.addfile(header)
    return stream.getvalue()


def package(files, *, name="data.tar.xz", mode="w:xz"):
    """A Debian package, by hand: three members, each at an even place."""
    whole = b"!<arch>\n"
    for member, content in (("debian-binary", b"2.0\n"), ("control.tar.gz", b"odd"), (name, archive(files, mode=mode))):
        whole += f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        whole += b"\n" * (len(content) % 2)
    return whole


LAND = [*(f"sea{i}@2x.jpg" for i in range(12)), "sea10-ann@2x.jpg", "sky0@2x.jpg", "lava0@2x.jpg", "rock-ann@2x.jpg"]
OTHERS = {"sea10-ann@2x.jpg", "lava0@2x.jpg", "rock-ann@2x.jpg"}


@pytest.fixture
def made(tmp_path):
    """(the package's file, what it is)."""
    files = {f"{ROOT}copyright": COPYRIGHT.encode(), f"{ROOT}images/ship/raven.jpg": jpeg(99)}
    files |= {f"{ROOT}images/land/{name}": jpeg(i) for i, name in enumerate(LAND)}
    files |= {
        f"{ROOT}images/land/../../../../escaped.jpg": jpeg(1),
        f"{ROOT}images/land/deeper/x.jpg": jpeg(1),
        f"{ROOT}images/land/.hidden.jpg": jpeg(1),
        f"{ROOT}images/land/run.sh": b"#!/bin/sh\n",
        f"{ROOT}images/land/train.txt": b"sea0@2x.jpg\n",
        f"{ROOT}images/land/link.jpg": (tarfile.SYMTYPE, "/etc/passwd"),
        f"{ROOT}images/land/pipe.jpg": (tarfile.FIFOTYPE, ""),
        "/etc/absolute.jpg": jpeg(1),
    }
    return written(tmp_path, files)


def written(folder, files, **options):
    whole = package(files, **options)
    file = folder / "game_1.0_all.deb"
    file.write_bytes(whole)
    sha256 = hashlib.sha256(whole).hexdigest()
    page = "https://example.org/game"
    return file, scenes.Package("game", "1.0", sha256, len(whole), ROOT, "images/land/", page)


def fetch(made, out, **options):
    return scenes.fetch(out, package=made[1], quiet=True, **{"deb": made[0]} | options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(folder):
    with (folder / "licences.csv").open(newline="") as file:
        return list(csv.DictReader(file))


LISTS = {"train.txt", "validation.txt", "licences.csv"}


def test_the_pictures_in_the_public_domain_and_nothing_else_are_written(made, tmp_path):
    before = set(tmp_path.iterdir())
    done = fetch(made, tmp_path / "out")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out"}
    pictures = set(LAND) - OTHERS
    assert set(contents(tmp_path / "out")) == pictures | LISTS
    for i, name in enumerate(LAND):
        if name in pictures:
            assert (tmp_path / "out" / name).read_bytes() == jpeg(i)
    assert done.train + done.validation == len(pictures)
    assert done.size == sum(len(jpeg(i)) for i, name in enumerate(LAND) if name in pictures)


def test_every_file_has_its_licence_beside_it(made, tmp_path):
    fetch(made, tmp_path / "out", licence="all")
    table = {row["file"]: row for row in rows(tmp_path / "out")}
    assert set(table) == set(LAND)
    assert {name for name, row in table.items() if row["licence"] != "public-domain"} == OTHERS
    assert table["rock-ann@2x.jpg"]["copyright"] == "Ann (ann@example.org)"
    assert table["rock-ann@2x.jpg"]["source"] == 'Cropped, "edited".'
    assert table["sea0@2x.jpg"]["source"] == "Taken from a collection of photographs that have been donated."
    assert table["sky0@2x.jpg"]["source"] == "From elsewhere."
    assert table["lava0@2x.jpg"]["licence"] == "CC-BY-SA-4.0"
    for name, row in table.items():
        assert row["sha256"] == hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest()


def test_a_pattern_written_in_haste_gives_nobodys_picture_away(made, tmp_path):
    """`sea1*`, public domain, comes last and matches `sea10-ann` too, which an earlier line gives to Ann."""
    terms = debian.Copyright(COPYRIGHT).terms("images/land/sea10-ann@2x.jpg")
    assert terms is not None
    assert (terms.licence, terms.copyright) == ("CC-BY-SA-3.0", "Ann (ann@example.org)")
    assert debian.Copyright(COPYRIGHT).terms("images/land/sea10@2x.jpg").licence == "public-domain"
    assert debian.Copyright(COPYRIGHT).terms("images/ship/raven.jpg").licence == "CC-BY-SA-4.0"
    assert debian.Copyright("Files: a\nLicense: X").terms("b") is None
    with pytest.raises(UserError, match="format"):
        debian.Copyright("All is mine.")


def test_a_picture_stays_on_its_side_whatever_else_is_taken(made, tmp_path):
    fetch(made, tmp_path / "few")
    fetch(made, tmp_path / "all", licence="all")
    few, every = (
        [set((tmp_path / folder / file).read_text().split()) for file in ("train.txt", "validation.txt")]
        for folder in ("few", "all")
    )
    assert few[0] <= every[0]
    assert few[1] <= every[1]
    assert not every[0] & every[1]
    assert every[0] | every[1] == set(LAND)
    hashes = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(2000)]
    assert 140 < sum(map(scenes.validates, hashes)) < 260  # about a tenth


def test_the_folder_opens_as_a_set(made, tmp_path):
    done = fetch(made, tmp_path / "out")
    if done.validation == 0:  # a matter of these pictures' hashes
        pytest.skip("none of so few pictures validates")
    train, validation = open_split(f"scenes:{tmp_path / 'out'}", validation=0.5)
    assert (len(train), len(validation)) == (done.train, done.validation)
    assert open_dataset(f"scenes:{tmp_path / 'out'}").pixels(0).shape == (24, 48, 3)


# -- again ------------------------------------------------------------------------------------------------


def test_done_once_it_is_verified_and_left_alone(made, tmp_path):
    first = fetch(made, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert fetch(made, tmp_path / "out", deb=tmp_path / "not even asked for") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times


@pytest.mark.parametrize("lost", ["licences.csv", "train.txt", "sea0@2x.jpg", "damaged"])
def test_what_is_missing_or_damaged_is_made_again_and_the_rest_is_kept(made, tmp_path, lost):
    fetch(made, tmp_path / "out")
    whole = contents(tmp_path / "out")
    if lost == "damaged":
        (tmp_path / "out" / "sea1@2x.jpg").write_bytes(jpeg(1)[:50])
    else:
        (tmp_path / "out" / lost).unlink()
    kept = (tmp_path / "out" / "sea2@2x.jpg").stat().st_mtime_ns
    fetch(made, tmp_path / "out")
    assert contents(tmp_path / "out") == whole
    assert (tmp_path / "out" / "sea2@2x.jpg").stat().st_mtime_ns == kept


def test_the_others_can_come_later_but_do_not_go_unasked(made, tmp_path):
    fetch(made, tmp_path / "out")
    assert fetch(made, tmp_path / "out", licence="all").train > 0
    assert set(contents(tmp_path / "out")) == set(LAND) | LISTS
    with pytest.raises(UserError, match="other licences"):
        fetch(made, tmp_path / "out")


# -- apt-get ----------------------------------------------------------------------------------------------


@pytest.fixture
def apt_get(tmp_path, monkeypatch):
    """Makes an apt-get that runs these lines of shell, the only program to be found but for the shell's own."""

    def make(*lines):
        program = tmp_path / "bin" / "apt-get"
        program.parent.mkdir(exist_ok=True)
        program.write_text("\n".join(("#!/bin/sh", f"PATH={os.environ['PATH']}", *lines)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent))

    return make


def test_apt_get_downloads_the_version_that_is_known_and_its_file_is_not_kept(made, tmp_path, apt_get):
    apt_get(f'echo "$@" > {tmp_path}/asked', f"cp {made[0]} game_1.0_all.deb")
    fetch(made, tmp_path / "out", deb=None)
    assert (tmp_path / "asked").read_text().strip() == "-qq download game=1.0"
    assert set(contents(tmp_path / "out")) == (set(LAND) - OTHERS) | LISTS


def test_a_download_that_was_whole_is_not_made_twice(made, tmp_path, apt_get):
    apt_get("exit 1")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "game_1.0_all.deb").write_bytes(made[0].read_bytes())
    assert fetch(made, tmp_path / "out", deb=None).train > 0


def test_without_it_the_page_is_named_and_nothing_is_left(made, tmp_path, apt_get, monkeypatch):
    apt_get("echo 'E: Unable to locate package game' >&2", "exit 100")
    with pytest.raises(UserError, match=r"Unable to locate.*https://example.org/game.*--deb"):
        fetch(made, tmp_path / "out", deb=None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"no apt-get .*https://example.org/game.*--deb"):
        fetch(made, tmp_path / "out", deb=None)
    assert not (tmp_path / "out").exists()


# -- what is refused --------------------------------------------------------------------------------------


def test_another_package_is_refused_before_anything_of_it_is_read(made, tmp_path):
    for content in (made[0].read_bytes()[:-1], b"", b"!<arch>\n"):
        (tmp_path / "other.deb").write_bytes(content)
        with pytest.raises(UserError, match="SHA-256"):
            fetch(made, tmp_path / "out", deb=tmp_path / "other.deb")
    with pytest.raises(UserError, match="does not exist"):
        fetch(made, tmp_path / "out", deb=tmp_path / "nowhere.deb")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(made, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="something else"):
        fetch(made, tmp_path / "out")
    with pytest.raises(UserError, match="something else"):
        fetch(made, made[0])
    assert set(contents(tmp_path / "out")) == {"thesis.tex"}


def test_a_table_that_leads_elsewhere_is_refused(made, tmp_path):
    fetch(made, tmp_path / "out")
    table = tmp_path / "out" / "licences.csv"
    table.write_text(table.read_text().replace("sea0@2x.jpg", "../../etc/passwd"))
    with pytest.raises(UserError, match="damaged"):
        fetch(made, tmp_path / "out")


def test_a_package_without_licences_gives_no_pictures(tmp_path):
    made = written(tmp_path, {f"{ROOT}images/land/sea0@2x.jpg": jpeg(0)})
    with pytest.raises(UserError, match="no copyright file"):
        fetch(made, tmp_path / "out")
    made = written(tmp_path, {f"{ROOT}copyright": COPYRIGHT.encode()})
    with pytest.raises(UserError, match="no pictures"):
        fetch(made, tmp_path / "out")


def test_files_of_a_package_packed_in_any_way_that_python_reads(tmp_path):
    for name, mode in (("data.tar", "w"), ("data.tar.gz", "w:gz"), ("data.tar.bz2", "w:bz2"), ("data.tar.xz", "w:xz")):
        file, _ = written(tmp_path, {"a": b"1", "b/c": b"23", "d": (tarfile.SYMTYPE, "a")}, name=name, mode=mode)
        assert [(path, size, f.read()) for path, size, f in debian.files(file)] == [("a", 1, b"1"), ("b/c", 2, b"23")]


def test_a_package_that_is_none_or_cut_short_is_one_line(tmp_path):
    file, _ = written(tmp_path, {"a": np.random.default_rng(0).bytes(5000)})
    whole = file.read_bytes()
    file, _ = written(tmp_path, {}, name="data.tar.zst")
    cases = [whole[:n] for n in (0, 4, 8, 50, 100, 200, 300, 1000, len(whole) // 2)] + [file.read_bytes(), b"x" * 99]
    for content in cases:
        file.write_bytes(content)
        with pytest.raises(UserError) as caught:
            list(debian.files(file))
        assert "\n" not in str(caught.value)


def test_the_command(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scenes.fetch, "__kwdefaults__", scenes.fetch.__kwdefaults__ | {"package": made[1]})
    out = tmp_path / "out"
    assert main(["data", "scenes", "--out", str(out), "--deb", str(made[0])]) == 0
    assert f"--data scenes:{out}" in capsys.readouterr().out
    assert main(["data", "scenes", "--out", str(out), "--licence", "all", "--deb", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(UserError, match="no licence"):
        scenes.fetch(out, licence="mine")
