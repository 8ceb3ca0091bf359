"""What the front end is answered, and which requests are refused."""

import io
import threading

import numpy as np
import pytest
from explore_cases import SIZE, file_of, fill_request, generator, hole, photo, picture
from PIL import Image

from ca_numpy import inpaint
from ca_numpy.errors import UserError
from ca_numpy.explore import Session
from ca_numpy.explore.requests import Desk, Limits
from ca_numpy.explore.worker import Worker


def quiet(share):
    pass


@pytest.fixture
def desk():
    return Desk(Session(photo(), model=generator(), backend="numpy"), name="some.png", limits=Limits(20_000, 10_000))


def image_of(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_start_shows_the_photograph(desk):
    reply, [shown] = desk.answer({"kind": "start"}, [], quiet)
    assert (reply["width"], reply["height"], reply["type"]) == (*SIZE[::-1], "image/png")
    assert np.array_equal(image_of(shown), picture())
    assert reply["limits"] == {"bytes": 20_000, "pixels": 10_000}
    empty, buffers = Desk(Session()).answer({"kind": "start"}, [], quiet)
    assert not buffers
    assert "width" not in empty


def test_fill_sends_the_box_of_the_hole_and_look_a_row(desk):
    reply, [part] = desk.answer(*fill_request(), quiet)
    left, top, width, height = reply["box"]
    filled = inpaint(picture(), hole(), method="network", model=generator(), backend="numpy")
    assert np.array_equal(image_of(part), filled[top : top + height, left : left + width])
    look, [row] = desk.answer({"kind": "look", "x": 55, "y": 30}, [], quiet)
    weights = np.frombuffer(row, "<f4").reshape(look["grid"])
    assert weights.max() == np.float32(look["top"][0]["weight"])
    assert len(row) == 4 * 9 * 13  # one row of the matrix
    mapped, [colours] = desk.answer({"kind": "map", "of": "attention"}, [], quiet)
    assert image_of(colours).shape == (9, 13, 4)
    assert mapped["area"] == (0, 0, 104, 72)
    assert image_of(desk.answer({"kind": "legend"}, [], quiet)[1][0]).shape[2] == 4


def test_downloads_have_the_format_of_the_source():
    desk = Desk(Session(model=generator(), backend="numpy"))
    original = file_of(picture(), "JPEG", quality=80)
    desk.answer({"kind": "open", "name": "C:\\my\\holiday.jpg"}, [original], quiet)
    request, buffers = fill_request()
    desk.answer(request, buffers, quiet)
    reply, [contents] = desk.answer({"kind": "download", "what": "picture"}, [], quiet)
    assert reply["name"] == "holiday-inpainted.jpg"
    assert reply["type"] == "image/jpeg"
    assert any("loss" in note for note in reply["notes"])
    with Image.open(io.BytesIO(contents)) as result, Image.open(io.BytesIO(original)) as source:
        assert result.format == "JPEG"
        assert result.quantization == source.quantization
    reply, [mask] = desk.answer({"kind": "download", "what": "mask", "hole": request["hole"]}, buffers, quiet)
    assert reply["name"] == "holiday-mask.png"
    assert np.array_equal(image_of(mask) == 255, hole())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP", "GIF"])
def test_a_name_and_a_format_that_do_not_agree(kind):
    """The contents decide; a format that cannot be written becomes PNG."""
    desk = Desk(Session(model=generator(), backend="numpy"))
    options = {"lossless": True} if kind == "WEBP" else {}
    desk.answer({"kind": "open", "name": "picture.jpg"}, [file_of(picture(), kind, **options)], quiet)
    desk.answer(*fill_request("coarse"), quiet)
    reply, [contents] = desk.answer({"kind": "download", "what": "picture"}, [], quiet)
    with Image.open(io.BytesIO(contents)) as result:
        assert result.format == ("PNG" if kind == "GIF" else kind)
        assert Image.MIME[result.format] == reply["type"]


@pytest.mark.parametrize(
    ("name", "contents", "why"),
    [
        ("notes.txt", b"not a picture", "not an image"),
        ("empty.png", b"", "not an image"),
        ("cut.png", file_of(picture())[:3000], "damaged"),
        ("large.png", file_of(np.zeros((101, 100), np.uint8)), "100×101 pixels, more than 10000"),
        ("long.png", b"\0" * 20_001, "larger than"),
        ("script.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (None, file_of(picture()), "name"),
    ],
)
def test_bad_uploads_get_a_message_and_change_nothing(desk, name, contents, why):
    with pytest.raises(UserError, match=why):
        desk.answer({"kind": "open", "name": name}, [contents], quiet)
    assert np.array_equal(desk.session.photo.array(), picture())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "delete"}, "no request"),
        ({"kind": 3}, "no request"),
        ({"method": "magic"}, "no method"),
        ({"method": ["network"]}, "no method"),
        ({"settings": {"ksize": 5}}, "settings are"),
        ({"settings": {"rate": 10**9}}, "rate must be"),
        ({"settings": [1]}, "settings are"),
        ({"hole": None}, "box"),
        ({"hole": {"box": [0, 0, 1000, 1000]}}, "within the picture"),
        ({"hole": {"box": [-1, 0, 30, 26]}}, "within the picture"),
        ({"hole": {"box": [0, 0, 9, 9]}}, "bits"),
        ({"hole": {"box": [0.5, 0, 9, 9]}}, "box"),
    ],
)
def test_damaged_requests_are_refused(desk, change, why):
    request, buffers = fill_request()
    with pytest.raises(UserError, match=why):
        desk.answer(request | change, buffers, quiet)


@pytest.mark.parametrize("place", [{"x": "1", "y": 2}, {"x": float("nan"), "y": 2}, {"y": 2}, {"x": True, "y": 2}])
def test_looking_needs_two_numbers(desk, place):
    desk.answer(*fill_request(), quiet)
    with pytest.raises(UserError, match="not a number"):
        desk.answer({"kind": "look"} | place, [], quiet)


def test_an_empty_hole_is_refused(desk):
    with pytest.raises(UserError):
        desk.answer({"kind": "fill", "hole": {"box": [0, 0, 8, 1]}}, [b"\0"], quiet)


class Replies:
    """Collects what a worker emits, until the last reply."""

    def __init__(self):
        self.all, self.ended = [], threading.Event()

    def __call__(self, reply, buffers):
        self.all.append(reply)
        if "done" in reply:
            self.ended.set()

    @property
    def last(self):
        assert self.ended.wait(60)
        return self.all[-1]


def test_the_worker_reports_progress_and_errors(desk):
    worker, fill, bad = Worker(desk), Replies(), Replies()
    worker.submit(1, *fill_request("patchmatch"), fill)
    worker.submit(2, {"kind": "nonsense"}, [], bad)
    assert fill.last["box"] == (40, 24, 30, 26)
    assert [r["progress"] for r in fill.all[:-1]] == sorted(r["progress"] for r in fill.all[:-1])
    assert len(fill.all) > 3
    assert "no request" in bad.last["error"]
    worker.close()


def test_the_worker_ends_what_is_cancelled_and_goes_on(desk):
    worker, first, waiting, after = Worker(desk), Replies(), Replies(), Replies()
    release = threading.Event()

    def hold(reply, buffers):
        first(reply, buffers)
        if "progress" in reply:
            worker.cancel(1)
            worker.cancel(2)
            release.set()

    worker.submit(1, *fill_request("patchmatch"), hold)
    worker.submit(2, *fill_request(), waiting)
    worker.submit(3, *fill_request("coarse"), after)
    assert first.last["cancelled"]
    assert waiting.last["cancelled"]
    assert after.last["box"] == (40, 24, 30, 26)
    worker.close()


def test_closing_the_worker_frees_the_session(desk):
    session, worker, replies = desk.session, Worker(desk), Replies()
    worker.submit(1, *fill_request("coarse"), replies)
    assert replies.last["done"]
    worker.close()
    worker.close()
    worker._thread.shutdown(wait=True)
    assert not session.is_open


def test_an_unexpected_error_is_answered_and_shown_on_the_terminal(desk, monkeypatch, capsys):
    monkeypatch.setattr(Desk, "_legend", lambda *a: 1 / 0)
    desk, replies = Desk(desk.session), Replies()
    worker = Worker(desk)
    worker.submit(1, {"kind": "legend"}, [], replies)
    assert "ZeroDivisionError" in replies.last["error"]
    assert "Traceback" in capsys.readouterr().err
    worker.close()
