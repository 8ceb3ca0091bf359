"""The README's first command, whole: what two minutes on real photographs must reach."""

import numpy as np
import pytest

from ca_numpy import metrics
from ca_numpy.training import TrainConfig, train
from ca_numpy.training.validation import Validation


@pytest.mark.slow
def test_the_default_run_beats_the_mean_colour_and_the_coarse_stage_it_began_with(tmp_path):
    result = train(out=tmp_path / "run", backend="numpy", quiet=True)
    measured = [r for r in result.records if "validation_psnr" in r]
    first, last = measured[0], measured[-1]
    assert last["step"] == TrainConfig().steps
    assert sum("penalty" in r for r in result.records) >= 10, "Algorithm 1 has to have had its turn"
    references = mean_colour_by_hand(result.config)
    assert last["validation_l1_refined"] < 0.9 * references  # 0.82 of it was seen
    assert last["validation_l1_refined"] < first["validation_l1_coarse"]


def mean_colour_by_hand(config: TrainConfig) -> float:
    """ℓ1 in the hole, in percent of the range, of filling each crop with the mean of its known pixels."""
    from ca_numpy.data import open_split

    validation = Validation(open_split(config.data, validation=config.validation).validation, config)
    errors = []
    for image, mask in zip(validation.batch.images, validation.batch.masks[:, :, :, 0] > 0.5, strict=True):
        errors.append(np.abs(image[mask] - image[~mask].mean(axis=0)).mean() / 2 * 100)
    assert np.mean(errors) == pytest.approx(validation.mean_colour, rel=1e-4)
    return float(np.mean(errors))


def test_the_validation_measures_the_hole_alone():
    x = np.zeros((1, 8, 8, 3), np.float32)
    y = x.copy()
    y[:, 2:4, 2:4] = 1.0
    mask = np.zeros((1, 8, 8, 1), np.float32)
    mask[:, 2:6, 2:6] = 1
    assert metrics.l1(x, y, mask=mask) == pytest.approx(50 / 4)
