"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def no_bias(channels_in, layers):
    before = [channels_in, *[c for _, c in layers]]
    return sum(k**2 * i * o for i, (k, o) in zip(before, layers, strict=False))


def forgets_to_move_on(channels_in, layers):
    return sum(k**2 * channels_in * o + o for k, o in layers)


def one_bias_a_layer(channels_in, layers):
    return no_bias(channels_in, layers) + len(layers)


def products(side, channels_in, layers, *, size, area=lambda before, after: after**2):
    total = 0
    for k, stride, up, channels in layers:
        after = size(side, stride, up)
        total += area(side, after) * k * k * channels_in * channels
        side, channels_in = after, channels
    return total


def rounded_down(side, channels_in, layers):
    return products(side, channels_in, layers, size=lambda n, s, up: n * up // s)


def at_the_input(side, channels_in, layers):
    return products(
        side, channels_in, layers, size=lambda n, s, up: -(-n * up // s), area=lambda before, after: before**2
    )


def before_the_stride(side, channels_in, layers):
    return products(
        side,
        channels_in,
        layers,
        size=lambda n, s, up: -(-n * up // s),
        area=lambda before, after: (before if after < before else after) ** 2,
    )


def never_doubled(side, channels_in, layers):
    return products(side, channels_in, layers, size=lambda n, s, up: -(-n // s))


def a_line_of_pixels(side, channels_in, layers):
    return products(side, channels_in, layers, size=lambda n, s, up: -(-n * up // s), area=lambda before, after: after)


WRONG = {
    "12.parameters": [
        (no_bias, "The biases are missing"),
        (forgets_to_move_on, "update the input channels"),
        (one_bias_a_layer, "not one per layer"),
        (lambda channels_in, layers: 2 * no_bias(channels_in, layers), "Wrong on"),
    ],
    "12.multiplications": [
        (rounded_down, "rounds up"),
        (at_the_input, "count at the output size"),
        (before_the_stride, "Positions skipped by the stride"),
        (never_doubled, "four times as many"),
        (a_line_of_pixels, "the square of the side"),
    ],
    "12.paste_gradients": [
        (lambda g, x1, z, m: (g * (1 - m), g * m, ((x1 - z) * g).sum(axis=3, keepdims=True)), "x₁ and z are swapped"),
        (lambda g, x1, z, m: (g, g * (1 - m), ((x1 - z) * g).sum(axis=3, keepdims=True)), "x₁ gets the whole gradient"),
        (lambda g, x1, z, m: (g * m, g * (1 - m), (x1 - z) * g), "a sum over them"),
        (lambda g, x1, z, m: (g * m, g * (1 - m)), "There should be 3 results"),
        (lambda g, x1, z, m: (g * m, g * (1 - m), np.zeros(m.shape)), "w.r.t. m: Everything is zero"),
    ],
}
