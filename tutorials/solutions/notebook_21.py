"""Worked solutions of notebook 21, a roofline from machine code."""

import numpy as np


def attainable(intensity, peak, bandwidth):
    """FLOP per byte times bytes per second are FLOP per second, up to the peak."""
    return np.minimum(peak, intensity * bandwidth)


def useful(pixels, kernels, depth, rows, columns):
    """Each of the three is padded to a multiple."""
    share = 1.0
    for n, tile in ((pixels, rows), (kernels, columns), (depth, 16)):
        share *= n / (-(-n // tile) * tile)
    return share


def tensor_share(instructions, mma, shared):
    """An MMA a clock, of the clocks that the busiest resource needs."""
    return mma / max(mma, instructions / 4, shared / 128)


SOLUTIONS = {"21.attainable": attainable, "21.useful": useful, "21.tensor_share": tensor_share}
