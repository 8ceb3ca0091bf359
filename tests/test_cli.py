"""The command line: what it prints, what it writes, and what it answers to bad input."""

import dataclasses
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ca_numpy import registry
from ca_numpy.cli import Bench, Evaluate, Explore, Inpaint, main
from ca_numpy.data.photo import photo_of
from ca_numpy.models import Generator
from ca_numpy.models.io import save

TINY = [
    "--width",
    "4",
    "--critic-width",
    "4",
    "--size",
    "32",
    "--box",
    "16",
    "--max-shrink",
    "2",
    "--batch",
    "2",
    "--steps",
    "2",
    "--pretrain",
    "1",
]


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 8:20] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    save(tmp_path / "model.safetensors", Generator(width=4))
    return tmp_path


def test_train_then_inpaint_then_evaluate(photo, capsys):
    run = photo / "run"
    assert main(["train", "--out", str(run), *TINY]) == 0
    told = capsys.readouterr().err
    assert "photograph-inpainted.png" in told
    assert "held out: coarse" in told
    assert main(["inpaint", str(photo / "photo.png"), str(photo / "mask.png"), "--model", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(photo / "photo-inpainted.png")
    with Image.open(photo / "photo-inpainted.png") as done:
        assert done.size == (30, 20)
    assert main(["evaluate", str(run), "--size", "32", "--count", "2", "--out", str(photo / "table.json")]) == 0
    assert "| refined |" in capsys.readouterr().out
    assert (photo / "table.json").exists()


def test_evaluate_compares_methods_on_a_list_without_a_model(photo, capsys):
    pytest.importorskip("numba", reason="pip install 'ca-numpy[numba]'")
    command = ["evaluate", "--methods", "patchmatch", "mean", "--pairs", str(photo / "pairs.json")]
    options = ["--data", "textures", "--size", "32", "--count", "3", "--holes", "mixed"]
    assert main([*command, *options, "--sheet", str(photo / "sheet.png")]) == 0
    first = capsys.readouterr().out
    assert "| patchmatch |" in first
    assert (photo / "sheet.png").exists()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[1:] == first.splitlines()[1:]  # the first names the pictures


def test_a_stopped_run_says_how_to_go_on_and_does(photo, capsys):
    run = photo / "run"
    assert main(["train", "--out", str(run), *TINY, "--minutes", "0.000001"]) == 0
    assert f"ca-numpy train --resume {run}" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--quiet"]) == 0
    assert (run / "pictures" / "photograph-steps.png").exists()


def test_what_cannot_change_on_resume_is_refused_even_if_it_is_the_default(photo, capsys):
    run = photo / "run"
    assert main(["train", "--out", str(run), *TINY, "--rate", "0.002", "--minutes", "0.000001", "--quiet"]) == 0
    assert main(["train", "--resume", str(run), "--rate", "0.001"]) == 2
    assert "cannot change" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--checkpoint-every", "1", "--quiet"]) == 0
    assert '"checkpoint_every": 1,\n' in (run / "config.json").read_text()


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ca-numpy 0.")


def test_backends_lists_the_textbook(capsys):
    assert main(["backends"]) == 0
    assert "NumPy " + np.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        "train --data {0}/nowhere",
        "train --preset gigantic",
        "train --preset scenes --size 32 --out {0}/x",
        "train --preset scenes --masks box --out {0}/x",
        "train --preset scenes --no-mask-per-batch --batch=8 --out {0}/x",
        "train --preset medium --resume {0}",
        "train --preset scenes --data scenes:{0}/nowhere --out {0}/x",
        "train --resume {0}",
        "train --backend abacus --out {0}/x",
        "train --size 60 --out {0}/x",
        "inpaint {0}/nowhere.png {0}/mask.png --model {0}/model.safetensors",
        "inpaint {0}/photo.png {0}/photo.png --model {0}/nowhere",
        "inpaint {0}/photo.png {0}/mask.png --model {0}/model.safetensors --out {0}/photo.png",
        "inpaint {0}/photo.png {0}/mask.png --model {0}/model.safetensors --out {0}/nowhere/x.png",
        "evaluate {0}/nowhere",
        "evaluate {0}/model.safetensors --size 33",
        "evaluate --methods magic",
        "evaluate --methods mean --pairs {0}/photo.png",
        "evaluate --methods mean --sheet {0}/sheet.gif",
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_2(photo, capsys, command, monkeypatch):
    monkeypatch.setattr(registry, "_warn_once", lambda line: None)  # where CuPy is installed and has no driver
    before = {p: p.read_bytes() for p in photo.rglob("*") if p.is_file()}
    assert main(command.format(photo).split()) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert told.err.startswith("ca-numpy: ")
    assert told.out == ""
    assert {p: p.read_bytes() for p in photo.rglob("*") if p.is_file()} == before


def test_inpaint_needs_no_model_of_ones_own(photo, capsys):
    assert main(["inpaint", str(photo / "photo.png"), str(photo / "mask.png")]) == 0
    assert (photo / "photo-inpainted.png").exists()


def test_options_given_beside_a_preset_win(photo):
    assert main(["train", "--preset", "paper", *TINY, "--out", str(photo / "run"), "--quiet"]) == 0
    assert '"penalty_weight": 10.0' in (photo / "run" / "config.json").read_text()
    assert '"rate": 0.0001' in (photo / "run" / "config.json").read_text()
    assert '"width": 4' in (photo / "run" / "config.json").read_text()


def test_the_installed_command_runs():
    done = subprocess.run(
        [sys.executable, "-m", "ca_numpy.cli", "backends"], capture_output=True, text=True, check=True
    )
    assert "numpy" in done.stdout


def test_what_the_system_refuses_is_one_line_too(photo, capsys, monkeypatch):
    def refused(*args, **options):
        raise PermissionError(13, "Permission denied", "/root/x")

    monkeypatch.setattr("ca_numpy.cli_inpaint.inpaint_photo", refused)
    assert main(["inpaint", str(photo / "photo.png"), str(photo / "mask.png")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "Permission denied" in told
    assert "/root/x" in told


# ---- what the function behind a command is called with -----------------------------------------------------------
#: Of each option: how it is written, and what it becomes. A new option fails until it has a row.
OPTIONS = {
    Inpaint: {
        "method": (["--method", "telea"], {"method": "telea"}),
        "model": (["--model", "runs/mine"], {"model": Path("runs/mine")}),
        "out": (["--out", "{0}/other.png"], {}),
        "invert": (["--invert"], {"invert": True}),
        "mask_kind": (["--mask-kind", "white"], {"mask_kind": "white"}),
        "box": (["--box", "1,2,3,4", "5,6,7,8"], {"boxes": [(1, 2, 3, 4), (5, 6, 7, 8)]}),
        "grow": (["--grow", "3"], {"grow": 3}),
        "overwrite": (["--out", "{0}/photo-inpainted.png", "--overwrite"], {}),
        "report": (["--report", "{0}/report.json"], {}),
        "largest_hole": (["--largest-hole", "40"], {"largest_hole": 40}),
        "max_pixels": (["--max-pixels", "9000"], {"max_pixels": 9000}),
        "blend": (["--no-blend"], {"blend": False}),
        "backend": (["--backend", "numpy"], {"backend": "numpy"}),
    },
    Explore: {
        "model": (["--model", "runs/mine"], {"model": Path("runs/mine")}),
        "backend": (["--backend", "numpy"], {"backend": "numpy"}),
        "port": (["--port", "8765"], {"port": 8765}),
        "max_pixels": (["--max-pixels", "9000"], {"max_pixels": 9000}),
        "browser": (["--no-browser"], {"browser": False}),
    },
    Evaluate: {
        "model": (["runs/mine"], {"model": Path("runs/mine")}),
        "methods": (["--methods", "mean", "telea"], {"methods": ("mean", "telea")}),
        "data": (["--data", "textures"], {"data": "textures"}),
        "size": (["--size", "48"], {"size": 48}),
        "count": (["--count", "7"], {"count": 7}),
        "holes": (["--holes", "boxes"], {"holes": "boxes"}),
        "seed": (["--seed", "3"], {"seed": 3}),
        "pairs": (["--pairs", "pairs.json"], {"pairs": Path("pairs.json")}),
        "root": (["--root", "pictures"], {"root": Path("pictures")}),
        "out": (["--out", "table.md"], {"out": Path("table.md")}),
        "sheet": (["--sheet", "sheet.png"], {"sheet": Path("sheet.png")}),
        "against": (["--against", "runs/other"], {"against": Path("runs/other")}),
        "backend": (["--backend", "numpy"], {"backend": "numpy"}),
    },
    Bench: {
        "backend": (["--backend", "numpy"], {"backends": ("numpy",)}),
        "what": (["--what", "critic"], {"groups": ("critic",)}),
        "sizes": (["--sizes", "64", "96"], {"sizes": (64, 96)}),
        "batch": (["--batch", "3"], {"batch": 3}),
        "rounds": (["--rounds", "2"], {"rounds": 2}),
        "peer": (["--no-peer"], {"peer": False}),
        "peer_device": (["--peer-device", "cpu"], {"peer_device": "cpu"}),
        "json": (["--json", "{0}/times.json"], {}),
    },
}


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, options in OPTIONS.items() for o in options])
def test_every_option_reaches_the_function_and_changes_nothing_else(photo, monkeypatch, command, option):
    calls = []

    class Answer:
        def to_markdown(self):
            return "a table"

        def to_json(self):
            return {}

    def spy(*positional, **options):
        names = {Evaluate: ("model",), Bench: ("backends",), Explore: ("image",), Inpaint: ("image", "mask")}[command]
        calls.append(dict(zip(names, positional, strict=True)) | options)
        if command is Inpaint:
            calls[-1]["image"] = calls[-1]["image"].array().tolist()
        return photo_of(np.zeros((2, 2, 3), np.uint8)) if command is Inpaint else Answer()

    name = command.__name__.lower()
    called = {
        Inpaint: "ca_numpy.cli_inpaint.inpaint_photo", Explore: "ca_numpy.explore.server.serve",
        Evaluate: "ca_numpy.cli.evaluate", Bench: "ca_numpy.bench.bench",
    }  # fmt: skip
    monkeypatch.setattr(called[command], spy)
    written, becomes = OPTIONS[command][option]
    files = [str(photo / "photo.png"), str(photo / "mask.png")] if command is Inpaint else []
    for extra in ([], [text.format(photo) for text in written]):
        assert main([name, *files, *extra]) == 0
    plain, changed = calls
    plain.pop("progress", None), changed.pop("progress", None)
    assert changed == plain | becomes
    assert all(plain[key] != value for key, value in becomes.items())
    if command is Inpaint and option == "out":
        assert (photo / "other.png").exists()
    if command is Bench and option == "json":
        assert (photo / "times.json").exists()


@pytest.mark.parametrize("command", OPTIONS)
def test_no_option_is_without_a_row(command):
    fields = {}
    for field in dataclasses.fields(command):
        group = field.default_factory
        fields |= {f.name: f for f in (dataclasses.fields(group) if dataclasses.is_dataclass(group) else [field])}
    assert set(fields) - {"image", "mask"} == set(OPTIONS[command])


# ---- as commands behave ------------------------------------------------------------------------------------------
GROUPS = {
    "inpaint": ["hole", "method", "output"],
    "train": ["data", "network", "crop", "learning", "loss", "record"],
    "report": [],
    "evaluate": [], "data": [], "bench": [], "backends": [], "completion": [],
}  # fmt: skip


@pytest.mark.parametrize("command", GROUPS)
def test_the_help_speaks_the_language_of_people(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    told = capsys.readouterr().out
    assert {"inpaint": "IMAGE MASK", "evaluate": "MODEL"}.get(command, "") in told.splitlines()[0]
    assert "None}" not in told
    assert "{None" not in told
    assert "default: None" not in told or command == "train"  # two options of TrainConfig, which knows no command line
    assert re.findall(r"^\W+(\w+) options\b", told, re.MULTILINE) == GROUPS[command]


def test_every_command_is_in_the_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    told = capsys.readouterr().out
    assert all(f" {command} " in told for command in GROUPS)


def shell(script, **options):
    """A script of bash in which `ca-numpy` is this command."""
    python = f'"{sys.executable}" -m ca_numpy'
    bash = shutil.which("bash") or pytest.skip("no bash")
    return subprocess.run([bash, "-c", script.replace("ca-numpy", python)], capture_output=True, timeout=120, **options)


@pytest.mark.parametrize(
    "command",
    [
        "train --help | head -1",
        "backends | true",
        "backends 2>&1 | true",
        "inpaint - mask.png --backend numpy < photo.png | head -c 9",
    ],
)
def test_a_reader_that_leaves_is_no_error(photo, command):
    done = shell(f"ca-numpy {command}; exit ${{PIPESTATUS[0]}}", cwd=photo)
    assert done.stderr == b""
    assert done.returncode in (0, 141)  # SIGPIPE


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_closed_outputs_are_no_error(closed):
    done = shell(f"ca-numpy backends {closed}; echo $?; ca-numpy --help {closed}; echo $?")
    assert (done.stdout, done.stderr) == (b"0\n0\n", b"")


@pytest.mark.parametrize(("image", "mask"), [("-", "{0}/mask.png"), ("{0}/photo.png", "-")])
def test_standard_input_and_output_are_files_too(photo, image, mask):
    assert main(["inpaint", str(photo / "photo.png"), str(photo / "mask.png"), "--method", "mean"]) == 0
    command = ["inpaint", image.format(photo), mask.format(photo), "--method", "mean", "--out", "-"]
    with (photo / ("photo.png" if image == "-" else "mask.png")).open("rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "ca_numpy", *command], stdin=stream, capture_output=True, check=True
        )
    assert done.stdout == (photo / "photo-inpainted.png").read_bytes()
    assert done.stderr == b""


def test_a_picture_from_standard_input_goes_to_standard_output_in_a_lossless_format(photo):
    with Image.open(photo / "photo.png") as image:
        image.save(photo / "photo.tif")
        image.convert("P").save(photo / "photo.gif")
    for name, kind, lost in (("photo.tif", "TIFF", b""), ("photo.gif", "PNG", b"palette")):
        done = shell(f"ca-numpy inpaint - mask.png --method mean < {name}", cwd=photo, check=True)
        with Image.open(io.BytesIO(done.stdout)) as image:
            assert (image.format, image.size) == (kind, (30, 20))
        assert lost in done.stderr
        assert done.stderr.count(b"\n") == bool(lost)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("- -", "picture and the mask"),
        ("- mask.png", "standard input"),
        (". -", "a folder"),
        (". mask.png --out -", "a folder"),
    ],
)
def test_what_cannot_come_from_a_pipe_is_one_line(photo, command, said):
    done = shell(f"ca-numpy inpaint {command} < /dev/null", cwd=photo)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert said in done.stderr.decode()


def test_pictures_are_not_written_to_a_terminal(photo, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["inpaint", str(photo / "photo.png"), str(photo / "mask.png"), "--out", "-"]) == 2
    assert "terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("inp", ["inpaint"]),
        ("inpaint --mask", ["--mask-kind"]),
        ("inpaint --method gui", ["guided"]),
        ("train --ema", ["--ema"]),
        ("inpaint photo.png --out ma", ["mask.png"]),
        ("inpaint pho", []),  # which leaves it to bash, that completes names of files
    ],
)
def test_the_completion_script_works_in_bash(photo, words, offered):
    script = """
        source <(ca-numpy completion bash)
        complete -p 'ca'-numpy; COMP_WORDS=(command "$@"); COMP_CWORD=$#
        _ca_numpy; printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = shell(f"set -- {words}; {script}", cwd=photo)
    declared, *found = done.stdout.decode().split("\n")
    assert "-o default" in declared
    assert [line for line in found if line] == offered
