"""Every case of the backend suite's table in both dtypes, each case in a process of its own.

An error of CUDA makes the rest of its process useless: therefore the processes. A case that fails runs once more with
CUDA_LAUNCH_BLOCKING=1, so that the traceback names the launch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ca_numpy.testing import CASES, LAYOUTS, RandomChooser
from ca_numpy.testing.backend_suite import by_numpy, check_kernel
from gpu_plan.records import Plan, plan

#: Small problems of each case, beside a large one.
SMALL = 3


def main() -> int:
    the = plan()
    with ThreadPoolExecutor(int(the.options["workers"])) as pool:
        failed = [
            name for name, ok in zip(CASES, pool.map(lambda name: _checked(the, name), CASES), strict=True) if not ok
        ]
    print(f"{len(CASES) - len(failed)} of {len(CASES)} cases pass")
    return int(bool(failed))


def _checked(the: Plan, name: str) -> bool:
    """Whether a case passes; if not, it runs again with launches that wait."""
    for attempt in ({}, {"CUDA_LAUNCH_BLOCKING": "1"}):
        code = _process(the, name, attempt)
        if code == 0:
            return not attempt
        if code < 0 or code > 1:
            the.record("suite", f"{name}, {attempt or 'alone'}", {"error": f"the process ended with status {code}"})
    return False


def _process(the: Plan, name: str, more: dict[str, str]) -> int:
    try:
        return subprocess.run([sys.executable, "-m", "gpu_plan.suite", name], env=os.environ | more, check=False,
                              timeout=the.seconds / 2).returncode  # fmt: skip
    except subprocess.TimeoutExpired:
        return 124


def check(name: str) -> int:
    """One case in both dtypes: 1 if either fails."""
    the, case, failed = plan(), CASES[name], False
    blocking = ", blocking" if "CUDA_LAUNCH_BLOCKING" in os.environ else ""
    for dtype in (np.float64, np.float32):
        error = None
        try:
            for seed in range(SMALL):
                problem = case.draw(RandomChooser(np.random.default_rng(seed)))
                check_kernel(the.backend, case, problem, dtype=dtype, layout=LAYOUTS[seed % len(LAYOUTS)])
            problem = case.draw(RandomChooser(np.random.default_rng(SMALL), large=True))
            check_kernel(the.backend, case, problem, dtype=dtype, expected=by_numpy(case))
        except Exception as e:  # of any kind: it belongs to the results
            error, failed = f"{e!r}"[:1000] + "\n" + traceback.format_exc()[-2000:], True
        the.record("suite", f"{name}, {np.dtype(dtype)}{blocking}", {"error": error})
    return int(failed)


if __name__ == "__main__":
    sys.exit(check(sys.argv[1]) if sys.argv[1:] else main())
