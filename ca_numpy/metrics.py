"""Measures of a result: ℓ1, ℓ2, PSNR and total variation (section 5, table 1), SSIM, and a distance of textures (SWD).

Every function takes one image (H, W, 3) or a batch (N, H, W, 3) with values in [-1, 1], computes in float64 and returns
one number per image, an array of shape (N,). A `mask` (N, H, W, 1), 1 = hole, restricts the measure to the hole: known
pixels are pasted from the input, so over the whole image a small hole flatters every method.

Images are first rescaled to [0, 1]; "percent" below means percent of that range. The paper reports percentages, but
gives neither their normalisation nor evaluation code. These are therefore the plain definitions, given in each
docstring: they compare methods with each other, but cannot reproduce table 1 exactly.

ℓ1, ℓ2 and PSNR compare pixel by pixel, and so prefer a blur to a sharp texture in the wrong place. Read `tv` and `swd`
beside them, and look at the pictures.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ca_numpy import sliced_wasserstein
from ca_numpy.errors import UserError

Values = NDArray[np.float64]


def l1(x: ArrayLike, y: ArrayLike, *, mask: ArrayLike | None = None) -> Values:
    """Mean absolute error in percent: 100 · mean |x − y|, with x and y rescaled to [0, 1].

    The mean is over pixels (of the hole, given a mask) and channels. 0 is identical, 100 is black against white.
    Table 1 calls this "ℓ1 loss"; the normalisation is our choice, see the module docstring.

    x, y: (N, H, W, 3) or (H, W, 3) in [-1, 1]. mask: (N, H, W, 1), 1 = hole. Returns (N,).
    Raises UserError for shapes that do not match, integer images, values outside [-1, 1], or an empty hole.
    """
    x, y, weights = _prepare(x, y, mask)
    return 100.0 * _mean_over(np.abs(x - y), weights)


def l2(x: ArrayLike, y: ArrayLike, *, mask: ArrayLike | None = None) -> Values:
    """Mean squared error in percent: 100 · mean (x − y)², with x and y rescaled to [0, 1].

    Without a square root. Shapes, mask and errors as for `l1`; the normalisation is our choice too. Table 1, "ℓ2 loss".
    """
    x, y, weights = _prepare(x, y, mask)
    return 100.0 * _mean_over((x - y) ** 2, weights)


def psnr(x: ArrayLike, y: ArrayLike, *, mask: ArrayLike | None = None) -> Values:
    """Peak signal-to-noise ratio in dB: 10 · log10(1 / mean (x − y)²), with x and y rescaled to [0, 1].

    The peak is the full range. Identical images give inf. Shapes, mask and errors as for `l1`. The mean of PSNRs is
    not the PSNR of the mean error: say which one you report (table 1 does not).
    """
    x, y, weights = _prepare(x, y, mask)
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(_mean_over((x - y) ** 2, weights))


def tv(x: ArrayLike, *, mask: ArrayLike | None = None) -> Values:
    """Total variation in percent: 100 · mean |p − q| over all pairs (p, q) of neighbouring pixels, rescaled to [0, 1].

    Neighbours are adjacent horizontally or vertically; all pairs have the same weight. With a mask, both pixels of a
    pair are in the hole. Low values mean smooth (or blurred): compare with the truth's. Photographs have a few percent
    here, and 25 in table 1: the paper uses another, unknown normalisation.

    x: (N, H, W, 3) or (H, W, 3) in [-1, 1]. Returns (N,). Raises UserError as `l1` does, or if there is no pair.
    """
    images = _unit_range(x, "x")
    holes = _hole_weights(mask, images)
    total, pairs = np.zeros(len(images)), np.zeros(len(images))
    for axis in (1, 2):
        first, second = _neighbours(holes, axis)
        both = first * second
        total += _sum(np.abs(np.diff(images, axis=axis)) * both)
        pairs += images.shape[-1] * _sum(both)
    if not pairs.all():
        raise UserError(f"tv: image {np.argmin(pairs)} has no two neighbouring pixels to compare; use a larger hole")
    return 100.0 * total / pairs


def ssim(x: ArrayLike, y: ArrayLike, *, mask: ArrayLike | None = None) -> Values:
    """Structural similarity (Wang et al. 2004): 1 is identical, 0 is unrelated, negative is inverted.

        SSIM = (2 μx μy + C1)(2 σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2)),   C1 = 0.01², C2 = 0.03²

    Means, variances and covariance are over an 11 × 11 Gaussian window (σ = 1.5) around each pixel, per channel. The
    map is defined where the whole window is inside the image, five pixels from the border; the result is its mean
    over pixels (of the hole, given a mask) and channels. Not in the paper, but common in later work.

    Shapes and errors as for `l1`; also UserError for images under 11 × 11, or a hole entirely within the border.
    """
    x, y, weights = _prepare(x, y, mask)
    if min(x.shape[1:3]) < _WINDOW.size:
        raise UserError(f"ssim: images are {x.shape[1]} x {x.shape[2]}; the window needs at least 11 x 11 pixels")
    edge = _WINDOW.size // 2
    inner = weights[:, edge:-edge, edge:-edge]
    if not inner.any(axis=(1, 2, 3)).all():
        raise UserError("mask: a hole is entirely within 5 pixels of the border, where SSIM's window does not fit")
    maps = np.stack([_ssim_map(a, b) for a, b in zip(x, y, strict=True)])
    return _mean_over(maps, inner)


def swd(x: ArrayLike, y: ArrayLike, *, mask: ArrayLike | None = None, rng: np.random.Generator | None = None) -> Values:
    """Sliced Wasserstein distance between the textures of a result x and the truth y: the mean of `swd_levels`.

    0 is the same set of patches, wherever they lie; lower is better. A perfect texture elsewhere does not reach 0: two
    pieces of the same gravel are some distance apart, since each has finitely many patches. Arguments, shapes and
    errors as for `swd_levels`. Returns (N,).
    """
    return np.asarray(swd_levels(x, y, mask=mask, rng=rng).mean(axis=-1))


def swd_levels(
    x: ArrayLike, y: ArrayLike, *, mask: ArrayLike | None = None, rng: np.random.Generator | None = None
) -> Values:
    """Sliced Wasserstein distance × 1000 at each scale of detail, fine to coarse (Karras et al. 2018, section 5).

        1000 · mean_d W1({⟨p/σ, d⟩}, {⟨q/σ, d⟩}),   W1 of equally many numbers: mean |a_(i) − b_(i)|, both sorted

    p and q are the 7 × 7 patches of x and y on a level of their Laplacian pyramids, taken over the whole picture: three
    levels, or fewer in pictures under 25 pixels. d are 128 random unit vectors. Patches are centred in the hole (halved
    with each level: a pixel is hole if any of its 2 × 2 is) and fit inside the picture; where none does, those that
    touch the hole are taken. Of more than 2048 a random subset is, the same in x and y.

    σ is the standard deviation of each colour channel over the truth's patches, at least 1/255. This differs from
    Karras et al., who normalise each set by its own mean and σ: a blur, scaled up, would then pass for texture. So swd
    is not symmetric; the means cancel out. Where the truth is plain σ is small and values are large. Values depend on
    the size of pictures: compare at one size. The paper cites the article as [22], but does not use the measure.

    x, y: (N, H, W, 3) or (H, W, 3) in [-1, 1]. mask: (N, H, W, 1), 1 = hole. rng: of directions and subset,
    default_rng(0) by default, so that results are reproducible. Returns (N, levels).
    Raises UserError as `l1` does, and for images under 7 × 7.
    """
    x, y, weights = _prepare(x, y, mask)
    side = sliced_wasserstein.SIDE
    if min(x.shape[1:3]) < side:
        raise UserError(f"swd: images are {x.shape[1]} x {x.shape[2]}; a patch needs at least {side} x {side} pixels")
    rng = np.random.default_rng(0) if rng is None else rng
    return 1000.0 * sliced_wasserstein.distances(x, y, weights[..., 0] > 0, rng)


def mean_and_interval(values: ArrayLike) -> tuple[float, float]:
    """Mean of per-image values, and the half-width of its 95 % confidence interval: t · s / √N.

    s is the sample standard deviation (N − 1), t the 97.5th percentile of Student's distribution with N − 1 degrees of
    freedom: 2.78 for five images, 1.96 in the limit. Exact for normal values, approximate for others. The half-width
    is nan where it is undefined: for a single image, or if a value is infinite (PSNR of identical images).

    values: (N,). Raises UserError if there are none.
    """
    array = np.asarray(values, np.float64).ravel()
    if not array.size:
        raise UserError("values: there are none to average; evaluate at least one image")
    mean = float(array.mean())
    if array.size == 1 or not np.isfinite(array).all():
        return mean, float("nan")
    from scipy.special import stdtrit  # a tenth of a second to load

    return mean, float(stdtrit(array.size - 1, 0.975) * array.std(ddof=1) / np.sqrt(array.size))


def _gaussian_window(size: int, sigma: float) -> Values:
    offsets = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.asarray(weights / weights.sum())


_WINDOW = _gaussian_window(11, sigma=1.5)


def _local_mean(image: Values) -> Values:
    """Gaussian mean around each pixel where the window fits: (H, W, C) -> (H - 10, W - 10, C)."""
    for axis in (0, 1):  # the two-dimensional Gaussian is separable
        image = sliding_window_view(image, _WINDOW.size, axis=axis) @ _WINDOW
    return image


def _ssim_map(x: Values, y: Values) -> Values:
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    variance_x = _local_mean(x * x) - mean_x**2
    variance_y = _local_mean(y * y) - mean_y**2
    covariance = _local_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return luminance * structure


def _prepare(x: ArrayLike, y: ArrayLike, mask: ArrayLike | None) -> tuple[Values, Values, Values]:
    """Both images as (N, H, W, 3) in [0, 1], and the weights (N, H, W, 1) of their pixels, 0 or 1."""
    images, truths = _unit_range(x, "x"), _unit_range(y, "y")
    if images.shape != truths.shape:
        raise UserError(f"x and y: shapes {images.shape} and {truths.shape} differ; compare images of one size")
    return images, truths, _hole_weights(mask, images)


def _unit_range(image: ArrayLike, name: str) -> Values:
    """The image as float64 (N, H, W, 3) in [0, 1]."""
    array: NDArray[Any] = np.asarray(image)
    if array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape:
        raise UserError(f"{name}: shape {array.shape} is not (N, H, W, 3) or (H, W, 3); give RGB images")
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{name}: dtype {array.dtype} is not a float; scale images to [-1, 1] first, as x / 127.5 - 1")
    if np.abs(array).max() > 1.001:  # allow for rounding; NaN passes, and shows in the result
        raise UserError(f"{name}: values reach {np.abs(array).max():.4g}; scale images to [-1, 1] first")
    batch = array if array.ndim == 4 else array[None]
    return np.asarray((batch.astype(np.float64) + 1.0) / 2.0)


def _hole_weights(mask: ArrayLike | None, images: Values) -> Values:
    shape = (*images.shape[:3], 1)
    if mask is None:
        return np.ones(shape)
    weights = np.asarray(mask, np.float64)
    weights = weights if weights.ndim == 4 else weights[None]
    if weights.shape not in (shape, (1, *shape[1:])):
        raise UserError(f"mask: shape {np.shape(mask)} does not fit the images; give {shape}, 1 = hole")
    if not np.isin(weights, (0.0, 1.0)).all():
        raise UserError("mask: values other than 0 and 1; threshold it first, 1 = hole")
    if not weights.any(axis=(1, 2, 3)).all():
        raise UserError("mask: without a hole there is nothing to measure; drop that image or pass no mask")
    return np.broadcast_to(weights, shape)


def _neighbours(array: Values, axis: int) -> tuple[Values, Values]:
    size = array.shape[axis]
    return array.take(range(size - 1), axis=axis), array.take(range(1, size), axis=axis)


def _sum(array: Values) -> Values:
    return np.asarray(array.sum(axis=(1, 2, 3)))


def _mean_over(values: Values, weights: Values) -> Values:
    """Mean per image of (N, H, W, C) over the pixels of weight 1 and all channels."""
    return np.asarray(_sum(values * weights) / (values.shape[-1] * _sum(weights)))
