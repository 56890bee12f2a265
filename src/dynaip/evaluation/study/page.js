"use strict";

// One voter's passage through the study. Votes are a log: a changed answer is a new row, and the
// last row of a pair and a question counts.

const study = JSON.parse(document.getElementById("study").textContent);
const QUESTIONS = [
  ["cp", "Which keeps the reference better?",
    "Its shape, colours, marks and text, down to the details. Pose and light may differ."],
  ["pf", "Which follows the text better?", "What is there, what happens, where, and in what style."],
  ["os", "Which is better overall?", "Composition, naturalness, harmony, appeal."],
];
const RETRY_MS = 5000;
const BATCH = 100;
const byId = (id) => document.getElementById(id);

// ---- what the browser keeps

// Where the browser stores nothing (private windows, full disks), votes live as long as the page.
const store = {
  works: true,
  memory: {},
  get(name, fallback) {
    if (this.works) {
      try {
        const text = localStorage.getItem(`dynaip-study:${study.id}:${name}`);
        return text === null ? fallback : JSON.parse(text);
      } catch {
        this.works = false;
      }
    }
    return this.memory[name] ?? fallback;
  },
  set(name, value) {
    this.memory[name] = value;
    if (!this.works) return;
    try {
      localStorage.setItem(`dynaip-study:${study.id}:${name}`, JSON.stringify(value));
    } catch {
      this.works = false;
    }
  },
};

function newVoter() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// An organiser may hand out links that end in #voter=p07.
const named = /^#voter=([A-Za-z0-9._-]{1,64})$/.exec(location.hash);
let voter = named ? named[1] : store.get("voter", null) ?? newVoter();
let log = [];
let entries = [];
let place = 0;
let shownAt = 0;

function enter(name) {
  voter = name;
  store.set("voter", voter);
  log = store.get(`votes:${voter}`, []);
  entries = sequence(voter);
  const open = entries.findIndex((entry) => !complete(entry));
  place = open < 0 ? entries.length : open;
}

// ---- what this voter sees: drawn from the voter's name, so that a reload shows the same

function randomFrom(text) {
  let state = 2166136261;
  for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(list, random) {
  const copy = [...list];
  for (let last = copy.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [copy[last], copy[other]] = [copy[other], copy[last]];
  }
  return copy;
}

function sequence(name) {
  const random = randomFrom(study.id + name);
  const drawn = study.groups.flatMap((group) => shuffled(group, random).slice(0, study.items));
  const first = shuffled([...drawn, ...study.checks], random).map((pair) => ({
    pair, showing: 0, left: random() < 0.5 ? 0 : 1,
  }));
  const early = first.slice(0, Math.ceil(first.length / 2));
  const repeated = shuffled(early.filter((entry) => drawn.includes(entry.pair)), random)
    .slice(0, study.repeats)
    .map((entry) => ({ pair: entry.pair, showing: 1, left: 1 - entry.left }));
  return [...first, ...repeated];
}

// ---- votes

function answer(entry, question) {
  const row = log.findLast((vote) => vote.pair === entry.pair.id
    && vote.showing === entry.showing && vote.question === question);
  return row?.choice;
}

const complete = (entry) => QUESTIONS.every(([question]) => answer(entry, question));

function cast(question, choice) {
  const entry = entries[place];
  if (answer(entry, question) === choice) return;
  const vote = {
    study: study.id,
    voter,
    pair: entry.pair.id,
    showing: entry.showing,
    question,
    choice,
    left: entry.pair.pictures[entry.left],
    position: place,
    seconds: Math.round((performance.now() - shownAt) / 100) / 10,
    time: new Date().toISOString(),
  };
  // Read again before writing: the page may be open twice.
  log = [...store.get(`votes:${voter}`, []), vote];
  store.set(`votes:${voter}`, log);
  if (collecting) store.set("unsent", [...unsent(), vote]);
  send();
  update();
}

const isServed = location.protocol === "http:" || location.protocol === "https:";
let collecting = isServed;
let sending = false;
let failed = false;
const unsent = () => store.get("unsent", []);

async function send() {
  const rows = unsent().slice(0, BATCH);
  if (!collecting || sending || !rows.length) return;
  sending = true;
  failed = true;
  try {
    const reply = await fetch("votes", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(rows),
    });
    failed = !reply.ok;
    // A plain file server has nobody who takes votes.
    if ([404, 405, 501].includes(reply.status)) collecting = false;
  } catch {
    // No connection: the votes stay in the list.
  }
  sending = false;
  if (!failed) {
    const delivered = new Set(rows.map((vote) => JSON.stringify(vote)));
    store.set("unsent", unsent().filter((vote) => !delivered.has(JSON.stringify(vote))));
  }
  update();
  if (collecting && unsent().length) setTimeout(send, failed ? RETRY_MS : 0);
}

function download() {
  const rows = log.map((vote) => JSON.stringify(vote) + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([rows], { type: "application/jsonl" }));
  link.download = `votes-${voter}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function whereVotesAre() {
  if (!store.works) return ["This browser keeps nothing: download your votes before you close the page.", true];
  if (!collecting) return ["Saved in this browser.", false];
  if (!unsent().length) return ["Saved and sent.", false];
  return failed ? ["Saved in this browser; sending again soon.", true] : ["Saved; sending.", false];
}

// ---- the page

function picture(token, description) {
  const image = new Image();
  image.alt = description;
  image.onload = () => image.classList.toggle("small", image.naturalWidth < 160);
  image.src = study.pictures[token];
  return image;
}

// Enlarged pictures take each other's place, so that the eye can compare them.
let zoomed = 0;

function enlarge(index) {
  const images = [...document.querySelectorAll("#vote .picture img")];
  zoomed = (index + images.length) % images.length;
  const large = byId("zoom").querySelector("img");
  const { src, alt, className } = images[zoomed];
  Object.assign(large, { src, alt, className });
  byId("zoomed").textContent = alt;
  if (!byId("zoom").open) byId("zoom").showModal();
}

function referenceFigure({ name, picture: token }) {
  const figure = document.createElement("figure");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "picture";
  button.setAttribute("aria-label", `Enlarge the reference: ${name}`);
  button.append(picture(token, `Reference: ${name}`));
  const caption = document.createElement("figcaption");
  caption.textContent = name;
  figure.append(button, caption);
  return figure;
}

function buildQuestions() {
  for (const [question, legend, hint] of QUESTIONS) {
    const block = byId("question").content.cloneNode(true).firstElementChild;
    block.id = question;
    block.querySelector("legend").textContent = legend;
    block.querySelector(".hint").textContent = hint;
    for (const text of ["Left", "No difference", "Right"]) {
      const option = byId("option").content.cloneNode(true).firstElementChild;
      const input = option.querySelector("input");
      input.name = question;
      input.value = text;
      option.querySelector("span").textContent = text;
      block.querySelector(".options").append(option);
    }
    block.addEventListener("change", (event) => {
      cast(question, choiceOf(event.target.value));
      focusOn(nextOpen(question));
    });
    block.addEventListener("focusin", () => focusOn(question));
    byId("questions").append(block);
  }
}

function choiceOf(side) {
  const { pair, left } = entries[place];
  if (side === "No difference") return "tie";
  return pair.pictures[side === "Left" ? left : 1 - left];
}

function sideOf(choice) {
  const { pair, left } = entries[place];
  if (choice === "tie") return "No difference";
  return pair.pictures[left] === choice ? "Left" : "Right";
}

let current = QUESTIONS[0][0];

function focusOn(question) {
  current = question;
  for (const [name] of QUESTIONS) byId(name).classList.toggle("current", name === current);
}

function nextOpen(after) {
  const names = QUESTIONS.map(([name]) => name);
  const start = names.indexOf(after) + 1;
  const ahead = [...names.slice(start), ...names.slice(0, start)];
  return ahead.find((name) => !answer(entries[place], name)) ?? after;
}

function show() {
  const voting = place < entries.length;
  byId("welcome").hidden = true;
  byId("vote").hidden = !voting;
  byId("end").hidden = voting;
  if (voting) showPair(entries[place]);
  update();
  const heading = voting ? byId("prompt") : byId("end").querySelector("h1");
  heading.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function showPair({ pair, left }) {
  byId("prompt").textContent = pair.prompt;
  byId("reference-label").textContent = pair.references.length > 1 ? "References" : "Reference";
  const many = pair.references.length > 3;
  byId("references").classList.toggle("many", many);
  const rows = Math.ceil(pair.references.length / (many ? 2 : 1));
  byId("references").style.setProperty("--rows", rows);
  byId("references").replaceChildren(...pair.references.map(referenceFigure));
  byId("left").replaceChildren(picture(pair.pictures[left], "Left picture"));
  byId("right").replaceChildren(picture(pair.pictures[1 - left], "Right picture"));
  for (const input of byId("questions").querySelectorAll("input")) {
    const choice = answer(entries[place], input.name);
    input.checked = choice !== undefined && sideOf(choice) === input.value;
  }
  focusOn(nextOpen(QUESTIONS.at(-1)[0]));
  shownAt = performance.now();
}

function update() {
  const done = entries.filter(complete).length;
  byId("progress").max = entries.length;
  byId("progress").value = done;
  if (!byId("welcome").hidden) return;
  const [text, trouble] = whereVotesAre();
  if (place < entries.length) {
    byId("count").textContent = `${place + 1} of ${entries.length}`;
    byId("back").disabled = place === 0;
    byId("next").disabled = !complete(entries[place]);
    byId("next").textContent = place === entries.length - 1 ? "Finish" : "Next";
    byId("saved").textContent = log.length ? text : "";
    byId("saved").classList.toggle("trouble", trouble);
    return;
  }
  byId("count").textContent = `${done} of ${entries.length}`;
  byId("outcome").textContent = collecting && !unsent().length
    ? "All your votes have arrived; you can close this page. A copy is yours to keep."
    : `${text} Please download your votes and give the file to whoever asked you.`;
  byId("outcome").classList.toggle("trouble", trouble);
}

function step(by) {
  if (by > 0 && !complete(entries[place])) return;
  place = Math.max(0, Math.min(entries.length, place + by));
  show();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("vote").hidden) return;
  if (byId("zoom").open) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) enlarge(zoomed + by);
    return;
  }
  const side = { 1: "Left", 2: "No difference", 3: "Right" }[event.key];
  if (side) {
    byId(current).querySelector(`input[value="${side}"]`).checked = true;
    cast(current, choiceOf(side));
    focusOn(nextOpen(current));
  } else if (event.key === "Enter" && event.target.tagName !== "BUTTON") {
    step(1);
  } else if (event.key === "Backspace") {
    step(-1);
  } else {
    return;
  }
  event.preventDefault();
}

function welcome() {
  byId("vote").hidden = byId("end").hidden = true;
  byId("welcome").hidden = false;
  byId("count").textContent = "";
  byId("pairs").textContent = entries.length;
  if (named) byId("alias").textContent = `the name ${voter}`;
  byId("destination").textContent = isServed
    ? "They are also sent to this page's server."
    : "Nothing is sent; at the end you download a file.";
  byId("start").textContent = log.length ? `Go on at ${Math.min(place + 1, entries.length)} of ${entries.length}` : "Start";
  update();
}

buildQuestions();
enter(voter);
welcome();
send();
byId("start").addEventListener("click", show);
byId("next").addEventListener("click", () => step(1));
byId("back").addEventListener("click", () => step(-1));
byId("questions").addEventListener("submit", (event) => event.preventDefault());
byId("download").addEventListener("click", download);
byId("review").addEventListener("click", () => { place = 0; show(); });
byId("another").addEventListener("click", () => { enter(newVoter()); welcome(); });
byId("another").closest("p").hidden = Boolean(named);
byId("zoom").querySelector("img").addEventListener("click", () => byId("zoom").close());
// Not back to the picture's button, where Enter would enlarge again instead of going on.
byId("zoom").addEventListener("close", () => byId("prompt").focus({ preventScroll: true }));
byId("previous").addEventListener("click", () => enlarge(zoomed - 1));
byId("following").addEventListener("click", () => enlarge(zoomed + 1));
byId("vote").addEventListener("click", (event) => {
  const button = event.target.closest(".picture");
  if (button) enlarge([...document.querySelectorAll("#vote .picture")].indexOf(button));
});
document.addEventListener("keydown", onKey);
addEventListener("online", send);
