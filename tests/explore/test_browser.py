"""The page in Chromium: what a reader does, against what the library computes."""

import io
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from explore_cases import SIZE, file_of, generator, photo, picture
from PIL import Image

import ca_numpy.attention
from ca_numpy import inpaint
from ca_numpy.explore import Session, Settings
from ca_numpy.explore.server import Site

pytest.importorskip("uvicorn", reason="the page needs the extra `explore`")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("needs Chromium", allow_module_level=True)

expect = playwright.expect
HEIGHT, WIDTH = SIZE


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    file = tmp_path_factory.mktemp("explore") / "some.png"
    file.write_bytes(file_of(picture()))
    made = Site(file, model=generator(), backend="numpy")
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop()
    thread.join(20)


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Reader:
    """A browser window with the page, and hands."""

    def __init__(self, browser, site, **options):
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.problems, self.requested = [], []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.goto(site.url)
        self.says("Paint the hole")
        self.choose("method", "network")

    def at(self, name):
        return self.page.locator(f"[data-at={name}]")

    def says(self, text):
        expect(self.at("status")).to_contain_text(text, timeout=60_000)

    def choose(self, name, value):
        self.at(name).select_option(value)

    def tool(self, name):
        self.page.get_by_text(name, exact=True).click()

    def slide(self, name, value):
        self.at(name).evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value)

    def place(self, x, y):
        """The place on the screen of a place in the picture."""
        return self.page.evaluate(
            """([x, y]) => {
                const picture = document.querySelector(".ca-world canvas");
                const seen = picture.getBoundingClientRect();
                return [seen.left + (x * seen.width) / picture.width, seen.top + (y * seen.height) / picture.height];
            }""",
            [x, y],
        )

    def drag(self, *places):
        mouse = self.page.mouse
        mouse.move(*self.place(*places[0]))
        mouse.down()
        for place in places[1:]:
            mouse.move(*self.place(*place), steps=4)
        mouse.up()

    def filled(self):
        """Wait for a fill to be shown."""
        self.says("Filled by")
        expect(self.at("cancel")).to_be_disabled(timeout=60_000)

    def download(self, button):
        with self.page.expect_download() as arriving:
            self.at(button).click()
        file = arriving.value
        return file.suggested_filename, Path(file.path()).read_bytes()

    def mask(self):
        """The hole, H W."""
        return np.asarray(Image.open(io.BytesIO(self.download("saveMask")[1]))) > 0

    def result(self):
        """What the page shows over the picture: its box, and pixels."""
        left, top, width, height, pixels = self.page.evaluate(
            """() => {
                const shown = document.querySelectorAll(".ca-world canvas")[1];
                const pixels = shown.getContext("2d").getImageData(0, 0, shown.width, shown.height).data;
                return [parseInt(shown.style.left), parseInt(shown.style.top), shown.width, shown.height, [...pixels]];
            }"""
        )
        return (left, top, width, height), np.array(pixels, np.uint8).reshape(height, width, 4)[..., :3]

    def numbers(self):
        """The table of patches."""
        rows = self.at("table").locator("tbody tr")
        return [rows.nth(n).locator("td").all_text_contents() for n in range(rows.count())]


@pytest.fixture
def reader(chromium, site):
    opened = Reader(chromium, site, viewport={"width": 1280, "height": 900})
    yield opened
    opened.context.close()
    assert not opened.problems
    assert all(url.startswith((f"http://127.0.0.1:{site.port}/", "data:,", "blob:")) for url in opened.requested)


def expected_session(mask, settings=None, method="network"):
    session = Session(photo(), model=generator(), backend="numpy")
    session.set_hole(mask)
    session.fill(method, settings)
    return session


def test_paint_fill_look_change_download(reader):
    reader.drag((40, 25), (60, 30), (55, 45))
    reader.filled()
    mask = reader.mask()
    assert 100 < mask.sum() < 2000
    assert mask[25, 40]
    assert mask[30, 60]
    assert not mask[5, 5]
    # the picture, as shown and as downloaded
    session = expected_session(mask)
    (left, top, width, height), shown = reader.result()
    assert (left, top, width, height) == session.filled.box
    assert np.array_equal(shown, session.filled.photo.array()[top : top + height, left : left + width])
    name, contents = reader.download("save")
    assert name == "some-inpainted.png"
    expected = inpaint(picture(), mask, method="network", model=generator(), backend="numpy")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(contents))), expected)
    # the numbers at a position
    reader.page.mouse.move(*reader.place(57.5, 32.5))
    expect(reader.at("here")).to_contain_text("Pixel 57, 32: row 4, column 7", timeout=30_000)
    look = session.look(57.5, 32.5)
    for row, patch in zip(reader.numbers(), look.top, strict=True):
        assert [float(text) for text in row[1:]] == pytest.approx(
            [patch.score, patch.propagated, patch.weight], rel=2e-3
        )
    assert reader.page.locator(".ca-patch").count() == 5
    # a slider: picture and numbers follow
    before = reader.numbers()[0][3]
    reader.slide("lambda", 0)
    expect(reader.at("table").locator("tbody tr td").nth(3)).not_to_have_text(before, timeout=30_000)
    reader.filled()
    session = expected_session(mask, Settings(softmax_scale=1))
    assert np.array_equal(reader.result()[1], session.filled.photo.array()[top : top + height, left : left + width])
    weights = [float(row[3]) for row in reader.numbers()]
    assert weights == pytest.approx([p.weight for p in session.look(57.5, 32.5).top], rel=2e-3)


def test_a_rectangle_covers_the_pixels_it_touches(reader):
    reader.at("auto").uncheck()
    reader.tool("Rectangle")
    reader.drag((20.5, 10.5), (50.5, 40.5))
    expected = np.zeros(SIZE, np.bool_)
    expected[10:41, 20:51] = True
    assert np.array_equal(reader.mask(), expected)
    reader.tool("Eraser")
    reader.slide("radius", 3)
    reader.drag((30, 20), (40, 20))
    erased = expected & ~reader.mask()
    y, x = np.nonzero(erased)
    assert y.min() == 17
    assert y.max() == 22
    assert x.min() == 27
    assert x.max() == 42
    painted = reader.mask()
    for button in ("undo", "redo"):
        reader.at(button).click()
        assert np.array_equal(reader.mask(), expected if button == "undo" else painted)
    reader.at("clear").click()
    reader.at("saveMask").click()
    reader.says("no hole yet")
    reader.at("undo").click()
    assert np.array_equal(reader.mask(), painted)


def test_lasso_and_zoom_keep_to_the_picture(reader):
    reader.at("auto").uncheck()
    for _ in range(4):
        reader.at("larger").click()
    reader.tool("Lasso")
    reader.drag((40, 20), (60, 20), (60, 40), (40, 40), (40, 20))
    mask = reader.mask()
    expected = np.zeros(SIZE, np.bool_)
    expected[20:40, 40:60] = True
    assert (mask != expected).sum() < 90  # of its rim
    assert np.array_equal(mask[22:38, 42:58], expected[22:38, 42:58])
    reader.tool("Hand")
    before = reader.place(0, 0)
    reader.drag((50, 30), (55, 35))
    moved = np.subtract(reader.place(0, 0), before)
    assert (moved > 5).all()
    reader.at("fit").click()
    assert reader.page.evaluate("window.scrollX + window.scrollY") == 0


def test_map_and_before_after(reader):
    reader.drag((40, 25), (60, 30))
    reader.filled()
    reader.page.mouse.move(*reader.place(5, 5))
    expect(reader.page.locator(".ca-map")).to_be_hidden()
    reader.choose("show", "attention")
    expect(reader.at("legend")).to_be_visible(timeout=30_000)
    expect(reader.page.locator(".ca-map")).to_be_visible(timeout=30_000)
    colours, _ = expected_session(reader.mask()).attention_map()
    drawn = reader.page.locator(".ca-map").evaluate(
        "c => [c.width, c.height, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    assert drawn[:2] == [13, 9]
    expected = np.rint(255 * colours) * colours[..., 3:]  # a canvas has no colours where it is transparent
    assert np.array_equal(np.array(drawn[2:]).reshape(9, 13, 4), expected)
    reader.slide("split", 100)
    assert "inset(0px 0px 0px" in reader.page.locator(".ca-world canvas").nth(1).evaluate("e => e.style.clipPath")
    reader.choose("method", "patchmatch")
    reader.says("Filled by patchmatch")
    reader.choose("show", "copies")
    reader.page.mouse.move(*reader.place(50, 28))
    expect(reader.at("here")).to_contain_text("Copied from pixel", timeout=30_000)


def test_by_keyboard_alone(reader):
    page = reader.page
    reader.at("frame").focus()
    for key in ["ArrowUp", "Space", *["ArrowRight"] * 4, "ArrowDown", "Space"]:
        page.keyboard.press(key)
    reader.filled()
    mask = reader.mask()
    assert mask.any()
    reader.at("frame").focus()
    page.keyboard.press("Shift+ArrowLeft")
    expect(reader.at("here")).to_contain_text("of the attention", timeout=30_000)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    assert np.array_equal(reader.mask(), mask)
    # a rectangle by numbers
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    for number in (10, 12, 30, 20):
        page.keyboard.press("Tab")
        page.keyboard.type(str(number))
    page.keyboard.press("Enter")
    reader.filled()
    expected = mask.copy()
    expected[12:32, 10:40] = True
    assert np.array_equal(reader.mask(), expected)
    # every control is reached by Tab, in order, and shows its focus
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.at || document.activeElement.name || ''"))
    wanted = "frame radius undo method run split show lambda fuse rate variant save saveMask file"
    assert set(wanted.split()) <= reached
    assert any(name.endswith("-tool") for name in reached)


def test_touch_paints_and_two_fingers_zoom(chromium, site):
    reader = Reader(chromium, site, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    reader.at("auto").uncheck()
    reader.at("frame").scroll_into_view_if_needed()
    reader.page.touchscreen.tap(*reader.place(50, 30))
    mask = reader.mask()
    assert mask[30, 50]
    scale = "document.querySelector('.ca-world').getBoundingClientRect().width"
    before = reader.page.evaluate(scale)
    reader.at("frame").scroll_into_view_if_needed()
    x, y = reader.place(50, 30)
    session = reader.context.new_cdp_session(reader.page)

    def fingers(kind, *places):
        points = [{"x": a, "y": b, "id": n} for n, (a, b) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", (x - 20, y), (x + 20, y))
    for spread in (30, 40, 60):
        fingers("touchMove", (x - spread, y), (x + spread, y))
    fingers("touchEnd")
    assert reader.page.evaluate(scale) > 1.5 * before
    assert np.array_equal(reader.mask(), mask)  # fingers that zoom paint nothing
    assert not reader.problems
    reader.context.close()


@pytest.mark.parametrize("size", [(360, 740), (640, 450)], ids=["small screen", "200 % zoom of 1280 × 900"])
def test_it_fits_and_reads_on_small_screens(chromium, site, size):
    reader = Reader(chromium, site, viewport={"width": size[0], "height": size[1]})
    reader.drag((40, 25), (60, 30))
    reader.filled()
    reader.page.mouse.move(*reader.place(50, 27.5))
    expect(reader.at("table")).to_be_visible(timeout=30_000)
    widest = reader.page.evaluate("document.documentElement.scrollWidth")
    assert widest <= size[0]
    cut = reader.page.evaluate(
        """() => [...document.querySelectorAll(".ca-explorer button, .ca-explorer select, td, .ca-explorer p")]
            .filter((e) => e.offsetParent && e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.textContent)"""
    )
    assert not cut
    reader.context.close()


def test_controls_have_names_and_text_has_contrast(reader):
    reader.drag((40, 25), (60, 30))
    reader.filled()
    unnamed = reader.page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, progress, [role]")]
            .filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim()))
            .map((e) => e.outerHTML)"""
    )
    assert not unnamed
    low = reader.page.evaluate(
        """() => {
            const number = (text) => text.match(/[\\d.]+/g).map(Number);
            const light = (rgb) => {
                const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const found = [];
            for (const e of document.querySelectorAll(".ca-explorer *")) {
                const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
                if (!own || !e.offsetParent || e.disabled) continue;
                let under = e;
                while (under.parentElement && number(getComputedStyle(under).backgroundColor)[3] === 0)
                    under = under.parentElement;
                const [a, b] = [getComputedStyle(e).color, getComputedStyle(under).backgroundColor]
                    .map((c) => light(number(c).slice(0, 3)));
                const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (contrast < 4.5) found.push([e.outerHTML.slice(0, 80), contrast]);
            }
            return found;
        }"""
    )
    assert not low


def test_pictures_are_opened_and_bad_ones_get_a_message(reader):
    def give(name, contents):
        reader.at("file").set_input_files({"name": name, "mimeType": "image/png", "buffer": contents})

    give("text.png", b"this is no picture")
    reader.says("not an image")
    give("cut.png", file_of(picture())[:3000])
    reader.says("damaged")
    give("huge.png", file_of(np.zeros((10_000, 10_000), np.uint8), compress_level=1))
    reader.says("10000×10000 pixels, more than 80000000")
    give("other.jpg", file_of(picture()[::-1, :64], "JPEG"))
    reader.says("other.jpg, 64 × 70 pixels")
    reader.drag((30, 30), (40, 30))
    reader.filled()
    name, contents = reader.download("save")
    assert name == "other-inpainted.jpg"
    assert contents.startswith(b"\xff\xd8")


def test_a_long_fill_is_cancelled(reader, monkeypatch):
    waiting = threading.Event()

    def slow(image, mask, *, progress, **options):
        for share in np.linspace(0, 1, 400):
            progress(float(share))
            waiting.wait(0.05)
        raise AssertionError("this was not cancelled")

    monkeypatch.setattr("ca_numpy.filling.patchmatch.complete_with_copies", slow)
    reader.choose("method", "patchmatch")
    reader.drag((40, 25), (60, 30))
    reader.says("Filling")
    expect(reader.at("progress")).to_be_visible()
    reader.at("cancel").click()
    reader.says("Cancelled")
    reader.choose("method", "coarse")
    reader.at("run").click()
    reader.says("Filled by coarse")


def test_the_attention_of_the_paper_is_cancelled(reader, monkeypatch):
    reader.drag((40, 25), (60, 30))
    reader.filled()
    before = reader.result()[1]
    attend, bands = ca_numpy.attention._attend, []

    def slow(*given, rows, **options):
        bands.append(rows)
        threading.Event().wait(0.5)
        return attend(*given, rows=rows, **options)

    monkeypatch.setattr("ca_numpy.attention.BAND", 1)
    monkeypatch.setattr("ca_numpy.attention._attend", slow)
    reader.choose("variant", "paper")
    reader.says("Filling")
    reader.at("cancel").click()
    reader.says("Cancelled")
    assert len(bands) < 9
    assert np.array_equal(reader.result()[1], before)


def test_two_browsers_and_freeing(chromium, site):
    one, two = (Reader(chromium, site) for _ in range(2))
    assert len(site.pages) == 2
    one.drag((40, 25), (60, 30))
    two.drag((20, 45), (60, 50))
    one.filled(), two.filled()
    assert one.result()[0] != two.result()[0]
    sessions = [worker._desk.session for worker in site.pages._workers.values()]
    one.context.close(), two.context.close()
    for _ in range(100):
        if not len(site.pages) and not any(session.is_open for session in sessions):
            break
        threading.Event().wait(0.05)
    assert not any(session.is_open for session in sessions)


def test_without_the_token_the_page_says_what_to_do(chromium, site):
    page = chromium.new_page()
    page.goto(re.sub("#.*", "", site.url))
    expect(page.get_by_role("alert")).to_contain_text("open the address that ca-numpy explore printed", timeout=20_000)
    page.close()
