"""The session shows what the library computes."""

import subprocess
import sys

import numpy as np
import pytest
from explore_cases import generator, hole, photo, picture, pixels

from ca_numpy import inpaint
from ca_numpy.attention import PAPER, attention_scores
from ca_numpy.data import to_uint8
from ca_numpy.data.photo import photo_of
from ca_numpy.engine import ops
from ca_numpy.errors import UserError
from ca_numpy.explore import Cancelled, Session, Settings, rows
from ca_numpy.filling import blend, why_unavailable
from ca_numpy.functional import contextual_attention
from ca_numpy.viz import attention_colours


@pytest.fixture
def session():
    opened = Session(photo(), model=generator(), backend="numpy")
    opened.set_hole(hole())
    return opened


def stages(model):
    """The network up to its attention, step by step from its public parts."""
    x, m = model.framed(pixels(), hole()[None, ..., None].astype(np.float32))
    x = model.erase(x, m)
    return model.branches(x, m, model.coarse(x, m))


@pytest.mark.parametrize("method", ["guided", "network", "patchmatch", "telea"])
def test_fills_are_those_of_inpaint(session, method):
    if why_unavailable(method) and method == "telea":
        pytest.skip("needs OpenCV")
    model = {"model": generator()} if method in ("guided", "network") else {}
    expected = inpaint(picture(), hole(), method=method, backend="numpy", **model)
    filled = session.fill(method)
    assert np.array_equal(filled.photo.array(), expected)
    assert filled.box == (40, 24, 30, 26)
    assert session.filled is filled


def test_coarse_is_the_first_stage(session):
    model = generator()
    coarse = model.complete(pixels(), hole()[None, ..., None].astype(np.float32)).coarse.numpy()[0]
    expected = blend(pixels()[0], coarse, hole()[..., None])
    assert np.array_equal(session.fill("coarse").photo.array(), to_uint8(expected))


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (Settings(softmax_scale=2.5), {"softmax_scale": 2.5}),
        (Settings(fuse_k=0), {"fuse": False}),
        (Settings(fuse_k=5), {"fuse_k": 5}),
        (Settings(rate=1), {"rate": 1}),
        (Settings(variant="paper"), {"choices": PAPER}),
    ],
)
def test_settings_change_the_attention_and_what_follows_only(session, settings, options):
    session.fill("network")
    model = session._model
    calls = []
    for part in ("coarse", "branches"):
        setattr(model, part, lambda *a, part=part: calls.append(part))
    filled = session.fill("network", settings)
    assert not calls
    model = generator()
    branches = stages(model)
    f = branches.features
    output = model.join(branches.dilated, contextual_attention(f, f, branches.hole, **options)).numpy()
    again = Session(photo(), model=Fixed(output), backend="numpy")
    again.set_hole(hole())
    expected = again.fill("network").photo.array()
    assert np.abs(filled.photo.array().astype(int) - expected).max() <= 1  # sums in another order
    whole = attention_scores(f, f, branches.hole, **options).numpy()[0]
    row, column = session.look(55, 30).cell
    width = session.filled.attention.rows.grid[1]
    np.testing.assert_allclose(session.look(55, 30).weights.ravel(), whole[row * width + column], rtol=1e-4, atol=1e-7)


class Fixed(type(generator())):
    """A generator with a given output."""

    def __init__(self, output):
        super().__init__(width=4)
        self.output = ops.constant_like(output, next(iter(self.parameters().values())))

    def join(self, dilated, attended):
        return self.output


def test_looking_gives_the_position_its_row_and_its_patches(session):
    session.fill("network")
    look = session.look(55.5, 30.5)
    assert look.cell == (3, 6)  # cells of 8 pixels
    assert look.box == (48, 24, 8, 8)
    assert look.area == (0, 0, 104, 72)
    assert look.weights.shape == (9, 13)
    assert [p.weight for p in look.top] == sorted(look.weights.ravel(), reverse=True)[:5]
    best = look.top[0]
    assert best.weight == look.weights[best.row, best.column]
    # a raw patch of 4 × 4 features begins one feature, 4 pixels, before its cell
    assert best.box == (8 * best.column - 4, 8 * best.row - 4, 16, 16)


def test_patches_are_prepared_once_for_settings_that_leave_them(session, monkeypatch):
    session.fill("network")
    session.look(55, 30)
    prepared = []
    vectors = rows.match_vectors
    monkeypatch.setattr(rows, "match_vectors", lambda *a, **k: prepared.append(k) or vectors(*a, **k))
    for settings in (Settings(softmax_scale=2), Settings(fuse_k=5), Settings(fuse_k=0)):
        session.fill("network", settings)
        found = session.look(55, 30).weights
        assert not prepared
        session.filled.attention._made = None
        np.testing.assert_array_equal(found, session.look(55, 30).weights)
        assert len(prepared) == 2
        prepared.clear()
    session.fill("network", Settings(rate=1))
    session.look(55, 30)
    assert prepared


def test_the_map_has_the_colours_of_the_attention_map_in_the_hole(session):
    session.fill("network")
    colours, area = session.attention_map()
    index, background = generator().attention_map(pixels(), hole()[None, ..., None].astype(np.float32))
    inside = colours[..., 3] > 0
    covered = np.pad(hole(), ((0, 2), (0, 3))).reshape(9, 8, 13, 8).any((1, 3))
    assert area == (0, 0, 104, 72)
    assert np.array_equal(inside, covered)
    expected = attention_colours(index[0], background=background)
    np.testing.assert_allclose(colours[inside, :3], expected[inside], atol=1e-12)


@pytest.mark.parametrize("method", ["guided", "patchmatch"])
def test_copies_say_where_each_pixel_came_from(session, method):
    filled = session.fill(method)
    result = filled.photo.array()
    sources = {(x, y): session.copied_from(x, y) for y, x in np.argwhere(hole())}
    assert all(not hole()[y, x] for x, y in sources.values())
    if method == "patchmatch":  # which copies as it is
        assert all(np.array_equal(result[y, x], picture()[v, u]) for (x, y), (u, v) in sources.items())
    assert session.copied_from(0, 0) is None
    colours, area = session.copies_map()
    assert area == filled.box
    assert np.array_equal(colours[..., 3] > 0, hole()[24:50, 40:70])


def test_a_window_of_a_large_picture_is_mapped_to_its_pixels():
    model = generator()
    model.learnt = model.learnt._replace(hole=16)
    big = np.tile(picture(), (6, 5, 1))
    session = Session(photo_of(big), model=model, backend="numpy")
    mask = np.zeros(big.shape[:2], np.bool_)
    mask[200:264, 300:364] = True
    session.set_hole(mask)
    session.fill("network")
    view = session.filled.attention
    look = session.look(330, 230)
    left, top, width, _ = look.area
    assert left <= 300 - 100
    assert top <= 200 - 100
    assert left + width >= 364
    x, y, w, h = look.box
    assert x <= 330 < x + w
    assert y <= 230 < y + h
    colours, area = session.attention_map()
    rows, columns = np.nonzero(colours[..., 3])
    scale = np.array([area[3] / colours.shape[0], area[2] / colours.shape[1]])
    assert abs(area[1] + rows.min() * scale[0] - 200) <= scale[0]
    assert abs(area[0] + (columns.max() + 1) * scale[1] - 364) <= scale[1]
    assert view is session.filled.attention
    with pytest.raises(UserError, match="outside the part"):
        session.look(5, 5)


@pytest.mark.parametrize("method", ["guided", "patchmatch", "network"])
def test_work_reports_progress_and_ends_when_cancelled(session, method):
    shares = []
    session.fill(method, progress=shares.append)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1
    assert len(shares) > 2
    kept = session.filled

    def cancel(share):
        raise Cancelled

    with pytest.raises(Cancelled):
        session.fill(method, progress=cancel)
    assert session.filled is kept


def test_the_attention_of_the_paper_ends_when_cancelled(session, monkeypatch):
    session.fill("network")
    kept = session.filled
    monkeypatch.setattr("ca_numpy.attention.BAND", 1)
    shares = []

    def cancel_in_the_second_band(share):
        shares.append(share)
        if len([s for s in shares if s > 0.8]) == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        session.fill("network", Settings(variant="paper"), progress=cancel_in_the_second_band)
    assert max(shares) < 0.85  # 1/9 of the attention, which is from 0.8 to 0.95
    assert session.filled is kept


def test_a_picture_with_nan_is_refused(session):
    broken = picture() / 255
    broken[3, 3] = np.nan
    with pytest.raises(UserError, match="has NaN"):
        session.open(photo_of(broken))
    assert session.is_open


def test_what_is_missing_is_named(session):
    with pytest.raises(UserError, match="no method 'magic'"):
        session.fill("magic")
    with pytest.raises(UserError, match="no result yet"):
        session.look(1, 1)
    with pytest.raises(UserError, match="no picture yet"):
        Session().set_hole(hole())
    with pytest.raises(UserError, match="no hole yet"):
        Session(photo()).fill("guided")
    session.fill("patchmatch")
    with pytest.raises(UserError, match="no attention"):
        session.look(55, 30)
    session.fill("network")
    with pytest.raises(UserError, match="copied no pixels"):
        session.copies_map()
    with pytest.raises(UserError, match="mask"):
        session.set_hole(np.zeros((3, 3)))


@pytest.mark.parametrize(
    "given",
    [{"softmax_scale": 0}, {"softmax_scale": float("nan")}, {"fuse_k": 2}, {"fuse_k": 2.5}, {"rate": 3}, {"rate": True},
     {"variant": "x"}],
)  # fmt: skip
def test_settings_are_checked(given):
    with pytest.raises(UserError):
        Settings(**given)


def test_a_model_without_attention_fills_but_has_no_settings():
    session = Session(photo(), model=generator(attention="none"), backend="numpy")
    session.set_hole(hole())
    expected = inpaint(picture(), hole(), method="network", model=generator(attention="none"), backend="numpy")
    assert np.array_equal(session.fill("network").photo.array(), expected)
    with pytest.raises(UserError, match="no contextual attention"):
        session.fill("network", Settings(rate=1))


def test_settings_that_need_too_much_memory_are_refused(session, monkeypatch):
    monkeypatch.setattr("ca_numpy.backends.numpy_backend.NumpyBackend.memory", lambda self: 10**7)
    with pytest.raises(UserError, match="GiB of memory"):
        session.fill("network", Settings(rate=1))


def test_the_command_line_starts_without_what_only_the_page_needs():
    others = "{'matplotlib', 'starlette', 'uvicorn', 'anywidget', 'asyncio', 'ca_numpy.explore', 'ca_numpy.bench'}"
    code = f"import sys, ca_numpy.cli; print({others} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
