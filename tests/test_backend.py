"""The registry of backends, and how one is chosen."""

from __future__ import annotations

import contextvars
import importlib.util
import os
import subprocess
import sys
import threading
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

import ca_numpy.registry as registry
from ca_numpy import UserError, available_backends, ops, tensor, use_backend
from ca_numpy.backends.numpy_backend import NumpyBackend
from ca_numpy.registry import current_backend, load_backend, registered_backends, why_unavailable

ROOT = Path(__file__).parents[1]


class Toy(NumpyBackend):
    name = "toy"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A second backend, as an installed package would bring one."""
    toy = Toy()
    monkeypatch.setitem(registry._loaded, "toy", toy)
    return toy


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name != "CA_NUMPY_BACKEND"}
    return subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True)


# ---- choosing a backend ------------------------------------------------------------------------------------------
def test_numpy_is_always_there_and_the_default() -> None:
    assert "numpy" in available_backends()
    result = run("from ca_numpy.registry import current_backend; print(current_backend().name)")
    assert result.stdout.split() == ["numpy"]


def test_every_available_backend_is_registered_and_the_others_say_why_not() -> None:
    for name in registered_backends():
        assert (name in available_backends()) == (why_unavailable(name) is None)


def test_use_backend_as_a_context_ends_with_its_block(toy: Toy) -> None:
    outside = current_backend()
    with use_backend("toy") as inside:
        assert inside is toy
        assert current_backend() is toy
        with use_backend("numpy"):
            assert current_backend().name == "numpy"
        assert current_backend() is toy
    assert current_backend() is outside


def test_use_backend_ends_even_by_an_exception(toy: Toy) -> None:
    outside = current_backend()
    with pytest.raises(KeyError), use_backend("toy"):
        raise KeyError
    assert current_backend() is outside


def test_use_backend_as_a_function_holds_from_there_on(toy: Toy) -> None:
    outside = current_backend()

    def script() -> None:
        use_backend("toy")
        assert current_backend() is toy

    contextvars.copy_context().run(script)  # a context of its own: nothing leaks out of this test
    assert current_backend() is outside


def test_a_backend_chosen_in_one_thread_is_not_chosen_in_another(toy: Toy) -> None:
    seen: list[str] = []
    with use_backend("toy"):
        thread = threading.Thread(target=lambda: seen.append(current_backend().name))
        thread.start()
        thread.join(10)
    assert seen == ["numpy"]


def test_kernels_of_the_chosen_backend_are_called(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "exp", lambda self, x: x * 0 + 42)
    x = tensor(np.zeros(2))
    with use_backend("toy"):
        assert ops.exp(x).numpy().tolist() == [42, 42]
    assert ops.exp(x).numpy().tolist() == [1, 1]


def test_an_unknown_backend_is_refused_in_one_line_that_lists_the_choices() -> None:
    with pytest.raises(UserError) as error:
        use_backend("tpu")
    message = str(error.value)
    assert "\n" not in message
    assert "'tpu'" in message
    for name in ("auto", *registered_backends()):
        assert name in message


@pytest.mark.parametrize(("name", "hint"), [("cupy", "pip install 'ca-numpy[cuda13]'"), ("other", "documentation")])
def test_a_backend_whose_packages_are_missing_says_what_to_install(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint(name=name, value="no_such_package.backend:Backend", group=registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "registered_backends", lambda: {name: entry})
    monkeypatch.delitem(registry._loaded, name, raising=False)
    with pytest.raises(UserError, match="no_such_package") as error:
        load_backend(name)
    assert "\n" not in str(error.value)
    assert hint in str(error.value)
    assert hint in str(why_unavailable(name))
    assert available_backends() == ()


def test_auto_takes_the_first_of_its_preferences_that_works(monkeypatch: pytest.MonkeyPatch, toy: Toy) -> None:
    assert load_backend("auto").name == ("numba" if importlib.util.find_spec("numba") else "numpy")
    monkeypatch.setitem(registry._loaded, "cupy", toy)
    assert load_backend("auto") is toy


def test_the_environment_variable_chooses_the_backend() -> None:
    code = "import ca_numpy, numpy as np; print(ca_numpy.tensor(np.ones(1)) + 1)"
    assert "2." in run(code, CA_NUMPY_BACKEND="numpy").stdout
    refused = run(code, CA_NUMPY_BACKEND="tpu")
    assert refused.returncode != 0
    assert "unknown backend 'tpu': choose from auto, " in refused.stderr.splitlines()[-1]


def test_a_backend_is_loaded_once() -> None:
    assert load_backend("numpy") is load_backend("numpy")


# ---- packaging ---------------------------------------------------------------------------------------------------
def test_the_backends_folder_cannot_be_imported_under_a_wrong_name() -> None:
    spec = importlib.util.spec_from_file_location("backends", ROOT / "backends" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"ca_numpy\.backends"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_every_package_is_listed_in_pyproject() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = [path.parent for path in (ROOT / "ca_numpy").rglob("__init__.py")]
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    inside = [path.parent for path in (ROOT / "backends").rglob("__init__.py")]
    found |= {".".join(("ca_numpy", *folder.relative_to(ROOT).parts)) for folder in inside}
    assert found == set(settings["packages"])
    assert settings["package-dir"]["ca_numpy.backends"] == "backends"


def test_auto_keeps_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By use_backend, or by the variable: "auto" only decides where nobody has."""
    with use_backend("numpy") as chosen, use_backend("auto") as automatic:
        assert automatic is chosen
    code = "import ca_numpy; ca_numpy.use_backend('auto')"
    environment = os.environ | {"CA_NUMPY_BACKEND": "abacus"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "unknown backend 'abacus'" in done.stderr


def test_a_backend_that_cannot_start_does_not_keep_the_others_from_working(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver may raise anything."""
    broken = EntryPoint("broken", "test_backend:NoSuchDevice", registry.ENTRY_POINT_GROUP)
    others = dict(registry.registered_backends())
    monkeypatch.setattr(registry, "registered_backends", lambda: others | {"broken": broken})
    monkeypatch.setattr(EntryPoint, "load", lambda self: NoSuchDevice if self.name == "broken" else original(self))
    assert "no CUDA device" in str(registry.why_unavailable("broken"))
    assert "numpy" in available_backends()
    assert "broken" not in available_backends()


original = EntryPoint.load


class NoSuchDevice:
    def __init__(self) -> None:
        raise RuntimeError("no CUDA device\nis there")


def test_no_backend_is_loaded_before_it_is_chosen() -> None:
    """Numba takes a second to import: only who computes with it should wait."""
    code = "import sys, ca_numpy; ca_numpy.use_backend('auto'); print('numba' in sys.modules)"
    environment = os.environ | {"CA_NUMPY_BACKEND": "numpy"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_backend_in_the_precision_it_has_is_itself_and_others_are_named() -> None:
    assert load_backend("numpy:float32") is load_backend("numpy")
    with pytest.raises(UserError, match="backend 'numpy' cannot compute in 'tf32': choose float32"):
        load_backend("numpy:tf32")
