// The picture and what lies over it, at any zoom. All layers have the picture's size in CSS pixels and are scaled
// together, so that a stroke repaints only what it covers.

const SVG = "http://www.w3.org/2000/svg";

export class Stage {
  // on: { down(x, y), move(x, y), up(), cancel(), hover(x, y) or hover(null) }, in pixels of the picture.
  constructor(frame, on) {
    this.frame = frame;
    this.on = on;
    this.world = document.createElement("div");
    this.world.className = "ca-world";
    this.picture = document.createElement("canvas");
    this.result = document.createElement("canvas");
    this.mask = document.createElement("canvas");
    this.map = document.createElement("canvas");
    this.mask.className = "ca-mask";
    this.map.className = "ca-map";
    this.drawn = document.createElementNS(SVG, "svg");
    this.world.append(this.picture, this.result, this.map, this.mask, this.drawn);
    frame.append(this.world);
    this.size = [1, 1];
    this.scale = 1;
    this.offset = [0, 0];
    this.pan = false; // whether dragging moves the picture
    this._pointers = new Map();
    this._listen();
    new ResizeObserver(() => this._place()).observe(frame);
  }

  setPicture(bitmap) {
    this.size = [bitmap.width, bitmap.height];
    [this.picture.width, this.picture.height] = this.size;
    this.picture.getContext("2d").drawImage(bitmap, 0, 0);
    this.drawn.setAttribute("viewBox", `0 0 ${bitmap.width} ${bitmap.height}`);
    for (const element of [this.world, this.drawn]) {
      element.style.width = `${bitmap.width}px`;
      element.style.height = `${bitmap.height}px`;
    }
    this.result.hidden = this.map.hidden = true;
    this.fit();
  }

  setResult(bitmap, box) {
    this.box = box;
    [this.result.width, this.result.height] = [bitmap.width, bitmap.height];
    this.result.getContext("2d").drawImage(bitmap, 0, 0);
    this._over(this.result, box);
    this.result.hidden = false;
  }

  // The share of the picture, from the left, that shows what was there before.
  split(share) {
    if (!this.box) return;
    const hidden = Math.max(0, share * this.size[0] - this.box[0]);
    this.result.style.clipPath = `inset(0 0 0 ${hidden}px)`;
  }

  // A bitmap or canvas over an area of the picture, or null.
  showMap(source, area) {
    this.map.hidden = !source;
    if (!source) return;
    [this.map.width, this.map.height] = [source.width, source.height];
    this.map.getContext("2d").drawImage(source, 0, 0);
    this._over(this.map, area);
  }

  _over(canvas, [left, top, width, height]) {
    Object.assign(canvas.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
  }

  // Replace the marks: [tag, attributes, text] each.
  marks(list) {
    this.drawn.replaceChildren(
      ...list.map(([tag, attributes, text]) => {
        const element = document.createElementNS(SVG, tag);
        for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
        if (text !== undefined) element.textContent = text;
        return element;
      }),
    );
  }

  fit() {
    this.fitted = true;
    this._place();
  }

  zoom(factor, x = this.frame.clientWidth / 2, y = this.frame.clientHeight / 2) {
    const scale = Math.min(Math.max(this.scale * factor, 0.02), 40);
    this.offset = [x - ((x - this.offset[0]) * scale) / this.scale, y - ((y - this.offset[1]) * scale) / this.scale];
    this.scale = scale;
    this.fitted = false;
    this._place();
  }

  move(dx, dy) {
    this.offset = [this.offset[0] + dx, this.offset[1] + dy];
    this.fitted = false;
    this._place();
  }

  // Move the picture so that a pixel of it is in view.
  reveal(x, y) {
    const room = [this.frame.clientWidth, this.frame.clientHeight];
    [x, y].forEach((value, axis) => {
      const at = value * this.scale + this.offset[axis];
      if (at < 0 || at > room[axis]) this.offset[axis] += room[axis] / 2 - at;
    });
    this._place();
  }

  _place() {
    const room = [this.frame.clientWidth, this.frame.clientHeight];
    if (this.fitted) {
      this.scale = Math.min(room[0] / this.size[0], room[1] / this.size[1], 8) || 1;
      this.offset = room.map((n, axis) => (n - this.scale * this.size[axis]) / 2);
    } else {
      // a part of the picture stays in view
      this.offset = room.map((n, axis) =>
        Math.min(Math.max(this.offset[axis], 40 - this.scale * this.size[axis]), n - 40));
    }
    this.world.style.transform = `translate(${this.offset[0]}px, ${this.offset[1]}px) scale(${this.scale})`;
    this.world.classList.toggle("ca-near", this.scale > 3);
    this.frame.style.setProperty("--ca-scale", this.scale);
  }

  at(event) {
    const frame = this.frame.getBoundingClientRect();
    return [
      (event.clientX - frame.left - this.frame.clientLeft - this.offset[0]) / this.scale,
      (event.clientY - frame.top - this.frame.clientTop - this.offset[1]) / this.scale,
    ];
  }

  _listen() {
    const frame = this.frame;
    const pointers = this._pointers;
    frame.addEventListener("pointerdown", (event) => {
      if (event.button > 1) return;
      frame.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      this._moving = this.pan || event.button === 1 || pointers.size > 1;
      if (this._moving) this.on.cancel(); // a second finger: not a stroke
      else this.on.down(...this.at(event));
    });
    frame.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return this.on.hover(...this.at(event));
      if (this._moving) this._gesture(event, before);
      else {
        const moves = event.getCoalescedEvents?.() ?? [];
        for (const move of moves.length ? moves : [event]) this.on.move(...this.at(move));
      }
    });
    const ended = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (!this._moving) event.type === "pointerup" ? this.on.up() : this.on.cancel();
      if (!pointers.size) this._moving = false;
    };
    frame.addEventListener("pointerup", ended);
    frame.addEventListener("pointercancel", ended);
    frame.addEventListener("pointerleave", () => this.on.hover(null));
    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // which scrolls the page
      event.preventDefault();
      const place = frame.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY / 300), event.clientX - place.left, event.clientY - place.top);
    }, { passive: false });
  }

  // One finger moves the picture, two also zoom it.
  _gesture(event, before) {
    const others = [...this._pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const now = [event.clientX, event.clientY];
    this._pointers.set(event.pointerId, now);
    const share = 1 / (others.length + 1);
    this.move((now[0] - before[0]) * share, (now[1] - before[1]) * share);
    if (others.length === 1) {
      const distance = (place) => Math.hypot(place[0] - others[0][0], place[1] - others[0][1]) + 1;
      const frame = this.frame.getBoundingClientRect();
      const middle = [(now[0] + others[0][0]) / 2 - frame.left, (now[1] + others[0][1]) / 2 - frame.top];
      this.zoom(distance(now) / distance(before), ...middle);
    }
  }
}
