"""Threads, forks and the cache: what threads, processes and damaged files may not do to kernels."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from numba.core.dispatcher import Dispatcher  # noqa: E402  (where Numba is missing, skip)

from ca_numpy import jit, threads  # noqa: E402

ROOT = Path(__file__).parents[1]
COMPILED = [f"ca_numpy.backends.{path.stem}" for path in sorted((ROOT / "backends").glob("numba_*.py"))]
COMPILERS = {"jit", "njit", "generated_jit", "vectorize", "guvectorize", "stencil", "cfunc"}


def python(*arguments: object, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments and environment variables; None takes a variable away."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": None, **variables}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={name: str(value) for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# ---- decorators --------------------------------------------------------------------------------------------------
def test_numbas_own_decorators_are_used_in_one_file_only() -> None:
    for path in [*(ROOT / "ca_numpy").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numba":
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[0] == "numba":
                names = {node.attr}
            assert path.name == "jit.py" or not names & COMPILERS, f"{path}: take ca_numpy.jit's"


@pytest.mark.parametrize("name", COMPILED)
def test_nothing_is_compiled_for_the_threads_of_numba(name: str) -> None:
    """Which takes several times as long."""
    for function in vars(importlib.import_module(name)).values():
        if isinstance(function, Dispatcher | jit._Kernel):
            assert not function.targetoptions.get("parallel"), function


def test_a_kernel_is_numbas_dispatcher_whose_tasks_are_shared() -> None:
    from ca_numpy.backends.numba_elementwise import _elu

    x, y = np.array([0, 2], np.float32), np.empty(2, np.float32)
    _elu(x, y, tasks=1)
    assert y.tolist() == [0, 2]
    assert _elu.signatures
    assert _elu.py_func.__name__ == _elu.__name__ == "_elu"
    assert not hasattr(_elu, "no_such_thing")


def test_kernels_are_compiled_for_the_processor_or_for_what_numba_is_asked_for() -> None:
    show = "from ca_numpy.backends.numba_gemm import WIDTH, cpu_features as f; print('avx2' in f(), WIDTH)"
    assert python("-c", show, NUMBA_CPU_FEATURES="+avx2,-avx512f,+fma").stdout == "True 8\n"
    assert python("-c", show, NUMBA_CPU_FEATURES="+avx512f,-avx2").stdout == "False 16\n"


# ---- threads -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("number", "tasks"), [(1, 5), (2, 5), (3, 3), (4, 2), (7, 100), (3, 0)])
def test_every_task_is_done_once_by_as_many_threads_as_asked_for(number: int, tasks: int) -> None:
    ranges: list[tuple[int, int]] = []
    together = threading.Barrier(max(1, min(number, tasks)))  # so each range has a thread of its own

    def run(lower: int, upper: int) -> None:
        together.wait(timeout=60)
        ranges.append((lower, upper))

    with threads.num_threads(number):
        threads.share(run, (), tasks, threads=threads.get_num_threads())
    ranges.sort()
    assert [i for lower, upper in ranges for i in range(lower, upper)] == list(range(tasks))
    assert len(ranges) == min(number, tasks)
    assert max((upper - lower for lower, upper in ranges), default=0) <= -(-tasks // number)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_error_in_any_thread_is_raised_after_all_have_finished(bad: int) -> None:
    finished: list[int] = []

    def run(lower: int, upper: int) -> None:
        time.sleep(0.01 * lower)
        finished.append(lower)
        if lower == bad:
            raise ZeroDivisionError(lower)

    with threads.num_threads(3), pytest.raises(ZeroDivisionError, match=str(bad)):
        threads.share(run, (), 3, threads=3)
    assert sorted(finished) == [0, 1, 2]


def test_the_number_of_threads_is_scoped_and_that_of_numba_unless_set() -> None:
    assert threads.get_num_threads() == numba.config.NUMBA_NUM_THREADS
    with threads.num_threads(3):
        with threads.num_threads(1):
            assert threads.get_num_threads() == 1
        assert threads.get_num_threads() == 3
    done = python("-c", "from ca_numpy.threads import *; print(get_num_threads())", NUMBA_NUM_THREADS=5)
    assert done.stdout == "5\n"


def test_threads_do_not_hold_on_to_what_they_worked_on() -> None:
    """Otherwise the memory of large arrays could not be reused."""
    x = np.zeros(3)
    with threads.num_threads(3):
        threads.share(lambda x, lower, upper: None, (x,), 3, threads=3)
    deadline = time.monotonic() + 60
    while sys.getrefcount(x) > 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert sys.getrefcount(x) == 2


WORK = dedent(
    """
    import os, signal, threading
    import numpy as np
    from ca_numpy.filling.patchmatch import nearest_field
    from ca_numpy.geometry import AttentionGeometry, ConvGeometry
    from ca_numpy.registry import load_backend

    backend = load_backend("numba")
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("f4") for shape in ((1, 12, 12, 4), (3, 3, 4, 4)))
    hole = np.zeros((20, 20), bool)
    hole[8:12, 8:12] = True
    z = rng.standard_normal((20, 20, 3)).astype("f4")

    def convolve():
        geometry = ConvGeometry(stride=2, pads=((1, 1), (1, 1)))
        return backend.conv_bias_elu(x, w, np.zeros(4, "f4"), geometry=geometry)

    def attend():
        return backend.contextual_attention(x, x[:, ::-1], np.ones((1, 36), "f4"), geometry=AttentionGeometry())

    def learn():
        return backend.adam(w, w, w, w * w, rate=1e-3, beta1=0.5, beta2=0.9, eps=1e-8)[0]

    def search():
        return nearest_field(z, hole, rng=np.random.default_rng(0), radius=1)[1]

    JOBS = convolve, attend, learn, search
    """
)


def test_threads_may_run_any_kernels_at_once() -> None:
    """Each job by two threads at the same time as every other; the results are those of one thread, to the bit."""
    script = WORK + dedent(
        """
        right, wrong = [job() for job in JOBS], []
        def repeat(number):
            for _ in range(30):
                if not np.array_equal(JOBS[number](), right[number]):
                    wrong.append(number)
        threads = [threading.Thread(target=repeat, args=[number]) for number in [0, 1, 2, 3] * 2]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print("wrong:", wrong)
        """
    )
    done = python("-c", script)
    assert (done.returncode, done.stdout) == (0, "wrong: []\n"), done.stderr


# ---- forks -------------------------------------------------------------------------------------------------------
POOL = dedent(
    """
    import multiprocessing, sys
    import numpy as np
    from ca_numpy import use_backend

    def elu(x):
        with use_backend("numba") as backend:
            return backend.elu(np.full(100_000, x, "f4"))[-1].item()

    if __name__ == "__main__":
        method, before = sys.argv[1:]
        if before == "used":
            elu(1.0)
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(pool.map(elu, [1.0, 2.0]))
    """
)


@pytest.mark.parametrize("before", ["used", "unused"])
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_started_before_or_after_the_first_kernel_run_kernels(
    tmp_path: Path, method: str, before: str
) -> None:
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    script = tmp_path / "pool.py"
    script.write_text(POOL, encoding="utf-8")
    done = python("-W", "ignore", script, method, before, NUMBA_NUM_THREADS=2)
    assert (done.returncode, done.stdout) == (0, "[1.0, 2.0]\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_while_another_thread_is_in_a_kernel_runs_kernels() -> None:
    script = WORK + dedent(
        """
        right = convolve()
        def keep_busy():
            while True: search()
        threading.Thread(target=keep_busy, daemon=True).start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(60)  # a child that waits for ever outlives the test otherwise
                os._exit(int(not np.array_equal(convolve(), right)))
            assert os.waitpid(child, 0)[1] == 0
        print("fine", flush=True)
        os._exit(0)
        """
    )
    done = python("-W", "ignore", "-c", script, NUMBA_NUM_THREADS=2)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


# ---- the cache ---------------------------------------------------------------------------------------------------
PACKAGE = {
    "__init__": "",
    "numbers": "FACTOR = 2\n",
    "helpers": """
        from ca_numpy.jit import serial
        from little.numbers import FACTOR

        @serial()
        def times(x):
            return FACTOR * x
    """,
    "kernels": """
        from ca_numpy.jit import parallel
        from little import (
            helpers,
        )

        times = helpers.times

        @parallel()
        def fill(x, y, lower, upper):
            for i in range(lower, upper):
                y[i] = times(x[i]) + 1
    """,
    "unrelated": "",
}
RUN = """
import os, sys
if "read-only" in sys.argv: os.access = lambda *_: False
import numpy as np
from little.kernels import fill
y = np.empty(1)
fill(np.array([10.0]), y, tasks=1)
print(y[0], *fill.stats.cache_hits.values())
"""
#: What RUN prints where the kernel was compiled, and where it was found on disk.
COMPILED_NOW, FOUND = "21.0\n", "21.0 1\n"


@pytest.fixture
def little(tmp_path: Path) -> Path:
    """The folder of a package of one kernel."""
    folder = tmp_path / "little"
    folder.mkdir()
    for name, source in PACKAGE.items():
        (folder / f"{name}.py").write_text(dedent(source), encoding="utf-8")
    return folder


def run(little: Path, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    done = python("-c", RUN, *arguments, **{"PYTHONPATH": little.parent, "PYTHONDONTWRITEBYTECODE": 1, **variables})
    assert done.returncode == 0, done.stderr
    return done


def kept(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nbc"))


def test_a_kernel_is_compiled_once_and_anew_when_what_it_inlines_has_changed(little: Path) -> None:
    assert [run(little).stdout, run(little).stdout] == [COMPILED_NOW, FOUND]
    files = kept(little)
    (little / "unrelated.py").write_text("FACTOR = 3\n", encoding="utf-8")
    assert run(little).stdout == FOUND
    for name, old, new, result in [("helpers", "FACTOR * x", "FACTOR + x", 13.0), ("numbers", "2", "5", 16.0)]:
        path = little / f"{name}.py"
        text, times = path.read_text(encoding="utf-8"), path.stat()
        path.write_text(text.replace(old, new), encoding="utf-8")
        os.utime(path, (times.st_atime, times.st_mtime))  # as old and as long as before: only the content tells
        assert [run(little).stdout, run(little).stdout] == [f"{result}\n", f"{result} 1\n"]
    assert kept(little) == files  # what is out of date is written over


def test_a_module_that_is_edited_and_reloaded_is_compiled_anew(little: Path) -> None:
    script = RUN + dedent(
        """
        import importlib, pathlib
        from little import helpers, kernels
        source = pathlib.Path(helpers.__file__)
        source.write_text(source.read_text().replace("FACTOR * x", "FACTOR + x"))
        for module in (helpers, kernels):
            fill = importlib.reload(module).__dict__.get("fill")
        fill(np.array([10.0]), y, tasks=1)
        print(y[0])
        """
    )
    assert run(little).stdout == COMPILED_NOW
    done = python("-c", script, PYTHONPATH=little.parent, PYTHONDONTWRITEBYTECODE=1)
    assert done.stdout == FOUND + "13.0\n", done.stderr
    assert run(little).stdout == "13.0 1\n"


@pytest.mark.parametrize(
    "damage",
    [lambda old: b"", lambda old: old[:40], lambda old: old[: len(old) // 2], lambda old: old[:-1] + b"?"],
    ids=["empty", "cut-off-early", "cut-off", "changed"],
)
def test_a_damaged_file_is_passed_over_and_replaced(little: Path, damage: object) -> None:
    run(little)
    whole = {path: path.read_bytes() for path in kept(little)}
    assert len(whole) == 1
    for path, content in whole.items():
        path.write_bytes(damage(content))
    done = run(little)
    assert (done.stdout, done.stderr) == (COMPILED_NOW, "")
    assert kept(little) == list(whole)
    assert run(little).stdout == FOUND


def test_processes_that_compile_at_once_leave_one_whole_cache(little: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(little.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", RUN]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.communicate()[0] in (COMPILED_NOW, FOUND)
    assert run(little).stdout == FOUND
    assert {path.suffix for path in (little / "__pycache__").iterdir()} == {".nbc"}


def test_without_a_folder_to_write_to_it_compiles_and_says_so_in_one_line(little: Path, tmp_path: Path) -> None:
    """Neither beside the package nor at home: both names are taken by what is no folder, which stops even root."""
    (little / "__pycache__").write_text("", encoding="utf-8")
    for _ in range(2):
        done = run(little, XDG_CACHE_HOME=os.devnull)
        assert done.stdout == COMPILED_NOW
        assert done.stderr.count("\n") == 1
        assert "NUMBA_CACHE_DIR" in done.stderr
    for result in (COMPILED_NOW, FOUND):
        done = run(little, XDG_CACHE_HOME=os.devnull, NUMBA_CACHE_DIR=tmp_path / "elsewhere" / "new")
        assert (done.stdout, done.stderr) == (result, "")


def test_an_install_that_cannot_be_written_uses_what_was_compiled_there_or_the_users_cache(
    little: Path, tmp_path: Path
) -> None:
    run(little)
    done = run(little, "read-only", XDG_CACHE_HOME=os.devnull)
    assert (done.stdout, done.stderr) == (FOUND, "")
    for path in kept(little):
        path.unlink()
    (little / "__pycache__").rmdir()
    (little / "__pycache__").write_text("", encoding="utf-8")
    assert [run(little, XDG_CACHE_HOME=tmp_path).stdout for _ in range(2)] == [COMPILED_NOW, FOUND]
    assert kept(tmp_path / "ca_numpy")


def test_a_user_without_a_home_gets_no_folder_named_after_one(little: Path, tmp_path: Path) -> None:
    (little / "__pycache__").write_text("", encoding="utf-8")
    script = f"import os; os.chdir({str(tmp_path)!r}); os.path.expanduser = lambda path: path\n" + RUN
    done = python("-c", script, PYTHONPATH=tmp_path, XDG_CACHE_HOME=None)
    assert done.stdout == COMPILED_NOW
    assert not (tmp_path / "~").exists()


def test_the_mark_of_compiled_kernels_is_the_same_whatever_else_was_imported() -> None:
    show = "from ca_numpy.registry import load_backend as load; print(load('numba').compiled_mark)"
    other = f"import ca_numpy.cli, ca_numpy.explore, ca_numpy.backends.numba_bf16; {show}"
    assert python("-c", show).stdout == python("-c", other).stdout != ""


@jit.serial()
def _half_of_twice(x):  # type: ignore[no-untyped-def]
    return 2 * x / 2


def _halves_of_twice(x, y, lower, upper):  # type: ignore[no-untyped-def]
    for i in range(lower, upper):
        y[i] = _half_of_twice(x[i]) / x[i]


def test_what_kernels_call_runs_as_python_where_python_calls_it() -> None:
    assert _half_of_twice(Fraction(1, 3)) == Fraction(1, 3)


def test_kernels_divide_by_0_as_numpy_does() -> None:
    y = np.empty(2)
    jit.parallel()(_halves_of_twice)(np.array([3.0, 0.0]), y, tasks=2)
    assert np.array_equal(y, [1, np.nan], equal_nan=True)


def test_numbas_own_cache_is_used_where_its_internals_have_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit, "_OWN_CACHE", False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    y = np.empty(1)
    jit.parallel()(_halves_of_twice)(np.ones(1), y, tasks=1)
    assert y[0] == 1
    assert list(tmp_path.rglob("*.nbi"))
