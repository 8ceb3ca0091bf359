"""Losses: discounted ℓ1, known-pixel ℓ1, WGAN-GP (section 3), the alternatives of section 5.1, and texture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine import ops
from ca_numpy.engine.autograd import as_tensors, grad
from ca_numpy.engine.recording import recording
from ca_numpy.engine.tensor import Tensor, TensorLike, tensor
from ca_numpy.functional import conv2d, crop_boxes, softplus

#: Lower bound under the square root, whose slope at 0 is infinite: norms are at least 1e-12.
SMALLEST_SQUARE = 1e-24

#: Kinds of adversarial loss; the first is the paper's.
Adversarial = Literal["wgan-gp", "dcgan", "lsgan"]

#: The texture loss compares patches of this side, within square cells of this many, in at most so many bands.
PATCH, CELL, BANDS = 7, 32, 3
#: The smallest picture that it compares.
SMALLEST_TEXTURE = PATCH + 4


def l1(x: TensorLike, y: TensorLike, weight: TensorLike = 1.0) -> Tensor:
    """mean(weight · |x − y|) over all pixels and channels."""
    x, y = as_tensors([x, y])
    return (ops.abs_(x - y) * weight).mean()


def known_l1(x: TensorLike, y: TensorLike, mask: TensorLike, *, part: TensorLike | None = None) -> Tensor:
    """ℓ1 over the known pixels: mean(|x − y| · (1 − mask)) / mean(1 − mask), or 0 without any.   (departure 11)

    part   the divisor, a scalar, if the batch has other pictures as well
    """
    x, y, mask = as_tensors([x, y, mask])
    known = 1.0 - mask
    return l1(x, y, known) / ops.clip(known.mean() if part is None else part, low=1e-6, high=None)


def discount_by_box(box: tuple[int, int], *, gamma: float = 0.9) -> NDArray[np.float32]:
    """The released code's weights over a box, h w 1 in (0, 1] (departure 8).

        M[i, j] = max(γ^min(i, h − i), γ^min(j, w − j))

    i and j count from 0, so the weights are not symmetric.
    """
    h, w = box
    i, j = np.arange(h)[:, None], np.arange(w)[None, :]
    m = np.maximum(gamma ** np.minimum(i, h - i), gamma ** np.minimum(j, w - j))
    return m[:, :, None].astype(np.float32)


def discount_by_distance(mask: NDArray[Any], *, gamma: float = 0.99) -> NDArray[np.float32]:
    """Weights γ^l with l the distance in pixels to the nearest known pixel (section 3): N H W 1 -> N H W 1 in (0, 1].

    Distances are Euclidean, between pixel centres. Without any known pixel all weights are 1.
    """
    from scipy.ndimage import distance_transform_edt  # slow to import

    weights = np.ones(mask.shape, np.float32)
    for n, hole in enumerate(mask[:, :, :, 0] > 0.5):
        if hole.any() and not hole.all():
            # The nearest known pixel of any hole pixel lies in the holes' bounding box, or next to it.
            rows, columns = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
            near = tuple(slice(max(at[0] - 1, 0), at[-1] + 2) for at in (rows, columns))
            weights[n, :, :, 0][near] = gamma ** distance_transform_edt(hole[near])
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
    """A critic's loss, given its scores N 1 of real and generated images.

        "wgan-gp"   mean(fake − real). Its negative estimates the Wasserstein distance (section 3)
        "dcgan"     mean(log(1 + e^−real)) + mean(log(1 + e^fake)): cross entropy, with scores as logits of "real"
        "lsgan"     (mean((real − 1)²) + mean(fake²)) / 2

    Only the first is combined with `gradient_penalty`. Raises ValueError for another kind.
    """
    if kind == "dcgan":
        return softplus(-score_real).mean() + softplus(score_fake).mean()
    if kind == "lsgan":
        return (((score_real - 1.0) ** 2).mean() + (score_fake**2).mean()) * 0.5
    _check_kind(kind)
    return (score_fake - score_real).mean()


def adversarial_loss(score_fake: Tensor, *, kind: Adversarial = "wgan-gp") -> Tensor:
    """The generator's adversarial loss. Raises ValueError for another kind.

    "wgan-gp"   −mean(fake)
    "dcgan"     mean(log(1 + e^−fake)): the non-saturating loss
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

    Unlike `metrics.tv`, differentiable and in the images' own range.
    """
    (x,) = as_tensors([x])
    return ops.abs_(x[:, 1:] - x[:, :-1]).mean() + ops.abs_(x[:, :, 1:] - x[:, :, :-1]).mean()


def perceptual_loss(
    features: Sequence[Tensor], truth: Sequence[Tensor], *, average: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """Relative distance of two lists of features N H W C: Σ over layers of ‖φ − φ'‖² / ‖φ'‖².   (section 5.1)

    Norms are over the batch. The normalisation, which the paper does not specify, makes the weight independent of the
    network. `average` takes a mean over these pictures to that over the batch, if it has others as well.
    """
    return _relative_distance(features, truth, average)


def style_loss(
    features: Sequence[Tensor], truth: Sequence[Tensor], *, average: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """The same for the Gram matrices of the features: Σ over layers of ‖G − G'‖²_F / ‖G'‖²_F.   (section 5.1)"""
    return _relative_distance([gram(x) for x in features], [gram(x) for x in truth], average)


def gram(x: Tensor) -> Tensor:
    """Gram matrix G[n, c, d] = Σ_{i,j} x[n, i, j, c] · x[n, i, j, d] / (H·W·C).   N H W C -> N C C"""
    n, h, w, c = x.shape
    rows = x.reshape(n, h * w, c)
    return (rows.transpose(0, 2, 1) @ rows) / float(h * w * c)


def _relative_distance(xs: Sequence[Tensor], truth: Sequence[Tensor], average: Callable[[Tensor], Tensor]) -> Tensor:
    parts = []
    for x, y in zip(xs, truth, strict=True):
        size = ops.clip(average((y * y).mean().detach()), low=SMALLEST_SQUARE, high=None)
        parts.append(((x - y) ** 2).mean() / size)
    return sum(parts[1:], start=parts[0])


def directions(rng: np.random.Generator, *, count: int = 64, channels: int = 3) -> NDArray[np.float32]:
    """Unit vectors of patches, uniform over the sphere, as a convolution's kernels: 7 7 channels count."""
    kernels = rng.standard_normal((PATCH, PATCH, channels, count))
    unit: NDArray[np.float32] = (kernels / np.sqrt((kernels**2).sum((0, 1, 2)))).astype(np.float32)
    return unit


def sliced_wasserstein(x: TensorLike, truth: TensorLike, kernels: TensorLike) -> Tensor:
    """Sliced Wasserstein distance between the 7×7 patches of x and of the truth, a texture loss.

        Σ over bands of mean over cells of mean |sort(P·x) − sort(P·truth)|,   P·x: patches projected on unit vectors

    It compares which patches there are, not where in a cell of 32×32 of them: unlike ℓ1, it prefers misplaced texture
    to none. x and truth N H W C; kernels 7 7 C K from `directions`. Bands are the differences between a picture and its
    blur, of the picture and its reductions to a half and a quarter, as many as hold a patch; colours and large shapes
    are left to ℓ1. Sorting is differentiated as a fixed permutation: each projection of x is compared with the one of
    equal rank of the truth, a constant. Raises ValueError for pictures smaller than 11×11.

    Karras et al. (ICLR 2018) measure this distance; Heitz et al. (CVPR 2021) and Elnekave and Weiss (ECCV 2022)
    minimise it. Not in the paper.
    """
    if min(as_tensors([x])[0].shape[1:3]) < SMALLEST_TEXTURE:
        raise ValueError(f"the texture loss needs pictures of at least {SMALLEST_TEXTURE}×{SMALLEST_TEXTURE} pixels")
    x, truth, kernels = as_tensors([x, truth, kernels])
    parts = []
    for band, wanted in zip(_bands(x), _bands(truth.detach()), strict=True):
        ours, theirs = (conv2d(b, kernels, padding="valid") for b in (band, wanted))
        parts.append(l1(ours, ops.constant_like(_of_equal_rank(theirs.numpy(), ours.numpy()), ours)))
    return sum(parts[1:], start=parts[0])


def _bands(x: Tensor) -> list[Tensor]:
    """x minus x blurred, then the same of the blurred picture at half the size, …; each without a border of 2."""
    row = np.array([1, 4, 6, 4, 1]) / 16
    blur = ops.constant_like((row[:, None] * row)[:, :, None, None] * np.eye(x.shape[3]), x)
    found: list[Tensor] = []
    while len(found) < BANDS and min(x.shape[1:3]) >= SMALLEST_TEXTURE:
        low = conv2d(x, blur, padding="valid")
        found.append(x[:, 2:-2, 2:-2] - low)
        x = low[:, ::2, ::2]
    return found


def _of_equal_rank(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """The values N H W K rearranged within each cell, for each n and k, into the order of `like`."""
    n, h, w, k = values.shape
    found = np.empty_like(values)
    for i, j in itertools.product(range(0, h, CELL), range(0, w, CELL)):
        cell = np.s_[:, i : i + CELL, j : j + CELL]
        theirs, ours = (np.moveaxis(a[cell].reshape(n, -1, k), 1, 2) for a in (values, like))
        ranked = np.empty_like(theirs, order="C")
        np.put_along_axis(ranked, ours.argsort(axis=2), np.sort(theirs, axis=2), axis=2)
        found[cell] = np.moveaxis(ranked, 2, 1).reshape(found[cell].shape)
    return found


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: TensorLike, fake: TensorLike, mask: TensorLike, t: TensorLike
) -> Tensor:
    """The WGAN-GP penalty, masked to the hole (section 3).

        x̂ = (1 − t)·real + t·fake;   mean over the batch of (‖∇_x̂ critic(x̂) ⊙ √mask‖₂ − 1)²

    real, fake N H W 3; mask N H W 1 or 1 H W 1, 1 = hole; t N 1 1 1 in [0, 1], drawn by the caller. Differentiable with
    respect to the critic's weights, by double backprop.
    """
    real, fake, mask, t = as_tensors([real, fake, mask, t])
    x = tensor((real.detach() + t.detach() * (fake.detach() - real.detach())).data)
    with recording(True):
        g = grad(critic(x), x, create_graph=True)
        square = (g * g * mask).sum((1, 2, 3))
        norm = ops.power(ops.clip(square, low=SMALLEST_SQUARE, high=None), exponent=0.5)
        return ((norm - 1.0) ** 2).mean()
