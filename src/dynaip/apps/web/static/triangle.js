// Three weights that sum to 1, picked in a triangle; arrow keys move the point, too.

const CORNERS = { low: [20, 160], mid: [110, 18], high: [200, 160] };
export const LEVELS = ["low", "mid", "high"];
const STEP = 0.05;

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function toPoint(weights) {
  return [0, 1].map((axis) =>
    LEVELS.reduce((sum, level, i) => sum + weights[i] * CORNERS[level][axis], 0));
}

// Barycentric coordinates, brought back inside, in hundredths that sum to 1.
function toWeights(x, y) {
  const mid = (CORNERS.low[1] - y) / (CORNERS.low[1] - CORNERS.mid[1]);
  const high = (x - CORNERS.low[0] - mid * (CORNERS.mid[0] - CORNERS.low[0])) /
    (CORNERS.high[0] - CORNERS.low[0]);
  return settle([1 - mid - high, mid, high]);
}

// In hundredths; the one at `rest` takes what is left, so that the sum is 1.
export function settle(weights, rest = 0) {
  const whole = weights.map((w) => Math.max(0, Number.isFinite(w) ? w : 0));
  const sum = whole.reduce((a, b) => a + b, 0);
  const settled = whole.map((w) => Math.round((sum ? w / sum : 1 / 3) * 100) / 100);
  const others = settled.reduce((total, w, i) => total + (i === rest ? 0 : w), 0);
  // Two that were rounded up may be a hundredth too much together.
  const largest = settled.indexOf(Math.max(...settled));
  settled[rest] = Math.max(0, 1 - others);
  if (others > 1) settled[largest] -= others - 1;
  return settled.map((w) => Math.round(w * 100) / 100);
}

export function makeTriangle(onChange) {
  const picture = svg("svg", {
    viewBox: "0 0 220 185", tabindex: 0, role: "application",
    "data-label": "Granularity of %: left is low, up is mid, right is high; arrow keys move",
  });
  const corners = LEVELS.map((level) => CORNERS[level].join(",")).join(" ");
  picture.append(svg("polygon", { points: corners, class: "face" }));
  for (const level of LEVELS) {
    const [x, y] = CORNERS[level];
    const label = svg("text", {
      x, y: level === "mid" ? y - 5 : y + 18, "text-anchor": "middle", class: "corner",
    });
    label.textContent = level;
    picture.append(label);
  }
  const ghost = svg("circle", { r: 8, class: "ghost", visibility: "hidden" });
  const chosen = svg("circle", { r: 7, class: "chosen" });
  picture.append(ghost, chosen);

  const numbers = document.createElement("div");
  const inputs = LEVELS.map((level) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "number", min: 0, max: 1, step: 0.01 });
    input.dataset.label = `${level} of %`;
    label.append(`${level} `, input);
    const line = document.createElement("div");
    line.append(label);
    numbers.append(line);
    return input;
  });

  const rest = document.createElement("p");
  rest.className = "hint";
  rest.textContent = "They sum to 1: the other two share the rest.";

  let weights = [1 / 3, 1 / 3, 1 / 3];
  function show(values, router) {
    weights = values;
    const [x, y] = toPoint(values);
    chosen.setAttribute("cx", x);
    chosen.setAttribute("cy", y);
    inputs.forEach((input, i) => { input.value = values[i].toFixed(2); });
    if (router) {
      const [gx, gy] = toPoint(router);
      ghost.setAttribute("cx", gx);
      ghost.setAttribute("cy", gy);
      ghost.setAttribute("visibility", "visible");
    }
  }
  function pick(values) {
    show(values);
    onChange(values);
  }

  function follow(event) {
    const point = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(picture.getScreenCTM().inverse());
    pick(toWeights(point.x, point.y));
  }
  picture.addEventListener("pointerdown", (event) => {
    picture.setPointerCapture(event.pointerId);
    follow(event);
  });
  picture.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
  picture.addEventListener("keydown", (event) => {
    const towards = { ArrowLeft: 0, ArrowUp: 1, ArrowRight: 2 }[event.key];
    if (towards === undefined && event.key !== "ArrowDown") return;
    event.preventDefault();
    const moved = [...weights];
    if (event.key === "ArrowDown") moved[1] -= STEP;
    else moved[towards] += STEP;
    if (event.key === "ArrowDown") { moved[0] += STEP / 2; moved[2] += STEP / 2; }
    pick(settle(moved));
  });
  // What is typed stays; the other two share the rest in their proportion.
  inputs.forEach((input, i) => input.addEventListener("change", () => {
    const typed = Math.min(1, Math.max(0, Number(input.value) || 0));
    const rest = weights.reduce((sum, w, k) => sum + (k === i ? 0 : w), 0);
    pick(settle(weights.map((w, k) =>
      k === i ? typed : (rest ? w / rest : 0.5) * (1 - typed)), (i + 1) % 3));
  }));

  const element = document.createElement("div");
  element.className = "granularity";
  element.append(picture, numbers, rest);
  return { element, show };
}
