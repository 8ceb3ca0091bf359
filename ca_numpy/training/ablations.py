"""The ablations of section 5.1: each is the full system with a few fields changed. (docs/ablations.md)"""

from __future__ import annotations

from typing import Any

#: Changed fields of `TrainConfig`. The loss weights are ours, since the paper gives none. The last two also need `vgg`.
ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "baseline": {"attention": "none"},
    "spatial-transformer": {"attention": "spatial-transformer"},
    "appearance-flow": {"attention": "appearance-flow"},
    "no-propagation": {"propagation": False},
    "dcgan": {"adversarial": "dcgan"},
    "lsgan": {"adversarial": "lsgan"},
    "no-refinement-l1": {"refine_l1": False},
    "no-discount": {"discount": "none"},
    "total-variation": {"tv_weight": 0.1},
    "perceptual": {"perceptual_weight": 0.1},
    "style": {"style_weight": 0.1},
}
