// Pointer and keyboard on the picture: the same tools for both.

export function drawing({ at, state, tool, marks, changed, look, clearLook, fill, inHole, stop, controls }) {
  let stage, mask;
  let shape = null; // the stroke, rectangle or lasso that is being drawn
  let focused = false;

  const radius = () => Number(at.radius.value);
  const whole = ([x0, y0], [x1, y1]) => {
    const [left, top] = [Math.floor(Math.min(x0, x1)), Math.floor(Math.min(y0, y1))];
    return [left, top, Math.ceil(Math.max(x0, x1)) - left, Math.ceil(Math.max(y0, y1)) - top];
  };

  function begin(x, y) {
    if (!state.photo) return;
    if (["brush", "eraser"].includes(tool())) {
      stop();
      shape = { kind: "stroke", erase: tool() === "eraser", radius: radius(), points: [[x, y]] };
      mask.add(shape);
      changed({ lifted: false });
    } else if (["rectangle", "lasso"].includes(tool())) {
      stop();
      shape = { kind: tool(), points: [[x, y], [x, y]] };
    } else if (tool() === "look") look(x, y);
    marks();
  }

  function go(x, y) {
    if (!shape) return tool() === "look" && look(x, y);
    if (shape.kind === "stroke") mask.extend(x, y);
    else if (shape.kind === "lasso") shape.points.push([x, y]);
    else shape.points[1] = [x, y];
    marks();
  }

  function end() {
    const drawn = shape;
    shape = null;
    if (!drawn) return;
    if (drawn.kind === "rectangle") mask.add({ kind: "rectangle", box: whole(...drawn.points) });
    else if (drawn.kind === "lasso") mask.add(drawn);
    marks();
    changed();
  }

  function drop() {
    if (shape?.kind === "stroke") mask.undo();
    shape = null;
    marks();
    controls();
  }

  function hover(x, y) {
    if (!stage || !state.photo) return;
    focused = false;
    if (x === null) return marks();
    state.cursor = [x, y];
    if (inHole(x, y)) look(x, y);
    else if (state.seen) leave();
    marks();
  }

  function leave() {
    clearLook();
    if (at.show.value === "nothing") stage.showMap(null);
  }

  function keys(event) {
    if (!state.photo) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    const control = event.ctrlKey || event.metaKey;
    if (control && !["z", "y", "Z"].includes(event.key)) return;
    if (move) {
      const coarse = Math.max(1, tool() === "look" ? Math.min(...(state.seen?.box?.slice(2) || [8])) : radius() / 2);
      const step = event.shiftKey ? 1 : Math.round(coarse);
      state.cursor = state.cursor.map((n, axis) =>
        Math.min(Math.max(n + step * move[axis], 0), [state.photo.width, state.photo.height][axis]));
      stage.reveal(...state.cursor);
      if (shape) go(...state.cursor);
      else if (inHole(...state.cursor)) look(...state.cursor);
      else if (state.seen) leave();
    } else if (event.key === " ") {
      if (shape) end();
      else begin(...state.cursor);
    } else if (event.key === "Enter") {
      if (shape) end();
      fill();
    } else if (event.key === "Escape") drop();
    else if (control) (event.key === "z" ? undo : redo)();
    else if (event.key === "+" || event.key === "=") stage.zoom(1.25);
    else if (event.key === "-") stage.zoom(0.8);
    else if (event.key === "0") stage.fit();
    else if (event.key === "[" || event.key === "]") {
      at.radius.value = Math.round(radius() * (event.key === "]" ? 1.25 : 0.8)) + (event.key === "]");
      controls();
    } else return;
    event.preventDefault();
    event.stopPropagation();
    focused = true;
    marks();
  }

  // What is being drawn, the brush, and the keyboard's cursor.
  function shown() {
    const list = [];
    if (shape?.kind === "rectangle") {
      const [x, y, width, height] = whole(...shape.points);
      list.push(["rect", { x, y, width, height, class: "ca-shape" }]);
    } else if (shape?.kind === "lasso") list.push(["polygon", { points: shape.points.join(" "), class: "ca-shape" }]);
    if (state.photo && state.cursor && ["brush", "eraser"].includes(tool()) && !state.seen?.top)
      list.push(["circle", { cx: state.cursor[0], cy: state.cursor[1], r: radius(), class: "ca-ring" }]);
    if (focused && state.cursor) {
      const [x, y] = state.cursor;
      const arm = 12 / stage.scale;
      list.push(["path", { d: `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`, class: "ca-cross" }]);
    }
    return list;
  }

  const undo = () => mask.undo() && changed();
  const redo = () => mask.redo() && changed();

  return {
    pointer: { down: begin, move: (x, y) => { state.cursor = [x, y]; go(x, y); }, up: end, cancel: drop, hover },
    marks: shown,
    attach(itsStage, itsMask) {
      [stage, mask] = [itsStage, itsMask];
      at.frame.addEventListener("keydown", keys);
      at.frame.addEventListener("focus", () => {
        focused = at.frame.matches(":focus-visible");
        marks();
      });
      at.frame.addEventListener("blur", () => { focused = false; marks(); });
      at.undo.addEventListener("click", undo);
      at.redo.addEventListener("click", redo);
      at.clear.addEventListener("click", () => {
        stop();
        mask.add({ kind: "clear" });
        changed();
      });
      at.smaller.addEventListener("click", () => stage.zoom(0.8));
      at.larger.addEventListener("click", () => stage.zoom(1.25));
      at.fit.addEventListener("click", () => stage.fit());
      at.radius.addEventListener("input", () => { controls(); marks(); });
      at.frame.closest(".ca-explorer").querySelector(".ca-choice").addEventListener("change", () => {
        drop();
        controls();
      });
      at.numbers.addEventListener("submit", (event) => {
        event.preventDefault();
        const form = new FormData(at.numbers);
        const box = ["left", "top", "width", "height"].map((name) => Math.max(0, Math.round(Number(form.get(name)))));
        stop();
        mask.add({ kind: "rectangle", box });
        changed();
      });
    },
  };
}
