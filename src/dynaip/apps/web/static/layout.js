// One canvas for all subjects: boxes to drag, masks to paint, and the masks really used.

const CELLS = 64;  // a painted mask's columns
const HANDLE = 0.05;
const NUDGE = 1 / 32;
const LEAST = 1 / 16;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export const anywhere = () => ({ kind: "anywhere" });
export const boxed = (box) => ({ kind: "box", box });

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export class Layout {
  constructor(canvas, state, onChange) {
    Object.assign(this, { canvas, state, onChange, tool: "box", brush: 6, active: null, used: null });
    this.rows = CELLS;
    this.cursor = null;  // of the brush, where it is moved by keys
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.release());
    canvas.addEventListener("pointercancel", () => this.release());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => { this.cursor = null; this.draw(); });
  }

  get subject() { return this.state.subjects.find((s) => s.id === this.active); }

  where(event) {
    const frame = this.canvas.getBoundingClientRect();
    return [
      clamp((event.clientX - frame.left) / frame.width, 0, 1),
      clamp((event.clientY - frame.top) / frame.height, 0, 1),
    ];
  }

  press(event) {
    if (!this.subject) return;
    event.preventDefault();
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    this.cursor = null;
    const at = this.where(event);
    if (this.tool === "box") this.drag = this.grasp(at);
    else { this.drag = { paint: true, last: at }; this.stroke(at, at); }
  }

  // A corner of the subject's box, its inside, or a new box.
  grasp([x, y]) {
    const { place } = this.subject;
    if (place.kind === "box") {
      const [left, top, right, bottom] = place.box;
      for (const [cx, cy, fx, fy] of [[left, top, right, bottom], [right, top, left, bottom],
        [left, bottom, right, top], [right, bottom, left, top]]) {
        if (Math.hypot(x - cx, y - cy) < HANDLE) return { from: [fx, fy] };
      }
      if (x > left && x < right && y > top && y < bottom) return { offset: [x - left, y - top] };
    }
    return { from: [x, y] };
  }

  move(event) {
    if (!this.drag || !this.subject) return;
    const [x, y] = this.where(event);
    if (this.drag.paint) {
      this.stroke(this.drag.last, [x, y]);
      this.drag.last = [x, y];
    } else if (this.drag.offset) {
      const [left, top, right, bottom] = this.subject.place.box;
      const nl = clamp(x - this.drag.offset[0], 0, 1 - (right - left));
      const nt = clamp(y - this.drag.offset[1], 0, 1 - (bottom - top));
      this.subject.place = boxed([nl, nt, nl + right - left, nt + bottom - top]);
    } else {
      const [fx, fy] = this.drag.from;
      const box = [Math.min(x, fx), Math.min(y, fy), Math.max(x, fx), Math.max(y, fy)];
      if (box[2] - box[0] > LEAST / 2 && box[3] - box[1] > LEAST / 2) this.subject.place = boxed(box);
    }
    this.used = null;
    this.draw();
  }

  release() {
    if (!this.drag) return;
    this.drag = null;
    this.onChange();
  }

  key(event) {
    const step = ARROWS[event.key];
    const dot = event.key === " " && this.tool !== "box";
    if (!this.subject || !(step || dot)) return;
    event.preventDefault();
    if (this.tool === "box") this.nudge(step, event.shiftKey);
    else this.brushBy(step ?? [0, 0], dot || event.shiftKey);
  }

  nudge(step, resize) {
    const { place } = this.subject;
    let [left, top, right, bottom] = place.kind === "box" ? place.box : [0.25, 0.25, 0.75, 0.75];
    const [dx, dy] = step.map((s) => s * NUDGE);
    if (resize) {
      right = clamp(right + dx, left + LEAST, 1);
      bottom = clamp(bottom + dy, top + LEAST, 1);
    } else {
      const sx = clamp(dx, -left, 1 - right), sy = clamp(dy, -top, 1 - bottom);
      [left, top, right, bottom] = [left + sx, top + sy, right + sx, bottom + sy];
    }
    this.subject.place = boxed([left, top, right, bottom]);
    this.onChange();
  }

  brushBy(step, paints) {
    const from = this.cursor ?? [0.5, 0.5];
    this.cursor = from.map((at, axis) => clamp(at + step[axis] * NUDGE, 0, 1));
    if (!paints) { this.draw(); return; }
    this.stroke(from, this.cursor);
    this.onChange();
  }

  stroke(from, to) {
    const { subject, rows } = this;
    if (subject.place.kind !== "paint") subject.place = startPaint(subject.place, rows, this.tool);
    const { cells } = subject.place;
    const value = this.tool === "paint" ? 255 : 0;
    const steps = Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) * CELLS) + 1;
    for (let i = 0; i <= steps; i++) {
      const cx = (from[0] + ((to[0] - from[0]) * i) / steps) * CELLS;
      const cy = (from[1] + ((to[1] - from[1]) * i) / steps) * rows;
      for (let y = 0; y < rows; y++) for (let x = 0; x < CELLS; x++) {
        if (Math.hypot(x + 0.5 - cx, y + 0.5 - cy) <= this.brush) cells[y * CELLS + x] = value;
      }
    }
    this.used = null;
    this.draw();
  }

  // Width over height; what is painted already is stretched with the picture.
  setAspect(aspect) {
    this.rows = Math.max(1, Math.round(CELLS / aspect));
    this.canvas.height = Math.round(this.canvas.width / aspect);
    this.canvas.style.setProperty("--aspect", aspect);
    for (const subject of this.state.subjects) {
      if (subject.place.kind === "paint") subject.place = stretch(subject.place, this.rows);
    }
  }

  draw() {
    const { canvas } = this;
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    this.state.subjects.forEach((subject, index) => {
      if (this.used) this.drawUsed(pen, subject, this.used[index]);
      else this.drawPlace(pen, subject);
    });
    if (this.cursor) this.drawCursor(pen);
  }

  drawCursor(pen) {
    const { width, height } = this.canvas;
    pen.strokeStyle = "#1d1e22";
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(this.cursor[0] * width, this.cursor[1] * height, this.brush * width / CELLS, 0, 2 * Math.PI);
    pen.stroke();
  }

  drawPlace(pen, subject) {
    const { width, height } = this.canvas;
    const { place, colour } = subject;
    pen.fillStyle = colour;
    pen.globalAlpha = subject.id === this.active ? 0.45 : 0.25;
    if (place.kind === "paint") {
      const wide = width / CELLS, high = height / place.rows;
      place.cells.forEach((cell, i) => {
        if (cell) pen.fillRect((i % CELLS) * wide, Math.floor(i / CELLS) * high, wide, high);
      });
    }
    if (place.kind === "box") {
      const [left, top, right, bottom] = place.box;
      const frame = [left * width, top * height, (right - left) * width, (bottom - top) * height];
      pen.fillRect(...frame);
      pen.globalAlpha = 1;
      pen.strokeStyle = colour;
      pen.lineWidth = subject.id === this.active ? 4 : 2;
      pen.strokeRect(...frame);
      pen.font = "16px sans-serif";
      pen.fillStyle = "#1d1e22";
      pen.fillText(subject.name, frame[0] + 8, frame[1] + 22);
    }
    pen.globalAlpha = 1;
  }

  drawUsed(pen, subject, mask) {
    if (!mask) return;
    const { width, height } = this.canvas;
    const high = height / mask.length, wide = width / mask[0].length;
    pen.fillStyle = subject.colour;
    mask.forEach((row, y) => row.forEach((value, x) => {
      pen.globalAlpha = 0.65 * Math.min(1, value);
      pen.fillRect(x * wide + 1, y * high + 1, wide - 2, high - 2);
    }));
    pen.globalAlpha = 1;
  }
}

// What a stroke adds to or takes from: a box, or everything, or nothing yet.
function startPaint(place, rows, tool) {
  const cells = new Uint8Array(CELLS * rows).fill(tool === "erase" ? 255 : 0);
  if (place.kind === "box") {
    const [left, top, right, bottom] = place.box;
    cells.forEach((_, i) => {
      const x = (i % CELLS + 0.5) / CELLS, y = (Math.floor(i / CELLS) + 0.5) / rows;
      cells[i] = x > left && x < right && y > top && y < bottom ? 255 : 0;
    });
  }
  return { kind: "paint", rows, cells };
}

function stretch({ cells, rows }, wanted) {
  const from = (i) => Math.floor(Math.floor(i / CELLS) * rows / wanted) * CELLS + i % CELLS;
  const stretched = new Uint8Array(CELLS * wanted).map((_, i) => cells[from(i)]);
  return { kind: "paint", rows: wanted, cells: stretched };
}

// A place in words, for who does not see the canvas.
export function describePlace(place) {
  if (place.kind === "anywhere") return "anywhere";
  if (place.kind === "paint") {
    return `painted, ${Math.round(100 * place.cells.filter(Boolean).length / place.cells.length)} % of the picture`;
  }
  const [left, top, right, bottom] = place.box.map((v) => Math.round(100 * v));
  return `${left} to ${right} % across, ${top} to ${bottom} % down`;
}

// A place as the server takes it; of a mask with transparency, what is opaque counts.
export function placeFields(place) {
  if (place.kind === "box") return { box: place.box.map((v) => Math.round(v * 1e4) / 1e4) };
  if (place.kind !== "paint") return {};
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: CELLS, height: place.rows });
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(CELLS, place.rows);
  place.cells.forEach((cell, i) => pixels.data.set([255, 255, 255, cell], 4 * i));
  pen.putImageData(pixels, 0, 0);
  return { mask: canvas.toDataURL("image/png") };
}

// The inverse: what settings recorded, back on the canvas.
export async function readPlace(text) {
  if (!text) return anywhere();
  if (!text.startsWith("data:")) {
    const named = { left: [0, 0, 0.5, 1], right: [0.5, 0, 1, 1], middle: [1 / 3, 0, 2 / 3, 1] };
    return boxed(named[text] ?? text.split(",").map(Number));
  }
  const image = new Image();
  image.src = text;
  await image.decode();
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: CELLS, height: image.height });
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, CELLS, image.height);
  const cells = new Uint8Array(CELLS * image.height).map((_, i) => data[4 * i + 3]);
  return { kind: "paint", rows: image.height, cells };
}
