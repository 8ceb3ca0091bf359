"""The pictures of docs/gallery.md and docs/remove_an_object.md: one hole in a row, filled by several methods.

    ca-numpy data scenes
    python tests/benchmarks/gallery.py --scenes scenes

writes docs/pictures/gallery/NAME.jpg for every hole below, and docs/pictures/remove/*.jpg. The photographs are
docs/sample, scikit-image's, and two of `ca-numpy data scenes` that were not trained on; all are in the public domain or
CC0 (docs/pictures/LICENCE.txt). The holes were chosen before any was filled, to cover the kinds of
docs/which_method.md, and none was left out afterwards.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion
from skimage import data

from ca_numpy import filling, viz
from ca_numpy.data import load_mask, load_pixels

DOCS = Path(__file__).parents[2] / "docs"
#: Column -> options of `inpaint`.
METHODS: dict[str, dict[str, Any]] = {
    "guided": {},
    "network": {"method": "network"},
    "patchmatch": {"method": "patchmatch"},
    "telea": {"method": "telea"},
}
#: Sides of a picture in a row, in pixels, and the JPEG's quality.
TILE, QUALITY = 200, 82
#: Left, top, side of what is shown of docs/sample; and the box round its boat.
VIEW, BOAT = (644, 370, 380), (664, 500, 360, 216)
#: How much smaller its mask is made to show one that is too tight, and how far that is grown again, in pixels.
TIGHT, GROWN = 10, 14

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]


class Hole(NamedTuple):
    """A picture, H W 3, its hole, H W, and the square to show: left, top, side."""

    picture: Bytes
    hole: Flags
    view: tuple[int, int, int]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, default=Path("scenes"), help="folder of `ca-numpy data scenes`")
    parser.add_argument("--out", type=Path, default=DOCS / "pictures")
    parser.add_argument("--only", nargs="+", help="names of the gallery, or remove")
    options = parser.parse_args(arguments)
    for name, hole in holes(options.scenes).items():
        if options.only is None or name in options.only:
            original = {"original": tile(hole.picture, hole.view)}
            sheet([cells(hole, METHODS) | original], options.out / "gallery" / f"{name}.jpg")
    if options.only is None or "remove" in options.only:
        remove(options.out / "remove")


def holes(scenes: Path) -> dict[str, Hole]:
    """The gallery, by name."""
    photo, boat = sample()
    rocket, coffee, chelsea, astronaut = (
        getattr(data, name)() for name in ("rocket", "coffee", "chelsea", "astronaut")
    )
    camera, brick, grass = (np.repeat(getattr(data, n)()[..., None], 3, 2) for n in ("camera", "brick", "grass"))
    beach, mountain = (landscape(scenes / f"{name}@2x.jpg") for name in ("beach1", "mountain1"))
    return {
        "scratches": Hole(chelsea, lines(chelsea), (75, 0, 300)),
        "caption": Hole(coffee, caption(coffee), (100, 50, 350)),
        "mast": Hole(rocket, box(rocket, (428, 105, 42, 280)), (300, 87, 340)),
        "tower": Hole(camera, box(camera, (400, 108, 64, 84)), (332, 40, 180)),
        "grass": Hole(grass, box(grass, (192, 192, 128, 128)), (128, 128, 256)),
        "bricks": Hole(brick, box(brick, (192, 192, 128, 128)), (128, 128, 256)),
        "boat": Hole(photo, boat, VIEW),
        "beach": Hole(beach, box(beach, (64, 64, 128, 128)), (0, 0, 256)),
        "mountain": Hole(mountain, box(mountain, (64, 64, 128, 128)), (0, 0, 256)),
        "eye": Hole(chelsea, box(chelsea, (125, 75, 85, 80)), (50, 0, 230)),
        "face": Hole(astronaut, box(astronaut, (172, 62, 112, 124)), (98, 0, 260)),
        "cup": Hole(coffee, box(coffee, (290, 10, 140, 190)), (140, 0, 340)),
    }


def sample() -> tuple[Bytes, Flags]:
    """docs/sample: the photograph, and the mask of its boat."""
    return load_pixels(DOCS / "sample" / "photo.jpg"), load_mask(DOCS / "sample" / "mask.png")[..., 0] > 0.5


def landscape(file: Path) -> Bytes:
    """The middle of a landscape at 256×256, as in docs/results/scenes/pairs.json."""
    middle = Image.fromarray(load_pixels(file)).crop((450, 90, 990, 630))
    return np.asarray(middle.resize((256, 256), Image.Resampling.LANCZOS))


def box(picture: Bytes, place: tuple[int, int, int, int]) -> Flags:
    left, top, width, height = place
    hole = np.zeros(picture.shape[:2], np.bool_)
    hole[top : top + height, left : left + width] = True
    return hole


def lines(picture: Bytes) -> Flags:
    """Nine scratches three pixels wide."""
    height, width = picture.shape[:2]
    canvas, rng = Image.new("1", (width, height)), np.random.default_rng(0)
    for _ in range(9):
        (x, y), angle = rng.uniform((0, 0), (width, height)), rng.uniform(0, np.pi)
        away = 200 * np.cos(angle), 200 * np.sin(angle)
        ImageDraw.Draw(canvas).line((x - away[0], y - away[1], x + away[0], y + away[1]), fill=1, width=3)
    return np.asarray(canvas)


def caption(picture: Bytes) -> Flags:
    """Two lines of print across the picture, as wide as a mask for them would be."""
    canvas = Image.new("1", picture.shape[1::-1])
    font = ImageFont.load_default(42)
    ImageDraw.Draw(canvas).text((130, 170), "SAMPLE 0123\nnot for print", fill=1, font=font, stroke_width=2)
    return np.asarray(canvas)


# ---- pictures ----------------------------------------------------------------------------------------------------


def cells(hole: Hole, methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Bytes]:
    """Column -> a square of TILE pixels: the input with its hole hatched, then each method's fill."""
    fills = {name: filling.inpaint(hole.picture, hole.hole, **options) for name, options in methods.items()}
    stripes = np.add.outer(*map(np.arange, hole.hole.shape)) // 6 % 2
    hatched = np.where(hole.hole[..., None], np.where(stripes, 240, 200)[..., None], hole.picture).astype(np.uint8)
    return {name: tile(picture, hole.view) for name, picture in ({"input": hatched} | fills).items()}


def tile(picture: Bytes, view: tuple[int, int, int]) -> Bytes:
    left, top, side = view
    seen = Image.fromarray(picture).crop((left, top, left + side, top + side))
    return np.asarray(seen.resize((TILE, TILE), Image.Resampling.LANCZOS))


def sheet(rows: Sequence[Mapping[str, Bytes]], file: Path, *, labels: Sequence[str] | None = None) -> None:
    """A JPEG with one line for each row, all of the same columns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure = viz.picture_grid([list(row.values()) for row in rows], titles=list(rows[0]), row_labels=labels)
    with tempfile.TemporaryDirectory() as folder:
        viz.save(figure, Path(folder) / "sheet.png")
        Image.open(Path(folder) / "sheet.png").convert("RGB").save(file, quality=QUALITY, optimize=True)


def remove(out: Path) -> None:
    """A box and a painted mask for the boat of docs/sample, by every method; and a mask that is too tight."""
    photo, boat = sample()
    drawn = {"a box": box(photo, BOAT), "painted": boat}
    rows = [cells(Hole(photo, hole, VIEW), METHODS) for hole in drawn.values()]
    sheet(rows, out / "methods.jpg", labels=list(drawn))
    tight = binary_erosion(boat, iterations=TIGHT, border_value=1)
    grown: dict[str, dict[str, Any]] = {"too tight": {}, f"the same, --grow {GROWN}": {"grow": GROWN}}
    network: dict[str, dict[str, Any]] = {
        "--method network": {"method": "network"},
        "… --no-blend": {"method": "network", "blend": False},
    }
    sheet([cells(Hole(photo, tight, VIEW), grown)], out / "tight.jpg")
    sheet([cells(Hole(photo, boat, VIEW), network)], out / "network.jpg")


if __name__ == "__main__":
    main()
