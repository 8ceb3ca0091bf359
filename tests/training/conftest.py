"""What the tests of training share."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no pictures: most of the time of so small a run."""
    loop = importlib.import_module("ca_numpy.training.loop")
    for name in ("draw_pictures", "draw_curves", "draw_photograph"):
        monkeypatch.setattr(loop, name, lambda *_: [])
