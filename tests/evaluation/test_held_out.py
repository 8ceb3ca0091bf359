"""A run is measured on the pictures that it held out from training, and on no other."""

import numpy as np

import ca_numpy
from ca_numpy.data import open_split, save_image
from ca_numpy.evaluation import load_pairs
from ca_numpy.training import TrainConfig
from ca_numpy.training.checkpoint import CONFIG


def test_a_run_is_measured_on_the_pictures_that_it_held_out(tmp_path, rng):
    """The list that the evaluation leaves names them; from other data, all pictures of these."""
    for folder in ("pictures", "others", "run"):
        (tmp_path / folder).mkdir()
    for folder, count in (("pictures", 9), ("others", 3)):
        for i in range(count):
            save_image(tmp_path / folder / f"{folder}-{i}.png", rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    config = TrainConfig(data=str(tmp_path / "pictures"), validation=0.4, size=32, box=16)
    (tmp_path / "run" / CONFIG).write_text(config.to_json())

    def measured_on(name, **options):
        table = ca_numpy.evaluate(tmp_path / "run", methods=["mean"], count=20, pairs=tmp_path / name, **options)
        assert table.settings["size"] == load_pairs(tmp_path / name).size == 32
        return {f"{stem}.png" for stem in load_pairs(tmp_path / name).names}

    train, held_out = open_split(config.data, validation=0.4)
    assert measured_on("own.json") == set(held_out.names)
    assert set(train.names) | set(held_out.names) == {f"pictures-{i}.png" for i in range(9)}
    assert not set(train.names) & set(held_out.names)
    assert measured_on("others.json", data=tmp_path / "others") == {f"others-{i}.png" for i in range(3)}
