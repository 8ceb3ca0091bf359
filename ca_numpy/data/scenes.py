"""Open training photographs: the landscapes of a Debian package, each with its licence.

The package `endless-sky-high-dpi` holds 273 photographs of 1440 × 720 pixels, of mountains, seas, cities, …, most of
them in the public domain. `fetch` turns it into a folder for `data="scenes:FOLDER"`:

    FOLDER/mountain0@2x.jpg …    the pictures, byte for byte
    FOLDER/train.txt             names of the training pictures
    FOLDER/validation.txt        names of the validation pictures
    FOLDER/licences.csv          file, licence, copyright, source, sha256
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from tqdm import tqdm

from ca_numpy.atomic import write_bytes, write_text
from ca_numpy.data import debian
from ca_numpy.data.images import quoted
from ca_numpy.errors import UserError

Licence = Literal["public-domain", "all"]

#: Fraction of validation pictures.
VALIDATION = 0.1
LICENCES, TRAIN, HELD_OUT = "licences.csv", "train.txt", "validation.txt"
COLUMNS = ("file", "licence", "copyright", "source", "sha256")


class Package(NamedTuple):
    """One version of a Debian package, and the location of its pictures."""

    name: str
    version: str
    sha256: str
    size: int
    root: str
    folder: str
    page: str

    @property
    def file(self) -> str:
        return f"{self.name}_{self.version}_all.deb"


SCENES = Package(
    name="endless-sky-high-dpi",
    version="0.9.8-1",
    sha256="44170b9aad0ecc8f5a39d8c6b1af233100cfc6bc0bab2352d62fb014b5099164",
    size=135_643_966,
    root="usr/share/games/endless-sky/plugins/endless-sky-high-dpi/",
    folder="images/land/",
    page="Debian's pages of its packages (release bookworm)",
)


class Scenes(NamedTuple):
    """The result of `fetch`: the folder, the numbers of pictures, and their total size in bytes."""

    folder: Path
    train: int
    validation: int
    size: int


def fetch(
    out: str | os.PathLike[str] = "scenes",
    *,
    licence: Licence = "public-domain",
    deb: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    package: Package = SCENES,
) -> Scenes:
    """Create the folder `out`, or complete it; intact files are kept.

    licence    "public-domain" omits pictures under CC BY-SA; "all" includes them
    deb        the package file, if you have it; else `apt-get download` gets it, which needs no privileges

    A picture is for validation if its SHA-256, as a fraction, is below 0.1. The split thus depends only on the
    content: it is the same everywhere, and no picture is on both sides under two names.

    Raises `UserError` if the package cannot be downloaded or is a different one, and if `out` holds other files.
    """
    folder = Path(out)
    if licence not in get_args(Licence):
        raise UserError(f"there is no licence option {licence!r}: choose {' or '.join(get_args(Licence))}")
    table = _table(folder)
    if licence == "public-domain" and any(row["licence"] != "public-domain" for row in table):
        raise UserError(
            f"{quoted(folder)} also holds pictures under other licences: give another --out, or --licence all"
        )
    made = _complete(folder, table, licence)
    if made is not None:
        return made
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = Path(deb) if deb is not None else _download(folder, package, quiet=quiet)
        _verify(file, package)
        rows = _unpack(file, folder, package, licence=licence, quiet=quiet)
        if not rows:
            raise UserError(f"{quoted(file)} has no pictures in {package.folder}: get {package.file} again")
        held_out = [row["file"] for row in rows if validates(row["sha256"])]
        train = [row["file"] for row in rows if not validates(row["sha256"])]
        write_text(folder / TRAIN, "".join(f"{name}\n" for name in train))
        write_text(folder / HELD_OUT, "".join(f"{name}\n" for name in held_out))
        write_text(folder / LICENCES, _as_csv(rows))  # last: it marks the folder as complete
        if deb is None:
            file.unlink()
    except UserError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # if empty
        raise
    except OSError as e:
        raise UserError(f"cannot write to {quoted(folder)} ({e.strerror or e}): give another folder with --out") from e
    return Scenes(folder, len(train), len(held_out), sum((folder / row["file"]).stat().st_size for row in rows))


def validates(sha256: str) -> bool:
    """Whether a picture with this hash is held out."""
    return int(sha256[:12], 16) / 16.0**12 < VALIDATION


# -- existing files ---------------------------------------------------------------------------------------


def _as_csv(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _table(folder: Path) -> list[dict[str, str]]:
    """The rows of `licences.csv`, or none if it does not exist. Raises `UserError` for a folder with other files."""
    path = folder / LICENCES
    if not path.exists():
        strange = [p.name for p in folder.iterdir() if not _ours(p.name)] if folder.is_dir() else []
        if strange or (folder.exists() and not folder.is_dir()):
            raise UserError(f"{quoted(folder)} holds something else ({(strange or ['a file'])[0]!r}): give a new --out")
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if any(None in row or set(row) != set(COLUMNS) or not _safe(row["file"]) for row in rows):
        raise UserError(f"{quoted(path)} is damaged: delete it; intact pictures are kept")
    return rows


def _complete(folder: Path, table: list[dict[str, str]], licence: Licence) -> Scenes | None:
    """The existing folder, if it is complete and every picture is intact; else None."""
    if not table or (licence == "all" and all(row["licence"] == "public-domain" for row in table)):
        return None  # pictures under other licences are missing
    lists = [folder / TRAIN, folder / HELD_OUT]
    if not all(path.is_file() for path in lists):
        return None
    if any(_sha256(folder / row["file"]) != row["sha256"] for row in table):
        return None
    train, held_out = (len(path.read_text(encoding="utf-8").splitlines()) for path in lists)
    return Scenes(folder, train, held_out, sum((folder / row["file"]).stat().st_size for row in table))


def _safe(name: str) -> bool:
    """Whether this is the plain name of a picture: no folder, not hidden."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9@._+-]*\.(jpg|png)", name) is not None


def _ours(name: str) -> bool:
    return _safe(name) or name in (LICENCES, TRAIN, HELD_OUT) or name.startswith(".") or name.endswith(".deb")


def _sha256(path: Path) -> str | None:
    """The file's SHA-256 in hexadecimal, or None if it does not exist."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- getting and unpacking --------------------------------------------------------------------------------


def _by_hand(package: Package) -> str:
    return f"get {package.file} from {package.page} and give it with --deb FILE"


def _download(folder: Path, package: Package, *, quiet: bool) -> Path:
    """Download the package into `folder`, unless an interrupted call already did."""
    file = folder / package.file
    if _sha256(file) == package.sha256:
        return file
    apt = shutil.which("apt-get")
    if apt is None:
        raise UserError(f"there is no apt-get on this machine: {_by_hand(package)}")
    file.unlink(missing_ok=True)
    command = [apt, "-qq", "download", f"{package.name}={package.version}"]
    with (
        tqdm(total=package.size, unit="B", unit_scale=True, desc="downloading", disable=quiet or None) as bar,
        subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env=os.environ | {"LC_ALL": "C"},
        ) as apt_get,
    ):  # fmt: skip
        try:
            while apt_get.poll() is None:
                time.sleep(0.05)
                bar.update((file.stat().st_size if file.exists() else 0) - bar.n)
            said = apt_get.stderr.read() if apt_get.stderr else ""
        finally:
            apt_get.kill()
    if apt_get.returncode != 0 or not file.is_file():
        problem = next((line[3:] for line in said.splitlines() if line.startswith("E: ")), "it gave no reason")
        raise UserError(f"apt-get could not download {package.name} {package.version} ({problem}): {_by_hand(package)}")
    return file


def _verify(file: Path, package: Package) -> None:
    found = _sha256(file)
    if found is None:
        raise UserError(f"{quoted(file)} does not exist: {_by_hand(package)}")
    if found != package.sha256:
        raise UserError(
            f"{quoted(file)} is not {package.file} as released (SHA-256 {found[:12]}…): {_by_hand(package)}"
        )


def _unpack(file: Path, folder: Path, package: Package, *, licence: Licence, quiet: bool) -> list[dict[str, str]]:
    """Write the pictures under this licence, each atomically; return a row for each, sorted by name."""
    copyright = _copyright(file, package)
    place = package.root + package.folder
    rows = []
    with tqdm(unit=" pictures", desc="unpacking", disable=quiet or None) as bar:
        for path, _, content in debian.files(file):
            name = path.removeprefix(place)
            if name == path or not _safe(name):
                continue
            terms = copyright.terms(package.folder + name)
            if terms is None or (licence == "public-domain" and terms.licence != "public-domain"):
                continue
            pixels = content.read()
            sha256 = hashlib.sha256(pixels).hexdigest()
            if _sha256(folder / name) != sha256:
                write_bytes(folder / name, pixels)
            rows.append({"file": name, **terms._asdict(), "sha256": sha256})
            bar.update()
    return sorted(rows, key=lambda row: row["file"])


def _copyright(file: Path, package: Package) -> debian.Copyright:
    """The package's copyright file."""
    for path, _, content in debian.files(file):
        if path == f"{package.root}copyright":
            return debian.Copyright(content.read().decode("utf-8", "replace"))
    raise UserError(f"{quoted(file)} has no copyright file, so no licence is known: get {package.file} again")
