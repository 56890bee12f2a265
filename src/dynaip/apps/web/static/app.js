// The page: what is asked of the server, and what comes back.

import { call, element, readFile } from "./api.js";
import { anywhere, boxed, describePlace, Layout, placeFields, readPlace } from "./layout.js";
import { fillSet, makeSet } from "./results.js";
import { makeCard, makeSubject } from "./subjects.js";

const find = (id) => document.getElementById(id);
const state = { subjects: [] };
const LOOK_EVERY = 300;  // milliseconds
const KEPT_JOBS = "dynaip-jobs";
let start = null;
let running = null;
let looks = 0;
let lastSeed = null;

const layout = new Layout(find("layout"), state, placesChanged);

// The server's names of fields, as the page calls them.
const TITLES = { n: "Pictures", steps: "Steps", seed: "Seed", guidance: "Guidance", image_guidance: "Image guidance", prompt: "the prompt" };

function fail(error) {
  find("error").textContent = error.message.replace(/`(\w+)`/g, (said, name) => TITLES[name] ?? said);
  find("error").scrollIntoView({ block: "nearest" });
}
const guarded = (work) => async (...given) => {
  find("error").textContent = "";
  try { await work(...given); } catch (error) { fail(error); }
};

// Subjects ------------------------------------------------------------------------------------

function showSubjects() {
  find("cards").replaceChildren(...state.subjects.map((subject) => makeCard(subject, () => {
    state.subjects = state.subjects.filter((other) => other !== subject);
    showSubjects();
    find("upload").focus();
  }, showWho)));
  showWho();
}

function showWho() {
  if (!layout.subject) layout.active = state.subjects.at(-1)?.id ?? null;
  find("who").replaceChildren(...state.subjects.map((subject) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.setProperty("--mine", subject.colour);
    return element("label", {}, element("input", {
      type: "radio", name: "who", checked: subject.id === layout.active,
      onchange: () => { layout.active = subject.id; layout.draw(); describe(); },
    }), " ", swatch, ` ${subject.name}`);
  }));
  placesChanged();
}

// Two files of one name are told apart; a picture's settings know them by it.
function ownName(name) {
  const taken = new Set(state.subjects.map((subject) => subject.name));
  const [stem, ending] = [name.replace(/\.\w+$/, ""), name.match(/\.\w+$/)?.[0] ?? ""];
  for (let i = 2; taken.has(name); i++) name = `${stem}-${i}${ending}`;
  return name;
}

async function addSubject(name, picture, changes) {
  if (state.subjects.length >= start.subjects) {
    throw new Error(`A picture has at most ${start.subjects} subjects; remove one first.`);
  }
  const subject = await makeSubject(state, ownName(name), picture, changes);
  state.subjects.push(subject);
  layout.active = subject.id;
  showSubjects();
}

async function addFiles(files) {
  const refused = [];
  for (const file of files) {
    try {
      if (file.size > start.upload) throw new Error("the file is too large; make it smaller.");
      await addSubject(file.name, await readFile(file), { isOwn: true });
    } catch (error) { refused.push(`${file.name}: ${error.message.replace("`picture`", "this")}`); }
  }
  if (refused.length) throw new Error(refused.join(" "));
}

// Toys ----------------------------------------------------------------------------------------

function makeToyFields() {
  for (const [factor, choices] of Object.entries(start.toys)) {
    const select = element("select", { name: factor },
      ...choices.map((choice) => element("option", {}, choice)));
    find("toy-fields").append(element("label", {}, factor.replace("_", " "), select));
  }
  find("toy-fields").append(element("label", {}, "letters",
    element("input", { type: "text", name: "glyph", maxLength: 2 })));
}

async function drawToy(toy) {
  return (await call("POST", "/api/toys", toy)).picture;
}

// Places --------------------------------------------------------------------------------------

function describe() {
  const { subject } = layout;
  find("where").textContent = subject ? `${subject.name}: ${describePlace(subject.place)}` : "";
}

async function placesChanged() {
  const look = ++looks;
  layout.used = null;
  find("layout-error").textContent = "";
  layout.draw();
  describe();
  if (!find("tokens").checked || !state.subjects.length) return;
  try {
    const { subjects, overlap, width, height } = readForm();
    const { masks } = await call("POST", "/api/masks", { subjects, overlap, width, height });
    if (look !== looks) return;  // changed again meanwhile
    layout.used = masks;
    layout.draw();
  } catch (error) { find("layout-error").textContent = error.message; }
}

function setBox(text) {
  if (!layout.subject) return;
  layout.subject.place = text ? boxed(text.split(",").map(Number)) : anywhere();
  placesChanged();
}

function shareEvenly() {
  const count = state.subjects.length;
  state.subjects.forEach((subject, i) => { subject.place = boxed([i / count, 0, (i + 1) / count, 1]); });
  placesChanged();
}

// A picture is made of whole tokens.
function sizeChanged() {
  for (const side of ["width", "height"]) {
    const { min, max, step } = find(side);
    const typed = Number(find(side).value) || start[side];
    find(side).value = Math.min(max, Math.max(min, Math.round(typed / step) * step));
  }
  layout.setAspect(find("width").value / find("height").value);
  placesChanged();
}

function setUpSize() {
  for (const side of ["width", "height"]) {
    const step = start.token;
    Object.assign(find(side), { min: step * Math.ceil(16 / step), max: start.side, step, value: start[side] });
    find(side).addEventListener("change", sizeChanged);
  }
  sizeChanged();
}

// Orders --------------------------------------------------------------------------------------

function subjectFields(subject) {
  const { name, picture, scale, start: from, end, phrase } = subject;
  return {
    name, picture, scale, start: from, end, phrase,
    granularity: subject.byHand ? subject.granularity : null, ...placeFields(subject.place),
  };
}

// With "image rows" and words, those words see a reference, too: of the text rows no others.
function readBranches() {
  const chosen = document.querySelector("[name=branches]:checked").value;
  return chosen === "image" && state.subjects.some(({ phrase }) => phrase) ? "both" : chosen;
}

// Left blank, a number is the server's own choice.
const numberOf = (name) => (find(name).value === "" ? null : Number(find(name).value));

function readForm() {
  return {
    prompt: find("prompt").value,
    n: Number(find("number").value),
    width: Number(find("width").value),
    height: Number(find("height").value),
    steps: Number(find("steps").value),
    guidance: numberOf("guidance"),
    image_guidance: numberOf("image_guidance"),
    seed: numberOf("seed"),
    branches: readBranches(),
    overlap: find("overlap").value,
    subjects: state.subjects.map(subjectFields),
  };
}

async function submit(compare = null) {
  const order = readForm();
  if (compare) Object.assign(order, { compare, n: 1, seed: order.seed ?? lastSeed });
  const { job, tokens } = await call("POST", "/api/jobs", order);
  find("note").textContent = tokens ? `Only the first ${tokens} tokens of the prompt count.` : "";
  remember([...remembered(), job]);
  find("result").scrollIntoView({ block: "nearest" });
  find("status").scrollIntoView({ block: "nearest" });
  await follow(job);
}

const remembered = () => JSON.parse(sessionStorage.getItem(KEPT_JOBS) ?? "[]");
const remember = (jobs) => sessionStorage.setItem(KEPT_JOBS, JSON.stringify(jobs.slice(-20)));

function setRunning(job) {
  running = job;
  find("cancel").disabled = !job;
  if (job && document.activeElement === document.body) find("cancel").focus({ preventScroll: true });
  find("progress").hidden = !job;
}

// One thing at a time, also for who clicks twice.
const alone = (work) => guarded(async (...given) => {
  const starters = document.querySelectorAll("#generate, [data-compare], #examples button");
  const disable = (busy) => starters.forEach((button) => { button.disabled = busy; });
  const focused = document.activeElement;
  disable(true);
  try { await work(...given); } finally {
    disable(false);
    // A button that is disabled loses focus.
    if ([document.body, find("cancel")].includes(document.activeElement)) focused.focus({ preventScroll: true });
  }
});

async function follow(job) {
  const set = makeSet();
  find("gallery").prepend(set);
  setRunning(job);
  try {
    for (;;) {
      const seen = await call("GET", `/api/jobs/${job}`);
      fillSet(set, seen.pictures, loadSettings, fail);
      lastSeed = seen.pictures.at(-1)?.settings.seed ?? lastSeed;
      showProgress(seen);
      if (seen.error) throw new Error(seen.error);
      if (["done", "cancelled"].includes(seen.state)) return;
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
    }
  } finally {
    if (!set.querySelector("figure")) set.remove();
    find("empty").hidden = Boolean(find("gallery").firstChild);
    setRunning(null);
  }
}

const STATES = {
  waiting: ({ ahead }) => `Waiting, ${ahead} before this one.`,
  drawing: ({ stopping }) => (stopping ? "Stops after the step at work." : "Drawing."),
  done: ({ pictures }) => (pictures.length === 1 ? "The picture is ready." : `${pictures.length} pictures are ready.`),
  cancelled: () => "Cancelled.",
};

function showProgress(seen) {
  const said = STATES[seen.state]?.(seen) ?? "";
  // Screen readers say every change, so there is none where nothing changed.
  if (find("status").textContent !== said) find("status").textContent = said;
  find("steps-done").textContent = `Step ${seen.step} of ${seen.steps}`;
  find("bar").max = seen.steps;
  find("bar").value = seen.step;
  find("preview").hidden = !seen.preview;
  if (seen.preview) find("preview").src = seen.preview;
}

// Back from settings to the form --------------------------------------------------------------

const NAMED = ["prompt", "steps", "guidance", "image_guidance", "seed", "width", "height", "overlap"];

async function loadSettings({ key, settings }) {
  for (const name of NAMED) find(name).value = settings[name];
  find("number").value = 1;
  const named = settings.subjects.some(({ phrase }) => phrase);
  const chosen = named && settings.branches === "both" ? "image" : settings.branches;
  document.querySelector(`[name=branches][value=${chosen}]`).checked = true;
  const { references } = await call("GET", `/api/pictures/${key}/references`).catch((error) => {
    if (error.status !== 404) throw error;
    throw new Error("The server keeps the last pictures only, and has forgotten these references: add them again.");
  });
  state.subjects = [];
  sizeChanged();
  showSubjects();
  for (const [index, record] of settings.subjects.entries()) {
    await addSubject(record.name, references[index], {
      scale: record.scale, start: record.start, end: record.end, phrase: record.phrase ?? "",
      byHand: record.granularity !== null, place: await readPlace(record.mask),
      ...(record.granularity ? { granularity: record.granularity } : {}),
    });
  }
  find("prompt").focus();
}

async function runExample(example) {
  const asks = "The example replaces your subjects and your prompt.";
  if (state.subjects.some((subject) => subject.isOwn) && !confirm(asks)) return;
  state.subjects = [];
  find("prompt").value = example.prompt;
  find("seed").value = example.seed;
  find("number").value = 1;
  document.querySelector("[name=branches][value=image]").checked = true;
  for (const { name, toy, box, phrase = "" } of example.subjects) {
    await addSubject(name, await drawToy(toy), { place: box ? boxed(box) : anywhere(), phrase });
  }
  await submit(example.compare ?? null);
}

// Start ---------------------------------------------------------------------------------------

function connect() {
  const generate = alone(() => submit());
  const cards = find("cards");
  find("form").addEventListener("submit", (event) => { event.preventDefault(); generate(); });
  find("cancel").addEventListener("click", guarded(() => call("DELETE", `/api/jobs/${running}`)));
  document.querySelectorAll("[data-compare]").forEach((button) =>
    button.addEventListener("click", alone(() => submit(button.dataset.compare))));
  find("upload").addEventListener("change", guarded(async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    await addFiles(files);
  }));
  // Files only: text may still be dragged into the prompt.
  const dropping = (work) => (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    cards.classList.toggle("over", event.type === "dragover");
    if (event.type === "drop") work(event.dataTransfer.files);
  };
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.body.addEventListener(name, dropping(guarded(addFiles)));
  }
  find("toy-open").addEventListener("click", () => {
    find("toy").hidden = !find("toy").hidden;
    find("toy-open").ariaExpanded = String(!find("toy").hidden);
  });
  find("toy-add").addEventListener("click", guarded(async () => {
    const fields = find("toy").querySelectorAll("select, input");
    const toy = Object.fromEntries([...fields].map((field) => [field.name, field.value]));
    await addSubject(`${toy.category}.png`, await drawToy(toy), { isOwn: true });
  }));
  find("presets").addEventListener("click", (event) => {
    if (event.target.dataset.share) shareEvenly();
    else if (event.target.dataset.box !== undefined) setBox(event.target.dataset.box);
  });
  document.querySelectorAll("[name=tool]").forEach((radio) =>
    radio.addEventListener("change", () => { layout.tool = radio.value; }));
  find("brush").addEventListener("input", (event) => { layout.brush = Number(event.target.value); });
  find("tokens").addEventListener("change", placesChanged);
  find("overlap").addEventListener("change", placesChanged);
  setUpSize();
}

async function begin() {
  start = await call("GET", "/api/start");
  find("model").textContent = start.model;
  find("number").max = start.pictures;
  find("guidance").value = start.guidance;
  makeToyFields();
  if (start.model === "miniature") {
    find("known").hidden = false;
    find("known").textContent = `The miniature knows toys only (${start.toys.category.join(", ")}), in `
      + `a few scenes (${start.scenes.join(", ")}). A photograph becomes a toy, or nothing.`;
  }
  find("examples").append(...start.examples.map((example) => element("button", {
    type: "button", onclick: alone(() => runExample(example)),
  }, example.title)));
  connect();
  document.body.dataset.ready = "true";
  await alone(takeUp)();
}

// What was asked for before the page was loaded again.
async function takeUp() {
  for (const job of remembered()) {
    await follow(job).catch((error) => {
      remember(remembered().filter((other) => other !== job));
      if (error.status !== 404) fail(error);
    });
  }
}

guarded(begin)();
