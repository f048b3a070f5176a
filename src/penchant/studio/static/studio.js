// Charts, sounds, pictures that fail, sliders' words, moving cards, dropped files. Runs without eval and without styles written into the page as text.
"use strict";

// colours: a chart says "@accent", the style sheet says what that is right now

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function coloured(value) {
  if (typeof value === "string" && value.startsWith("@")) return colour(value.slice(1)) || value;
  if (Array.isArray(value)) return value.map(coloured);
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, key === "values" ? inner : coloured(inner)]));
  return value;
}

function chartStyle() {
  const font = getComputedStyle(document.body).fontFamily;
  const text = { labelFont: font, titleFont: font, labelColor: colour("soft"), titleColor: colour("soft"), titleFontWeight: 500, labelFontSize: 12 };
  return {
    background: null,
    font,
    view: { stroke: null },
    axisQuantitative: { tickCount: 7, labelOverlap: "greedy", labelSeparation: 6 },
    axis: { ...text, gridColor: colour("grid"), domainColor: colour("line"), tickColor: colour("line"), titlePadding: 10 },
    legend: { ...text, symbolType: "circle", symbolSize: 90 },
    text: { font },
  };
}

// charts

const views = new WeakMap();

async function draw(element) {
  if (!window.vega || element.dataset.drawn === element.dataset.chart) return;
  element.dataset.drawn = element.dataset.chart;
  const spec = coloured(JSON.parse(element.dataset.chart));
  const compiled = vegaLite.compile(spec, { config: chartStyle(), logger: vega.logger(vega.Error) }).spec;
  views.get(element)?.finalize();
  element.replaceChildren();
  const view = new vega.View(vega.parse(compiled, null, { ast: true }), {
    expr: vega.expressionInterpreter,
    renderer: "svg",
    container: element,
    hover: true,
    logLevel: vega.Error,
  });
  views.set(element, view);
  if (element.classList.contains("to-item"))
    view.addEventListener("click", (_, item) => {
      if (item?.datum?.id) location.href = `/studio/item?id=${encodeURIComponent(item.datum.id)}`;
    });
  await view.runAsync();
  element.dataset.ready = "true";
}

const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

function redrawAll() {
  document.querySelectorAll("[data-chart]").forEach((element) => delete element.dataset.drawn);
  drawAll();
  showSeries();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);

// the live chart: one point for every answer

const series = [];
let lastSample = null;

function takeSample() {
  const element = document.getElementById("sample");
  if (!element || element.dataset.sample === lastSample?.text) return;
  const sample = { ...JSON.parse(element.dataset.sample), text: element.dataset.sample };
  if (lastSample && sample.at > lastSample.at) {
    const seconds = (sample.at - lastSample.at) / 1000;
    const names = JSON.parse(document.getElementById("live").dataset.names);
    ["requests", "events"].forEach((what, place) =>
      series.push({ at: sample.at, what: names[place], value: Math.max(sample[what] - lastSample[what], 0) / seconds }),
    );
    series.splice(0, Math.max(series.length - 240, 0));
  }
  lastSample = sample;
  showSeries();
}

function showSeries() {
  const view = views.get(document.getElementById("live") ?? document.body);
  view?.data("series", series.map((point) => ({ ...point }))).runAsync();
}

// sounds: one at a time

let playing = null;

function stop() {
  playing?.audio.pause();
  playing?.button.setAttribute("aria-pressed", "false");
  playing = null;
}

function play(button) {
  const isSame = playing?.button === button;
  stop();
  if (isSame) return;
  const audio = new Audio(button.dataset.sound);
  playing = { audio, button };
  button.setAttribute("aria-pressed", "true");
  audio.addEventListener("ended", stop);
  audio.play().catch(stop);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-sound]");
  if (button) play(button);
});

// a picture that cannot be had leaves the letter of its title

document.addEventListener(
  "error",
  (event) => {
    if (!(event.target instanceof HTMLImageElement)) return;
    const blank = document.createElement("span");
    blank.className = "blank";
    blank.setAttribute("aria-hidden", "true");
    const title = event.target.closest("li, article, .why-head")?.querySelector(".title, h3, h1");
    blank.textContent = title?.textContent.trim().slice(0, 1) ?? "";
    event.target.replaceWith(blank);
  },
  true,
);

// sliders say in words where they stand

document.addEventListener("input", (event) => {
  const slider = event.target;
  if (slider.type !== "range" || !slider.dataset.words) return;
  const word = JSON.parse(slider.dataset.words)[Number(slider.value) + 2];
  slider.setAttribute("aria-valuetext", word);
  slider.form.querySelector("output").textContent = word;
});

// cards that change their place are seen to move

let places = new Map();
const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const cards = () => [...document.querySelectorAll(".card[data-item]")];

document.addEventListener("htmx:before:swap", () => {
  places = new Map(cards().map((card) => [card.dataset.item, card.getBoundingClientRect()]));
});

document.addEventListener("htmx:after:swap", () => {
  document.querySelectorAll("input[type=range]").forEach((slider) => {
    if (slider !== document.activeElement) slider.value = slider.getAttribute("value");
  });
  drawAll();
  takeSample();
  showNewest();
  addTools();
  if (isCalm()) return;
  for (const card of cards()) {
    const from = places.get(card.dataset.item);
    const to = card.getBoundingClientRect();
    const start = from ? { transform: `translate(${from.x - to.x}px, ${from.y - to.y}px)` } : { opacity: 0, transform: "scale(.94)" };
    if (!from || from.x !== to.x || from.y !== to.y)
      card.animate([start, { opacity: 1, transform: "none" }], { duration: 420, easing: "cubic-bezier(.2,.8,.2,1)" });
  }
  places = new Map();
});

// the newest turn of a conversation, or an error, is brought into view; the keyboard stays where one types

let turns = 0;
function showNewest() {
  const news = document.getElementById("news");
  if (news?.childElementCount) news.scrollIntoView({ block: "center" });
  const said = document.querySelectorAll(".turn");
  if (said.length === turns) return;
  turns = said.length;
  if (news) news.replaceChildren();
  said[turns - 1].scrollIntoView({ block: "start", behavior: isCalm() ? "auto" : "smooth" });
  // on a touch screen the field would open the keyboard over the answer
  const place = matchMedia("(hover: hover)").matches ? document.getElementById("message") : said[turns - 1];
  place.focus({ preventScroll: true });
}

// files: dropped or chosen, and sent at once

const drop = document.querySelector("form.drop");
if (drop) {
  const input = drop.querySelector("input[type=file]");
  for (const kind of ["dragenter", "dragover"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    drop.requestSubmit();
  });
  input.addEventListener("change", () => input.files.length && drop.requestSubmit());
}

// tables: filter their rows, export what is shown; a table that is replaced keeps its filter

const cell = (text) => {
  const plain = /^[=@\t]|^[+-](?![\d.])/.test(text) ? `'${text}` : text; // a spreadsheet would run it as a formula
  return `"${plain.replaceAll('"', '""')}"`;
};

function exported(table) {
  const rows = [...table.rows].filter((row) => !row.hidden);
  const text = rows.map((row) => [...row.cells].map((one) => cell(one.textContent.trim().replace(/\s+/g, " "))).join(",")).join("\r\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  link.download = `${table.dataset.name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const filters = new Map();

function filterRows(table) {
  const wanted = (filters.get(table.dataset.name) ?? "").toLowerCase();
  for (const row of table.tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
}

function addTools() {
  const { filter, export: title } = document.getElementById("main").dataset;
  for (const table of document.querySelectorAll("table[data-name]")) {
    filterRows(table);
    const place = table.closest(".wide") ?? table;
    const above = place.previousElementSibling?.classList.contains("tools") ? place.previousElementSibling : null;
    if (above?.childElementCount) continue;
    const tools = above ?? document.createElement("div"); // a page that is read again leaves an empty place for them
    tools.className = "tools";
    if (above || table.tBodies[0].rows.length > 5) {
      const input = Object.assign(document.createElement("input"), { type: "search", placeholder: filter });
      input.setAttribute("aria-label", filter);
      input.addEventListener("input", () => {
        filters.set(table.dataset.name, input.value);
        filterRows(table);
      });
      tools.append(input);
    }
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: title });
    button.addEventListener("click", () => exported(table));
    tools.append(button);
    if (!above) place.before(tools);
  }
}

// keys: "/" goes to the search

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, textarea, select")) return;
  event.preventDefault();
  document.querySelector("[data-hotkey='/']")?.focus();
});

drawAll();
takeSample();
addTools();
