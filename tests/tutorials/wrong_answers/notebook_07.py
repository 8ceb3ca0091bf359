"""Common wrong answers, and part of the message each one gets."""

from itertools import pairwise

import numpy as np

import ca_numpy as ca


def by_sorting(real, fake):
    return np.abs(np.sort(real) - np.sort(fake)).mean()


def counts(real, fake):
    places = np.sort(np.concatenate([real, fake]))
    return sum(abs(np.sum(fake <= a) - np.sum(real <= a)) * (b - a) for a, b in pairwise(places))


def without_the_sample_itself(real, fake):
    places = sorted([*real, *fake])
    return sum(abs(np.mean(fake < a) - np.mean(real < a)) * (b - a) for a, b in pairwise(places))


def signed(real, fake):
    return fake.mean() * -1 + real.mean()


def penalty(critic, real, fake, t, *, weight=1.0, on_point=1.0, graph=True):
    x = ca.tensor(((1 - t) * real + t * fake) * on_point)
    slope = ca.grad(critic(x).sum(), x, create_graph=graph) * weight
    return (((slope * slope).sum(1) ** 0.5 - 1) ** 2).mean()


def slope_only(d, lam, start):
    return d / (2 * lam) - 1 if start < 0 and d < 2 * lam else d / (2 * lam) + 1


WRONG = {
    "07.distance": [
        (by_sorting, "raises ValueError"),
        (counts, "Fractions, not counts"),
        (without_the_sample_itself, "with <=, not <"),
        (signed, "take the absolute value"),
        (lambda real, fake: abs(signed(real, fake)), "distance between the means"),
    ],
    "07.masked_penalty": [
        (lambda critic, real, fake, mask, t: penalty(critic, real, fake, t), "The mask is missing"),
        (lambda critic, real, fake, mask, t: penalty(critic, real, fake, t, weight=1 - mask), "The mask is inverted"),
        (lambda critic, real, fake, mask, t: penalty(critic, real, fake, t, on_point=mask), "mask its slope"),
        (lambda critic, real, fake, mask, t: penalty(critic, fake, real, t, weight=mask), "t = 0 is real"),
        (lambda critic, real, fake, mask, t: penalty(critic, real, fake, t, weight=mask, graph=False), "off the tape"),
        (lambda critic, real, fake, mask, t: penalty(critic, real, fake, t, weight=mask).numpy(), "to be a Tensor"),
    ],
    "07.trap": [
        (lambda d, lam, start: d + d**2 / (2 * lam), "a second minimum"),
        (lambda d, lam, start: np.sign(start) * d + d**2 / (2 * lam), "does not always hold"),
        (lambda d, lam, start: np.sign(start) * (d + d**2 / (2 * lam)), "Not a mirror image"),
        (lambda d, lam, start: d, "d keeps pulling"),
        (slope_only, "the estimated distance is s·d"),
        (lambda d, lam, start: -d, "values are wrong"),
    ],
}
