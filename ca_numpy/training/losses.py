"""What the networks are trained towards: discounted ℓ1, known-pixel ℓ1, Wasserstein terms (sections 3 and 4).

And what section 5.1 compares them with: two other adversarial losses; total variation, perceptual and style losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine import ops
from ca_numpy.engine.autograd import as_tensors, grad
from ca_numpy.engine.tensor import Tensor, TensorLike, recording, tensor
from ca_numpy.functional import crop_boxes, softplus

#: The square root has no slope at 0: a gradient of smaller norm than 1e-12 counts as that, and is left alone.
SMALLEST_SQUARE = 1e-24

#: Kinds of adversarial training; the paper's is the first.
Adversarial = Literal["wgan-gp", "dcgan", "lsgan"]


def l1(x: TensorLike, y: TensorLike, weight: TensorLike = 1.0) -> Tensor:
    """mean(weight · |x − y|) over all pixels and channels."""
    x, y = as_tensors([x, y])
    return (ops.abs_(x - y) * weight).mean()


def known_l1(x: TensorLike, y: TensorLike, mask: TensorLike) -> Tensor:
    """ℓ1 over the known pixels: mean(|x − y| · (1 − mask)) / mean(1 − mask).   (released code; departure 11)

    A batch without a known pixel gives 0.
    """
    x, y, mask = as_tensors([x, y, mask])
    known = 1.0 - mask
    return l1(x, y, known) / ops.clip(known.mean(), low=1e-6, high=None)


def discount_by_box(box: tuple[int, int], *, gamma: float = 0.9) -> NDArray[np.float32]:
    """Weights γ^min(distance to a side) over a box, as the released code has them: h w 1 in (0, 1].

        M[i, j] = max(γ^min(i, h − i), γ^min(j, w − j))

    With i counted from 0 the nearer sides are 0 and h − i ≥ 1 away: it is not symmetric. (departure 8)
    """
    h, w = box
    i, j = np.arange(h)[:, None], np.arange(w)[None, :]
    m = np.maximum(gamma ** np.minimum(i, h - i), gamma ** np.minimum(j, w - j))
    return m[:, :, None].astype(np.float32)


def discount_by_distance(mask: NDArray[Any], *, gamma: float = 0.99) -> NDArray[np.float32]:
    """Weights γ^l with l the distance in pixels to the nearest known pixel (section 3): N H W 1 -> N H W 1 in (0, 1].

    "Missing pixels near the hole boundaries have much less ambiguity than those closer to the center." Known pixels
    have weight 1; distances are Euclidean, between pixel centres. Without any known pixel all weights are 1.
    """
    from scipy.ndimage import distance_transform_edt  # a fifth of a second to load

    weights = np.ones(mask.shape, np.float32)
    for n, hole in enumerate(mask[:, :, :, 0] > 0.5):
        if not hole.all():
            weights[n, :, :, 0] = gamma ** distance_transform_edt(hole)
    return weights


def discount_weights(
    mask: NDArray[Any],
    boxes: Sequence[tuple[int, int, int, int]],
    *,
    discount: Literal["box", "distance", "none"] = "box",
    gamma: float | None = None,
) -> TensorLike:
    """The weights M of the spatially discounted ℓ1 over the boxes around the holes (section 3).

    Mask N H W 1 and N boxes (top, left, h, w) -> weights in (0, 1] that broadcast to N h w 1.

    discount   "box": distance to the box's sides, γ = 0.9 (the released code). "distance": to the nearest known pixel,
               γ = 0.99 (the paper). "none": M = 1

    Raises ValueError for another discount.
    """
    if discount == "none":
        return 1.0
    if discount == "box":
        return discount_by_box(boxes[0][2:], gamma=0.9 if gamma is None else gamma)
    if discount == "distance":
        return crop_boxes(discount_by_distance(mask, gamma=0.99 if gamma is None else gamma), boxes)
    raise ValueError(f'discount must be "box", "distance" or "none", got {discount!r}')


def discounted_l1(
    x: TensorLike,
    y: TensorLike,
    mask: NDArray[Any],
    boxes: Sequence[tuple[int, int, int, int]],
    *,
    discount: Literal["box", "distance", "none"] = "box",
    gamma: float | None = None,
) -> Tensor:
    """The spatially discounted ℓ1 of section 3, over the boxes around the holes.

        mean over the box of M · |x − y|

    x and y N H W C; mask, boxes and options as `discount_weights` takes them.
    """
    weights = discount_weights(mask, boxes, discount=discount, gamma=gamma)
    x, y = (crop_boxes(a, boxes) for a in as_tensors([x, y]))
    return l1(x, y, weights)


def critic_loss(score_real: Tensor, score_fake: Tensor, *, kind: Adversarial = "wgan-gp") -> Tensor:
    """What a critic minimises, given its scores N 1 of real and of generated images.

        "wgan-gp"   mean(fake − real). Its negative estimates the Wasserstein distance (section 3)
        "dcgan"     mean(log(1 + e^−real)) + mean(log(1 + e^fake)): cross entropy, the scores being logits of "real"
        "lsgan"     (mean((real − 1)²) + mean(fake²)) / 2

    Only the first goes with `gradient_penalty`. Raises ValueError for another kind.
    """
    if kind == "dcgan":
        return softplus(-score_real).mean() + softplus(score_fake).mean()
    if kind == "lsgan":
        return (((score_real - 1.0) ** 2).mean() + (score_fake**2).mean()) * 0.5
    _check_kind(kind)
    return (score_fake - score_real).mean()


def adversarial_loss(score_fake: Tensor, *, kind: Adversarial = "wgan-gp") -> Tensor:
    """What the generator minimises.

    "wgan-gp"   −mean(fake)
    "dcgan"     mean(log(1 + e^−fake)): the fakes called real, whose slope does not vanish where the critic is sure
    "lsgan"     mean((fake − 1)²) / 2
    """
    if kind == "dcgan":
        return softplus(-score_fake).mean()
    if kind == "lsgan":
        return ((score_fake - 1.0) ** 2).mean() * 0.5
    _check_kind(kind)
    return -score_fake.mean()


def _check_kind(kind: str) -> None:
    if kind != "wgan-gp":
        raise ValueError(f'an adversarial loss is "wgan-gp", "dcgan" or "lsgan", got {kind!r}')


def total_variation(x: TensorLike) -> Tensor:
    """mean |x[i + 1, j] − x[i, j]| + mean |x[i, j + 1] − x[i, j]|, each over all such pairs.   N H W C   (section 5.1)

    Unlike `metrics.tv` in the images' own range, and so that it can be differentiated.
    """
    (x,) = as_tensors([x])
    return ops.abs_(x[:, 1:] - x[:, :-1]).mean() + ops.abs_(x[:, :, 1:] - x[:, :, :-1]).mean()


def perceptual_loss(features: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """How far features of some network are from the truth's: Σ over layers of ‖φ − φ'‖² / ‖φ'‖².   (section 5.1)

    A list of N H W C each. Relative to the truth's, layer by layer and over the batch, so that its weight means the
    same for any network; the paper gives no normalisation.
    """
    return _relative_distance(features, truth)


def style_loss(features: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """The same of the layers' Gram matrices, that forget where things are: Σ ‖G − G'‖²_F / ‖G'‖²_F.   (section 5.1)"""
    return _relative_distance([gram(x) for x in features], [gram(x) for x in truth])


def gram(x: Tensor) -> Tensor:
    """G[n, c, d] = Σ_{i,j} x[n, i, j, c] · x[n, i, j, d] / (H·W·C): which channels go together.   N H W C -> N C C"""
    n, h, w, c = x.shape
    rows = x.reshape(n, h * w, c)
    return (rows.transpose(0, 2, 1) @ rows) / float(h * w * c)


def _relative_distance(xs: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    parts = []
    for x, y in zip(xs, truth, strict=True):
        size = ops.clip((y * y).sum().detach(), low=SMALLEST_SQUARE, high=None)
        parts.append(((x - y) ** 2).sum() / size)
    return sum(parts[1:], start=parts[0])


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: TensorLike, fake: TensorLike, mask: TensorLike, t: TensorLike
) -> Tensor:
    """The WGAN-GP penalty, masked to the hole (section 3).

        x̂ = (1 − t)·real + t·fake;   mean over the batch of (‖∇_x̂ critic(x̂) ⊙ √mask‖₂ − 1)²

    real, fake N H W 3; mask N H W 1 or 1 H W 1, 1 = hole; t N 1 1 1 in [0, 1], drawn by the caller. The result can be
    differentiated with respect to the critic's weights: that is a gradient of a gradient.
    """
    real, fake, mask, t = as_tensors([real, fake, mask, t])
    x = tensor((real.detach() + t.detach() * (fake.detach() - real.detach())).data)
    with recording(True):
        g = grad(critic(x), x, create_graph=True)
        square = (g * g * mask).sum((1, 2, 3))
        norm = ops.power(ops.clip(square, low=SMALLEST_SQUARE, high=None), exponent=0.5)
        return ((norm - 1.0) ** 2).mean()
