"""Fill every hole of lists of pairs by several methods: pictures, a table, sheets, and blind sheets to judge by eye.

    python tests/benchmarks/other_photographs.py
    python tests/benchmarks/fills.py fill --pairs docs/results/fills/other.json docs/results/fills/objects.json \\
        --out runs/fills
    python tests/benchmarks/fills.py judge judgements.json --key runs/fills/key.json

`fill` writes to --out, for each list:

    LIST/NAME-METHOD.png   the filled pictures
    LIST.png               all pictures, every method, and the truth, or the object that was removed
    table.md               the measures over the holes, for lists whose truth is known
    blind/LIST-NAME.png    the input, and the fills in a random order as A, B, C, …
    key.json               which letter is which method

An object that was marked with a polygon has no truth: its pictures are for the eyes only. `judge` reads rankings, best
first, ties in a list, {"LIST-NAME": ["B", ["A", "C"], "D"], …}, and prints how often each method was first or last.
"""

from __future__ import annotations

import argparse
import json
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation

from ca_numpy import filling, metrics, viz
from ca_numpy.data import save_image, to_float, to_uint8
from ca_numpy.errors import UserError
from ca_numpy.evaluation import Pairs, load_pairs

Arrays = np.ndarray[Any, Any]
Key = dict[str, dict[str, str]]
Judgements = Mapping[str, Sequence[str | Sequence[str]]]

#: Column -> measure(truth, filled, mask), N H W 3, N H W 3, N H W 1 -> N. Add one in one line.
MEASURES: dict[str, Callable[[Arrays, Arrays, Arrays], Arrays]] = {
    "PSNR dB": lambda x, y, mask: metrics.psnr(x, y, mask=mask),
    "SWD": lambda x, y, mask: metrics.swd(y, x, mask=mask),
    "TV, % of the truth's": lambda x, y, mask: 100 * metrics.tv(y, mask=mask) / metrics.tv(x, mask=mask),
}
#: Blind sheets: enlargement, pictures in a row, height of a letter, width of the hole's outline.
ZOOM, ACROSS, LETTER, OUTLINE = 2, 4, 24, 2


def filled(method: str, image: Arrays, mask: Arrays) -> Arrays:
    """One picture, H W 3 in [-1, 1], with its hole, H W 1, filled by a method of `inpaint`."""
    return to_float(filling.inpaint(to_uint8(image), mask, method=method))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    fill = commands.add_parser("fill")
    fill.add_argument("--pairs", nargs="+", type=Path, required=True)
    fill.add_argument("--root", type=Path, default=Path("."), help="a folder with all pictures of the lists")
    fill.add_argument("--methods", nargs="+", default=["network", "telea", "patchmatch", "pypatchmatch", "guided"])
    fill.add_argument("--out", type=Path, default=Path("runs/fills"))
    fill.add_argument("--seed", type=int, default=0, help="of the order on the blind sheets")
    judge = commands.add_parser("judge")
    judge.add_argument("judgements", type=Path)
    judge.add_argument("--key", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        if options.command == "fill":
            fill_all(options.pairs, options.methods, options.out, seed=options.seed, root=options.root)
        else:
            print_judgements(*(json.loads(path.read_text("utf-8")) for path in (options.judgements, options.key)))
    except (UserError, OSError, json.JSONDecodeError) as e:
        raise SystemExit(str(e)) from e


def fill_all(
    lists: Sequence[Path], methods: Sequence[str], out: Path, *, seed: int = 0, root: Path | None = None
) -> None:
    """All that `fill` writes."""
    rng, key, tables = np.random.default_rng(seed), {}, []
    (out / "blind").mkdir(parents=True, exist_ok=True)
    for path in lists:
        pairs = load_pairs(path, root=root)
        images, masks = pairs.read()
        fills = {
            method: np.stack([filled(method, *one) for one in zip(images, masks, strict=True)]) for method in methods
        }
        known = truth_known(pairs)
        save_fills(out / path.stem, pairs.names, fills)
        shown = fills | {"truth" if known else "the object": images}
        viz.save(viz.method_sheet(images, masks, shown, row_labels=pairs.names), out / f"{path.stem}.png")
        if known:
            tables.append(f"{path.stem}, {len(images)} pictures, over the hole\n\n{table(images, masks, shown)}")
        for number, name in enumerate(pairs.names):
            label = f"{path.stem}-{number:02}-{name}"
            order = [methods[k] for k in rng.permutation(len(methods))]
            key[label] = dict(zip(string.ascii_uppercase, order, strict=False))
            sheet = blind_sheet(images[number], masks[number], [fills[m][number] for m in order], hidden=known)
            save_image(out / "blind" / f"{label}.png", sheet)
    (out / "table.md").write_text("\n".join(tables), encoding="utf-8")
    (out / "key.json").write_text(json.dumps(key, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n".join(tables))


def truth_known(pairs: Pairs) -> bool:
    """Whether the holes hide what should be filled in, not an object to be removed."""
    polygons = {pair.hole.kind == "polygon" for pair in pairs.pairs}
    if len(polygons) > 1:
        raise UserError("a list holds both polygons round objects and other holes: split it in two")
    return polygons == {False}


def save_fills(folder: Path, names: Sequence[str], fills: Mapping[str, Arrays]) -> None:
    folder.mkdir(exist_ok=True)
    for method, pictures in fills.items():
        for number, (name, picture) in enumerate(zip(names, pictures, strict=True)):
            save_image(folder / f"{number:02}-{name}-{method}.png", picture)


def table(images: Arrays, masks: Arrays, fills: Mapping[str, Arrays]) -> str:
    """Mean and 95 % interval of every measure, as Markdown."""
    lines = [f"| method | {' | '.join(MEASURES)} |", "|---" * (1 + len(MEASURES)) + "|"]
    for method, pictures in fills.items():
        cells = [metrics.mean_and_interval(measure(images, pictures, masks)) for measure in MEASURES.values()]
        shown = ("∞" if np.isinf(mean) else f"{mean:.2f} ± {half:.2f}" for mean, half in cells)
        lines.append(f"| {method} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


# ---- by eye ------------------------------------------------------------------------------------------------------


def blind_sheet(image: Arrays, mask: Arrays, fills: Iterable[Arrays], *, hidden: bool) -> Arrays:
    """The input with its hole outlined, and grey if `hidden`, then the fills with a letter above each: H W 3 uint8."""
    outlined = to_uint8(np.where(mask > 0.5, np.zeros_like(image), image) if hidden else image)
    hole = np.kron(mask[..., 0] > 0.5, np.ones((ZOOM, ZOOM), bool))
    tiles = [enlarged(outlined), *(enlarged(to_uint8(picture)) for picture in fills)]
    tiles[0][binary_dilation(hole, iterations=OUTLINE) & ~hole] = (255, 0, 255)
    height, width = hole.shape
    rows, across = -(-len(tiles) // ACROSS), min(len(tiles), ACROSS)
    sheet = Image.new("RGB", (across * (width + LETTER), rows * (height + LETTER)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (tile, letter) in enumerate(zip(tiles, ["input", *string.ascii_uppercase], strict=False)):
        left, top = k % ACROSS * (width + LETTER), k // ACROSS * (height + LETTER)
        draw.text((left + 4, top + 6), letter, fill="black")
        sheet.paste(Image.fromarray(tile), (left, top + LETTER))
    return np.asarray(sheet)


def enlarged(picture: Arrays) -> Arrays:
    return picture.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def judged(judgements: Judgements, key: Key) -> dict[str, tuple[int, int]]:
    """How often each method was first and how often last: method -> (first, last).

    judgements   picture -> letters, best first, each alone or tied in a list. Every tied method counts; a picture on
                 which all are tied counts for none
    key          picture -> letter -> method

    Raises UserError for a picture that the key does not have, and for a ranking that does not name each letter once.
    """
    first, last = Counter[str](), Counter[str]()
    for picture, ranking in judgements.items():
        if picture not in key:
            raise UserError(f"the key has no picture {picture!r}: give the key written with the blind sheets")
        groups = [[group] if isinstance(group, str) else list(group) for group in ranking]
        if sorted(letter for group in groups for letter in group) != sorted(key[picture]):
            raise UserError(f"{picture!r}: rank each of {', '.join(sorted(key[picture]))} once, got {list(ranking)}")
        if len(groups) > 1:
            first.update(key[picture][letter] for letter in groups[0])
            last.update(key[picture][letter] for letter in groups[-1])
    methods = dict.fromkeys(method for letters in key.values() for method in letters.values())
    return {method: (first[method], last[method]) for method in sorted(methods, key=lambda m: (-first[m], last[m]))}


def print_judgements(judgements: Judgements, key: Key) -> None:
    print(f"of {len(judgements)} pictures\n\n| method | first | last |\n|---|---|---|")
    for method, (first, last) in judged(judgements, key).items():
        print(f"| {method} | {first} | {last} |")


if __name__ == "__main__":
    main()
