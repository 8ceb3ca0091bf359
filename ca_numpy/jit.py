"""Numba compilation: kernels on all cores, and an on-disk cache.

    @parallel()    a kernel: all cores share its tasks (`ca_numpy.threads`), called from Python only
    @serial()      compiled into the kernels that call it; called from Python, it runs as Python

Neither checks for division by 0, which for floats is inf or nan as in NumPy.

Any threads may call kernels at once, and so may forked processes.

*Cache.* Numba's own cache only checks a function's own file, though functions of other files are inlined, and fails
with a traceback on a truncated file. Here each kernel and signature has one file, which is used only if it is intact
and was compiled from the current sources.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
import numpy as np
from numba.core import event as numba_event
from numba.extending import register_jitable

from ca_numpy.atomic import write_bytes
from ca_numpy.threads import get_num_threads, share

try:
    from numba.core.compiler import CompileResult
    from numba.core.runtime.nrt import rtsys
    from numba.core.serialize import dumps

    # Private API: if it has moved, fall back to Numba's own cache.
    _OWN_CACHE = bool(CompileResult._reduce and CompileResult._rebuild)
except (ImportError, AttributeError):
    _OWN_CACHE = False

#: Work, in seconds, below which waking another thread takes longer than it saves.
WORTH_SHARING = 5e-4
#: Without the code that raises ZeroDivisionError.
_UNCHECKED = {"error_model": "numpy"}
Function = TypeVar("Function", bound=Callable[..., Any])


# ---- decorators --------------------------------------------------------------------------------------------------
def parallel(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a module-level function whose tasks all cores share: `numba.njit` with these options.

    Its last parameters, `lower` and `upper`, are a range of tasks, independent of each other. Calls leave them out and
    give the number of all tasks: kernel(x, y, tasks=len(x)). The other arguments are positional. It returns nothing.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        return _Kernel(function, _compiled(function, nogil=True, no_cfunc_wrapper=True, **_UNCHECKED | options))

    return decorate


def serial(**options: Any) -> Callable[[Function], Function]:
    """Compile a function into the kernels that call it, with these options of `numba.njit`.

    It has no wrapper for Python and no file in the cache, and constants as arguments are not compiled for anew.
    """

    def decorate(function: Function) -> Function:
        return cast("Function", register_jitable(no_cfunc_wrapper=True, **_UNCHECKED | options)(function))

    return decorate


class _Kernel:
    """A compiled function whose tasks threads share; other attributes are those of Numba's dispatcher."""

    def __init__(self, function: Callable[..., Any], dispatcher: Any) -> None:
        functools.update_wrapper(self, function)
        self.dispatcher = dispatcher
        self._seconds = 1.0  # that a task took in the last call

    def __call__(self, *args: Any, tasks: int) -> None:
        threads = get_num_threads()
        # Each thread may have a task of its own size; many small tasks are alike.
        alone = tasks > threads and tasks * self._seconds < WORTH_SHARING
        self._seconds = share(self.dispatcher, args, tasks, threads=1 if alone else threads)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dispatcher, name)


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    dispatcher = numba.njit(**options)(function)
    if not _OWN_CACHE or not hasattr(dispatcher, "_cache"):
        with suppress(RuntimeError, AttributeError):  # no writable folder; NUMBA_DISABLE_JIT
            dispatcher.enable_caching()
    elif source := _file_of(function.__module__):
        with suppress(OSError, ValueError):  # unreadable sources are not cached
            dispatcher._cache = _Cache(function, source)
    return dispatcher


def cpu_features() -> set[str]:
    """Instruction sets that kernels are compiled for: this processor's, or those of NUMBA_CPU_FEATURES."""
    features = numba.config.CPU_FEATURES
    if features is None:
        return {name for name, present in llvmlite.binding.get_host_cpu_features().items() if present}
    return {name[1:] for name in features.split(",") if name.startswith("+")}


# ---- the cache ---------------------------------------------------------------------------------------------------
_IMPORTS = re.compile(r"^(?:from|import) [^(\n]*(?:\([^)]*\))?", re.MULTILINE)


class _Cache:
    """One function's compiled code on disk, with the interface that Numba's dispatcher expects."""

    def __init__(self, function: Callable[..., Any], source: Path) -> None:
        self._source = source
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._stamp = _stamp(function.__module__)

    @property
    def cache_path(self) -> str:
        return str(_folders(self._source)[-1])

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        # What compiled code needs. Numba's own cache loads all that compiling needs, too, which takes 0.3 s.
        rtsys.initialize(target_context)
        name = self._file(signature, target_context)
        for folder in _folders(self._source):
            with suppress(OSError):
                kept = (folder / name).read_bytes()
                if kept[:32] == self._digest(kept[32:]):
                    return CompileResult._rebuild(target_context, *pickle.loads(kept[32:]))
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        if result.library.has_dynamic_globals:  # addresses, valid in this process only
            return
        content, folder = dumps(result._reduce()), _folders(self._source)[-1]
        try:
            write_bytes(folder / self._file(signature, result.target_context), self._digest(content) + content)
        except OSError as e:
            _note.cannot_keep(folder, e)

    def flush(self) -> None:
        for file in _folders(self._source)[-1].glob(f"{self._name}-*.nbc"):
            file.unlink(missing_ok=True)

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self._stamp + content).digest()

    def _file(self, signature: Any, target_context: Any) -> str:
        python = sys.version_info[:2], getattr(sys, "abiflags", "")
        key = repr((str(self._source), python, signature, target_context.codegen().magic_tuple()))
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.nbc"


def _folders(source: Path) -> list[Path]:
    """Candidate folders for compiled code, up to the first writable one; all if none is."""
    places = [
        numba.config.CACHE_DIR and os.path.abspath(numba.config.CACHE_DIR),
        source.parent / "__pycache__",
        os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ca_numpy"),
    ]
    found: list[Path] = []
    for folder in (Path(place) for place in places if place and os.path.isabs(place)):  # "~" if there is no home
        found.append(folder)
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                break
    return found


def mark_of(module: str) -> Path | None:
    """A file to make once the kernels that a module imports are cached; None if they are not.

    Its name changes with their sources, the compilers and the processor.
    """
    if (source := _file_of(module)) is None or not _OWN_CACHE or numba.config.DISABLE_JIT:
        return None
    processor = llvmlite.binding.get_host_cpu_name(), numba.config.CPU_NAME, numba.config.CPU_FEATURES
    key = repr((_kept_stamp(module), str(source), sys.version_info[:2], processor)).encode()
    return _folders(source)[-1] / f"{module}-{hashlib.sha256(key).hexdigest()[:16]}.compiled"


def _stamp(module: str) -> bytes:
    """A digest of the module, everything it imports from its package, and the compilers' versions."""
    packages, found, names = {module.partition(".")[0], "ca_numpy"}, dict[str, bytes](), [module, __name__]
    while names:
        name = names.pop()
        if name.partition(".")[0] in packages and name not in found and (file := _file_of(name)):
            found[name], imported = _read(file, file.stat().st_mtime_ns, sys.modules[name].__package__ or "")
            names += imported
    versions = numba.__version__, llvmlite.__version__, np.__version__
    return hashlib.sha256(repr((versions, sorted(found.items()))).encode()).digest()


_kept_stamp = functools.cache(_stamp)  # of a module that is imported, which takes 13 ms: a fill asks each time


@functools.cache
def _read(file: Path, changed: int, package: str) -> tuple[bytes, set[str]]:
    """A source file's digest, and all names imported at its top level that may be modules."""
    text, names = file.read_text(encoding="utf-8"), set[str]()
    for line in _IMPORTS.findall(text):
        _, *words = re.findall(r"[\w.]+", line)
        words[0] = resolve_name(words[0], package)
        names.update(words, (f"{words[0]}.{word}" for word in words))  # "from a import b": a.b, if b is a module
    return hashlib.sha256(text.encode()).digest(), names


def _file_of(module: str) -> Path | None:
    """The file of an imported module; None for a notebook's."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).absolute() if file else None


# ---- what the user reads -----------------------------------------------------------------------------------------
class CompilingNote(numba_event.Listener):  # type: ignore[misc]
    """Reports once on stderr that kernels are being compiled, after `after` seconds of compilation."""

    def __init__(self, *, after: float = 2.0) -> None:
        self._after, self._seconds, self._depth, self._began = after, 0.0, 0, 0.0
        self._reported, self._lost = False, False

    def on_start(self, event: Any) -> None:
        if not _is_ours(event):
            return
        if self._depth == 0:
            self._began = time.perf_counter()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        if not _is_ours(event):
            return
        self._depth -= 1
        if self._depth == 0:
            self._seconds += time.perf_counter() - self._began
        if self._seconds > self._after and not self._reported:
            self._reported = True
            print("compiling kernels for this machine; the result is cached on disk …", file=sys.stderr)

    def cannot_keep(self, folder: Path, error: OSError) -> None:
        """Reports once that compiled kernels cannot be cached."""
        if not self._lost:
            self._lost = self._reported = True
            print(
                f"compiled kernels cannot be cached in {folder} ({error.strerror}) and will be recompiled every time: "
                "set NUMBA_CACHE_DIR to a writable folder",
                file=sys.stderr,
            )


def _is_ours(event: Any) -> bool:
    return str(event.data["dispatcher"].py_func.__module__).startswith("ca_numpy.")


_note = CompilingNote()
numba_event.register("numba:compile", _note)
