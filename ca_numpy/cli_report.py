"""ca-numpy report: a run as one HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ca_numpy.cli_inpaint import PathOption
from ca_numpy.errors import printable
from ca_numpy.training import report


@dataclass
class Report:
    """Write one HTML page about a run: curves, pictures, hints, numbers, settings. It opens offline."""

    folder: Positional[Path]
    """The run's folder; the run may still be going on."""
    out: PathOption = None
    """The file to write. Default: report.html in the run's folder."""

    def run(self) -> None:
        print(printable(str(report(self.folder, out=self.out))))
