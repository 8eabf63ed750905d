// The playground. It calls this server's own API, at addresses relative to the page: it may be mounted below any path.

import { code, requestBody } from "./calls.js";
import { SAMPLE, SAMPLE_QUERY, SCORED_SAMPLE, parseDocuments, scoresOf, textOf } from "./documents.js";
import { $, element, plural } from "./dom.js";
import { drawLines } from "./lines.js";
import { applyLimits, column, offerWhole, toggleText } from "./results.js";

const MOST_MODELS = 3;
let running = null; // the AbortController of the ranking under way

// ---- what the form says

const format = () => new FormData($("form")).get("format");
const chosenModels = () => [...$("models").querySelectorAll("input:checked")].map((box) => box.value);
const limits = () => ({ threshold: Number($("threshold").value), topN: Math.max(0, Math.floor(Number($("top").value))) });

function setFormat(name) {
  for (const each of $("format").querySelectorAll("input")) each.checked = each.value === name;
}

function readForm() {
  const documents = parseDocuments($("documents").value, format());
  return { query: $("query").value, documents, fusion: $("fusion").value, scores: scoresOf(documents), marks: $("marks").checked };
}

function readRequest() {
  const request = readForm();
  const models = chosenModels();
  if (!request.query.trim()) throw new Error("There is no query. Write what the documents should answer.");
  if (!request.documents.length) throw new Error("There are no documents. Paste some, or use the sample.");
  if (!models.length) throw new Error("No model is chosen. Choose one to three.");
  return { ...request, models };
}

// ---- the API

function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

async function ask(path, options) {
  let reply;
  try {
    reply = await fetch(path, { ...options, headers: headers(), credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  const body = await reply.json().catch(() => null);
  if (reply.ok) return body;
  const reason = body?.error?.message ?? `The server answered with status ${reply.status}.`;
  const wait = reply.headers.get("retry-after");
  throw new Error(reply.status === 401 ? `The API key is missing or refused. ${reason}` : wait ? `${reason} Try again in ${wait} s.` : reason);
}

async function rankWith(model, request, signal) {
  const body = JSON.stringify({ ...requestBody(model, request), return_documents: false });
  const started = performance.now();
  const reply = await ask("v1/rerank", { method: "POST", body, signal });
  return { model, reply, milliseconds: performance.now() - started };
}

async function rank() {
  running?.abort();
  const mine = (running = new AbortController());
  fail(null);
  busy(true);
  try {
    // A key that was typed just now may be the one that the list of models was waiting for.
    if (!$("models").querySelector("input")) offerModels(await servedModels(), []);
    const request = readRequest();
    keepState();
    $("status").textContent = `Ranking ${plural(request.documents.length, "document")}…`;
    const rankings = [];
    // One after the other: models that run at once would slow each other down, and spoil the times.
    for (const model of request.models) rankings.push(await rankWith(model, request, mine.signal));
    if (running === mine) show(request, rankings);
  } catch (error) {
    if (running !== mine) return;
    $("status").textContent = error.name === "AbortError" ? "Cancelled." : "";
    if (error.name !== "AbortError") fail(error.message);
  } finally {
    if (running === mine) {
      running = null;
      busy(false);
    }
  }
}

function busy(is) {
  $("outcome").setAttribute("aria-busy", String(is));
  $("cancel").hidden = !is;
}

function fail(message) {
  $("error").hidden = message === null;
  $("error").textContent = message ?? "";
}

// ---- the rankings

const columns = () => [...$("columns").querySelectorAll(".column")];
const results = () => [...$("columns").querySelectorAll("li")];

function show(request, rankings) {
  $("columns").replaceChildren(...rankings.map((ranking) => column(request, ranking)));
  $("columns").classList.toggle("compared", rankings.length > 1);
  $("outcome").hidden = false;
  results()[0]?.setAttribute("tabindex", "0");
  $("status").textContent = `Ranked ${plural(request.documents.length, "document")} with ${rankings.map((each) => each.model).join(", ")}.`;
  limit();
  layOut();
}

function layOut() {
  results().forEach(offerWhole);
  drawLines($("columns"));
}

function limit() {
  $("threshold-value").textContent = limits().threshold.toFixed(2);
  for (const each of columns()) applyLimits(each, limits());
  showCall();
}

/** Shows where a document stands in the other columns. */
function point(event) {
  const index = event.type === "pointerleave" ? null : event.target.closest("li")?.dataset.index;
  for (const each of $("columns").querySelectorAll("[data-index]")) each.classList.toggle("same", each.dataset.index === index);
}

function open(event) {
  const item = event.target.closest("li");
  if (item && (event.target.closest(".more") || getSelection().isCollapsed)) toggleText(item);
  drawLines($("columns"));
}

// ---- the same call in code

function showCall() {
  let request = { query: $("query").value, documents: [], fusion: "", scores: null, marks: false };
  try {
    request = readForm();
  } catch {
    // the form says so when it is sent
  }
  $("call").textContent = code($("language").value, {
    ...request,
    ...limits(),
    model: chosenModels()[0] ?? "",
    root: new URL(".", location.href).href.replace(/\/$/, ""),
    keyed: Boolean($("key").value),
    texts: request.documents.map(textOf),
  });
  const { length } = request.documents;
  $("count").textContent = length ? plural(length, "document") : "";
  $("retrieved").hidden = !request.fusion;
  $("retrieved").textContent = request.scores ? "With the scores in the JSON." : "With the order given: no item has a score.";
}

async function copyCall() {
  try {
    await navigator.clipboard.writeText($("call").textContent);
    $("status").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren($("call"));
    $("status").textContent = "Selected: copy it with the keyboard.";
  }
}

// ---- the state, in the address: all but the key

function keepState() {
  const state = new URLSearchParams({ q: $("query").value, d: $("documents").value, f: format() });
  for (const model of chosenModels()) state.append("m", model);
  for (const [name, id] of [["t", "threshold"], ["n", "top"], ["u", "fusion"]]) {
    if (Number($(id).value) || $(id).value === "rrf") state.set(name, $(id).value);
  }
  if (!$("marks").checked) state.set("s", "0");
  history.replaceState(null, "", `#${state}`);
}

/** Fills the form from the address; returns the models named there. */
function restoreState() {
  const state = new URLSearchParams(location.hash.slice(1));
  $("query").value = state.get("q") ?? "";
  $("documents").value = state.get("d") ?? "";
  $("threshold").value = Number(state.get("t")) || 0; // anything else would stand for the middle
  $("top").value = Number(state.get("n")) >= 1 ? state.get("n") : "";
  $("fusion").value = state.get("u") ?? "";
  if ($("fusion").selectedIndex < 0) $("fusion").value = "";
  $("marks").checked = state.get("s") !== "0";
  setFormat(["paragraph", "json"].find((each) => each === state.get("f")) ?? "line");
  return state.getAll("m");
}

// ---- the models that are served

const servedModels = async () => (await ask("v1/models", {})).data.map((model) => model.id);

async function listModels(wanted) {
  try {
    offerModels(await servedModels(), wanted);
  } catch (error) {
    if (wanted.length) offerModels(wanted, wanted);
    else $("status").textContent = error.message;
  }
}

function offerModels(names, wanted) {
  const chosen = names.filter((name) => wanted.includes(name)).slice(0, MOST_MODELS);
  const boxes = names.map((name) => {
    const box = element("input", { type: "checkbox", name: "model", value: name });
    box.checked = chosen.length ? chosen.includes(name) : name === names[0];
    return element("label", {}, box, element("span", { textContent: name }));
  });
  $("models").replaceChildren($("models").querySelector("legend"), ...boxes);
  limitModels();
}

function limitModels() {
  const boxes = [...$("models").querySelectorAll("input")];
  const full = boxes.filter((box) => box.checked).length >= MOST_MODELS;
  for (const box of boxes) box.disabled = full && !box.checked;
  showCall();
}

// ---- documents that are not typed

function fill(documents, by, query) {
  if (query) $("query").value = query;
  $("documents").value = documents;
  setFormat(by);
  showCall();
}

async function takeFiles(files) {
  const texts = await Promise.all([...files].map((file) => file.text()));
  if (!texts.length) return;
  if (texts.length > 1) fill(JSON.stringify(texts, null, 1), "json");
  else fill(texts[0], /\.json$/i.test(files[0].name) ? "json" : format());
}

function takeDrops(area) {
  area.addEventListener("dragover", (event) => { event.preventDefault(); area.classList.add("over"); });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    area.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    takeFiles(event.dataTransfer.files);
  });
}

// ---- events

function onKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    rank();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const items = results();
  const at = items.indexOf(document.activeElement);
  if (event.key === "j") items[Math.min(at + 1, items.length - 1)]?.focus();
  if (event.key === "k") items[Math.max(at - 1, 0)]?.focus();
  if (event.key === "Enter" && at >= 0) {
    toggleText(items[at]);
    drawLines($("columns"));
  }
}

function listen() {
  document.addEventListener("keydown", onKey);
  $("form").addEventListener("submit", (event) => { event.preventDefault(); rank(); });
  $("form").addEventListener("input", showCall);
  $("models").addEventListener("change", limitModels);
  $("cancel").addEventListener("click", () => running?.abort());
  for (const id of ["threshold", "top"]) {
    $(id).addEventListener("input", limit);
    $(id).addEventListener("change", keepState);
  }
  $("language").addEventListener("change", showCall);
  $("copy").addEventListener("click", copyCall);
  $("columns").addEventListener("click", open);
  for (const kind of ["pointerover", "pointerleave", "focusin"]) $("columns").addEventListener(kind, point);
  $("sample").addEventListener("click", () => { fill(SAMPLE, "line", SAMPLE_QUERY); $("rank").focus(); });
  $("scored").addEventListener("click", () => { fill(SCORED_SAMPLE, "json", SAMPLE_QUERY); $("rank").focus(); });
  $("open").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => takeFiles($("files").files));
  takeDrops($("documents"));
  new ResizeObserver(layOut).observe($("columns"));
}

function start() {
  const wanted = restoreState();
  $("form").noValidate = true;
  listen();
  $("key").addEventListener("change", () => listModels(chosenModels().length ? chosenModels() : wanted));
  limit();
  listModels(wanted);
}

start();
