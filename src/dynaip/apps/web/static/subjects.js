// A card for each subject: its picture as the encoder sees it, strength, time, granularity.

import { call, element } from "./api.js";
import { anywhere } from "./layout.js";
import { LEVELS, makeTriangle, settle } from "./triangle.js";

export const COLOURS = ["#d1495b", "#00798c", "#b07d00", "#5b4b9a", "#3b7a35", "#a04a86"];

let count = 0;

// What the router says, looked up once for each picture.
export async function makeSubject(state, name, picture, changes = {}) {
  const { coefficients, seen } = await call("POST", "/api/router", { picture });
  const colour = COLOURS.find((c) => state.subjects.every((s) => s.colour !== c)) ?? COLOURS[0];
  return {
    id: ++count, name, picture, seen, router: coefficients, colour, scale: 1, start: 0, end: 1,
    phrase: "", byHand: false, granularity: settle(coefficients),
    place: anywhere(), ...changes,
  };
}

export function weightsBar(weights) {
  const bar = element("div", { className: "bar", ariaHidden: "true" });
  weights.forEach((weight, i) => {
    const part = element("span", { className: LEVELS[i] });
    part.style.flexGrow = weight;
    bar.append(part);
  });
  return bar;
}

export const weightsText = (weights) =>
  LEVELS.map((level, i) => `${level} ${weights[i].toFixed(2)}`).join(" · ");

function numberField(subject, key, title, attributes) {
  const input = element("input", {
    type: "number", value: subject[key], "data-label": `${title} of %`, ...attributes,
  });
  input.addEventListener("change", () => {
    const typed = input.value === "" ? subject[key] : Number(input.value);
    subject[key] = Math.min(attributes.max, Math.max(attributes.min, typed));
    input.value = subject[key];
  });
  return element("label", {}, `${title} `, input);
}

function granularityPart(subject) {
  const group = `granularity-${subject.id}`;
  const triangle = makeTriangle((weights) => { subject.granularity = weights; });
  triangle.show(subject.granularity, subject.router);
  triangle.element.hidden = !subject.byHand;
  const choice = (title, byHand) => element("label", {}, element("input", {
    type: "radio", name: group, checked: subject.byHand === byHand,
    onchange: () => { subject.byHand = byHand; triangle.element.hidden = !byHand; },
  }), ` ${title}`);
  return element("fieldset", {},
    element("legend", {}, "Granularity"),
    element("p", { className: "hint" },
      "Low is meant for details, high for what it is; the router's own mixture is the default."),
    element("div", { className: "row" }, choice("Router", false), choice("By hand", true)),
    element("div", { className: "hint" }, `The router says ${weightsText(subject.router)}`),
    weightsBar(subject.router),
    triangle.element);
}

function phraseField(subject) {
  const input = element("input", {
    type: "text", value: subject.phrase, maxLength: 200, placeholder: "none",
    "data-label": "Words in the prompt for %",
  });
  input.addEventListener("change", () => { input.value = subject.phrase = input.value.trim(); });
  return element("div", {},
    element("div", { className: "grid" }, element("label", {}, "Its words in the prompt ", input)),
    element("p", { className: "hint" },
      "Such as \u201ctoy\u201d: these words of the prompt see the reference, and no others do. Meant for prompts that leave open what the thing is."));
}

// What is read aloud for the card and its controls: `data-label` with the subject's name for %.
function relabel(card, name) {
  for (const named of [card, ...card.querySelectorAll("[data-label]")]) {
    named.ariaLabel = named.dataset.label.replace("%", () => name);
  }
}

export function makeCard(subject, onRemove, onRename) {
  const name = element("input", {
    type: "text", value: subject.name, maxLength: 100, ariaLabel: "Name of the subject",
    onchange: () => {
      name.value = subject.name = name.value || subject.name;
      relabel(card, subject.name);
      onRename();
    },
  });
  const card = element("article", { className: "card", "data-label": "Subject %" },
    element("div", { className: "card-head" },
      element("img", { src: subject.seen, alt: "The reference as the encoder sees it" }),
      element("div", {}, name,
        element("div", { className: "row" },
          element("a", { className: "button", href: subject.picture, download: subject.name }, "Save picture"),
          element("button", {
            type: "button", onclick: onRemove, "data-label": "Remove %",
          }, "Remove")))),
    element("div", { className: "grid" },
      numberField(subject, "scale", "Strength", { min: 0, max: 10, step: 0.05 }),
      numberField(subject, "start", "From (0 to 1)", { min: 0, max: 0.99, step: 0.05 }),
      numberField(subject, "end", "Until (0 to 1)", { min: 0.01, max: 1, step: 0.05 })),
    phraseField(subject),
    granularityPart(subject));
  card.style.setProperty("--mine", subject.colour);
  relabel(card, subject.name);
  return card;
}
