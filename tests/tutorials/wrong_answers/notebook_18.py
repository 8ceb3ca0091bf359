"""Common wrong answers, and part of the message each one gets."""

import numpy as np
from scipy import stats


def tv(x, hole, *, factor=100.0):
    """By NaN outside of the hole, as one does with pandas at hand."""
    z = np.where(hole[..., None], x, np.nan)
    steps = np.concatenate([np.diff(z, axis=axis).ravel() for axis in (0, 1)])
    return factor * np.nanmean(np.abs(steps))


def two_means(x, hole):
    z = np.where(hole[..., None], x, np.nan)
    return 100 * sum(np.nanmean(np.abs(np.diff(z, axis=axis))) for axis in (0, 1))


def mean_of_means(x, hole):
    return two_means(x, hole) / 2


def of_black_outside(x, hole):
    z = x * hole[..., None]
    return 100 * np.mean([np.abs(np.diff(z, axis=axis)).mean() for axis in (0, 1)])


def t_interval(d, **options):
    n = len(d)
    low, high = stats.t.interval(0.95, n - 1, loc=d.mean(), scale=d.std(**options) / np.sqrt(n))
    return (low + high) / 2, (high - low) / 2


def by_picture(d, picture):
    return np.array([d[picture == p].mean() for p in sorted(set(picture.tolist()))])


def unpaired(a, b, picture):
    a, b = by_picture(a, picture), by_picture(b, picture)
    half = stats.t.ppf(0.975, len(a) - 1) * np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))
    return a.mean() - b.mean(), half


WRONG = {
    "18.tv": [
        (lambda x, hole: tv(x, hole, factor=1), "This is not a percentage"),
        (two_means, "means are added"),
        (mean_of_means, "means are averaged"),
        (lambda x, hole: tv(x * hole[..., None], np.ones_like(hole)), "Known pixels are counted as 0 here"),
        (lambda x, hole: tv(x, np.ones_like(hole)), "The mask is missing"),
        (lambda x, hole: tv(x, hole, factor=200), "everything is 2 times"),
        (of_black_outside, "values are wrong"),
    ],
    "18.whole": [
        (lambda psnr, share: psnr - 10 * np.log10(1 / share), "The sign is wrong"),
        (lambda psnr, share: psnr - 2 * 10 * np.log10(share), "The factor is 10, not 20"),
        (lambda psnr, share: psnr - 10 * np.log(share), "to the base 10"),
        (lambda psnr, share: psnr, "Right on: all of it"),
    ],
    "18.compare": [
        (lambda a, b, picture: t_interval(a - b, ddof=1), "Crops of one picture are treated as separate pictures"),
        (unpaired, "The pairing is lost"),
        (lambda a, b, picture: t_interval(by_picture(a - b, picture)), "The standard deviation divides by n"),
        (lambda a, b, picture: t_interval(by_picture(b - a, picture), ddof=1), "The sign is wrong"),
        (lambda a, b, picture: t_interval(by_picture(a - b, picture), ddof=1)[::-1], "in the wrong order"),
    ],
}
