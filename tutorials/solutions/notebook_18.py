"""Worked solutions of notebook 18, evaluation and ablations."""

import numpy as np
from scipy.special import stdtrit


def tv_in_hole(x, hole):
    """Vertical and horizontal differences, kept if both pixels are in the hole; one mean over all."""
    down, across = np.abs(np.diff(x, axis=0)), np.abs(np.diff(x, axis=1))
    both_down, both_across = hole[1:] & hole[:-1], hole[:, 1:] & hole[:, :-1]
    return 100 * np.concatenate([down[both_down], across[both_across]]).mean()


def over_the_whole(psnr_in_hole, share):
    """The mean square is `share` times the hole's, since the rest has no error."""
    return psnr_in_hole - 10 * np.log10(share)


def compare(a, b, picture):
    """Differences first, then one value per picture, then Student's interval of these."""
    values = np.array([(a - b)[picture == p].mean() for p in np.unique(picture)])
    n = len(values)
    return values.mean(), stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n)


SOLUTIONS = {
    "18.tv": tv_in_hole,
    "18.whole": over_the_whole,
    "18.compare": compare,
}
