"""Pictures of what the model does: attention colours, grids of pictures, loss curves.

Drawn with matplotlib's objects, never with pyplot: no window opens, no global state changes. Every function that draws
returns its Figure; `show` puts it into a notebook, `save` writes it.
"""

from ca_numpy.viz.attention import attended_region, attention_colours, attention_legend, attention_map
from ca_numpy.viz.curves import loss_curves
from ca_numpy.viz.notebook import show
from ca_numpy.viz.output import save
from ca_numpy.viz.pictures import comparison, method_sheet, picture_grid

__all__ = [
    "attended_region",
    "attention_colours",
    "attention_legend",
    "attention_map",
    "comparison",
    "loss_curves",
    "method_sheet",
    "picture_grid",
    "save",
    "show",
]
