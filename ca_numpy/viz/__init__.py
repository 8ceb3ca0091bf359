"""Pictures of what the model does: attention, receptive fields, tapes, grids of pictures, loss curves.

Drawn with matplotlib's objects, never with pyplot: no window opens, no global state changes. One rule holds for every
function that draws: it takes `ax` and returns a Figure. Without `ax` that is a new one, of a fitting size. With it,
the drawing goes into the place of those axes, and the figure that they belong to comes back. What consists of several
panels divides that place; keys and colour bars hang beside it. `show` puts a figure into a notebook, `save` writes it.

`attention_colours` and `attended_region` draw nothing: they return pictures, arrays for a grid or for `imshow`.
"""

from ca_numpy.viz.attention import attended_region, attention_colours, attention_legend, attention_map
from ca_numpy.viz.curves import loss_curves
from ca_numpy.viz.highlights import attention_arrows, attention_highlight
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
    "loss_curves",
    "method_sheet",
    "picture_grid",
    "receptive_field",
    "save",
    "show",
    "tape_graph",
]
