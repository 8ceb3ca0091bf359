"""Visualisations: attention, receptive fields, tapes, grids of pictures, loss curves.

They use matplotlib's objects, never pyplot: no window opens and no global state changes. Every function that draws
takes `ax` and returns a Figure. Without `ax` it creates a new figure of a suitable size; with it, it draws in the area
of those axes and returns their figure. Several panels share that area; legends and colour bars are placed next to it.
`show` displays a figure in a notebook, `save` writes it.

`explorer` is interactive: a widget to paint holes and look at the attention, in a notebook.

`attention_colours` and `attended_region` do not draw: they return arrays for a grid or for `imshow`.
"""

from ca_numpy.viz.attention import attended_region, attention_colours, attention_legend, attention_map
from ca_numpy.viz.curves import loss_curves
from ca_numpy.viz.highlights import attention_arrows, attention_highlight
from ca_numpy.viz.interactive import explorer
from ca_numpy.viz.notebook import show
from ca_numpy.viz.output import save
from ca_numpy.viz.pictures import before_after, comparison, method_sheet, picture_grid
from ca_numpy.viz.receptive import receptive_field
from ca_numpy.viz.tape import tape_graph

__all__ = [
    "attended_region",
    "attention_arrows",
    "attention_colours",
    "attention_highlight",
    "attention_legend",
    "attention_map",
    "before_after",
    "comparison",
    "explorer",
    "loss_curves",
    "method_sheet",
    "picture_grid",
    "receptive_field",
    "save",
    "show",
    "tape_graph",
]
