"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def softmax(logits, axis=-1):
    e = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def minus_infinity(s, known, scale):
    return softmax(np.where(known > 0, scale * s, -1e30)) * known


def made_to_sum_to_one(s, known, scale):
    a = softmax(scale * s * known) * known
    return a / np.maximum(a.sum(axis=-1, keepdims=True), 1e-12)


def without_the_maximum(s, known, scale):
    with np.errstate(all="ignore"):
        e = np.exp(scale * s * known)
        return e / e.sum(axis=1, keepdims=True) * known


def counted(h, w):
    along = [np.r_[1, np.full(n - 2, 2), 1] for n in (h, w)]
    return np.outer(*along)


def darker_frame(h, w):
    factor = np.ones((h, w))
    factor[[0, -1]] = factor[:, [0, -1]] = 0.5
    return factor


def adam(t, beta1, beta2):
    return np.sqrt(1 - beta2**t) / (1 - beta1**t)


WRONG = {
    "19.masked_attention": [
        (minus_infinity, "out of the denominator"),
        (made_to_sum_to_one, "is the same as leaving them out"),
        (without_the_maximum, "not finite"),
        (lambda s, known, scale: softmax(scale * s * known), "keep their weight"),
        (lambda s, known, scale: softmax(scale * s) * known, "before the softmax"),
        (lambda s, known, scale: softmax(s * known) * known, "The scale is missing"),
    ],
    "19.attenuation": [
        (counted, "divide by 4"),
        (darker_frame, "a quarter is left"),
        (lambda h, w: np.ones((h, w)), "the text's choice"),
        (lambda h, w: counted(h, w).T / 4, "axes are in the wrong order"),
    ],
    "19.correction": [
        (lambda n, critic_steps, beta1, beta2: adam(n, beta1, beta2), "a separate clock for the generator"),
        (lambda n, critic_steps, beta1, beta2: adam(n * (critic_steps + 1), beta2, beta1), "are swapped"),
        (lambda n, critic_steps, beta1, beta2: adam(n * (critic_steps + 1), beta1, beta2) ** -1, "Inverted"),
        (lambda n, critic_steps, beta1, beta2: adam(n * (critic_steps + 1) - critic_steps, beta1, beta2), "come first"),
        (lambda n, critic_steps, beta1, beta2: 1.0, "values are wrong"),
    ],
}
