// Finished pictures: one set for each job, with settings, downloads and where subjects were used.

import { call, element } from "./api.js";
import { COLOURS, weightsBar, weightsText } from "./subjects.js";

// One subject's map over its picture, its lowest value faint and its highest strong.
function drawMap(canvas, map, colour) {
  const present = map.flat().filter((value) => value > 0);
  const low = Math.min(...present), high = Math.max(...present);
  Object.assign(canvas, { width: map[0].length, height: map.length });
  const pen = canvas.getContext("2d");
  pen.fillStyle = colour;
  map.forEach((row, y) => row.forEach((value, x) => {
    if (!value) return;
    pen.globalAlpha = 0.1 + 0.8 * (high > low ? (value - low) / (high - low) : 0.5);
    pen.fillRect(x, y, 1, 1);
  }));
  return [low, high];
}

function makeLegend(name, [low, high], colour) {
  const scale = element("span", { className: "scale", ariaHidden: "true" });
  scale.style.setProperty("--mine", colour);
  return element("div", {},
    element("div", { className: "row" }, `${low.toFixed(2)} ×`, scale, `${high.toFixed(2)} ×`),
    element("p", { className: "hint" },
      `How loud ${name} is in each token; 1 × is its mean over the tokens where it is.`));
}

// Buttons, one a subject, that lay its map over the picture.
async function showAttention(made, canvas, place) {
  place.replaceChildren("Looking …");
  const looked = call("GET", `/api/pictures/${made.key}/attention`);
  const { maps } = await looked.catch((error) => { place.replaceChildren(); throw error; });
  const legend = element("div", { role: "status" });
  const buttons = made.settings.subjects.map((subject, index) => element("button", {
    type: "button", ariaPressed: "false", onclick: () => {
      const on = buttons[index].ariaPressed !== "true";
      buttons.forEach((button, i) => { button.ariaPressed = String(on && i === index); });
      canvas.hidden = !on;
      legend.replaceChildren();
      if (!on) return;
      const colour = COLOURS[index % COLOURS.length];
      legend.append(makeLegend(subject.name, drawMap(canvas, maps[index], colour), colour));
    },
  }, subject.name));
  place.replaceChildren(element("div", { className: "row" }, ...buttons), legend);
  buttons[0].click();
}

function makeShot(made, onLoad, onError) {
  const { settings } = made;
  const path = `/api/pictures/${made.key}.png`;
  const canvas = element("canvas", { hidden: true, ariaHidden: "true" });
  const image = element("img", { src: path, alt: `Generated: ${settings.prompt}` });
  const attention = element("div", { className: "attention" });
  const guard = (work) => () => work().catch(onError);
  const buttons = [
    element("a", { className: "button", href: path, download: `dynaip-${settings.seed}.png` }, "Download"),
    element("button", { type: "button", onclick: guard(() => onLoad(made)) }, "Load these settings"),
  ];
  const router = element("div", {});
  if (settings.subjects.length) {
    buttons.push(element("button", {
      type: "button", onclick: guard(() => showAttention(made, canvas, attention)),
    }, "Where it was used"));
    for (const subject of settings.subjects) {
      router.append(element("div", {},
        `${subject.name}: ${weightsText(subject.coefficients)} (${subject.granularity ? "by hand" : "router"})`),
      weightsBar(subject.coefficients));
    }
  }
  const seed = `seed ${settings.seed}`;
  const parts = [element("div", { className: "row" }, ...buttons), attention, router];
  const values = element("pre", {}, JSON.stringify(settings, shorten, 1));
  // Pictures to compare stand close to each other, with the rest folded away.
  const caption = made.label
    ? [` ${seed}`, fold("Details", ...parts, values)]
    : [...parts, fold("Settings", values)];
  return element("figure", { className: "shot", ariaLabel: `${made.label} ${seed}` },
    element("div", { className: "stack" }, image, canvas),
    element("figcaption", {}, element("b", {}, made.label || seed), ...caption));
}

const fold = (title, ...parts) => element("details", {}, element("summary", {}, title), ...parts);

const shorten = (key, value) =>
  key === "mask" && value?.startsWith("data:") ? "painted" : value;

// Fills a job's set; pictures that are there already stay as they are.
export function fillSet(set, pictures, onLoad, onError) {
  const shots = set.querySelector(".shots");
  if (pictures.length && !set.querySelector("h3")) {
    set.prepend(element("h3", {}, pictures[0].settings.prompt));
    shots.classList.toggle("labelled", Boolean(pictures[0].label));
  }
  pictures.slice(shots.children.length).forEach((made) => shots.append(makeShot(made, onLoad, onError)));
}

export const makeSet = () =>
  element("article", { className: "set" }, element("div", { className: "shots" }));
