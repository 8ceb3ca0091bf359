"""The command line: ca-numpy train | inpaint | evaluate | data | bench | backends."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional
from tyro.conf import arg as option

from ca_numpy import machine
from ca_numpy import registry as backends
from ca_numpy.atomic import write_text
from ca_numpy.bench import GROUPS, bench
from ca_numpy.data import scenes
from ca_numpy.data.images import WRITABLE
from ca_numpy.data.photo import read_photo
from ca_numpy.errors import UserError, printable
from ca_numpy.evaluation import evaluate
from ca_numpy.evaluation.pairs import Holes
from ca_numpy.filling.folders import Report, inpaint_folder
from ca_numpy.filling.holes import Box, MaskKind
from ca_numpy.filling.inpainting import Method, inpaint_photo
from ca_numpy.training import PRESETS, STAGES, TrainConfig, TrainResult, train, train_in_stages
from ca_numpy.training.checkpoint import load_checkpoint
from ca_numpy.training.stages import refuse_set

#: Options that may be left out: in the help, without Python's None.
PathOption = Annotated[Path | None, option(metavar="PATH")]
IntOption = Annotated[int | None, option(metavar="INT")]


@dataclass
class Train:
    """Train the whole system with Algorithm 1 of the paper. Without options: a few minutes on two cores."""

    config: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    preset: str = "quick"
    """Defaults for all options below: quick; medium, for a folder of pictures; finetune, to train the bundled weights
    on a folder; paper; or scenes, how the bundled weights were trained, in stages: repeat the command to resume."""
    out: PathOption = None
    """Folder of the run, to be created. Default: runs/001, runs/002, …; for stages runs/scenes."""
    resume: PathOption = None
    """Folder of an interrupted run to resume, bit for bit."""
    backend: str = "auto"
    """numpy, numba, cupy or cupy:tf32; auto picks the fastest that works. `ca-numpy backends` lists them."""
    minutes: Annotated[float | None, option(metavar="FLOAT")] = None
    """Stop with a checkpoint after this time."""
    quiet: bool = False
    """Print nothing."""

    def run(self) -> int:
        default = _default_config(self.preset, self.resume)
        given = {
            f.name: getattr(self.config, f.name)
            for f in dataclasses.fields(TrainConfig)
            if getattr(self.config, f.name) != getattr(default, f.name)
        }
        if self.preset in STAGES and not self.resume:
            result = train_in_stages(
                self.preset, out=self.out, backend=self.backend, minutes=self.minutes, quiet=self.quiet, **given
            )
            return _status(result)
        result = train(
            None if self.resume else default,
            out=self.out, resume=self.resume, backend=self.backend, minutes=self.minutes, quiet=self.quiet,
            **given,
        )  # fmt: skip
        return _status(result)


def _status(result: TrainResult) -> int:
    """The exit status: as shells give for a signal, so that `train && next` stops with the training."""
    return 128 + result.signal if result.interrupted else 0


@dataclass
class Inpaint:
    """Fill the hole of a picture, or of every picture of a folder. The mask is white where something is missing."""

    image: Positional[Annotated[Path, option(metavar="IMAGE")]]
    """The picture, in any format that Pillow reads; or a folder of pictures."""
    mask: Positional[Annotated[Path | None, option(metavar="MASK")]] = None
    """An image of the same size, white = hole; or with the hole transparent. For a folder, a folder with masks of the
    same names, or one mask for all. Not needed with --box."""
    method: Method = "guided"
    """guided: copied pixels, arranged by the network; network: the paper's direct output; the others use no model."""
    model: PathOption = None
    """A run folder or weight file. Default: the bundled weights."""
    out: PathOption = None
    """Output file, or folder. Default: photo-inpainted.png next to photo.jpg, or the format of a lossless one; for a
    folder, FOLDER-inpainted beside it."""
    overwrite: bool = False
    """Replace results that exist. Without it, a folder's are left as they are, and only the missing ones are made."""
    report: PathOption = None
    """Write what became of each picture as JSON."""
    invert: bool = False
    """The hole is black, not white."""
    mask_kind: MaskKind = "auto"
    """white on black; transparent: erased; paint: of any colour, on an empty layer; difference: a copy of the picture
    with the hole painted over. auto decides among the first three, and refuses what is not clear."""
    box: Annotated[tuple[str, ...], option(metavar="BOX ...")] = ()
    """Rectangles LEFT,TOP,WIDTH,HEIGHT to fill, in pixels; with or without a mask."""
    grow: int = 0
    """Widen the hole by this many pixels, for masks that are too tight."""
    largest_hole: IntOption = None
    """Largest hole, in pixels, the model was trained on. Default: as its file says. Larger holes are filled at a
    reduced size, from their surroundings alone; 0 fills the whole picture at full size."""
    blend: bool = True
    """Shift the fill to match the known pixels at the edge, so that no seam shows."""
    max_pixels: IntOption = None
    """Refuse larger files. Default: 80 million, or the environment variable CA_NUMPY_MAX_PIXELS."""
    backend: str = "auto"
    """numpy, numba, cupy or cupy:tf32; auto picks the fastest that works. `ca-numpy backends` lists them."""

    def run(self) -> int:
        options: dict[str, Any] = {
            "method": self.method, "model": self.model, "invert": self.invert, "mask_kind": self.mask_kind,
            "boxes": [_box(text) for text in self.box], "grow": self.grow, "largest_hole": self.largest_hole,
            "blend": self.blend, "backend": self.backend, "max_pixels": self.max_pixels,
        }  # fmt: skip
        return self._folder(options) if self.image.is_dir() else self._file(options)

    def _file(self, options: dict[str, Any]) -> int:
        photo = read_photo(self.image, max_pixels=self.max_pixels)
        out = self.out or _free(self.image.with_name(f"{self.image.stem}-inpainted{photo.suffix}"))
        if out.resolve() in (self.image.resolve(), self.mask and self.mask.resolve()):
            raise UserError(f"{str(out)!r} would overwrite the input: give another --out")
        if not out.parent.is_dir() or out.suffix.lower() not in WRITABLE:  # before the work, not after
            raise UserError(f"cannot write {str(out)!r}: use an existing folder and one of {', '.join(WRITABLE)}")
        if out.exists() and not self.overwrite:
            raise UserError(f"{str(out)!r} exists: give another --out, or --overwrite")
        photo = inpaint_photo(photo, self.mask, quiet=False, **options)
        if lost := "; ".join(photo.lost + photo.save(out)):
            print(printable(f"ca-numpy: {out} does not keep {lost}"), file=sys.stderr)
        if self.report:
            name = self.image.name
            Report(filled={name: str(out)}, notes={name: lost} if lost else {}).save(self.report)
        print(printable(str(out)) if sys.stdout.isatty() else out)
        return 0

    def _folder(self, options: dict[str, Any]) -> int:
        out = self.out or self.image.resolve().with_name(f"{self.image.resolve().name}-inpainted")
        done = inpaint_folder(self.image, self.mask, out, overwrite=self.overwrite, quiet=False, **options)
        if self.report:
            done.save(self.report)
        for name, why in done.failed.items():
            print(printable(f"ca-numpy: {name}: {why}"), file=sys.stderr)
        counts = f"{len(done.filled)} filled, {len(done.there)} there before, {len(done.failed)} failed"
        print(printable(f"{out}: {counts}"))
        return 1 if done.failed else 0


def _free(path: Path) -> Path:
    """The path, or the first of path-2, path-3, … that does not exist."""
    numbered = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(2))
    return path if not path.exists() else next(other for other in numbered if not other.exists())


def _box(text: str) -> Box:
    """Four integers separated by commas."""
    try:
        left, top, width, height = (int(number) for number in text.split(","))
    except ValueError:
        raise UserError(f"--box {text}: give LEFT,TOP,WIDTH,HEIGHT in pixels, as in 120,80,64,64") from None
    return left, top, width, height


@dataclass
class Evaluate:
    """Table 1 of the paper for a model and other methods: ℓ1, ℓ2, PSNR, TV, SSIM, SWD, over hole and whole picture."""

    model: Positional[Annotated[Path | None, option(metavar="MODEL")]] = None
    """A run folder or weight file. Default: the bundled weights."""
    methods: tuple[str, ...] = ()
    """Methods to compare: model, mean, guided, patchmatch, telea, navier-stokes, biharmonic, pypatchmatch. Default: the
    first two."""
    data: Annotated[str | None, option(metavar="DATA")] = None
    """As for training: a folder, "photographs", SET:FOLDER, … Default for a run: its held-out pictures."""
    size: IntOption = None
    """Side of the crops in pixels. Default: the training size for a run, else 256."""
    count: int = 32
    """Number of crops."""
    holes: Holes = "centre"
    """A centred square, or drawn from the seed: one box, several, brush strokes, or these in turn."""
    seed: int = 0
    """Seed of the holes."""
    pairs: PathOption = None
    """List of pictures and holes, .json: used if it exists, else written, for others to repeat the evaluation."""
    out: PathOption = None
    """Also write the table to this .md or .json file."""
    sheet: PathOption = None
    """Also draw the first pictures to this .png file: input, each method, truth."""
    against: PathOption = None
    """A second model to compare with on the same pictures."""
    backend: str = "auto"
    """numpy, numba, cupy or cupy:tf32; auto picks the fastest that works. `ca-numpy backends` lists them."""

    def run(self) -> None:
        table = evaluate(
            self.model, data=self.data, size=self.size, count=self.count, holes=self.holes, seed=self.seed,
            out=self.out, backend=self.backend, quiet=False, methods=self.methods or None, pairs=self.pairs,
            sheet=self.sheet, against=self.against,
        )  # fmt: skip
        print("\n".join(map(printable, table.to_markdown().splitlines())))


@dataclass
class Data:
    """Get training pictures: `scenes`, landscapes in the public domain. Repeat the command to resume."""

    what: Positional[Literal["scenes"]]
    """scenes: photographs of 1440×720 pixels from a Debian package of 136 MB."""
    out: Path = Path("scenes")
    """Folder to create."""
    licence: scenes.Licence = "public-domain"
    """Only pictures in the public domain, or all, including those under CC BY-SA. licences.csv lists each licence."""
    deb: PathOption = None
    """The package file, if you have it. Default: download it with apt-get."""

    def run(self) -> None:
        made = scenes.fetch(self.out, licence=self.licence, deb=self.deb)
        print(
            f"{made.train} pictures to train on and {made.validation} to validate on, {made.size / 1e6:.0f} MB:  "
            f"ca-numpy train --preset medium --data scenes:{made.folder}"
        )


@dataclass
class Bench:
    """Time the parts of the system on each backend in turn, and on PyTorch if it is installed."""

    backend: tuple[str, ...] = ()
    """Backends, also as cupy:tf32. Default: all fast ones. The last is compared with the others."""
    what: tuple[str, ...] = GROUPS
    """What to time: layers, attention, forward, critic, iteration."""
    sizes: tuple[int, ...] = (256, 512, 1024)
    """Picture sides in pixels, for layers, attention and forward."""
    batch: int = 2
    """Pictures in a batch, for critic and iteration."""
    rounds: int = 5
    """Each round runs everything once; medians are reported. Slow parts run once."""
    peer: bool | None = None
    """Compare with PyTorch. Default: if it is installed."""
    peer_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for PyTorch; auto uses CUDA if available and a cupy backend is timed."""
    json: PathOption = None
    """Also write every measured second to this file."""

    def run(self) -> None:
        if any(size < 64 or size % 32 for size in self.sizes) or self.rounds < 1 or self.batch < 1:
            raise UserError(f"sizes must be multiples of 32, at least 64; rounds and batch positive; got {self}")
        if self.json:  # fail before hours of work, not after
            try:
                write_text(self.json, "{}\n")
            except OSError as e:
                raise UserError(f"cannot write {self.json}: {e.strerror}") from e
        fast = [name for name in backends.available_backends() if name != "cupy-emulated"]
        report = bench(
            self.backend or fast, groups=self.what, sizes=self.sizes, batch=self.batch,
            rounds=self.rounds, peer=self.peer, peer_device=self.peer_device,
            progress=lambda line: print(line, "…", file=sys.stderr),
        )  # fmt: skip
        print(report.to_markdown())
        if self.json:
            write_text(self.json, json.dumps(report.to_json(), indent=1) + "\n")


@dataclass
class Backends:
    """List the backends, whether they work here, and how to make them work, or work faster."""

    def run(self) -> None:
        for name in backends.registered_backends():
            why = backends.why_unavailable(name)
            print(f"{name:14} {'works:  ' + backends.load_backend(name).describe() if why is None else why}")
        print(f"{'machine':14} {machine.cpu_model()}: {machine.cores()} cores, {machine.vector_instructions()}")
        todo = machine.advice(machine.blas().kernels, machine.vector_instructions())
        if todo:
            print(f"{'faster':14} {todo}")


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Inpaint, tyro.conf.subcommand("inpaint")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Backends, tyro.conf.subcommand("backends")]
)


def main(argv: list[str] | None = None) -> int:
    """Run a command. Invalid input gives one line on stderr and status 2."""
    args = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # print ? where the terminal has no ℓ
    if args == ["--version"]:
        print("ca-numpy", version("ca-numpy"))
        return 0
    try:
        if args[:1] == ["train"]:  # a preset changes the defaults of all other options
            default = _train_defaults(args)
            return tyro.cli(Train, args=args[1:], default=default, prog="ca-numpy train").run()
        return tyro.cli(Command, args=args, prog="ca-numpy", description=__doc__).run() or 0
    except UserError as e:
        print(f"ca-numpy: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        where = f" {e.filename!r}" if e.filename else ""
        print(printable(f"ca-numpy: cannot read or write{where}: {e.strerror or e}"), file=sys.stderr)
        return 2
    except MemoryError as e:
        detail = " ".join(str(e).split()) or "an allocation failed"
        print(f"ca-numpy: not enough memory ({detail}): use smaller batches or pictures", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _train_defaults(args: list[str]) -> Train:
    """Defaults of the other options: those of the resumed run, or of a preset."""
    resumed, preset = _value(args, "--resume"), _value(args, "--preset") or "quick"
    if resumed and _value(args, "--preset"):
        raise UserError("a resumed run keeps its options: omit --preset")
    if preset in STAGES:  # even if the value equals the first stage's
        refuse_set(preset, (option.removeprefix("no_") for option in _options(args)))
    return Train(config=_default_config(preset, Path(resumed) if resumed else None), preset=preset)


def _default_config(preset: str, resume: Path | None) -> TrainConfig:
    if resume:
        return load_checkpoint(resume)[2]
    if preset in STAGES:
        return STAGES[preset][0]
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}: choose from {', '.join([*PRESETS, *STAGES])}")
    return PRESETS[preset]


def _options(args: list[str]) -> list[str]:
    """The names of all given options, spelled as fields."""
    return [arg[2:].partition("=")[0].replace("-", "_") for arg in args if arg.startswith("--")]


def _value(args: list[str], option: str) -> str | None:
    """The value of `--option value` or `--option=value`, if given."""
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        if arg == option or arg.startswith(option + "="):
            return arg.partition("=")[2] or following
    return None


if __name__ == "__main__":
    sys.exit(main())
