"""How long the page of `ca-numpy explore` takes, in Chromium, from an action to what it shows: medians in milliseconds.

    python tests/benchmarks/explore.py [--rounds 15] [--size 512] [--large 4000 3000]
    python tests/benchmarks/explore.py --screenshots docs/pictures      those of docs/explore.md, instead

A picture of 512×512 pixels with a hole of 128×128, the bundled weights, the fastest backend:

    fill     from lifting the brush to the network's result
    hover    from the pointer's move to the numbers and the heat map
    slider   from a change of the softmax scale to the new result

and a photograph of 12 megapixels: opening it, a stroke (the longest time between two frames while it is painted), and
filling it by the default method. The page's own events end each measurement: ca-filled, ca-looked and ca-opened.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from ca_numpy.data import load_image, resize, to_uint8
from ca_numpy.explore.server import Site

SAMPLE = Path(__file__).parents[2] / "docs" / "sample" / "photo.jpg"

#: Runs an action in the page, and gives the milliseconds until an event of the front end has been painted.
TIMED = """async ([name, action, values]) => {
    const root = document.querySelector(".ca-explorer");
    const at = (id) => root.querySelector(`[data-at=${id}]`);
    const seen = root.querySelector(".ca-world canvas").getBoundingClientRect();
    const scale = seen.width / root.querySelector(".ca-world canvas").width;
    const point = (type, [x, y]) => at("frame").dispatchEvent(new PointerEvent(type, {
        clientX: seen.left + x * scale, clientY: seen.top + y * scale, bubbles: true, pointerId: 1, button: 0 }));
    const done = new Promise((resolve) => root.addEventListener("ca-" + name, resolve, { once: true }));
    const start = performance.now();
    if (action === "slide") {
        at("lambda").value = values;
        at("lambda").dispatchEvent(new Event("input"));
    } else point(action, values);
    await done;
    await new Promise(requestAnimationFrame);
    return performance.now() - start;
}"""
#: Paints a stroke of many moves, one a frame; the longest time between two frames.
STROKE = """async ([x0, y0, x1, y1]) => {
    const frame = document.querySelector("[data-at=frame]");
    const seen = document.querySelector(".ca-world canvas").getBoundingClientRect();
    const scale = seen.width / document.querySelector(".ca-world canvas").width;
    const point = (type, x, y) => frame.dispatchEvent(new PointerEvent(type, {
        clientX: seen.left + x * scale, clientY: seen.top + y * scale, bubbles: true, pointerId: 1, button: 0 }));
    frame.setPointerCapture = () => {};
    point("pointerdown", x0, y0);
    const times = [];
    let before = performance.now();
    for (let n = 0; n <= 60; n++) {
        point("pointermove", x0 + (x1 - x0) * n / 60, y0 + (y1 - y0) * n / 60 + 20 * Math.sin(n / 3));
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        times.push(now - before);
        before = now;
    }
    point("pointerup", x1, y1);
    return [times.sort((a, b) => a - b)[30], times.at(-1)];
}"""


def picture(width: int, height: int) -> bytes:
    """The sample photograph at another size."""
    out = io.BytesIO()
    Image.fromarray(to_uint8(resize(load_image(SAMPLE), (height, width)).clip(-1, 1))).save(out, "JPEG", quality=92)
    return out.getvalue()


def small(page: Page, rounds: int, size: int) -> dict[str, list[float]]:
    """The three times at 512×512, in milliseconds, after a first round that compiles and loads."""
    times: dict[str, list[float]] = {"fill": [], "hover": [], "slider": []}
    page.evaluate("document.querySelector('[data-at=frame]').setPointerCapture = () => {}")
    page.locator("[data-at=method]").select_option("network")
    page.get_by_text("Rectangle", exact=True).click()
    middle, half = size // 2, 64
    for n in range(rounds + 1):
        page.locator("[data-at=clear]").click()
        corner = middle - half + 3 * n  # another hole each time, so that nothing is remembered
        for kind, place in (("pointerdown", (corner, corner)), ("pointermove", (corner + 128, corner + 128))):
            page.evaluate(TIMED.replace("await done;", ""), ["filled", kind, place])
        took = {"fill": page.evaluate(TIMED, ["filled", "pointerup", (corner + 128, corner + 128)])}
        page.wait_for_timeout(100)
        places = [(corner + 20 + 9 * k, corner + 30 + 7 * k) for k in range(9)]
        took["hover"] = statistics.median(page.evaluate(TIMED, ["looked", "pointermove", at]) for at in places)
        took["slider"] = page.evaluate(TIMED, ["filled", "slide", 20 + n % 20])
        page.wait_for_timeout(300)
        for name in times:
            times[name] += [took[name]] if n else []
    return times


def large(page: Page, width: int, height: int) -> dict[str, float]:
    """A photograph of 12 megapixels."""
    start = page.evaluate("performance.now()")
    page.locator("[data-at=file]").set_input_files(
        {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": picture(width, height)}
    )
    page.get_by_text(f"large.jpg, {width} × {height} pixels").wait_for(timeout=120_000)
    times = {"open": page.evaluate("performance.now()") - start}
    page.locator("[data-at=method]").select_option("guided")
    page.get_by_text("Brush", exact=True).click()
    x, y = width // 2, height // 2
    usual, longest = page.evaluate(STROKE, [x - 300, y, x + 300, y])
    start = page.evaluate("performance.now()")
    page.get_by_text("Filled by guided").wait_for(timeout=600_000)
    return times | {"frame": usual, "longest frame": longest, "fill": page.evaluate("performance.now()") - start}


#: Strokes over the boat of the sample photograph, in its pixels.
BOAT = [
    [(700, 620), (760, 590), (850, 590), (980, 590), (990, 650), (860, 680), (720, 670), (700, 620)],
    [(740, 630), (980, 630)],
    [(830, 560), (940, 550), (960, 540), (1000, 560), (1010, 690)],
    [(850, 540), (930, 535)],
]


def screenshots(page: Page, folder: Path) -> None:
    """The pictures of docs/explore.md."""

    def move(x: float, y: float, **options: Any) -> None:
        left, top, scale = page.locator(".ca-world canvas").first.evaluate(
            "c => { const seen = c.getBoundingClientRect(); return [seen.left, seen.top, seen.width / c.width]; }"
        )
        page.mouse.move(left + x * scale, top + y * scale, **options)

    def save(name: str) -> None:
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shot.save(folder / f"{name}.jpg", quality=85, subsampling=0, optimize=True)

    page.locator("[data-at=auto]").uncheck()
    page.locator("[data-at=radius]").evaluate("e => { e.value = 30; e.dispatchEvent(new Event('input')); }")
    for stroke in BOAT:
        move(*stroke[0])
        page.mouse.down()
        for place in stroke[1:]:
            move(*place, steps=5)
        page.mouse.up()
    save("explore-brush")
    for _ in range(2):  # the second time with everything compiled
        page.locator("[data-at=run]").click()
        page.get_by_text("Filled by guided").wait_for(timeout=120_000)
    move(860, 640)
    page.locator("[data-at=table] td").first.wait_for(timeout=60_000)
    page.wait_for_timeout(1000)
    save("explore")
    page.mouse.move(5, 5)
    page.locator("[data-at=show]").select_option("attention")
    page.wait_for_timeout(5000)
    save("explore-map")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--large", type=int, nargs=2, default=(4000, 3000), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        file = Path(folder) / "picture.jpg"
        file.write_bytes(picture(options.size, options.size))
        site = Site(SAMPLE if options.screenshots else file)
        thread = threading.Thread(target=site.run)
        thread.start()
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        width, height = (1120, 860) if options.screenshots else (1280, 900)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(site.url)
        page.get_by_text("Paint the hole").wait_for(timeout=120_000)
        if options.screenshots:
            screenshots(page, options.screenshots)
        else:
            measured(page, options)
        browser.close()
        site.stop()
        thread.join()


def measured(page: Page, options: argparse.Namespace) -> None:
    """Print both tables."""
    times = small(page, options.rounds, options.size)
    print(f"| {options.size}×{options.size} | median ms | least | most |\n|---|---|---|---|", flush=True)
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |", flush=True)
    width, height = options.large
    print(f"\n| {width}×{height} | ms |\n|---|---|")
    for name, value in large(page, width, height).items():
        print(f"| {name} | {value:.0f} |", flush=True)


if __name__ == "__main__":
    main()
