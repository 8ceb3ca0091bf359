// The front end: state, requests and what is shown of their replies.
import { Mask } from "./mask.js";
import { markup } from "./markup.js";
import { Stage } from "./stage.js";
import { drawing } from "./drawing.js";

const RATES = [1, 2, 4];
let fronts = 0;

export function mount(root, transport) {
  root.classList.add("ca-explorer");
  root.innerHTML = markup(`ca${++fronts}`);
  const at = {};
  for (const element of root.querySelectorAll("[data-at]")) at[element.dataset.at] = element;
  const state = { photo: null, filled: null, hole: null, running: null, looking: false, cursor: null };
  const tool = () => root.querySelector(".ca-choice input:checked").value;
  const say = (text) => { at.status.textContent = text; };
  const told = (name) => root.dispatchEvent(new CustomEvent(`ca-${name}`, { bubbles: true }));
  const failed = (error) => {
    if (error.name !== "AbortError") say(error.message);
  };

  // -- the picture ----------------------------------------------------------------------------------------
  const bitmapOf = (bytes, type = "image/png") => createImageBitmap(new Blob([bytes], { type }));

  async function opened(reply, buffers) {
    const bitmap = await bitmapOf(buffers[0], reply.type);
    Object.assign(state, { photo: reply, filled: null, hole: null, cursor: [reply.width / 2, reply.height / 2] });
    stage.setPicture(bitmap);
    mask.reset(reply.width, reply.height);
    at.empty.hidden = true;
    at.radius.value = Math.max(2, Math.round(Math.min(reply.width, reply.height) / 32));
    clearLook();
    controls();
    const notes = reply.notes.length ? ` Not kept: ${reply.notes.join("; ")}.` : "";
    say(`${reply.name}, ${reply.width} × ${reply.height} pixels. Paint the hole.${notes}`);
    told("opened");
  }

  async function open(file) {
    if (!file) return;
    if (state.limits && file.size > state.limits.bytes)
      return say(`${file.name} is larger than ${state.limits.bytes / 2 ** 20} MiB; make it smaller.`);
    stop();
    say(`Opening ${file.name} …`);
    try {
      await opened(...(await transport.request({ kind: "open", name: file.name }, [await file.arrayBuffer()])));
    } catch (error) {
      failed(error);
    }
  }

  // -- filling --------------------------------------------------------------------------------------------
  const settings = () => ({
    softmax_scale: Number((10 ** ((at.lambda.value - 30) / 30 + 1)).toPrecision(3)),
    fuse_k: at.fuse.value > 0 ? 2 * at.fuse.value + 1 : 0,
    rate: RATES[at.rate.value],
    variant: at.variant.value,
  });

  function stop() {
    if (state.running) state.running.abort();
    state.again = false;
  }

  // Fill the hole; while a fill is running, end it, or, for quick changes of settings, fill again after it.
  async function fill({ quick = false } = {}) {
    const hole = mask.read();
    if (!hole) return say("There is no hole yet: paint one.");
    if (state.running) {
      state.again = true;
      if (!quick || ["guided", "patchmatch"].includes(at.method.value)) state.running.abort();
      return;
    }
    const running = state.running = new AbortController();
    const message = { kind: "fill", method: at.method.value, settings: settings(), hole: { box: hole.box } };
    const started = performance.now();
    controls();
    say("Filling …");
    try {
      const progress = (share) => { at.progress.value = share; };
      const [reply, buffers] = await transport.request(message, [hole.bits], { progress, signal: running.signal });
      const bitmap = await bitmapOf(buffers[0]);
      Object.assign(state, { filled: { ...reply, method: message.method }, hole });
      stage.setResult(bitmap, reply.box);
      stage.split(at.split.value / 100);
      stage.mask.hidden = true;
      say(`Filled by ${message.method} in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
      told("filled");
    } catch (error) {
      if (error.name === "AbortError") say("Cancelled.");
      failed(error);
    }
    state.running = null;
    controls();
    if (state.again) {
      state.again = false;
      return fill({ quick });
    }
    await showMap();
    if (state.looked && inHole(...state.looked)) await look(...state.looked);
    told("settled");
  }

  const inHole = (x, y) => {
    if (!state.filled) return false;
    const [left, top, width, height] = state.hole.box;
    const [column, row] = [Math.floor(x) - left, Math.floor(y) - top];
    return column >= 0 && row >= 0 && column < width && row < height && state.hole.flags[row * width + column] === 1;
  };

  // -- looking --------------------------------------------------------------------------------------------
  function clearLook() {
    state.looked = state.seen = null;
    at.table.hidden = at.scale.hidden = true;
    at.here.textContent = "Fill a hole, and point at a position in it.";
    marks();
  }

  // One request at a time; the last position asked for in the meantime is the next.
  async function look(x, y) {
    state.looked = [x, y];
    if (state.looking || state.running || !inHole(x, y)) return;
    state.looking = true;
    try {
      const [reply, buffers] = await transport.request({ kind: "look", x, y });
      if (state.looked && state.filled) seen(reply, buffers, x, y);
    } catch (error) {
      failed(error);
    }
    state.looking = false;
    const next = state.looked;
    if (next && (next[0] !== x || next[1] !== y)) look(...next);
  }

  function seen(reply, buffers, x, y) {
    state.seen = reply;
    const from = reply.from ? ` Copied from pixel ${reply.from.join(", ")}.` : "";
    const place = `Pixel ${Math.floor(x)}, ${Math.floor(y)}`;
    at.table.hidden = at.scale.hidden = !reply.top;
    if (reply.top) {
      const [row, column] = reply.cell;
      at.here.textContent = `${place}: row ${row}, column ${column} of the attention.${from}`;
      at.second.textContent = state.filled.settings.variant === "paper" ? "propa\u00adgated weight" : "propa\u00adgated";
      at.table.tBodies[0].replaceChildren(...reply.top.map(patchRow));
      heat(reply, new Float32Array(buffers[0].slice().buffer));
    } else at.here.textContent = from ? `${place}.${from}` : `${state.filled.method} has no attention to look at.`;
    marks();
    told("looked");
  }

  const number = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : value.toPrecision(4));

  function patchRow(patch, n) {
    const row = document.createElement("tr");
    const [left, top, width, height] = patch.box;
    const picture = document.createElement("canvas");
    picture.width = picture.height = 48;
    const context = picture.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(stage.picture, left, top, width, height, 0, 0, 48, 48);
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `patch ${n + 1}`);
    const place = `${Math.round(left + width / 2)}, ${Math.round(top + height / 2)}`;
    const texts = [place, number(patch.score), number(patch.propagated), number(patch.weight)];
    const first = document.createElement("th");
    first.scope = "row";
    first.append(picture, ` ${n + 1}`);
    row.append(first, ...texts.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  }

  // Dark where the weight is 0, yellow where it is largest; logarithmic over four powers of ten.
  function heat(reply, weights) {
    if (at.show.value !== "nothing") return;
    const canvas = document.createElement("canvas");
    [canvas.height, canvas.width] = reply.grid;
    const image = new ImageData(canvas.width, canvas.height);
    const largest = weights.reduce((a, b) => Math.max(a, b), 1e-30);
    weights.forEach((weight, n) => {
      const share = Math.max(0, 1 + Math.log10(Math.max(weight / largest, 1e-9)) / 4);
      image.data.set([255 * share, 225 * share, 40 * share, 150], 4 * n);
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
    stage.showMap(canvas, reply.area);
  }

  async function showMap() {
    const of = at.show.value;
    const there = of !== "nothing" && state.filled?.[of];
    at.legend.hidden = !there;
    if (!there) {
      if (!state.seen?.top) stage.showMap(null);
      return;
    }
    try {
      if (!at.legend.src) {
        const [, buffers] = await transport.request({ kind: "legend" });
        at.legend.src = URL.createObjectURL(new Blob([buffers[0]], { type: "image/png" }));
      }
      const [reply, buffers] = await transport.request({ kind: "map", of });
      if (at.show.value === of) stage.showMap(await bitmapOf(buffers[0]), reply.area);
      told("mapped");
    } catch (error) {
      stage.showMap(null);
      failed(error);
    }
  }

  function marks() {
    const list = [];
    const box = ([x, y, width, height], name) => list.push(["rect", { x, y, width, height, class: name }]);
    const middle = ([x, y, width, height]) => [x + width / 2, y + height / 2];
    if (state.seen?.top) {
      state.seen.top.forEach((patch, n) => {
        const [[x1, y1], [x2, y2]] = [middle(state.seen.box), middle(patch.box)];
        if (n === 0) list.push(["line", { x1, y1, x2, y2, class: "ca-line" }]);
        box(patch.box, n ? "ca-patch" : "ca-patch ca-best");
      });
      box(state.seen.box, "ca-cell");
    } else if (state.seen?.from) {
      const [x2, y2] = state.seen.from.map((n) => n + 0.5);
      const [x1, y1] = state.looked;
      list.push(["line", { x1, y1, x2, y2, class: "ca-line" }], ["circle", { cx: x2, cy: y2, r: 4, class: "ca-patch" }]);
    }
    list.push(...pen.marks());
    stage.marks(list);
  }

  // -- controls -------------------------------------------------------------------------------------------
  function controls() {
    const [photo, running] = [Boolean(state.photo), Boolean(state.running)];
    at.run.disabled = at.saveMask.disabled = !photo;
    at.cancel.disabled = at.progress.hidden = !running;
    if (!running) at.progress.value = 0;
    at.save.disabled = at.split.disabled = !state.filled;
    for (const what of ["attention", "copies"])
      at.show.querySelector(`[value="${what}"]`).disabled = Boolean(state.filled) && !state.filled[what];
    at.undo.disabled = !mask.done.length;
    at.redo.disabled = !mask.undone.length;
    for (const name of ["lambda", "fuse", "rate", "variant", "reset"])
      at[name].disabled = !["guided", "network"].includes(at.method.value);
    const now = settings();
    const texts = { radius: `${at.radius.value} px`, split: `${at.split.value} %`, lambda: `${now.softmax_scale}`,
      fuse: now.fuse_k ? `${now.fuse_k}` : "off", rate: `${now.rate}` };
    for (const [name, text] of Object.entries(texts)) {
      root.querySelector(`[data-of="${name}"]`).textContent = text;
      at[name].setAttribute("aria-valuetext", text);
    }
    stage.pan = tool() === "hand";
    at.frame.dataset.tool = tool();
  }

  async function save(what) {
    try {
      const hole = what === "mask" && mask.read();
      if (what === "mask" && !hole) return say("There is no hole yet: paint one.");
      const message = { kind: "download", what, ...(hole && { hole: { box: hole.box } }) };
      const [reply, buffers] = await transport.request(message, hole ? [hole.bits] : []);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([buffers[0]], { type: reply.type }));
      link.download = reply.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      say(`${reply.name} downloaded.${reply.notes.length ? ` It does not keep ${reply.notes.join("; ")}.` : ""}`);
    } catch (error) {
      failed(error);
    }
  }

  // Called when the hole has changed.
  function changed({ lifted = true } = {}) {
    stage.mask.hidden = false;
    if (state.seen) clearLook();
    if (at.show.value === "nothing") stage.showMap(null);
    controls();
    if (lifted && at.auto.checked && mask.read()) fill();
  }

  const pen = drawing({ at, state, tool, marks, changed, look, clearLook, fill, inHole, stop, controls });
  const stage = new Stage(at.frame, pen.pointer);
  const mask = new Mask(stage.mask);
  pen.attach(stage, mask);
  controls();

  at.run.addEventListener("click", () => fill());
  at.cancel.addEventListener("click", stop);
  at.split.addEventListener("input", () => { stage.split(at.split.value / 100); controls(); });
  at.show.addEventListener("change", showMap);
  at.save.addEventListener("click", () => save("picture"));
  at.saveMask.addEventListener("click", () => save("mask"));
  at.file.addEventListener("change", () => open(at.file.files[0]));
  at.method.addEventListener("change", () => { controls(); if (state.filled) fill(); });
  for (const name of ["lambda", "fuse", "rate", "variant"])
    at[name].addEventListener("input", () => { controls(); if (state.filled) fill({ quick: true }); });
  at.reset.addEventListener("click", () => {
    [at.lambda.value, at.fuse.value, at.rate.value, at.variant.value] = [30, 1, 1, "model"];
    controls();
    if (state.filled) fill({ quick: true });
  });
  at.frame.addEventListener("dragover", (event) => event.preventDefault());
  at.frame.addEventListener("drop", (event) => { event.preventDefault(); open(event.dataTransfer.files[0]); });

  transport.request({ kind: "start" }).then(([reply, buffers]) => {
    state.limits = reply.limits;
    for (const [name, why] of Object.entries(reply.missing)) {
      const option = at.method.querySelector(`[value="${name}"]`);
      option.disabled = true;
      option.textContent += `: ${why}`;
    }
    if (buffers.length) return opened(reply, buffers);
    say("Open a picture.");
    told("opened");
  }).catch(failed);
}
