"""Common wrong answers, and part of the message each one gets."""

import math

import numpy as np

WRONG = {
    "21.attainable": [
        (lambda i, peak, bandwidth: np.maximum(i * bandwidth, peak), "the larger of the two limits"),
        (lambda i, peak, bandwidth: i * bandwidth, "The slope alone"),
        (lambda i, peak, bandwidth: np.minimum(i * bandwidth / peak, 1), "share of the peak"),
        (lambda i, peak, bandwidth: np.minimum(peak, bandwidth / i), "This divides"),
    ],
    "21.useful": [
        (lambda p, k, d, r, c: p * k / (math.ceil(p / r) * r * math.ceil(k / c) * c), "The sum is padded, too"),
        (
            lambda p, k, d, r, c: math.ceil(p / r) * r / p * math.ceil(k / c) * c / k * math.ceil(d / 16) * 16 / d,
            "invert",
        ),
        (lambda p, k, d, r, c: k / (math.ceil(k / c) * c), "Only the kernels' padding"),
    ],
    "21.tensor_share": [
        (lambda i, mma, shared: mma / max(i, shared / 128), "divide by 4"),
        (lambda i, mma, shared: min(1, 4 * mma / i), "Shared memory is missing"),
        (lambda i, mma, shared: mma / (mma + i / 4 + shared / 128), "The clocks are added"),
    ],
}
