"""See the attention and fill holes by hand: one front end, in the browser and in a notebook.

    session.py     a photograph, its hole and its fill: everything the front end asks for, as arrays
    settings.py    of the attention, for its sliders
    near.py        the network's output next to the hole, as settings change
    looking.py     what a position attended to, and the map of all
    rows.py        rows of the attention on demand, without the whole matrix
    requests.py    the front end's messages, checked and answered
    worker.py      one thread per session: progress, and an end on request
    server.py      the page on this machine (`ca-numpy explore`)
    widget.py      the same in a notebook (`ca_numpy.viz.explorer`)
    static/        the front end: plain JavaScript, without a build step

Needs the extra `explore`, except `Session` and what it returns.
"""

from ca_numpy.explore.looking import Attention, Look, Patch
from ca_numpy.explore.rows import AttentionRows, Rows
from ca_numpy.explore.session import Cancelled, Filled, Session
from ca_numpy.explore.settings import Settings

__all__ = ["Attention", "AttentionRows", "Cancelled", "Filled", "Look", "Patch", "Rows", "Session", "Settings"]
