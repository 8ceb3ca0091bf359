"""Small pictures to test reading, writing and checking with, and how a message to the user is asked for."""

import contextlib

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ca_numpy.errors import UserError

H, W = 5, 7
RGB = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (H, W), dtype=np.uint8)
ALPHA = np.random.default_rng(2).integers(0, 256, (H, W), dtype=np.uint8)

small_images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


@contextlib.contextmanager
def one_line(*parts):
    """A UserError is raised whose message is one line and has all of these words in it."""
    with pytest.raises(UserError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
