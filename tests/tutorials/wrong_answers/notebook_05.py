"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def swapped_in_place(kernel):
    kernel[:, :, 0], kernel[:, :, 2] = kernel[:, :, 2].copy(), kernel[:, :, 0].copy()
    return kernel


def swapped_without_a_copy(kernel):
    turned = kernel.copy()
    turned[:, :, 0], turned[:, :, 2] = turned[:, :, 2], turned[:, :, 0]
    return turned


def zeros_in_front(n, k, stride, dilation):
    return max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0) // 2


def without_max(n, k, stride, dilation):
    return (k - 1) * dilation // 2 - ((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n) // 2


def odd_one_in_front(n, k, stride, dilation):
    total = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
    return (k - 1) * dilation // 2 - (total + 1) // 2


WRONG = {
    "05.elu_gradient": [
        (lambda g, y: g * np.exp(np.minimum(y, 0)), "treats y as x"),
        (lambda g, y: g * (y + 1), "only below 0"),
        (lambda g, y: g * np.where(y > 0, 1, 0), "ReLU's slope"),
        (lambda g, y: np.where(y > 0, 1, y + 1), "has to be multiplied"),
        (lambda g, y: g * np.where(y >= 0, 1, np.exp(y)), "treats y as x"),
    ],
    "05.shift": [
        (lambda n, k, stride, dilation: 0, "not always"),
        (lambda n, k, stride, dilation: (k - 1) // 2 * dilation, "the port's leading zeros"),
        (zeros_in_front, "SAME's leading zeros"),
        (without_max, "max(…, 0) missing"),
        (odd_one_in_front, "puts it last"),
    ],
    "05.to_rgb": [
        (lambda kernel: kernel[:, :, ::-1], "ones and mask stay"),
        (lambda kernel: kernel[..., ::-1], "values are wrong"),
        (swapped_in_place, "work on a copy"),
        (swapped_without_a_copy, "values are wrong"),
        (lambda kernel: kernel[:, :, 2::-1], "Ones and mask are lost"),
    ],
}
