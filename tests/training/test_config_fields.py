"""Every field of TrainConfig changes what is computed, as its docstring says: one row for each, and none without."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from training_cases import (
    critics_loss,
    draw_system,
    generator_loss,
    generators_of,
    loader_of,
    sampler_of,
    slopes,
)
from vgg_cases import draw_vgg

from ca_numpy.data import ImageFolder, split, validation_crops
from ca_numpy.errors import UserError
from ca_numpy.models import OFFICIAL, PAPER, Critic, Generator
from ca_numpy.models.io import save
from ca_numpy.training import TrainConfig, train
from ca_numpy.training.algorithm1 import update_critics, update_generator
from ca_numpy.training.batches import Batch
from ca_numpy.training.run import Run
from ca_numpy.training.validation import Validation

#: Rows change this. Its paths are below the folder that `places` makes.
BASE = TrainConfig(
    data="pictures", width=4, critic_width=4, size=32, box=16, max_shrink=2, batch=2, steps=4, pretrain=2,
    critic_steps=1, validate_every=100, pictures_every=100, checkpoint_every=100,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder with the pictures and weights that the rows name, and we are in it."""
    folder, rng = tmp_path_factory.mktemp("places"), np.random.default_rng(0)
    for name, count in (("pictures", 10), ("others", 3)):
        (folder / name).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 256, (48, 60, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}-{i}.png")
    for seed in (0, 1):
        np.savez(folder / f"vgg-{seed}.npz", **draw_vgg(seed))
    save(folder / "weights.safetensors", Generator(width=4, rng=np.random.default_rng(9)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


class Other(Generator):
    """A generator of another architecture."""

    architecture = "other-for-test"


class Patch(Critic):
    """A critic of another kind."""

    kind = "patch-for-test"


class Deeds(NamedTuple):
    """What a run does, without learning: its updates in order, their rates, and the steps after which it does more.

    updates   D an update of the critics, G one of the generator with their opinion, g one without
    """

    updates: str
    rates: list[float]
    measured: list[int]
    drawn: list[int]
    saved: list[int]
    generator: Generator


class Seen:
    """What is computed under a configuration, found out when it is asked for."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder

    # ---- data ----
    @cached_property
    def run(self) -> Run:
        return Run(self.config)

    @cached_property
    def batch(self) -> Batch:
        with self.run.batches.loader:
            return self.run.system.next_batch()

    def loads(self, **changed: Any) -> bool:
        """Whether crops are those of a loader by hand, and the held-out crops are cut by the same rule."""
        config = dataclasses.replace(BASE, **changed)
        held_out, window = self.run.validation.dataset, (config.smallest_window + config.largest_window) / 2
        crops = validation_crops(held_out, size=config.size, count=16, window=window, crops=config.crops)
        return np.array_equal(self.batch.images, next(loader_of(config))) and np.array_equal(
            self.run.validation.batch.images, crops
        )

    def holds_out(self, folder: str, *, validation: float) -> bool:
        """Whether what is measured on are the pictures that are held out by their names."""
        _, held_out = split(ImageFolder(folder), validation=validation)
        return self.run.validation.dataset.names == held_out.names

    def masks(self, **changed: Any) -> bool:
        """Whether masks and boxes are those of a sampler by hand."""
        config = dataclasses.replace(BASE, **changed)
        masks, boxes = sampler_of(config)(generators_of(config)[1], config.batch)
        return np.array_equal(self.batch.masks, masks) and self.batch.boxes == boxes

    # ---- what learns ----
    @property
    def generator(self) -> Generator:
        return self.run.system.generator

    @property
    def critics(self) -> list[Any]:
        return [self.run.system.local_critic, self.run.system.global_critic]

    @property
    def adams(self) -> list[Any]:
        return list(self.run.system.optimisers.values())

    def descends(self, **changed: Any) -> bool:
        """Whether the generator goes along the gradient of its loss by hand."""
        system, drawn = draw_system(self.config, recording=True)
        update_generator(system, self.config, rate=1.0, adversarial=True)
        loss = generator_loss(system, dataclasses.replace(self.config, **changed), drawn[0])
        return self._along(loss, system.optimisers["generator"])

    def criticises(self, **changed: Any) -> bool:
        """Whether the critics go along the gradient of their losses and penalties by hand."""
        system, drawn = draw_system(self.config, recording=True)
        update_critics(system, self.config)
        loss = critics_loss(system, dataclasses.replace(self.config, **changed), drawn[0])
        return self._along(loss, system.optimisers["critics"])

    def _along(self, loss: Callable[[], float], adam: Any) -> bool:
        slope, along = slopes(loss, adam)
        return abs(slope) > 1e-3 and along == pytest.approx(slope, rel=1e-4)

    # ---- the loop ----
    @cached_property
    def deeds(self) -> Deeds:
        loop, updates, rates = importlib.import_module("ca_numpy.training.loop"), list[str](), list[float]()
        measured, drawn, saved = list[int](), list[int](), list[int]()

        def update_generator(system: Any, config: Any, *, rate: float, adversarial: bool) -> dict[str, Any]:
            updates.append("G" if adversarial else "g")
            rates.append(rate)
            return {}

        def measure(self: Any, generator: Any) -> dict[str, float]:
            measured.append(len(rates))
            return dict.fromkeys(("validation_l1_coarse", "validation_l1_refined", "validation_psnr"), 0.0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "update_critics", lambda *_: updates.append("D") or {})
            patch.setattr(loop, "update_generator", update_generator)
            patch.setattr(loop, "draw_pictures", lambda *_: drawn.append(len(rates)))
            patch.setattr(loop, "draw_curves", lambda *_: None)
            patch.setattr(loop, "draw_photograph", lambda *_: [])
            patch.setattr(Validation, "measure", measure)
            patch.setattr(Run, "save", lambda *_: saved.append(len(rates)))
            trained = train(self.config, out=self.folder, backend="numpy", quiet=True)
        return Deeds("".join(updates), rates, measured, drawn, saved, trained.generator)

    @cached_property
    def keeps(self) -> int:
        """How many of ten checkpoints are kept."""
        self.run.keep_in(self.folder)
        for self.run.step in range(10):
            self.run.save()
        return len(list(self.folder.glob("checkpoint*.safetensors")))

    def is_refused(self, message: str) -> bool:
        try:
            return not self.deeds
        except UserError as error:
            return message in str(error)


class Row(NamedTuple):
    """A value for a field, and what is then so and was not before. `beside`: other fields, before and then."""

    value: Any
    holds: Callable[[Seen], bool]
    beside: dict[str, Any] = {}


def same(a: Generator, b: Generator) -> bool:
    return all(np.array_equal(x, b.arrays()[name]) for name, x in a.arrays().items())


def first_weights(config: TrainConfig) -> Generator:
    return Generator(width=config.width, rng=generators_of(config)[3])


def channels(network: Any) -> int:
    """Of a network's first layer."""
    return next(iter(network.parameters().values())).shape[-1]


def takes(network: Any, side: int) -> bool:
    """Whether a critic judges squares of this side."""
    try:
        return network(np.zeros((1, side, side, 3), np.float32)).shape == (1, 1)
    except ValueError:
        return False


JUDGED = {"vgg": "vgg-0.npz"}
ROWS = {
    "data": Row("others", lambda s: s.holds_out("others", validation=BASE.validation) and s.loads(data="others")),
    "validation": Row(0.7, lambda s: s.holds_out("pictures", validation=0.7) and s.loads(validation=0.7)),
    "architecture": Row("other-for-test", lambda s: type(s.generator) is Other),
    "critic": Row("patch-for-test", lambda s: [type(c) for c in s.critics] == [Patch, Patch]),
    "variant": Row("paper", lambda s: s.generator.variant == PAPER),
    "attention": Row("none", lambda s: s.generator.attention == "none"),
    "propagation": Row(False, lambda s: s.generator.variant == dataclasses.replace(OFFICIAL, propagation=False)),
    "width": Row(6, lambda s: channels(s.generator) == 6),
    "critic_width": Row(5, lambda s: [channels(c) for c in s.critics] == [5, 5]),
    "size": Row(48, lambda s: s.loads(size=48) and s.masks(size=48) and takes(s.critics[1], 48)),
    "box": Row(
        20,
        lambda s: s.masks(box=20) and takes(s.critics[0], 20) and s.run.validation.batch.boxes[0] == (6, 6, 20, 20),
    ),
    "max_shrink": Row(6, lambda s: s.masks(max_shrink=6)),
    "masks": Row("free-form", lambda s: s.masks(masks="free-form")),
    "mask_per_batch": Row(True, lambda s: s.masks(mask_per_batch=True)),
    "crops": Row("whole", lambda s: s.loads(crops="whole")),
    "smallest_window": Row(0.4, lambda s: s.loads(smallest_window=0.4)),
    "largest_window": Row(0.9, lambda s: s.loads(largest_window=0.9)),
    "flip": Row(False, lambda s: s.loads(flip=False)),
    "jitter": Row(0.3, lambda s: s.loads(jitter=0.3)),
    "init": Row(
        "weights.safetensors", lambda s: same(s.deeds.generator, Generator(width=4, rng=np.random.default_rng(9)))
    ),
    "steps": Row(6, lambda s: s.deeds.updates == "gg" + 4 * "DG"),
    "pretrain": Row(1, lambda s: s.deeds.updates == "g" + 3 * "DG"),
    "critic_steps": Row(3, lambda s: s.deeds.updates == "gg" + 2 * "DDDG"),
    "batch": Row(3, lambda s: s.loads(batch=3) and s.masks(batch=3)),
    "rate": Row(0.5, lambda s: s.deeds.rates == pytest.approx(np.linspace(0.5, 0.01, 4))),
    "final_rate": Row(0.4, lambda s: s.deeds.rates == pytest.approx(np.linspace(1e-3, 4e-4, 4))),
    "critic_rate": Row(0.03, lambda s: s.adams[1].rate == 0.03),
    "betas": Row((0.3, 0.7), lambda s: [a.betas for a in s.adams] == 2 * [(0.3, 0.7)]),
    "shared_clock": Row(True, lambda s: s.adams[0].clock is s.adams[1].clock),
    "ema": Row(0.9, lambda s: [average.decay for average in s.run.system.averages.values()] == [0.9]),
    "l1_weight": Row(0.3, lambda s: s.descends(l1_weight=0.3)),
    "known_weight": Row(0.3, lambda s: s.descends(known_weight=0.3)),
    "coarse_weight": Row(0.3, lambda s: s.descends(coarse_weight=0.3)),
    "refine_l1": Row(False, lambda s: s.descends(refine_l1=False)),
    "tv_weight": Row(0.3, lambda s: s.descends(tv_weight=0.3)),
    "perceptual_weight": Row(0.3, lambda s: s.descends(perceptual_weight=0.3), JUDGED),
    "style_weight": Row(0.3, lambda s: s.descends(style_weight=0.3), JUDGED),
    "texture_weight": Row(0.3, lambda s: s.descends(texture_weight=0.3)),
    "vgg": Row("vgg-1.npz", lambda s: s.descends(vgg="vgg-1.npz"), {**JUDGED, "style_weight": 0.3}),
    "adversarial": Row(
        "lsgan",
        lambda s: s.descends(adversarial="lsgan") and s.criticises(adversarial="lsgan"),
        {"adversarial_weight": 0.5},
    ),
    "adversarial_weight": Row(0.5, lambda s: s.descends(adversarial_weight=0.5)),
    "penalty_weight": Row(3.0, lambda s: s.criticises(penalty_weight=3.0)),
    "discount": Row("none", lambda s: s.descends(discount="none")),
    "gamma": Row(0.5, lambda s: s.descends(gamma=0.5)),
    "precision": Row("bf16", lambda s: s.is_refused("'numpy' cannot compute in 'bf16'")),
    "seed": Row(
        1, lambda s: s.loads(seed=1) and s.masks(seed=1) and same(s.generator, first_weights(s.config)),
    ),
    "validate_every": Row(2, lambda s: s.deeds.measured == [0, 2, 4]),
    "pictures_every": Row(2, lambda s: s.deeds.drawn == [2, 4]),
    "checkpoint_every": Row(2, lambda s: s.deeds.saved == [0, 2, 4]),
    "checkpoints": Row(3, lambda s: s.keeps == 3),
}  # fmt: skip


def test_every_field_has_a_row() -> None:
    assert set(ROWS) == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize("field", ROWS)
def test_every_field_changes_what_its_docstring_says(field: str, tmp_path: Path) -> None:
    value, holds, beside = ROWS[field]
    before = dataclasses.replace(BASE, **beside)
    assert holds(Seen(dataclasses.replace(before, **{field: value}), tmp_path / "changed"))
    assert not holds(Seen(before, tmp_path / "before")), "so that it can fail"
