"""Worked solutions of notebook 10, attention as style transfer."""

import numpy as np


def nearest(pf, pb):
    """‖f − b‖² = ‖f‖² − 2⟨f, b⟩ + ‖b‖², and ‖f‖² is the same for all rows of pb."""
    return (np.sum(pb * pb, axis=1) - 2 * pf @ pb.T).argmin(axis=1)


def recoloured(content, style):
    """Over axes 0 and 1: three means and three deviations each."""
    standard = (content - content.mean(axis=(0, 1))) / content.std(axis=(0, 1))
    return style.mean(axis=(0, 1)) + standard * style.std(axis=(0, 1))


def uses(best, n):
    """bincount takes a flat array, and stops at its largest value unless `minlength` is given."""
    return np.bincount(best.ravel(), minlength=n)


SOLUTIONS = {"10.nearest": nearest, "10.recoloured": recoloured, "10.uses": uses}
