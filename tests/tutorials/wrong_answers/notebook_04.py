"""Common wrong answers, and part of the message each one gets."""

import math


def no_jump(layers):
    return 1 + sum((k - 1) * d for k, s, d in layers)


def jump_too_early(layers):
    r, jump = 1, 1
    for k, s, d in layers:
        jump *= s
        r += (k - 1) * d * jump
    return r


def k_steps(layers):
    r, jump = 1, 1
    for k, s, d in layers:
        r, jump = r + k * d * jump, jump * s
    return r


def begins_at_zero(layers):
    r, jump = 0, 1
    for k, s, d in layers:
        r, jump = r + (k - 1) * d * jump, jump * s
    return r


def every_pixel(layers):
    reach = sum((k - 1) // 2 * d for k, d in layers)
    return list(range(-reach, reach + 1))


def right_half(layers):
    seen = {0}
    for k, d in layers:
        seen = {a + d * u for a in seen for u in range((k + 1) // 2)}
    return sorted(seen)


def no_set(layers):
    seen = [0]
    for k, d in layers:
        seen = [a + d * u for a in seen for u in range(-(k - 1) // 2, (k + 1) // 2)]
    return sorted(seen)


def range_too_short(layers):
    seen = {0}
    for k, d in layers:
        half = (k - 1) // 2
        seen = {a + d * u for a in seen for u in range(-half, half)}
    return sorted(seen)


def starts_with_one(hole, field, jump):
    n = 0
    while field <= hole:
        field += 2 * 2**n * jump
        n += 1
    return n


def as_wide_is_enough(hole, field, jump):
    n = 0
    while field < hole:
        n += 1
        field += 2 * 2**n * jump
    return n


def by_logarithm(hole, field, jump):
    return math.ceil(math.log2((hole - field) / (4 * jump) + 1))


WRONG = {
    "04.receptive_field": [
        (no_jump, "The jump is missing"),
        (jump_too_early, "too early"),
        (k_steps, "k − 1 steps"),
        (begins_at_zero, "Off by one"),
        (lambda layers: sum(k * d for k, s, d in layers), "Wrong on"),
        (lambda layers: -1, "8 of 8 values are wrong"),
    ],
    "04.distances": [
        (every_pixel, "lie in gaps"),
        (no_set, "twice"),
        (range_too_short, "The last tap"),
        (lambda layers: set(every_pixel(layers)), "return a sorted list"),
        (right_half, "The shape is wrong along axis 0"),
        (lambda layers: [-d for d in every_pixel(layers)], "Wrong on"),
    ],
    "04.layers_needed": [
        (starts_with_one, "start at 2, not 1"),
        (as_wide_is_enough, "has to be wider"),
        (by_logarithm, "raises ValueError on “already seen”"),
        (lambda hole, field, jump: as_wide_is_enough(hole, field, 1), "Wrong on"),
    ],
}
