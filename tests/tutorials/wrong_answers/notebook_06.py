"""Common wrong answers, and part of the message each one gets."""

import math


def not_brought_back(At, G, Bt, d, g):
    return (At.T @ g @ At) * (Bt @ d @ Bt.T)


def g_for_its_transpose(At, G, Bt, d, g):
    return G @ ((At.T @ g @ At) * (Bt @ d @ Bt.T)) @ G.T


def gradient_not_transformed(At, G, Bt, d, g):
    return G.T @ (g * (Bt @ d @ Bt.T)) @ G


def along_rows_only(At, G, Bt, d, g):
    return G.T @ ((At.T @ g @ At) * (Bt @ d)) @ G


def bare_pixels(At, G, Bt, d, g):
    return G.T @ ((At.T @ g @ At) * d) @ G


def negative(At, G, Bt, d, g):
    return -G.T @ ((At.T @ g @ At) * (Bt @ d @ Bt.T)) @ G


WRONG = {
    "06.saving": [
        (lambda m, r: m * r / (m + r - 1), "This is for one dimension"),
        (lambda m, r: ((m + r - 1) / (m * r)) ** 2, "Inverted"),
        (lambda m, r: m**2 * r**2 / (m + r) ** 2, "not m + r"),
        (lambda m, r: m**2 * r**2 // (m + r - 1) ** 2, "divide with /"),
        (lambda m, r: (m * r) ** 2 / (m + 2) ** 2, "Wrong on: a 5 × 5 kernel"),
    ],
    "06.count_tiles": [
        (lambda height, width, m: (height // m) * (width // m), "Rounded down"),
        (lambda height, width, m: math.ceil(height * width / m**2), "rounded separately"),
        (lambda height, width, m: (height // m + 1) * (width // m + 1), "fit exactly"),
        (lambda height, width, m: height * width / m**2, "not an integer"),
    ],
    "06.kernel_gradient": [
        (not_brought_back, "still n × n"),
        (g_for_its_transpose, "raises ValueError"),
        (gradient_not_transformed, "raises ValueError"),
        (along_rows_only, "along one axis only"),
        (bare_pixels, "not transformed"),
        (negative, "The sign is wrong"),
    ],
}
