"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def order(start, pictures):
    rng = np.random.Generator(np.random.PCG64())
    rng.bit_generator.state = start
    return rng.permutation(pictures)


def sent(sizes, limit, *, leftover):
    messages, bucket = [], []
    for size in sizes:
        bucket.append(size)
        if sum(bucket) >= limit:
            messages.append(sum(bucket))
            bucket.clear()
    return messages + [sum(bucket)] * (leftover and bool(bucket))


WRONG = {
    "22.remaining": [
        (lambda start, position, pictures: order(start, pictures), "the whole epoch"),
        (lambda start, position, pictures: order(start, pictures)[:position], "already seen"),
        (lambda start, position, pictures: np.arange(pictures)[position:], "in a random order"),
    ],
    "22.mean_gradient": [
        (lambda g, counts: np.mean(g, axis=0), "weight it by its pictures"),
        (lambda g, counts: sum(n * each for n, each in zip(counts, g, strict=True)), "divide by the pictures"),
        (lambda g, counts: np.sum(g, axis=0), "a sum over ranks"),
    ],
    "22.bucket_sizes": [
        (lambda sizes, limit: sent(sizes, limit, leftover=False), "never sent"),
        (lambda sizes, limit: sent(sizes, 1, leftover=True), "a message of its own"),
        (lambda sizes, limit: sent(sizes, limit + 1, leftover=True), "exactly the limit"),
    ],
    "22.ring_efficiency": [
        (lambda n, c, hidden, size, bandwidth: c / (c + 2 * (n - 1) / n * size / bandwidth), "Nothing is hidden"),
        (
            lambda n, c, hidden, size, bandwidth: c / (c + np.maximum((n - 1) / n * size / bandwidth - hidden, 0)),
            "the 2 is missing",
        ),
        (
            lambda n, c, hidden, size, bandwidth: c / (c + 2 * (n - 1) / n * size / bandwidth - hidden),
            "at least 0",
        ),
    ],
}
