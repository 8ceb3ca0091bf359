"""Imports point one way, and files stay short enough to read: the picture in docs/architecture.md, enforced."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400

# A module imports from lower heights and from its own room only. A new one needs a place here.
HEIGHT = {
    "errors": -1, "schemas": 0, "atomic": 0, "geometry": 0, "machine": 0, "threads": 0,
    "sliced_wasserstein": 0, "metrics": 1,
    "backend": 1, "data": 1, "jit": 1, "weights": 1,
    "registry": 2,
    "engine.recording": 0, "engine.numpy_protocol": 1,
    "engine.tensor": 3, "engine.autograd": 4, "engine.ops": 5, "engine": 5,
    "attention": 6,
    "functional": 7,
    "nn": 8,
    "models": 9,
    "filling": 10, "viz": 10,
    "training": 11, "explore": 11,
    "bench": 12, "evaluation": 12,
    "cli_inpaint": 12, "cli_explore": 12, "cli_report": 13, "cli": 14, "__main__": 15,
    "testing": 15, "__init__": 15,
}  # fmt: skip
MAY_LOOK_AT_EVERYTHING = {"viz", "testing", "__init__"}
BACKENDS_MAY_IMPORT = {
    "ca_numpy.backend",
    "ca_numpy.backends",
    "ca_numpy.errors",
    "ca_numpy.geometry",
    "ca_numpy.threads",
    "ca_numpy.jit",
    "ca_numpy.machine",
}

#: Decorators of functions that take their types from a call's arguments.
COMPILERS = {"parallel", "serial", "intrinsic", "overload"}

FILES = sorted(path for folder in ("ca_numpy", "backends") for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Full names of all that a file imports when it runs; what only type checkers see is left out."""
    stack: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack.extend(node.orelse)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if path.is_relative_to(
                ROOT / "backends"
            ):  # which mypy, not looking at what is installed, knows as `backends`
                assert not module.startswith("ca_numpy.backends"), f"{relative(path)}: import neighbours relatively"
            else:
                assert node.level == 0, f"{relative(path)} imports relatively: write the whole name"
            module = resolve_name(module, ".".join(("ca_numpy", *path.relative_to(ROOT).parent.parts)))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        else:
            stack.extend(ast.iter_child_nodes(node))


def layer(name: str) -> str | None:
    """The entry of HEIGHT that a full name lies in; None for what is not ca_numpy's."""
    package, *rest = name.split(".")
    if package != "ca_numpy":
        return None
    if rest[:1] == ["backends"]:
        return "backends"
    known = [".".join(rest[:n]) for n in (2, 1) if ".".join(rest[:n]) in HEIGHT]
    is_module = rest and any((ROOT / "ca_numpy" / (rest[0] + end)).exists() for end in (".py", "/__init__.py"))
    assert known or not is_module, f"{rest[0]} has no height yet: place it in the picture"
    return known[0] if known else "__init__"


@pytest.mark.parametrize("path", [p for p in FILES if p.is_relative_to(ROOT / "ca_numpy")], ids=relative)
def test_imports_point_one_way(path: Path) -> None:
    here = layer(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert here is not None
    for name in imports(path):
        there = layer(name)
        assert there != "backends", f"{relative(path)} imports {name}: backends are reached by their registry only"
        if there is not None and there != here and here not in MAY_LOOK_AT_EVERYTHING:
            assert HEIGHT[there] < HEIGHT[here], f"{relative(path)} imports {name}, which does not lie below it"


@pytest.mark.parametrize("path", [p for p in FILES if p.is_relative_to(ROOT / "backends")], ids=relative)
def test_backends_know_the_contract_only(path: Path) -> None:
    for name in imports(path):
        if name.startswith("ca_numpy"):
            known = any(name == known or name.startswith(f"{known}.") for known in BACKENDS_MAY_IMPORT)
            assert known, f"{relative(path)} imports {name}: a backend knows the contract and no calculus"
        elif path.name.startswith("numpy_"):
            top = name.split(".")[0]
            assert top == "numpy" or top in sys.stdlib_module_names, f"{relative(path)} imports {name}"


def test_the_walk_sees_what_is_there() -> None:
    found = set(imports(ROOT / "ca_numpy" / "engine" / "tensor.py"))
    assert "ca_numpy.registry.current_backend" in found
    assert not any(name.startswith("ca_numpy.engine.autograd") for name in found)  # for type checkers only
    assert "ca_numpy.backends.numpy_attention.shifts" in imports(ROOT / "backends" / "cupy_backend" / "attention.py")
    assert layer("ca_numpy.engine.ops.clip") == "engine.ops"
    assert layer("ca_numpy.Tensor") == "__init__"
    assert layer("numpy.typing") is None


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "torch_peer.py"], ids=relative)
def test_only_what_numba_compiles_goes_without_types(path: Path) -> None:
    """mypy's exception in pyproject.toml is for whole modules; here it ends at the functions that need it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [
                a
                for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if a.arg not in ("self", "cls")
            ]
            typed = node.returns is not None and all(a.annotation for a in arguments)
            decorators = {ast.unparse(d).partition("(")[0] for d in node.decorator_list}
            assert typed or decorators & COMPILERS, f"{relative(path)}: {node.name} has no types"


def test_no_name_hides_a_module() -> None:
    """`import ca_numpy.training.loop as loop` gives the module, in every room."""
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(("ca_numpy", *parts) if parts[0] == "backends" else parts).removesuffix(".__init__")
        room, _, last = name.rpartition(".")
        if room and last not in ("__main__", "peer", "torch_peer") and "backends" not in name:  # which need PyTorch
            module = importlib.import_module(name)
            assert getattr(importlib.import_module(room), last) is module, f"{room}.{last} is not the module"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_is_short_enough_to_be_read_at_once(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_the_engine_fits_on_three_hundred_lines() -> None:
    lines = [
        len((ROOT / "ca_numpy" / "engine" / name).read_text(encoding="utf-8").splitlines())
        for name in ("tensor.py", "autograd.py")
    ]
    assert sum(lines) <= 300
