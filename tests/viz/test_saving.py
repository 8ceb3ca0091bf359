"""Saving figures: whole or not at all, the same bytes each time, no global state."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ca_numpy.errors import UserError
from ca_numpy.viz import attention_legend, attention_map, picture_grid, save


def test_a_saved_grid_is_a_png_of_the_figures_size(tmp_path):
    figure = picture_grid([[np.zeros((115, 77, 3))] * 3], titles=list("abc"))
    save(figure, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == tuple((figure.get_size_inches() * figure.dpi).astype(int))


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        save(attention_legend(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    class Broken(Figure):
        def savefig(self, fname, **options):
            with open(fname, "wb") as file:
                file.write(b"half a pict")
            raise OSError("disk full")

    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        save(Broken(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_and_folders_are_checked_first(tmp_path):
    with pytest.raises(UserError, match=r"end the name in \.png"):
        save(attention_legend(), tmp_path / "figure.jpg")
    with pytest.raises(UserError, match="create it first"):
        save(attention_legend(), tmp_path / "nowhere" / "figure.png")


def test_drawing_neither_imports_pyplot_nor_changes_a_setting(tmp_path):
    program = f"""
import sys, matplotlib, numpy as np

def settings():  # all but the backend: asking for that would import pyplot
    return {{name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}}

before = settings()
from ca_numpy import tensor, viz
image = np.zeros((8, 8, 3))
viz.save(viz.tape_graph(tensor(image) * 2.0), {str(tmp_path / "tape.png")!r})
viz.save(viz.receptive_field(lambda x: x * 2.0, image[None]), {str(tmp_path / "field.png")!r})
viz.save(viz.attention_highlight(image, np.eye(16), at=(1, 2), grid=(4, 4)), {str(tmp_path / "highlight.png")!r})
viz.save(viz.attention_arrows(image, np.zeros((4, 4), int), background=(4, 4)), {str(tmp_path / "arrows.png")!r})
viz.save(viz.before_after(image, image), {str(tmp_path / "pairs.png")!r})
viz.save(viz.attention_map(np.arange(16).reshape(4, 4), background=(4, 4)), {str(tmp_path / "map.png")!r})
viz.save(viz.loss_curves([{{"step": 0, "l1": 1.0}}]), {str(tmp_path / "curves.png")!r})
assert "matplotlib.pyplot" not in sys.modules
assert settings() == before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_importing_the_package_does_not_import_matplotlib():
    program = "import sys, ca_numpy; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_saved_figure_is_laid_out_with_its_keys_inside(tmp_path):
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    index = np.zeros((36, 48), int)
    for ax in figure.subplots(1, 2):
        attention_map(index, background=(36, 48), ax=ax)
    save(figure, tmp_path / "maps.png")
    whole = figure.bbox
    for ax in figure.axes:
        box = ax.get_tightbbox()
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1


def test_a_users_settings_for_saving_do_not_change_the_picture(tmp_path):
    save(attention_legend(), tmp_path / "plain.png")
    with matplotlib.rc_context({"savefig.dpi": 300, "savefig.format": "svg"}):
        save(attention_legend(), tmp_path / "set.png")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "set.png").read_bytes()
