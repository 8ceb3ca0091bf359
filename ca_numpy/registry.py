"""Backend registry: backends are discovered by entry point and loaded on first use."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextvars import ContextVar, Token
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from ca_numpy.backend import Backend
from ca_numpy.errors import UserError

ENTRY_POINT_GROUP = "ca_numpy.backends"
INSTALL_HINT = {
    "numba": "pip install 'ca-numpy[numba]'",
    "cupy": "pip install 'ca-numpy[cuda13]' (or [cuda12], as your driver asks)",
}
#: Environment variable that names the default backend.
VARIABLE = "CA_NUMPY_BACKEND"
#: The order in which "auto" tries backends.
PREFERENCE = ("cupy", "numba", "numpy")

_loaded: dict[str, Backend] = {}
_current: ContextVar[Backend | None] = ContextVar("ca_numpy_backend", default=None)


def registered_backends() -> Mapping[str, EntryPoint]:
    """Every backend registered by an installed package, usable on this machine or not."""
    return {e.name: e for e in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name)}


def load_backend(name: str) -> Backend:
    """The backend of that name, loaded on first use.

    "auto" is the one set by `use_backend` or CA_NUMPY_BACKEND, else the first of PREFERENCE that works. A backend that
    fails to load is reported on stderr once. "name:precision", such as "cupy:tf32", selects one of its precisions.
    Raises UserError for an unknown name or a missing requirement.
    """
    if name == "auto":
        return current_backend() if is_chosen() else load_backend(_preferred())
    plain, _, precision = name.partition(":")
    if precision:
        backend = load_backend(plain)
        if precision not in backend.precisions:
            raise UserError(
                f"backend {plain!r} cannot compute in {precision!r}: choose {', '.join(backend.precisions)}"
            )
        return _loaded.setdefault(name, backend.at(precision))
    if name not in _loaded:
        found = registered_backends()
        if name not in found:
            raise UserError(f"unknown backend {name!r}: choose from {', '.join(['auto', *found])}")
        try:
            _loaded[name] = cast("Backend", found[name].load()())
        except UserError as e:
            raise UserError(f"backend {name!r} cannot be used: {e}") from e
        except Exception as e:  # third-party code and drivers may raise anything
            hint = INSTALL_HINT.get(name, "see its documentation")
            raise UserError(f"backend {name!r} cannot be loaded ({' '.join(str(e).split())}): {hint}") from e
    return _loaded[name]


def is_chosen() -> bool:
    """Whether "auto" is the user's choice, by `use_backend` or CA_NUMPY_BACKEND."""
    return _current.get() is not None or VARIABLE in os.environ


def _preferred() -> str:
    """The first of PREFERENCE that works on this machine."""
    for name in PREFERENCE:
        error = _failure(name)
        if error is None:
            return name
        if name in registered_backends() and not isinstance(error.__cause__, ImportError):  # installed but unusable
            _warn_once(f"ca_numpy: {error}; trying the next backend")
    return "numpy"


@cache
def _warn_once(line: str) -> None:
    print(line, file=sys.stderr)


def available_backends() -> tuple[str, ...]:
    """Names of the backends that work on this machine."""
    return tuple(name for name in registered_backends() if why_unavailable(name) is None)


def why_unavailable(name: str) -> str | None:
    """None if the backend works on this machine, else the reason and how to fix it."""
    error = _failure(name)
    return None if error is None else str(error)


def _failure(name: str) -> UserError | None:
    """The error that loading the backend raises, or None."""
    try:
        load_backend(name)
    except UserError as e:
        return e
    return None


def current_backend() -> Backend:
    """The backend in use: the innermost `use_backend`, else the environment's CA_NUMPY_BACKEND, else NumPy."""
    return _current.get() or _default_backend()


@cache
def _default_backend() -> Backend:
    """The environment's choice, read once per process."""
    name = os.environ.get(VARIABLE, "numpy")
    return load_backend(name if name != "auto" else PREFERENCE[-1])


class use_backend:
    """Select the named backend, permanently or for a `with` block.

        use_backend("numba")
        with use_backend("numpy") as backend: ...

    Raises UserError for an unknown or unusable backend.
    """

    def __init__(self, name: str) -> None:
        self.backend = load_backend(name)
        self._token: Token[Backend | None] = _current.set(self.backend)

    def __enter__(self) -> Backend:
        return self.backend

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
