"""The command line: ca-numpy train | report | inpaint | explore | evaluate | data | bench | backends | completion."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
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
from ca_numpy.cli_explore import Explore
from ca_numpy.cli_inpaint import Inpaint, IntOption, PathOption
from ca_numpy.cli_report import Report
from ca_numpy.data import scenes
from ca_numpy.errors import UserError, printable
from ca_numpy.evaluation import evaluate
from ca_numpy.evaluation.pairs import Holes
from ca_numpy.filling import ranks
from ca_numpy.training import PRESETS, STAGES, TensorBoard, TrainConfig, TrainResult, train, train_in_stages
from ca_numpy.training.checkpoint import saved_state
from ca_numpy.training.config import (
    CropOptions,
    DataOptions,
    LearningOptions,
    LossOptions,
    NetworkOptions,
    RecordOptions,
)
from ca_numpy.training.stages import refuse_set


@dataclass
class Train:
    """Train the whole system with Algorithm 1 of the paper. Without options: a few minutes on two cores."""

    preset: str = "quick"
    """Defaults for all options below: quick; medium, for a folder of pictures; finetune, to train the bundled weights
    on a folder; paper; or scenes, how the bundled weights were trained, in stages: repeat the command to resume."""
    out: PathOption = None
    """Folder of the run, to be created. Default: runs/001, runs/002, …; for stages runs/scenes."""
    resume: PathOption = None
    """Folder of an interrupted run to resume, bit for bit."""
    backend: str = "auto"
    """numpy, numba, cupy or cupy:tf32; auto picks the fastest that works. `ca-numpy backends` lists them."""
    minutes: Annotated[float | None, option(help_behavior_hint="")] = None
    """Stop with a checkpoint after this time."""
    quiet: bool = False
    """Print nothing."""
    tensorboard: PathOption = None
    """Also write the log to this folder for TensorBoard; needs the extra tensorboard."""
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    network: OmitArgPrefixes[NetworkOptions] = field(default_factory=NetworkOptions)
    crop: OmitArgPrefixes[CropOptions] = field(default_factory=CropOptions)
    learning: OmitArgPrefixes[LearningOptions] = field(default_factory=LearningOptions)
    loss: OmitArgPrefixes[LossOptions] = field(default_factory=LossOptions)
    record: OmitArgPrefixes[RecordOptions] = field(default_factory=RecordOptions)

    @classmethod
    def of(cls, config: TrainConfig, **options: Any) -> Train:
        """With the values of a configuration in its groups."""
        groups = {
            name: type(group)(**{option: getattr(config, option) for option in vars(group)})
            for name, group in vars(cls()).items()
            if dataclasses.is_dataclass(group) and not isinstance(group, type)
        }
        return cls(**groups | options)

    @property
    def config(self) -> TrainConfig:
        """All groups in one."""
        groups = self.data, self.network, self.crop, self.learning, self.loss, self.record
        return TrainConfig(**{name: value for group in groups for name, value in vars(group).items()})

    def run(self) -> int:
        comm = ranks.world()
        default = vars(_default_config(self.preset, self.resume))
        given = {name: value for name, value in vars(self.config).items() if value != default[name]}
        board = TensorBoard(self.tensorboard) if self.tensorboard and (comm is None or comm.rank == 0) else None
        options: dict[str, Any] = {
            "out": self.out, "backend": self.backend, "minutes": self.minutes, "quiet": self.quiet, "on_record": board,
            "comm": comm,
        }  # fmt: skip
        try:
            if self.preset in STAGES and not self.resume:
                return _status(train_in_stages(self.preset, **options, **given))
            config = None if self.resume else TrainConfig(**default)
            return _status(train(config, resume=self.resume, **options, **given))
        finally:
            if board:
                board.close()


def _status(result: TrainResult) -> int:
    """The exit status: as shells give for a signal, so that `train && next` stops with the training."""
    return 128 + result.signal if result.interrupted else 0


@dataclass
class Evaluate:
    """Table 1 of the paper for a model and other methods: ℓ1, ℓ2, PSNR, TV, SSIM, SWD, over hole and whole picture."""

    model: Positional[Annotated[Path | None, option(metavar="MODEL", help_behavior_hint="")]] = None
    """A run folder or weight file. Default: the bundled weights."""
    methods: Annotated[tuple[str, ...], option(help_behavior_hint="")] = ()
    """Methods to compare: model, mean, guided, patchmatch, telea, navier-stokes, biharmonic, pypatchmatch. Default: the
    first two."""
    data: Annotated[str | None, option(metavar="DATA", help_behavior_hint="")] = None
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
    root: PathOption = None
    """A folder that the list's pictures may be in, besides the list's own."""
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
            root=self.root, sheet=self.sheet, against=self.against,
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

    backend: Annotated[tuple[str, ...], option(help_behavior_hint="")] = ()
    """Backends, also as cupy:tf32. Default: all fast ones. The last is compared with the others."""
    what: Annotated[tuple[str, ...], option(help_behavior_hint="")] = ()
    """What to time: layers, attention, forward, critic, iteration. Default: all."""
    sizes: tuple[int, ...] = (256, 512, 1024)
    """Picture sides in pixels, for layers, attention and forward."""
    batch: int = 2
    """Pictures in a batch, for critic and iteration."""
    rounds: int = 5
    """Each round runs everything once; medians are reported. Slow parts run once."""
    peer: Annotated[bool | None, option(help_behavior_hint="")] = None
    """Compare with PyTorch. Default: if it is installed."""
    peer_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for PyTorch; auto uses CUDA if available and a cupy backend is timed."""
    json: PathOption = None
    """Also write every measured second to this file."""

    def run(self) -> None:
        from ca_numpy.bench import GROUPS, bench  # only for this command

        if any(size < 64 or size % 32 for size in self.sizes) or self.rounds < 1 or self.batch < 1:
            raise UserError(f"sizes must be multiples of 32, at least 64; rounds and batch positive; got {self}")
        if self.json:  # fail before hours of work, not after
            try:
                write_text(self.json, "{}\n")
            except OSError as e:
                raise UserError(f"cannot write {self.json}: {e.strerror}") from e
        fast = [name for name in backends.available_backends() if name != "cupy-emulated"]
        report = bench(
            self.backend or fast, groups=self.what or GROUPS, sizes=self.sizes, batch=self.batch,
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


@dataclass
class Completion:
    """Print a script that completes commands, options and files in a shell. bash: source <(ca-numpy completion bash)"""

    shell: Positional[Literal["bash", "zsh", "fish"]]
    """zsh: as the file _ca-numpy in a folder of $fpath; fish: as ~/.config/fish/completions/ca-numpy.fish."""

    def run(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as script, contextlib.suppress(SystemExit):
            _parsed(Command, ["--tyro-write-completion", self.shell, "-"])
        # tyro (1.0.17) offers lines of descriptions as if they were options, and no files for positional arguments.
        text = re.sub("^COMPLETION_SPEC.*", lambda spec: re.sub(r"\\+n", " ", spec[0]), script.getvalue(), flags=re.M)
        print(text + _OR_FILES[self.shell])


#: Where there is nothing else to offer, files are.
_OR_FILES = {
    "bash": """
_ca_numpy() { _tyro_ca_numpy; [[ -n ${COMPREPLY[*]} ]] || COMPREPLY=(); }
complete -o bashdefault -o default -F _ca_numpy ca-numpy""",
    "zsh": "(( compstate[nmatches] )) || _files",
    "fish": "complete --command ca-numpy --condition 'test -z \"$(_tyro_ca_numpy)\"' --force-files",
}


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Inpaint, tyro.conf.subcommand("inpaint")]
    | Annotated[Explore, tyro.conf.subcommand("explore")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Backends, tyro.conf.subcommand("backends")]
    | Annotated[Completion, tyro.conf.subcommand("completion")]
)


def main(argv: list[str] | None = None) -> int:
    """Run a command. Invalid input gives one line on stderr and status 2; a reader that leaves, as `head`, ends it."""
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # print ? where the terminal has no ℓ
    try:
        try:
            return _main(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at exit
        return 141  # as shells say of a program that SIGPIPE ended


def _main(args: list[str]) -> int:
    if args == ["--version"]:
        print("ca-numpy", version("ca-numpy"))
        return 0
    if args[:1] == ["train"] and (ranks.launched() or (0,))[0]:  # the first speaks for all
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        if args[:1] == ["train"]:  # a preset changes the defaults of all other options
            default = _train_defaults(args)
            return int(_parsed(Train, args[1:], default=default, prog="ca-numpy train").run())
        return _parsed(Command, args, description=__doc__).run() or 0
    except UserError as e:
        print(f"ca-numpy: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
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


def _parsed(command: Any, args: list[str], *, prog: str = "ca-numpy", **options: Any) -> Any:
    """The command with its options. Python's None is no value that users can give."""
    return tyro.cli(command, args=args, prog=prog, config=(tyro.conf.DisallowNone,), **options)


def _train_defaults(args: list[str]) -> Train:
    """Defaults of the other options: those of the resumed run, or of a preset."""
    resumed, preset = _value(args, "--resume"), _value(args, "--preset") or "quick"
    if resumed and _value(args, "--preset"):
        raise UserError("a resumed run keeps its options: omit --preset")
    if preset in STAGES:  # even if the value equals the first stage's
        refuse_set(preset, (option.removeprefix("no_") for option in _options(args)))
    return Train.of(_default_config(preset, Path(resumed) if resumed else None), preset=preset)


def _default_config(preset: str, resume: Path | None) -> TrainConfig:
    if resume:
        return saved_state(resume)[1]
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
