"""The same front end in a notebook."""

import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from explore_cases import file_of, fill_request, generator, hole, picture
from lab_cases import in_jupyterlab

from ca_numpy import inpaint, viz
from ca_numpy.errors import UserError
from ca_numpy.explore.widget import MODULES, script

anywidget = pytest.importorskip("anywidget", reason="the widget needs the extra `explore`")
TESTS = Path(__file__).parents[1]


def test_the_script_is_all_modules_as_one():
    text = script()
    assert not re.findall(r"^import ", text, re.MULTILINE)
    assert re.findall(r"^export.*", text, re.MULTILINE) == ["export default {"]
    named = re.findall(r"^(?:const|let|class|function|async function\*?) (\w+)", text, re.MULTILINE)
    assert len(named) == len(set(named))  # which modules of their own could share
    folder = Path(sys.modules["ca_numpy.explore"].__file__).parent / "static"
    assert {path.name for path in folder.glob("*.js")} == {*MODULES, "page.js"}


def test_messages_are_answered_over_the_widget(monkeypatch):
    widget = viz.explorer(generator(), picture(), backend="numpy")
    replies, ended = [], threading.Event()

    def send(content, buffers=None):
        replies.append((content, buffers))
        if content.get("done"):
            ended.set()

    monkeypatch.setattr(widget, "send", send)
    message, bits = fill_request()
    widget._received(widget, message | {"id": 7}, [memoryview(bits[0])])
    assert ended.wait(60)
    reply, [part] = replies[-1]
    assert reply["id"] == 7
    assert part.startswith(b"\x89PNG")
    expected = inpaint(picture(), hole(), method="network", model=generator(), backend="numpy")
    assert np.array_equal(widget.session.filled.photo.array(), expected)
    widget._received(widget, {"id": 7, "cancel": True}, [])  # which has ended: nothing happens
    widget._received(widget, "nonsense", [])
    widget.close()
    widget._worker._thread.shutdown(wait=True)
    assert not widget.session.is_open


def test_it_takes_what_inpaint_takes(tmp_path):
    file = tmp_path / "some.png"
    file.write_bytes(file_of(picture()))
    for image in (file, str(file), picture(), picture() / 255):
        widget = viz.explorer(generator(), image)
        assert widget.session.photo.samples.shape == picture().shape
        widget.close()
    assert not viz.explorer().session.is_open
    with pytest.raises(UserError, match="does not exist"):
        viz.explorer(None, tmp_path / "none.png")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(UserError, match=r'pip install "ca-numpy\[explore\]"'):
        viz.explorer()


CELL = """
import sys
sys.path.insert(0, {tests!r})
from explore_cases import generator, picture
from ca_numpy.viz import explorer
explorer(generator(), picture(), backend="numpy")
"""


@pytest.mark.slow
def test_in_jupyterlab(tmp_path):
    with in_jupyterlab(tmp_path, CELL.format(tests=str(TESTS))) as page:
        page.get_by_text("Paint the hole").wait_for(timeout=120_000)
        page.locator("[data-at=method]").select_option("network")
        page.locator("[data-at=frame]").scroll_into_view_if_needed()
        left, top, width = page.locator(".ca-world canvas").first.evaluate(
            "c => { const seen = c.getBoundingClientRect(); return [seen.left, seen.top, seen.width / c.width]; }"
        )

        def move(x, y, **options):
            page.mouse.move(left + x * width, top + y * width, **options)

        move(40, 25)
        page.mouse.down()
        move(60, 30, steps=4)
        page.mouse.up()
        page.get_by_text("Filled by network").wait_for(timeout=60_000)
        move(50, 28)
        page.get_by_text("row 3, column 6 of the attention").wait_for(timeout=30_000)
        assert page.locator("[data-at=table] tbody tr").count() == 5
