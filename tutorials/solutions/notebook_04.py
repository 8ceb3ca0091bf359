"""Worked solutions of notebook 04, dilation and receptive fields."""


def receptive_field(layers):
    """The layer's k taps have k − 1 steps between them, each d times the current jump; then the stride scales it."""
    r, jump = 1, 1
    for k, stride, dilation in layers:
        r += (k - 1) * dilation * jump
        jump *= stride
    return r


def distances(layers):
    """All distinct sums of one tap's distance from each layer."""
    seen = {0}
    for k, dilation in layers:
        taps = [dilation * (u - (k - 1) // 2) for u in range(k)]
        seen = {a + tap for a in seen for tap in taps}
    return sorted(seen)


def layers_needed(hole, field, jump):
    """n layers add 2·jump·(2 + 4 + … + 2ⁿ) = 4·jump·(2ⁿ − 1) pixels."""
    n = 0
    while field + 4 * jump * (2**n - 1) <= hole:
        n += 1
    return n


SOLUTIONS = {
    "04.receptive_field": receptive_field,
    "04.distances": distances,
    "04.layers_needed": layers_needed,
}
