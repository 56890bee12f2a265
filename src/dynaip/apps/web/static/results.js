// Finished pictures: one set for each job, with settings, downloads and where subjects were used.

import { call, element } from "./api.js";
import { weightsBar, weightsText } from "./subjects.js";

const COLOURS = [[209, 73, 91], [0, 121, 140], [232, 170, 20], [91, 75, 154], [59, 122, 53], [160, 74, 134]];

function drawMaps(canvas, maps, chosen) {
  const rows = maps[0].length, columns = maps[0][0].length;
  Object.assign(canvas, { width: columns, height: rows });
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(columns, rows);
  const colour = COLOURS[chosen % COLOURS.length];
  maps[chosen].forEach((row, y) => row.forEach((value, x) => {
    pixels.data.set([...colour, Math.round(230 * value)], 4 * (y * columns + x));
  }));
  pen.putImageData(pixels, 0, 0);
}

// Buttons, one a subject, that lay its map over the picture.
async function showAttention(made, canvas, place) {
  place.replaceChildren("Looking …");
  const { maps } = await call("GET", `/api/pictures/${made.key}/attention`);
  const buttons = made.settings.subjects.map((subject, index) => element("button", {
    type: "button", ariaPressed: "false", onclick: () => {
      const on = buttons[index].ariaPressed !== "true";
      buttons.forEach((button, i) => { button.ariaPressed = String(on && i === index); });
      canvas.hidden = !on;
      if (on) drawMaps(canvas, maps, index);
    },
  }, subject.name));
  place.replaceChildren(element("div", { className: "row" }, ...buttons),
    element("p", { className: "hint" },
      "The stronger the colour, the more of the subject went into that token."));
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
  return element("figure", { className: "shot" },
    element("div", { className: "stack" }, image, canvas),
    element("figcaption", {},
      element("b", {}, made.label || `seed ${settings.seed}`),
      element("div", { className: "row" }, ...buttons),
      attention,
      router,
      element("details", {}, element("summary", {}, "Settings"),
        element("pre", {}, JSON.stringify(settings, shorten, 1)))));
}

const shorten = (key, value) =>
  key === "mask" && value?.startsWith("data:") ? "painted" : value;

// Fills a job's set; pictures that are there already stay as they are.
export function fillSet(set, pictures, onLoad, onError) {
  const shots = set.querySelector(".shots");
  if (pictures.length && !set.querySelector("h3")) {
    set.prepend(element("h3", {}, pictures[0].settings.prompt));
  }
  pictures.slice(shots.children.length).forEach((made) => shots.append(makeShot(made, onLoad, onError)));
}

export const makeSet = () =>
  element("article", { className: "set" }, element("div", { className: "shots" }));
