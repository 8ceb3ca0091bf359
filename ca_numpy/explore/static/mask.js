// The hole, as the strokes and shapes it was drawn by: undo replays all but the last.

export class Mask {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.reset(1, 1);
  }

  reset(width, height) {
    this.canvas.width = width;
    this.canvas.height = height;
    this.done = [];
    this.undone = [];
    this.bounds = null; // left, top, right, bottom of all that was drawn
  }

  // A stroke goes on with `extend`; other operations are complete: rectangle, lasso, clear.
  add(operation) {
    this.done.push(operation);
    this.undone = [];
    this._draw(operation);
  }

  extend(x, y) {
    const stroke = this.done.at(-1);
    stroke.points.push([x, y]);
    this._draw(stroke, stroke.points.length - 2);
  }

  undo() {
    if (!this.done.length) return false;
    this.undone.push(this.done.pop());
    this._replay();
    return true;
  }

  redo() {
    if (!this.undone.length) return false;
    this.done.push(this.undone.pop());
    this._draw(this.done.at(-1));
    return true;
  }

  // What is drawn: { box: [left, top, width, height], bits, flags }, a bit and a byte per pixel; null if nothing is.
  read() {
    if (!this.bounds) return null;
    const left = Math.max(0, Math.floor(this.bounds[0]));
    const top = Math.max(0, Math.floor(this.bounds[1]));
    const width = Math.min(this.canvas.width, Math.ceil(this.bounds[2])) - left;
    const height = Math.min(this.canvas.height, Math.ceil(this.bounds[3])) - top;
    if (width < 1 || height < 1) return null;
    const pixels = this.context.getImageData(left, top, width, height).data;
    let [x0, y0, x1, y1] = [width, height, -1, -1];
    for (let y = 0, at = 3; y < height; y++)
      for (let x = 0; x < width; x++, at += 4)
        if (pixels[at] > 127) {
          if (x < x0) x0 = x;
          if (x > x1) x1 = x;
          if (y < y0) y0 = y;
          y1 = y;
        }
    if (x1 < 0) return null;
    const box = [left + x0, top + y0, x1 + 1 - x0, y1 + 1 - y0];
    const flags = new Uint8Array(box[2] * box[3]);
    const bits = new Uint8Array(Math.ceil(flags.length / 8));
    for (let y = y0, n = 0; y <= y1; y++)
      for (let x = x0; x <= x1; x++, n++)
        if (pixels[4 * (y * width + x) + 3] > 127) {
          flags[n] = 1;
          bits[n >> 3] |= 128 >> (n & 7);
        }
    return { box, bits, flags };
  }

  _replay() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.bounds = null;
    for (const operation of this.done) this._draw(operation);
  }

  // All of an operation, or of a stroke what follows its point of number `from`.
  _draw(operation, from = -1) {
    const context = this.context;
    context.globalCompositeOperation = operation.erase ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = "rgb(214, 30, 90)";
    if (operation.kind === "clear") {
      context.clearRect(0, 0, this.canvas.width, this.canvas.height);
      this.bounds = null;
    } else if (operation.kind === "rectangle") {
      const [x, y, width, height] = operation.box;
      context.fillRect(x, y, width, height);
      this._cover(x, y, 0);
      this._cover(x + width, y + height, 0);
    } else if (operation.kind === "lasso") {
      context.beginPath();
      for (const [x, y] of operation.points) {
        context.lineTo(x, y);
        this._cover(x, y, 1);
      }
      context.fill();
    } else {
      context.lineWidth = 2 * operation.radius;
      context.lineCap = "round";
      const points = operation.points;
      if (from < 0) {
        context.beginPath();
        context.arc(...points[0], operation.radius, 0, 2 * Math.PI);
        context.fill();
        this._cover(...points[0], operation.radius + 1);
      }
      for (let n = Math.max(from, 0); n + 1 < points.length; n++) {
        const [start, end] = [points[n], points[n + 1]];
        context.beginPath(); // a segment at a time, now and when it is replayed: the same pixels
        context.moveTo(...start);
        context.lineTo(...end);
        context.stroke();
        this._cover(...end, operation.radius + 1);
      }
    }
  }

  _cover(x, y, margin) {
    const b = this.bounds || [Infinity, Infinity, -Infinity, -Infinity];
    this.bounds = [
      Math.min(b[0], x - margin), Math.min(b[1], y - margin), Math.max(b[2], x + margin), Math.max(b[3], y + margin),
    ];
  }
}
