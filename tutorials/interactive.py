"""Figures that follow sliders and clicks in Jupyter, and are plain figures wherever else a notebook is read.

    from interactive import Beside, interactive

    interactive(draw, alt="…", scale=[1, 10, 100])     a slider for the parameter `scale` of draw(...) -> Figure
    Beside(viz.show(figure, alt="…"), make_widget)     any other widget beside a figure

The values at the start are the defaults of draw's parameters. A parameter `at`, (x, y) in the axes' units, is set by
clicks into the figure and by arrow keys.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from ca_numpy import viz
from ca_numpy.errors import UserError
from ca_numpy.viz.notebook import Shown

SCRIPT = """
export default {
  render({ model, el }) {
    let busy = false, waiting = null;
    const keepsKeys = (element) => { element.dataset.lmSuppressShortcuts = "true"; };  // from JupyterLab
    const ask = (change) => {
      waiting = { ...waiting, ...change };
      if (busy) return;
      busy = true;
      model.send(waiting);
      waiting = null;
    };
    for (const [name, texts] of Object.entries(model.get("choices"))) {
      const [label, slider, value] = ["label", "input", "output"].map((kind) => document.createElement(kind));
      Object.assign(slider, { type: "range", min: 0, max: texts.length - 1, value: model.get("chosen")[name] });
      keepsKeys(slider);
      const named = () => { value.textContent = slider.ariaValueText = texts[slider.value]; };
      slider.oninput = () => { named(); ask({ [name]: Number(slider.value) }); };
      named();
      label.append(`${name} `, slider, " ", value);
      label.style.display = "block";
      el.append(label);
    }
    const picture = document.createElement("img");
    const draw = () => {
      URL.revokeObjectURL(picture.src);
      picture.src = URL.createObjectURL(new Blob([model.get("png")], { type: "image/png" }));
    };
    picture.alt = model.get("alt");
    picture.style.maxWidth = "100%";
    if (model.get("clickable")) {
      const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      picture.tabIndex = 0;
      keepsKeys(picture);
      picture.style.cursor = "crosshair";
      picture.onclick = (event) => {
        const { left, top, width, height } = picture.getBoundingClientRect();
        ask({ click: [(event.clientX - left) / width, (event.clientY - top) / height] });
      };
      picture.onkeydown = (event) => {
        if (!steps[event.key]) return;
        event.preventDefault();
        event.stopPropagation();
        ask({ step: steps[event.key] });
      };
    }
    draw();
    el.append(picture);
    model.on("change:png", draw);
    model.on("msg:custom", () => {
      busy = false;
      if (waiting) ask({});
    });
  },
};
"""


class Beside:
    """A figure and a widget beside it, as the last expression of a cell; `widget` is None without anywidget.

    `run.py` keeps the figure alone.
    """

    def __init__(self, shown: Shown, make: Callable[[], Any]) -> None:
        self.shown = shown
        try:
            self.widget = make()
        except (ImportError, UserError):
            self.widget = None

    def _ipython_display_(self) -> None:
        from IPython.display import display  # only called by IPython

        self.shown._ipython_display_()
        if self.widget is not None:
            display(self.widget)


def interactive(draw: Callable[..., Figure], *, alt: str, **choices: Sequence[Any]) -> Beside:
    """The figure `draw()`, and beside it one that follows a slider for each choice, and clicks if draw has an `at`."""
    return Beside(viz.show(draw(), alt=alt), lambda: following(draw, alt=alt, choices=choices))


def following(draw: Callable[..., Figure], *, alt: str, choices: dict[str, Sequence[Any]]) -> Any:
    """The widget of `interactive`. Raises ImportError without anywidget."""
    import anywidget
    import traitlets

    class Following(anywidget.AnyWidget):
        """Draws the figure anew for each message; the front end sends the next when it has the last one's."""

        _esm = SCRIPT
        alt = traitlets.Unicode().tag(sync=True)
        choices = traitlets.Dict().tag(sync=True)
        chosen = traitlets.Dict().tag(sync=True)
        clickable = traitlets.Bool().tag(sync=True)
        png = traitlets.Bytes().tag(sync=True)

        def __init__(self) -> None:
            values = {name: p.default for name, p in inspect.signature(draw).parameters.items()}
            chosen = {name: list(options).index(values[name]) for name, options in choices.items()}
            texts = {name: [f"{value:g}" for value in options] for name, options in choices.items()}
            super().__init__(alt=alt, choices=texts, chosen=chosen, clickable="at" in values)
            self.values = values
            self.redraw()
            self.on_msg(self.received)

        def redraw(self) -> None:
            self.figure = draw(**self.values)
            self.png = viz.show(self.figure, alt=self.alt).png

        def received(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
            """A change: an index for each choice; click, a place as shares from the top left; or step, of `at`."""
            self.values |= {name: options[message[name]] for name, options in choices.items() if name in message}
            if "click" in message:
                self.click(*message["click"])
            if "step" in message:
                self.values["at"] = tuple(a + b for a, b in zip(self.values["at"], message["step"], strict=True))
            self.redraw()
            self.send({"done": True})

        def click(self, x: float, y: float) -> None:
            place = self.figure.bbox.width * x, self.figure.bbox.height * (1 - y)
            for axes in self.figure.axes:
                if axes.bbox.contains(*place):
                    self.values["at"] = tuple(map(float, axes.transData.inverted().transform(place)))

    return Following()
