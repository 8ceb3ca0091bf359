"""A row on demand is the row of the whole matrix, in every variant of the attention."""

import numpy as np
import pytest

from ca_numpy.attention import OFFICIAL, PAPER, AttentionChoices, AttentionOptions, attention_scores, match, propagate
from ca_numpy.engine.tensor import Tensor
from ca_numpy.errors import UserError
from ca_numpy.explore import AttentionRows

CHOICES = [
    OFFICIAL,
    PAPER,
    AttentionChoices(wrap=False),
    AttentionChoices(masked="exclude"),
    AttentionChoices(propagate="attention"),
    AttentionChoices(normalize="both"),
]
OPTIONS = [{}, {"rate": 1}, {"rate": 4}, {"stride": 2}, {"fuse_k": 5}, {"fuse": False}, {"softmax_scale": 0.3}]


@pytest.fixture
def features():
    """Small ones, so that no softmax is all at one place."""
    f = 0.2 * np.random.default_rng(1).standard_normal((1, 16, 12, 5))
    mask = np.zeros((1, 16, 12, 1))
    mask[:, 5:8, 4:7] = 1
    return f, mask


@pytest.mark.parametrize("choices", CHOICES)
@pytest.mark.parametrize("options", OPTIONS)
def test_rows_are_those_of_the_whole_matrix(features, choices, options):
    f, mask = features
    whole = attention_scores(f, f, mask, choices=choices, **options).numpy()[0]
    some = AttentionRows(f, f, mask, options=AttentionOptions(choices=choices, **options))
    assert whole.shape == (np.prod(some.grid), np.prod(some.background))
    positions = np.random.default_rng(0).permutation(len(whole))[: len(whole) // 2]
    np.testing.assert_allclose(some.rows(positions).weight, whole[positions], rtol=1e-12, atol=1e-15)
    assert np.array_equal(some.most_attended(positions), whole[positions].argmax(-1))


def test_scores_before_and_after_propagation(features):
    f, mask = features
    s = match(Tensor(f), Tensor(f), ksize=3)
    after = propagate(s, (16, 12), (16, 12), k=3).numpy()[0]
    rows = AttentionRows(f, f, mask, options=AttentionOptions(rate=1)).rows([0, 11, 12, 100, 191])
    np.testing.assert_allclose(rows.score, s.numpy()[0][[0, 11, 12, 100, 191]], rtol=1e-12)
    np.testing.assert_allclose(rows.propagated, after[[0, 11, 12, 100, 191]], rtol=1e-12)


def test_the_foreground_may_be_another_picture(features):
    b, mask = features
    f = 0.2 * np.random.default_rng(2).standard_normal((1, 8, 8, 5))
    whole = attention_scores(f, b, mask).numpy()[0]
    np.testing.assert_allclose(AttentionRows(f, b, mask).rows(np.arange(16)).weight, whole, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("positions", [[48], [-1], [0.5], [[1]]])
def test_other_positions_are_refused(features, positions):
    with pytest.raises(UserError, match="from 0 to 47"):
        AttentionRows(features[0], features[0]).rows(positions)


def test_several_images_are_refused(features):
    two = np.concatenate([features[0]] * 2)
    with pytest.raises(UserError, match="one image"):
        AttentionRows(two, two)
