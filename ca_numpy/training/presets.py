"""Named configurations: a first run, a folder of images, the paper's settings, and those of the included weights."""

from __future__ import annotations

import dataclasses

from ca_numpy.training.config import TrainConfig

#: Configurations by name; any field can be overridden.
PRESETS: dict[str, TrainConfig] = {
    "quick": TrainConfig(),
    # A folder of images, overnight on two cores: larger windows, a lower rate, and time for Algorithm 1.
    "medium": TrainConfig(
        validation=0.1,
        width=24,
        critic_width=24,
        size=128,
        box=64,
        max_shrink=8,
        smallest_window=0.5,
        largest_window=1.0,
        steps=6_000,
        pretrain=5_000,
        rate=4e-4,
        final_rate=0.05,
        critic_rate=2e-4,
        validate_every=250,
        pictures_every=1_000,
        checkpoint_every=250,
    ),
    # The paper's sizes and widths; batch, rates, steps, networks and losses as released, unless options say otherwise.
    "paper": TrainConfig(
        width=32,
        critic_width=64,
        size=256,
        box=128,
        smallest_window=0.5,
        largest_window=1.0,
        max_shrink=16,
        steps=1_000_000,
        pretrain=0,
        batch=16,
        rate=1e-4,
        final_rate=1.0,
        critic_rate=1e-4,
        validate_every=2_000,
        pictures_every=2_000,
        checkpoint_every=2_000,
    ),
}

_SCENES = TrainConfig(
    data="scenes:scenes",
    validation=0.02,
    width=32,
    critic_width=32,
    discount="distance",
    l1_weight=2.0,
    known_weight=0.6,
    pictures_every=500,
    checkpoint_every=200,
)
#: With procedural textures, which are too small for the largest crops.
_MIXED = dataclasses.replace(_SCENES, data="scenes:scenes+textures")

#: How the included weights were trained (docs/model_card.md). A crop of 64 pixels costs a sixteenth of one of 256. The
#: last stage is the longest, with colour jitter and holes of every kind.
STAGES: dict[str, tuple[TrainConfig, ...]] = {
    "scenes": (
        dataclasses.replace(
            _MIXED, size=64, box=32, max_shrink=4, batch=8, smallest_window=0.3, largest_window=1.0,
            steps=2_000, pretrain=2_000, rate=5e-4, final_rate=0.3, validate_every=200, seed=1,
        ),
        dataclasses.replace(
            _MIXED, size=128, box=64, max_shrink=8, batch=4, smallest_window=0.36, largest_window=1.0,
            steps=1_800, pretrain=1_800, rate=4e-4, final_rate=0.15, validate_every=200, seed=2,
        ),
        dataclasses.replace(
            _SCENES, size=256, box=128, max_shrink=16, batch=2, smallest_window=0.5, largest_window=1.0,
            steps=400, pretrain=400, rate=2e-4, final_rate=0.05, validate_every=100, seed=3,
        ),
        dataclasses.replace(
            _SCENES, size=256, box=128, max_shrink=16, batch=2, smallest_window=0.4, largest_window=1.0,
            masks="mixed", jitter=0.2, known_weight=1.0,
            steps=3_300, pretrain=3_300, rate=2e-4, final_rate=0.02, validate_every=200, seed=6,
        ),
    ),
}  # fmt: skip

#: Fine-tunes the included weights on a folder of images: their last stage again, shorter and at a lower rate.
PRESETS["finetune"] = dataclasses.replace(
    STAGES["scenes"][-1], data=TrainConfig.data, init="shipped", validation=0.1, steps=2_000, pretrain=2_000, rate=1e-4,
    validate_every=100, seed=0,
)  # fmt: skip
