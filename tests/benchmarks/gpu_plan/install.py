"""Makes the package of this tree importable without a network, without pip and whatever the version of setuptools.

The package is a folder of links, since `backends/` lies beside `ca_numpy/`: an edit takes effect at once. The plan
makes it before the first step. As a step this adds packages that are missing, from wheels that were carried along, if
there are any, and checks that the package can be imported. Needs nothing but the standard library.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gpu_plan.records import plan
from gpu_plan.runner import ROOT

#: What images for GPU work rarely have: the command line, with what it needs. Only it and some tests need them.
CARRY = ("tyro", "docstring-parser", "typeguard")
#: What the steps import besides the package's requirements.
ALSO = ("pytest", "hypothesis", "docstring-parser", "typeguard")


def main() -> int:
    the = plan()
    site = the.scratch / "site"
    wheels = the.options.get("wheels")
    installed = [wheel.name for wheel in sorted(Path(wheels).glob("*.whl")) if add(wheel, site)] if wheels else []
    lacking = [name for name in required() if not present(name, site)]
    the.record("install", "installed", installed)
    the.record("install", "missing", lacking)
    if lacking:
        print(f"missing: {', '.join(lacking)}. Carry their wheels (usually of {', '.join(CARRY)}): --wheels FOLDER")
    return subprocess.run([sys.executable, "-c", "import ca_numpy.backends, ca_numpy.training"], check=False).returncode


def linked(site: Path) -> None:
    """A folder to import `ca_numpy` and its entry points from, as if it were installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package, known = site / "ca_numpy", site / f"ca_numpy-{project['version']}.dist-info"
    package.mkdir(parents=True, exist_ok=True)
    known.mkdir(exist_ok=True)
    for source in (*(ROOT / "ca_numpy").iterdir(), ROOT / "backends"):
        if not (package / source.name).is_symlink():
            (package / source.name).symlink_to(source)
    points = project["entry-points"]["ca_numpy.backends"].items()
    lines = ["[ca_numpy.backends]", *(f"{name} = {target}" for name, target in points)]
    (known / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (known / "METADATA").write_text(metadata, encoding="utf-8")


def required() -> list[str]:
    """Names of the packages that the steps import."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.split(r"[<>=\[ ]", requirement)[0] for requirement in (*project["dependencies"], *ALSO)]


def present(name: str, site: Path) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return any(site.glob(f"{name.replace('-', '_')}-*.dist-info"))


def add(wheel: Path, site: Path) -> bool:
    """Install a carried wheel beside the package unless its package is there; True if it was installed."""
    name = wheel.name.split("-")[0]
    if present(name.replace("_", "-"), site):
        return False
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(site)]
    return subprocess.run([*command, str(wheel.resolve())], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
