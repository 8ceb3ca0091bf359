"""Table 1's columns for a generator; the same list of crops and holes every time."""

import json

import numpy as np
import pytest
from PIL import Image

import ca_numpy
from ca_numpy import filling, metrics
from ca_numpy.data import Photographs, open_split, save_image, validation_crops
from ca_numpy.errors import UserError
from ca_numpy.evaluation import MEASURES, REGIONS, Measure, draw_hole, load_pairs, measure
from ca_numpy.filling import guided
from ca_numpy.models import Generator

MODEL = Generator(width=4, rng=np.random.default_rng(3))
SMALL = {"size": 32, "count": 3, "batch": 2, "backend": "numpy"}


def draw_holes(kind, *, size, count, seed):
    """N size size 1, as a list of pairs draws them."""
    return np.stack([draw_hole(kind, size=size, seed=(seed, number)) for number in range(count)])


@pytest.fixture(scope="module")
def table():
    return ca_numpy.evaluate(MODEL, **SMALL)


def test_every_column_is_its_metric_over_its_region():
    """Over the hole and over the whole picture, TV of the result, each by `metrics` itself."""
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 24, 3))
    m = np.zeros((3, 16, 24, 1))
    m[:, 3:9, 5:20] = 1
    table = measure(x, y, m)
    assert list(table) == ["hole", "whole"]
    for region, mask in (("hole", m), ("whole", None)):
        columns = dict(zip(MEASURES, table[region].T, strict=True))
        for name in ("l1", "l2", "psnr", "ssim"):
            np.testing.assert_array_equal(columns.pop(name), getattr(metrics, name)(x, y, mask=mask))
        np.testing.assert_array_equal(columns.pop("tv"), metrics.tv(y, mask=mask))
        np.testing.assert_array_equal(columns.pop("swd"), metrics.swd(y, x, mask=mask))
        assert not columns


def test_a_measure_of_your_own_is_one_entry(monkeypatch):
    monkeypatch.setitem(MEASURES, "worst", Measure("worst %", 1, lambda x, y, mask: 50 * np.abs(x - y).max((1, 2, 3))))
    table = ca_numpy.evaluate(methods=["mean"], **SMALL)
    assert table.rows["truth"]["hole"]["worst"][0] == 0
    assert table.rows["mean colour"]["whole"]["worst"][0] > 0
    assert "| PSNR dB | TV % | SSIM | SWD | worst % |" in table.to_markdown()


def test_every_method_has_every_measure(table):
    assert set(table.rows) == {"mean colour", "coarse", "refined", "blended", "truth"}
    for regions in table.rows.values():
        assert set(regions) == set(REGIONS)
        assert all(set(measures) == set(MEASURES) for measures in regions.values())


def test_the_truth_is_perfect(table):
    for region in REGIONS:
        truth = table.rows["truth"][region]
        assert truth["l1"][0] == truth["l2"][0] == truth["swd"][0] == 0
        assert truth["psnr"][0] == np.inf
        assert truth["ssim"][0] == pytest.approx(1)
        assert truth["tv"][0] > 0


def test_known_pixels_are_pasted_so_the_whole_is_a_quarter_of_the_hole(table):
    """The centre square has half the side: a quarter of the area, and all of the error."""
    for method in ("mean colour", "coarse", "refined"):
        hole, whole = (table.rows[method][region]["l1"][0] for region in ("hole", "whole"))
        assert whole == pytest.approx(hole / 4, rel=1e-5)


def test_the_batch_size_does_not_matter(table):
    one_by_one = ca_numpy.evaluate(MODEL, **{**SMALL, "batch": 1})
    for method in table.rows:
        for region in REGIONS:
            for name in MEASURES:
                assert one_by_one.rows[method][region][name][0] == pytest.approx(
                    table.rows[method][region][name][0], rel=1e-4
                )


def test_tables_are_written_for_people_and_for_programs(table, tmp_path):
    ca_numpy.evaluate(MODEL, **SMALL, out=tmp_path / "table.json")
    read = json.loads((tmp_path / "table.json").read_text())
    assert read["rows"]["refined"]["hole"]["l1"] == pytest.approx(table.rows["refined"]["hole"]["l1"])
    assert read["rows"]["truth"]["hole"]["psnr"][0] is None  # infinite: JSON has no number for it
    ca_numpy.evaluate(MODEL, **SMALL, out=tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text() == table.to_markdown()
    assert "| refined |" in table.to_markdown()
    assert "PSNR prefer a blur" in table.to_markdown()


@pytest.mark.parametrize("holes", ["box", "boxes", "free-form"])
def test_drawn_holes_come_from_their_seed(holes):
    first, again, other = (draw_holes(holes, size=64, count=3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape == (3, 64, 64, 1)
    assert set(np.unique(first)) == {0, 1}


def test_a_run_is_measured_on_what_it_held_out_at_its_own_size(tmp_path):
    run = ca_numpy.train(
        out=tmp_path / "run", quiet=True, backend="numpy", width=4, critic_width=4, size=32, box=16, max_shrink=2,
        batch=2, steps=1, pretrain=1,
    )  # fmt: skip
    learnt, held_out = (set(part.names) for part in open_split("photographs", validation=run.config.validation))
    table = ca_numpy.evaluate(run.folder, count=9, backend="numpy", pairs=tmp_path / "pairs.json")
    measured = {pair.name for pair in load_pairs(tmp_path / "pairs.json").pairs}
    assert measured == held_out
    assert not measured & learnt
    assert table.settings["size"] == 32
    assert table.settings["data"] == "photographs, held out from training"
    elsewhere = ca_numpy.evaluate(run.folder, data="photographs", size=40, count=2, backend="numpy")
    assert elsewhere.settings["size"] == 40
    assert elsewhere.settings["data"] == "photographs"


def test_a_broken_model_is_refused_rather_than_praised():
    broken = Generator.from_tf(MODEL.arrays())
    for (
        parameter
    ) in broken.parameters().values():  # as after a training that diverged; files with NaN are refused before
        parameter.data = np.full_like(parameter.data, np.nan)
    with pytest.raises(UserError, match="not finite"):
        ca_numpy.evaluate(broken, **SMALL)


@pytest.mark.parametrize("options", [{"size": 30}, {"out": "table.txt"}, {"data": "nowhere"}, {"model": "nowhere"}])
def test_bad_input_is_one_line(options):
    with pytest.raises(UserError) as caught:
        ca_numpy.evaluate(**{"model": MODEL, **SMALL, **options})
    assert "\n" not in str(caught.value)


def test_other_methods_need_no_model(tmp_path):
    table = ca_numpy.evaluate(methods=["patchmatch", "mean"], **SMALL)
    assert list(table.rows) == ["patchmatch", "mean colour", "truth"]
    assert table.wins == {}
    assert table.settings["model"] is None


def test_guided_completion_is_a_method_beside_the_model():
    """One row, from the blended result: the one `guided.complete` gives, with the model named in the settings."""
    table = ca_numpy.evaluate(MODEL, methods=["guided"], **SMALL)
    assert list(table.rows) == ["guided", "truth"]
    assert table.settings["model"] == "a generator"
    images, mask = validation_crops(Photographs(), size=32, count=3), draw_holes("centre", size=32, count=3, seed=0)
    refined = MODEL.complete(images, mask).refined.numpy()
    with ca_numpy.use_backend("numpy"):
        filled = np.stack(
            [guided.complete(x, m, filling.blend(x, y, m)) for x, y, m in zip(images, refined, mask, strict=True)]
        )
    assert table.rows["guided"]["hole"]["l1"][0] == pytest.approx(metrics.l1(images, filled, mask=mask).mean())
    assert set(table.leads) == set()
    both = ca_numpy.evaluate(MODEL, methods=["model", "guided"], **SMALL)
    assert set(both.leads) == {"blended", "guided"}
    assert "Read TV" in table.to_markdown()


def test_wins_are_counted_in_psnr_over_the_hole(monkeypatch):
    """The mean colour beside a rival that is right in every other picture and as wrong as can be in the rest."""
    photographs = validation_crops(Photographs(), size=32, count=7)

    def rival(image, mask):
        right = any(np.array_equal(image, x) for x in photographs[1::2])
        return image if right else -np.where(image > 0, 1, -1).astype(np.float32)

    monkeypatch.setitem(filling.METHODS, "telea", rival)
    table = ca_numpy.evaluate(methods=["mean", "telea"], **{**SMALL, "count": 7})
    assert table.wins == {"mean colour": pytest.approx(4 / 7)}
    assert "| mean colour | 57% |" in table.to_markdown()


def test_a_list_of_pairs_repeats_a_measurement(tmp_path):
    made = ca_numpy.evaluate(MODEL, **SMALL, holes="mixed", seed=5, pairs=tmp_path / "pairs.json")
    again = ca_numpy.evaluate(MODEL, batch=2, backend="numpy", pairs=tmp_path / "pairs.json")
    without = ca_numpy.evaluate(MODEL, **SMALL, holes="mixed", seed=5)
    assert repr(again.rows) == repr(made.rows) == repr(without.rows)  # as text, in which NaN equals NaN
    assert again.settings["size"] == 32
    assert again.settings["holes"] == "centre, box, boxes"
    for other in ({"data": "photographs"}, {"size": 64}, {"count": 3}, {"holes": "box"}, {"seed": 1}):
        with pytest.raises(UserError, match="leave out"):
            ca_numpy.evaluate(MODEL, **other, pairs=tmp_path / "pairs.json")


@pytest.mark.parametrize("convert", [lambda x: x, lambda x: x / 255, lambda x: x.astype(np.uint16) * 257])
def test_arrays_are_measured_as_the_same_pictures_in_files(tmp_path, rng, convert):
    pictures = rng.integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        save_image(tmp_path / f"{number}.png", picture)
    options = {"methods": ["mean"], "size": 32, "count": 4, "holes": "mixed"}
    files = ca_numpy.evaluate(data=tmp_path, **options)
    arrays = ca_numpy.evaluate(data=[convert(picture) for picture in pictures], **options)
    assert repr(arrays.rows) == repr(files.rows)
    assert arrays.settings["data"] == "3 arrays"
    with pytest.raises(UserError, match="save them to a folder"):
        ca_numpy.evaluate(data=pictures, pairs=tmp_path / "list.json", **options)


def test_arrays_of_another_range_are_refused_with_the_conversion():
    with pytest.raises(UserError, match=r"pass \(x \+ 1\) / 2"):
        ca_numpy.evaluate(data=[np.full((32, 32, 3), -0.5)], methods=["mean"])


def test_more_crops_than_pictures_make_the_interval_too_narrow_and_the_table_says_so():
    few, enough = (ca_numpy.evaluate(methods=["mean"], data="photographs", size=32, count=n) for n in (8, 7))
    assert few.settings["pictures"] == enough.settings["pictures"] == 7
    assert "too narrow: there are only 7 pictures" in few.to_markdown()
    assert "too narrow" not in enough.to_markdown()


def test_two_models_are_compared_picture_by_picture():
    other = Generator(width=4, rng=np.random.default_rng(4))
    table = ca_numpy.evaluate(MODEL, against=other, **SMALL)
    assert set(table.leads) == {"blended", "mean colour", "other model"}
    alone = ca_numpy.evaluate(other, **SMALL)
    assert table.rows["other model"] == alone.rows["refined"]
    images = validation_crops(Photographs(), size=32, count=3)
    mask = draw_holes("centre", size=32, count=3, seed=0)
    psnr = []
    for model in (MODEL, other):
        refined = model.complete(images, mask).refined.numpy()
        psnr.append(metrics.psnr(images, refined, mask=mask))
    mean, half = table.leads["other model"]["psnr"]
    assert mean == pytest.approx(np.mean(psnr[0] - psnr[1]), rel=1e-4)
    assert half == pytest.approx(4.3027 * np.std(psnr[0] - psnr[1], ddof=1) / np.sqrt(3), rel=1e-3)
    assert "refined minus method, per picture" in table.to_markdown()


def test_without_a_model_the_one_that_ships_is_measured():
    table = ca_numpy.evaluate(size=64, count=2)
    assert "refined" in table.rows
    assert table.settings["model"] == "scenes.safetensors"


def test_the_sheet_shows_every_method_for_the_first_pictures(tmp_path):
    ca_numpy.evaluate(methods=["mean"], **{**SMALL, "count": 26}, sheet=tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        width, height = sheet.size
    assert 3 * 256 < width < 3 * 256 + 80  # input, mean colour, truth
    assert 24 * 256 < height < 24 * 256 + 24 * 8 + 60


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"methods": ["magic"]}, "'magic'.*telea.*model"),
        ({"methods": ["mean"], "sheet": "sheet.jpg"}, "written as .png"),
        ({"methods": ["mean"], "sheet": "nowhere/sheet.png"}, "folder does not exist"),
        ({"methods": ["mean"], "pairs": "nowhere/pairs.json"}, "folder does not exist"),
        ({"methods": ["mean"], "holes": "round"}, "no holes"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_work(options, told):
    with pytest.raises(UserError, match=told) as caught:
        ca_numpy.evaluate(**SMALL, **options)
    assert "\n" not in str(caught.value)
