// The page: what is asked of the server, and what comes back.

import { call, element, readFile } from "./api.js";
import { anywhere, boxed, Layout, placeFields, readPlace } from "./layout.js";
import { fillSet, makeSet } from "./results.js";
import { makeCard, makeSubject } from "./subjects.js";

const find = (id) => document.getElementById(id);
const state = { subjects: [] };
const asked = new Map();  // what a job was made of, by the keys of its pictures
const LOOK_EVERY = 300;  // milliseconds
const KEPT_JOBS = "dynaip-jobs";
let start = null;
let running = null;

const layout = new Layout(find("layout"), state, placesChanged);

function fail(error) { find("error").textContent = error.message; }
const guarded = (work) => async (...given) => {
  find("error").textContent = "";
  try { await work(...given); } catch (error) { fail(error); }
};

// Subjects ------------------------------------------------------------------------------------

function showSubjects() {
  find("cards").replaceChildren(...state.subjects.map((subject) => makeCard(subject, () => {
    state.subjects = state.subjects.filter((other) => other !== subject);
    showSubjects();
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
      onchange: () => { layout.active = subject.id; layout.draw(); },
    }), " ", swatch, ` ${subject.name}`);
  }));
  placesChanged();
}

async function addSubject(name, picture, changes) {
  if (state.subjects.length >= start.subjects) {
    throw new Error(`A picture has at most ${start.subjects} subjects; remove one first.`);
  }
  const subject = await makeSubject(state, name, picture, changes);
  state.subjects.push(subject);
  layout.active = subject.id;
  showSubjects();
}

async function addFiles(files) {
  for (const file of files) {
    if (file.size > start.upload) throw new Error(`${file.name} is too large; make it smaller.`);
    await addSubject(file.name, await readFile(file));
  }
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

async function placesChanged() {
  layout.used = null;
  find("layout-error").textContent = "";
  layout.draw();
  if (!find("tokens").checked || !state.subjects.length) return;
  try {
    const values = { subjects: state.subjects.map(subjectFields), overlap: find("overlap").value };
    layout.used = (await call("POST", "/api/masks", values)).masks;
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

// Orders --------------------------------------------------------------------------------------

function subjectFields(subject) {
  const { name, picture, scale, start: from, end } = subject;
  return {
    name, picture, scale, start: from, end,
    granularity: subject.byHand ? subject.granularity : null, ...placeFields(subject.place),
  };
}

function readForm() {
  const seed = find("seed").value;
  return {
    prompt: find("prompt").value,
    number: Number(find("number").value),
    steps: Number(find("steps").value),
    guidance: Number(find("guidance").value),
    seed: seed === "" ? null : Number(seed),
    branches: document.querySelector("[name=branches]:checked").value,
    overlap: find("overlap").value,
    subjects: state.subjects.map(subjectFields),
  };
}

async function submit(compare = null) {
  const pictures = state.subjects.map(({ picture }) => picture);
  const order = { ...readForm(), ...(compare ? { compare, number: 1 } : {}) };
  const { job } = await call("POST", "/api/jobs", order);
  remember([...remembered(), job]);
  await follow(job, pictures);
}

const remembered = () => JSON.parse(sessionStorage.getItem(KEPT_JOBS) ?? "[]");
const remember = (jobs) => sessionStorage.setItem(KEPT_JOBS, JSON.stringify(jobs.slice(-20)));

function setRunning(job) {
  running = job;
  find("cancel").disabled = !job;
  find("generate").disabled = Boolean(job);
  document.querySelectorAll("[data-compare], #examples button").forEach((b) => { b.disabled = Boolean(job); });
  find("progress").hidden = !job;
}

async function follow(job, pictures) {
  const set = makeSet();
  find("gallery").prepend(set);
  find("empty").hidden = true;
  setRunning(job);
  if (matchMedia("(max-width: 52rem)").matches) find("result").scrollIntoView();
  try {
    for (;;) {
      const seen = await call("GET", `/api/jobs/${job}`);
      seen.pictures.forEach((made) => asked.set(made.key, pictures));
      fillSet(set, seen.pictures, loadSettings, fail);
      showProgress(seen);
      if (seen.state === "failed") throw new Error(seen.error);
      if (seen.state === "cancelled" && !seen.pictures.length) set.remove();
      if (["done", "cancelled"].includes(seen.state)) return;
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
    }
  } catch (error) {
    if (!set.querySelector("figure")) set.remove();
    throw error;
  } finally {
    setRunning(null);
  }
}

function showProgress(seen) {
  find("status").textContent = seen.state === "waiting"
    ? `Waiting, ${seen.ahead} before this one`
    : `Step ${seen.step} of ${seen.steps}`;
  find("bar").max = seen.steps;
  find("bar").value = seen.step;
  find("preview").hidden = !seen.preview;
  if (seen.preview) find("preview").src = seen.preview;
}

// Back from settings to the form --------------------------------------------------------------

async function loadSettings(made) {
  const { settings } = made;
  for (const name of ["prompt", "steps", "guidance", "seed", "overlap"]) find(name).value = settings[name];
  find("number").value = 1;
  document.querySelector(`[name=branches][value=${settings.branches}]`).checked = true;
  const pictures = asked.get(made.key);
  if (!pictures && settings.subjects.length) {
    throw new Error("The settings are loaded, but the references were not kept: add them again.");
  }
  state.subjects = [];
  showSubjects();
  for (const [index, record] of settings.subjects.entries()) {
    await addSubject(record.name, pictures[index], {
      scale: record.scale, start: record.start, end: record.end,
      byHand: record.granularity !== null, place: await readPlace(record.mask),
      ...(record.granularity ? { granularity: record.granularity } : {}),
    });
  }
  find("prompt").focus();
}

async function runExample(example) {
  state.subjects = [];
  find("prompt").value = example.prompt;
  find("seed").value = example.seed;
  find("number").value = 1;
  document.querySelector("[name=branches][value=image]").checked = true;
  for (const { name, toy, box } of example.subjects) {
    await addSubject(name, await drawToy(toy), { place: box ? boxed(box) : anywhere() });
  }
  await submit(example.compare ?? null);
}

// Start ---------------------------------------------------------------------------------------

function connect() {
  const cards = find("cards");
  find("form").addEventListener("submit", guarded((event) => { event.preventDefault(); return submit(); }));
  find("cancel").addEventListener("click", guarded(() => call("DELETE", `/api/jobs/${running}`)));
  document.querySelectorAll("[data-compare]").forEach((button) =>
    button.addEventListener("click", guarded(() => submit(button.dataset.compare))));
  find("upload").addEventListener("change", guarded(async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    await addFiles(files);
  }));
  const dropping = (event) => { event.preventDefault(); cards.classList.toggle("over", event.type === "dragover"); };
  for (const name of ["dragover", "dragleave"]) document.body.addEventListener(name, dropping);
  document.body.addEventListener("drop", guarded((event) => { dropping(event); return addFiles(event.dataTransfer.files); }));
  find("toy-open").addEventListener("click", () => {
    find("toy").hidden = !find("toy").hidden;
    find("toy-open").ariaExpanded = String(!find("toy").hidden);
  });
  find("toy-add").addEventListener("click", guarded(async () => {
    const fields = find("toy").querySelectorAll("select, input");
    const toy = Object.fromEntries([...fields].map((field) => [field.name, field.value]));
    await addSubject(`${toy.category}.png`, await drawToy(toy));
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
}

async function begin() {
  start = await call("GET", "/api/start");
  find("model").textContent = start.model;
  find("number").max = start.pictures;
  makeToyFields();
  find("examples").append(...start.examples.map((example) => element("button", {
    type: "button", onclick: guarded(() => runExample(example)),
  }, example.title)));
  connect();
  layout.draw();
  document.body.dataset.ready = "true";
  const kept = [];
  for (const job of remembered()) {
    try { await follow(job, null); kept.push(job); } catch (error) { if (error.status !== 404) throw error; }
  }
  remember(kept);
}

guarded(begin)();
