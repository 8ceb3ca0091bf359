"""What the documents promise is there: every relative link leads somewhere, and the README's code runs."""

import dataclasses
import pkgutil
import re
import shlex
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import tyro
from PIL import Image

import ca_numpy
from ca_numpy.cli import Command, Train
from ca_numpy.data.photo import photo_of
from ca_numpy.filling.holes import hole_of
from ca_numpy.training import STAGES
from ca_numpy.training.ablations import ABLATIONS
from ca_numpy.training.config import TrainConfig, configured
from ca_numpy.training.presets import PRESETS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tutorials").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_every_page_is_one_click_from_the_start_page_and_that_one_from_the_readme():
    start, readme = (ROOT / name for name in ("docs/index.md", "README.md"))
    linked = set(re.findall(r"\]\((\w+)\.md[)#]", start.read_text(encoding="utf-8")))
    assert set(WANTED) <= linked == {page.stem for page in start.parent.glob("*.md")} - {"index"}
    assert "](docs/index.md)" in readme.read_text(encoding="utf-8")


def test_the_glossary_is_in_alphabetical_order_and_every_word_leads_on():
    rows = re.findall(
        r"^\| \*\*(.+?)\*\* \| (.+) \| (.+) \|$", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE
    )
    words = [word.replace("ℓ", "l").casefold() for word, _, _ in rows]
    assert len(words) > 50
    assert words == sorted(words)
    assert all(re.fullmatch(r"\[.+\]\(.+\)", more) for _, _, more in rows)


def test_the_readmes_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [b for b in blocks if "create_graph" in b]
    names: dict[str, object] = {}
    exec(example, names)
    assert names["dw"].shape == names["w"].shape
    assert names["dx"].shape == names["x"].shape


@pytest.mark.parametrize("row", ABLATIONS)
def test_the_options_that_a_comparison_is_documented_with_give_its_row(row):
    page = (ROOT / "docs" / "ablations.md").read_text(encoding="utf-8")
    (options,) = re.findall(rf"^\| `{row}` \| `([^`]*)` \|", page, re.MULTILINE)
    config = tyro.cli(Train, args=shlex.split(options)).config
    assert config == configured(Train().config, ABLATIONS[row] | ({"vgg": config.vgg} if "--vgg" in options else {}))


# ---- commands, options and names -------------------------------------------------------------------------------
COMMANDS = [get_args(command)[0] for command in get_args(Command)]
COMMAND_PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
#: What readers looked for.
WANTED = ("remove_an_object", "which_method", "gallery", "bad_fill", "glossary", "property_testing", "mathematics")
USER_NAMES = ("index", "user_guide", "explore", "faq", "backend_guide", *WANTED[:-1])
USER_PAGES = [ROOT / "docs" / f"{name}.md" for name in USER_NAMES]


def commands(page):
    """Every `ca-numpy …` in the page's code, without what a shell does with it, placeholders left out."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))  # a long command goes on in the next line
    lines = re.findall(r"^ {4}(.*)$", text, re.MULTILINE) + re.findall(r"`(ca-numpy [^`]*)`", text)
    found = [re.search(r"ca-numpy (.*?)(?:; done| [<>]|\)|$)", line.split("#")[0]) for line in lines]
    return [match[1].strip() for match in found if match and not re.search(r"[\[…|]", match[1])]


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=lambda p: p.stem)
def test_every_command_is_one_that_the_command_line_takes(page):
    for command in commands(page):
        args = shlex.split(command)
        if args in ([], ["--version"], ["train", "--help"]):
            continue
        if args[0] == "train":
            named = PRESETS | {name: stages[0] for name, stages in STAGES.items()}
            default = Train.of(named[args[args.index("--preset") + 1] if "--preset" in args else "quick"])
            given = tyro.cli(Train, args=[a for a in args[1:] if a != "--help"], default=default)
            given.config.check()
        else:
            tyro.cli(Command, args=args)


def test_every_command_is_shown_somewhere():
    shown = {shlex.split(command)[0] for page in COMMAND_PAGES for command in commands(page) if command}
    assert {command.__name__.lower() for command in COMMANDS} <= shown


@pytest.mark.parametrize("page", USER_PAGES, ids=lambda p: p.stem)
def test_options_and_names_in_the_text_are_there(page):
    text = page.read_text(encoding="utf-8")
    fields = {f.name for kind in (TrainConfig, *COMMANDS) for f in dataclasses.fields(kind)}
    fields |= {
        f.name
        for kind in COMMANDS
        for group in dataclasses.fields(kind)
        if dataclasses.is_dataclass(group.default_factory)
        for f in dataclasses.fields(group.default_factory)
    }
    options = {"--help"} | {f"--{no}{name.replace('_', '-')}" for name in fields for no in ("", "no-")}
    assert set(re.findall(r"`[^`\n]*?(--[a-z][a-z0-9-]*)", text)) <= options
    for name in re.findall(r"`(ca_numpy(?:\.\w+)+)", text):
        try:
            pkgutil.resolve_name(name)
        except AttributeError:
            pkgutil.resolve_name(":".join(name.rsplit(".", 1)))


def test_the_errors_that_a_page_quotes_are_those_that_are_given():
    """For a photograph given as the mask, a layer that may be either, and a mask of another size."""
    rng = np.random.default_rng(0)
    image, layer = (rng.integers(0, 256, (40, 50, channels), np.uint8) for channels in (3, 4))
    layer[..., 3] = np.where(np.arange(50) < 25, 255, 0)
    page = (ROOT / "docs" / "bad_fill.md").read_text(encoding="utf-8")
    quoted = re.findall(r"the error \"(.+?)\"", page)
    assert len(quoted) == 2
    for words, array in zip(quoted, (image, layer), strict=True):
        file = BytesIO()
        Image.fromarray(array).save(file, "PNG")
        file.seek(0)
        with pytest.raises(ca_numpy.UserError, match=re.escape(words)):
            hole_of(photo_of(image), file)
    with pytest.raises(ca_numpy.UserError, match=r"30 x 50.*40 x 50"):
        ca_numpy.inpaint(image, np.ones((30, 50)), method="mean")


def test_the_python_that_removes_an_object_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "sample").mkdir(parents=True)
    for name in ("photo.jpg", "mask.png"):
        Image.open(ROOT / "docs" / "sample" / name).resize((64, 48)).save(tmp_path / "docs" / "sample" / name)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/remove_an_object.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    assert names["filled"].shape == (48, 64, 3)
    assert Path("inpainted.png").is_file()


def test_the_user_guides_python_runs(tmp_path, monkeypatch):
    """In a folder that has what the guide names, with its preset made small."""
    monkeypatch.chdir(tmp_path)
    tiny = TrainConfig(width=4, critic_width=4, size=32, box=16, max_shrink=2, batch=2, steps=2, pretrain=1)
    monkeypatch.setitem(ca_numpy.PRESETS, "medium", tiny)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:30] = 255
    for i, name in enumerate(("my/pictures/a.png", "my/pictures/b.jpg", "photos/a.jpg", "photo.jpg")):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8)).save(name)
    for name in ("mask.png", "masks/a.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(mask).save(name)
    board = SimpleNamespace(scalars=[], flush=lambda: None, close=lambda: None)
    board.add_scalar = lambda *scalar: board.scalars.append(scalar)
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=lambda folder: board))
    ca_numpy.train(ca_numpy.PRESETS["medium"], data="my/pictures", out="runs/mine", quiet=True)
    guide = "".join((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("user_guide", "explore"))
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
    assert all(Path(name).is_file() for name in ("steps.png", "filled/a.png", "generator.safetensors"))
    assert {name for name, _, step in board.scalars if step == 1} >= {"l1_refined", "wasserstein", "rate"}
