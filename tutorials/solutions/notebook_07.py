"""Worked solutions of notebook 07, from GANs to WGAN-GP."""

import numpy as np

import ca_numpy as ca


def wasserstein_any(real, fake):
    """In each gap the difference of the fractions to the left has to cross it. Equal samples have gaps of 0."""
    places = np.sort(np.concatenate([real, fake]))
    left_of_gap = [np.searchsorted(np.sort(x), places[:-1], side="right") / len(x) for x in (real, fake)]
    return np.sum(np.abs(left_of_gap[0] - left_of_gap[1]) * np.diff(places))


def masked_penalty(critic, real, fake, mask, t):
    """The critic sees the whole point; only its slope in the hole counts."""
    x = ca.tensor((1 - t) * real + t * fake)
    slope = ca.grad(critic(x).sum(), x, create_graph=True) * mask
    return (((slope * slope).sum(1) ** 0.5 - 1) ** 2).mean()


def says(d, lam, start):
    """The derivative −d + 2λ(|s| − 1)·sign(s) is 0 at 1 + d/2λ; and at d/2λ − 1, where that is below 0.

    From below 0 the critic stops there. Where d ≥ 2λ it goes downhill all the way through 0.
    """
    s = 1 + d / (2 * lam)
    if start < 0 and d < 2 * lam:
        s = d / (2 * lam) - 1
    return s * d


SOLUTIONS = {
    "07.distance": wasserstein_any,
    "07.masked_penalty": masked_penalty,
    "07.trap": says,
}
