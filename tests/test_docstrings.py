"""Public names say what they are: a summary in one line, and the errors raised."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ca_numpy.backend import Backend
from ca_numpy.engine.autograd import Op

ROOT = Path(__file__).parents[1]

#: Errors that a docstring names where they are raised: those that bad input leads to.
NAMED_ERRORS = {"UserError", "ValueError", "TypeError"}

#: What a Tensor has by the names and with the meaning of NumPy's array; the class says so.
AS_NUMPYS = {f"ca_numpy.Tensor.{name}" for name in ("shape", "dtype", "ndim", "size")}


@dataclass(frozen=True)
class Public:
    """A public function, method or class; `node` is where it is defined, `names` the errors it raises there."""

    name: str
    thing: Any
    node: ast.FunctionDef | ast.ClassDef | None
    raises: frozenset[str]

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.thing) or ""


def public_modules() -> list[ModuleType]:
    """Those that say what is public of them."""
    files = sorted(p for p in (ROOT / "ca_numpy").rglob("*.py") if "\n__all__" in p.read_text(encoding="utf-8"))
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in files]
    return [importlib.import_module(name) for name in names]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def definition(module: str, qualified: str) -> Any:
    """The node of a function or class, or None."""
    node: Any = tree(module)
    for part in qualified.split("."):
        found = [n for n in ast.iter_child_nodes(node) if getattr(n, "name", None) == part]
        if not found:
            return None
        node = found[-1]  # after its overloads
    return node


def raised(module: str, node: ast.AST, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of the errors raised in it, and in the private functions of its module that it calls."""
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Raise) and part.exc is not None:
            error = part.exc.func if isinstance(part.exc, ast.Call) else part.exc
            found.add(ast.unparse(error))
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            helper = part.func.id
            if helper.startswith("_") and helper not in seen:
                inner = definition(module, helper)
                if isinstance(inner, ast.FunctionDef):
                    found |= raised(module, inner, seen | {helper})
    return frozenset(found)


def described(name: str, thing: Any) -> Iterator[Public]:
    """A public name and, of a class, its public methods."""
    if isinstance(thing, Op):
        thing = getattr(Backend, thing.name)  # an operation is what the contract says of its kernel
    if not (inspect.isfunction(thing) or inspect.isclass(thing)) or not thing.__module__.startswith("ca_numpy"):
        return
    node = definition(thing.__module__, thing.__qualname__)
    if not inspect.isclass(thing):
        yield Public(name, thing, node, raised(thing.__module__, node) if node else frozenset())
        return
    made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name in ("__init__", "__post_init__")]
    yield Public(name, thing, node, frozenset().union(*(raised(thing.__module__, n) for n in made)))
    for method, member in vars(thing).items():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        is_its_own = inspect.isfunction(function) and function.__qualname__.startswith(f"{thing.__qualname__}.")
        if not method.startswith("_") and is_its_own and f"{name}.{method}" not in AS_NUMPYS:
            inner = definition(thing.__module__, f"{thing.__qualname__}.{method}")
            errors = raised(thing.__module__, inner) if inner else frozenset()
            yield Public(f"{name}.{method}", getattr(thing, method), inner, errors)


def all_public() -> dict[str, Public]:
    """By full name; what several modules offer is there once."""
    found: dict[int, Public] = {}
    for module in public_modules():
        for name in module.__all__:
            for public in described(f"{module.__name__}.{name}", getattr(module, name)):
                found.setdefault(id(inspect.unwrap(getattr(public.thing, "fget", public.thing))), public)
    return {public.name: public for public in found.values()}


PUBLIC = all_public()
every_public = pytest.mark.parametrize("public", PUBLIC.values(), ids=list(PUBLIC))


@every_public
def test_it_begins_with_a_summary_of_one_line(public: Public) -> None:
    first, *rest = public.doc.splitlines() or [""]
    assert first.strip()
    assert not rest or not rest[0].strip(), "a blank line follows the first"


RAISING = [public for public in PUBLIC.values() if public.raises & NAMED_ERRORS]


@pytest.mark.parametrize("public", RAISING, ids=lambda p: p.name)
def test_it_names_the_errors_that_it_raises(public: Public) -> None:
    assert not [error for error in public.raises & NAMED_ERRORS if error not in public.doc]


@pytest.mark.parametrize("module", public_modules(), ids=lambda m: m.__name__)
def test_a_module_says_what_it_holds_and_holds_what_it_says(module: ModuleType) -> None:
    assert (module.__doc__ or "").splitlines()[0].strip()
    assert len(module.__all__) == len(set(module.__all__))
    assert not [name for name in module.__all__ if not hasattr(module, name)]


def test_the_walk_sees_what_is_there() -> None:
    assert {"ca_numpy.grad", "ca_numpy.Tensor.reshape", "ca_numpy.viz.tape_graph", "ca_numpy.models.Generator"} <= set(
        PUBLIC
    )
    assert "UserError" in PUBLIC["ca_numpy.viz.picture_grid"].raises  # by two helpers
    assert "UserError" in PUBLIC["ca_numpy.models.Generator"].raises
