"""`pytest -m gpu`, which records the outcome of each test as soon as it is known: also a plugin of pytest."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

from gpu_plan.records import plan
from gpu_plan.runner import ROOT


def main() -> int:
    the, command = plan(), [sys.executable, "-m", "pytest", "-q", "-W", "default", "--continue-on-collection-errors"]
    command += ["-p", "gpu_plan.gpu_tests", "-p", "no:cacheprovider", "--tb", "short"]
    command += ["-m", "gpu", "tests"] if the.is_cuda else ["tests/backends/cupy/test_launch.py"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(the.options["workers"])]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def pytest_runtest_logreport(report: Any) -> None:
    """In the process that collects the reports, not in its workers."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    if report.failed or (report.when == "call" and report.passed):
        error = report.longreprtext[-1500:] if report.failed else None
        plan().record("tests", report.nodeid, {"outcome": report.outcome, "seconds": round(report.duration, 2),
                                               "error": error})  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
