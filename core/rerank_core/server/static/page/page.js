"use strict";
// The playground. It calls this server's own API, at addresses relative to the page: it may be mounted below any path.
// Whatever comes from a user or the server is put into the page as text, never as markup.

const MOST_MODELS = 3;
const SAMPLE = {
  query: "Can I return shoes that I have already worn?",
  documents: [
    "Orders over 50 euros are delivered free of charge.",
    "You may send unworn items back within 30 days of delivery.",
    "Our stores are open from Monday to Saturday.",
    "Worn footwear cannot be refunded, unless it has a defect.",
    "To track a parcel, enter its number on the delivery page.",
  ],
};

const $ = (id) => document.getElementById(id);
let running = null; // the AbortController of the ranking under way
let shown = null; // {query, documents, models} of the ranking on the page

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---- what the form says

const format = () => new FormData($("form")).get("format");
const chosenModels = () => [...$("models").querySelectorAll("input:checked")].map((box) => box.value);
const textOf = (item) => (typeof item === "string" ? item : typeof item?.text === "string" ? item.text : JSON.stringify(item));

function parseDocuments(text, by) {
  if (by === "json") {
    let items;
    try {
      items = JSON.parse(text);
    } catch {
      throw new Error("The documents are no valid JSON. Expected an array, such as [\"first\", \"second\"].");
    }
    if (!Array.isArray(items)) throw new Error("The documents are JSON, but no array. Expected [\"first\", \"second\"].");
    return items;
  }
  return text.split(by === "line" ? /\r?\n/ : /\r?\n(?:[ \t]*\r?\n)+/).map((part) => part.trim()).filter(Boolean);
}

function readForm() {
  const documents = parseDocuments($("documents").value, format());
  if (!$("query").value.trim()) throw new Error("There is no query. Write what the documents should answer.");
  if (!documents.length) throw new Error("There are no documents. Paste some, or use the sample.");
  const models = chosenModels();
  if (!models.length) throw new Error($("models").dataset.missing ? $("status").textContent : "No model is chosen. Choose one to three.");
  return { query: $("query").value, documents, models };
}

function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

// ---- the API

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

async function rankWith(model, { query, documents }, signal) {
  const body = JSON.stringify({ model, query, documents, return_documents: false });
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
    if (!$("models").querySelector("input")) await listModels([]);
    const request = readForm();
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

const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function show(request, rankings) {
  shown = request;
  $("columns").replaceChildren(...rankings.map((ranking) => column(request, ranking)));
  $("outcome").hidden = false;
  $("outcome").querySelector("li")?.setAttribute("tabindex", "0");
  $("status").textContent = `Ranked ${plural(request.documents.length, "document")} with ${rankings.map((each) => each.model).join(", ")}.`;
  applyThreshold();
}

function column({ documents }, { model, reply, milliseconds }) {
  const cut = new Set(reply.meta?.truncated_documents ?? []);
  const facts = [`${Math.round(milliseconds)} ms`, plural(reply.usage.total_tokens, "token")];
  if (cut.size) facts.push(`${cut.size} cut`);
  const items = reply.results.map((result, place) => item(documents, result, place, cut.has(result.index)));
  return element(
    "div",
    { className: "column" },
    element("h3", { textContent: model }),
    element("p", { className: "quiet" }, element("span", { textContent: facts.join(" · ") }), element("span", { className: "stay" })),
    element("ol", { className: "results" }, ...items),
  );
}

function item(documents, { index, relevance_score: score }, place, cut) {
  const text = textOf(documents[index]);
  const bar = element("span", { className: "bar", role: "meter", ariaLabel: "Relevance score" }, element("span"));
  for (const [name, value] of [["min", 0], ["max", 1], ["now", score.toFixed(3)]]) bar.setAttribute(`aria-value${name}`, value);
  bar.firstChild.style.width = `${Math.min(1, Math.max(0, score)) * 100}%`;
  const measure = element(
    "div",
    { className: "measure" },
    element("span", { className: "rank", textContent: place + 1 }),
    element("span", { className: "score", textContent: score.toFixed(3) }),
    move(index - place),
    bar,
  );
  const made = element("li", { tabIndex: -1 }, measure, element("p", { className: "text", textContent: text }));
  made.dataset.score = score;
  made.append(element("p", { className: "quiet", textContent: `Document ${index + 1}${cut ? ", longer than the model reads: its end was cut" : ""}` }));
  return made;
}

function move(places) {
  const kind = places > 0 ? "up" : places < 0 ? "down" : "same";
  const sign = { up: `▲ ${places}`, down: `▼ ${-places}`, same: "=" }[kind];
  const said = { up: `up ${places}`, down: `down ${-places}`, same: "same place" }[kind];
  const made = element("span", { className: `move ${kind}`, title: `Against the input order: ${said}` });
  made.append(element("span", { ariaHidden: "true", textContent: sign }));
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", said);
  return made;
}

function applyThreshold() {
  const threshold = Number($("threshold").value);
  $("threshold-value").textContent = threshold.toFixed(2);
  for (const one of $("columns").children) {
    const items = [...one.querySelectorAll("li")];
    for (const each of items) each.classList.toggle("below", Number(each.dataset.score) < threshold);
    const stay = items.filter((each) => !each.classList.contains("below")).length;
    one.querySelector(".stay").textContent = threshold ? ` · ${stay} of ${items.length} stay` : "";
  }
  showCall();
}

// ---- the same call in code

const quoted = (text) => JSON.stringify(text); // also a string in Python
const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const indented = (lines) => lines.map((line) => `    ${line},\n`).join("");
const root = () => new URL(".", location.href).href.replace(/\/$/, "");

function options(limit, keyed) {
  const threshold = Number($("threshold").value);
  const given = [`model=${quoted(chosenModels()[0] ?? "")}`, `base_url=${quoted(root())}`];
  if (keyed) given.push('api_key=os.environ["RERANK_API_KEY"]');
  if (limit) given.push(limit);
  if (threshold) given.push(`threshold=${threshold}`);
  return `\n${indented(given)}`;
}

const CALLS = {
  curl: ({ query, documents }, keyed) => {
    const body = JSON.stringify({ model: chosenModels()[0] ?? "", query, documents }, null, 2);
    const key = keyed ? '  -H "Authorization: Bearer $RERANK_API_KEY" \\\n' : "";
    return `curl ${shellQuoted(`${root()}/v1/rerank`)} \\\n${key}  -H 'Content-Type: application/json' \\\n  -d ${shellQuoted(body)}\n`;
  },
  python: ({ query }, keyed, texts) =>
    `from rerank_core import Reranker\n\nreranker = Reranker(${options("", keyed)})\n${texts}` +
    `for result in reranker.rerank(${quoted(query)}, documents):\n    print(result.index, result.relevance_score)\n`,
  llama_index: ({ query, documents }, keyed, texts) =>
    "from llama_index.core.schema import NodeWithScore, TextNode\nfrom rerank_plugins.llama_index import CrossEncoderPostprocessor\n\n" +
    `postprocessor = CrossEncoderPostprocessor(${options(`top_n=${documents.length}`, keyed)})\n${texts}` +
    "nodes = [NodeWithScore(node=TextNode(text=text)) for text in documents]\n" +
    `for node in postprocessor.postprocess_nodes(nodes, query_str=${quoted(query)}):\n    print(node.score, node.text)\n`,
  langchain: ({ query, documents }, keyed, texts) =>
    "from langchain_core.documents import Document\nfrom rerank_plugins.langchain import CrossEncoderCompressor\n\n" +
    `compressor = CrossEncoderCompressor(${options(`top_n=${documents.length}`, keyed)})\n${texts}` +
    "found = [Document(page_content=text) for text in documents]\n" +
    `for document in compressor.compress_documents(found, ${quoted(query)}):\n    print(document.metadata["relevance_score"], document.page_content)\n`,
  haystack: ({ query, documents }, keyed, texts) =>
    "from haystack import Document\nfrom rerank_plugins.haystack import CrossEncoderRanker\n\n" +
    `ranker = CrossEncoderRanker(${options(`top_k=${documents.length}`, keyed)})\n${texts}` +
    "found = [Document(content=text) for text in documents]\n" +
    `for document in ranker.run(query=${quoted(query)}, documents=found)["documents"]:\n    print(document.score, document.content)\n`,
};

function showCall() {
  let documents = [];
  try {
    documents = parseDocuments($("documents").value, format());
  } catch {
    // the form says so when it is sent
  }
  const language = $("language").value;
  const keyed = Boolean($("key").value);
  const texts = `documents = [\n${indented(documents.map((each) => quoted(textOf(each))))}]\n`;
  const needsOs = keyed && language !== "curl" ? "import os\n\n" : "";
  $("call").textContent = needsOs + CALLS[language]({ query: $("query").value, documents }, keyed, texts);
  $("count").textContent = documents.length ? plural(documents.length, "document") : "";
}

// ---- the state, in the address: all but the key

function keepState() {
  const state = new URLSearchParams({ q: $("query").value, d: $("documents").value, f: format() });
  for (const model of chosenModels()) state.append("m", model);
  if (Number($("threshold").value)) state.set("t", $("threshold").value);
  history.replaceState(null, "", `#${state}`);
}

function restoreState() {
  const state = new URLSearchParams(location.hash.slice(1));
  $("query").value = state.get("q") ?? "";
  $("documents").value = state.get("d") ?? "";
  $("threshold").value = state.get("t") ?? 0;
  for (const each of $("format").querySelectorAll("input")) each.checked = each.value === (state.get("f") ?? "line");
  return state.getAll("m");
}

// ---- the models that are served

async function listModels(wanted) {
  let names = wanted;
  try {
    names = (await ask("v1/models", {})).data.map((model) => model.id);
  } catch (error) {
    $("models").dataset.missing = "true";
    if (!wanted.length) $("status").textContent = error.message;
  }
  if (!names.length) return;
  delete $("models").dataset.missing;
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

// ---- files

async function takeFiles(files) {
  const texts = await Promise.all([...files].map((file) => file.text()));
  if (!texts.length) return;
  const json = texts.length > 1 || /\.json$/i.test(files[0].name);
  $("documents").value = texts.length > 1 ? JSON.stringify(texts, null, 1) : texts[0];
  if (json) $("format").querySelector("[value=json]").checked = true;
  showCall();
}

// ---- events

function onKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    rank();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const items = [...$("columns").querySelectorAll("li")];
  const at = items.indexOf(document.activeElement);
  if (event.key === "j") items[Math.min(at + 1, items.length - 1)]?.focus();
  if (event.key === "k") items[Math.max(at - 1, 0)]?.focus();
  if (event.key === "Enter" && at >= 0) items[at].querySelector(".text").classList.toggle("whole");
}

function start() {
  const wanted = restoreState();
  document.addEventListener("keydown", onKey);
  $("form").noValidate = true;
  $("form").addEventListener("submit", (event) => { event.preventDefault(); rank(); });
  $("form").addEventListener("input", showCall);
  $("models").addEventListener("change", limitModels);
  $("key").addEventListener("change", () => listModels(chosenModels().length ? chosenModels() : wanted));
  $("cancel").addEventListener("click", () => running?.abort());
  $("threshold").addEventListener("input", applyThreshold);
  $("threshold").addEventListener("change", keepState);
  $("language").addEventListener("change", showCall);
  $("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText($("call").textContent).then(
      () => { $("status").textContent = "Copied."; },
      () => { getSelection().selectAllChildren($("call")); $("status").textContent = "Selected: copy it with the keyboard."; },
    );
  });
  $("columns").addEventListener("click", (event) => event.target.closest("li")?.querySelector(".text").classList.toggle("whole"));
  $("sample").addEventListener("click", () => {
    $("query").value = SAMPLE.query;
    $("documents").value = SAMPLE.documents.join("\n");
    $("format").querySelector("[value=line]").checked = true;
    showCall();
    $("rank").focus();
  });
  $("open").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => takeFiles($("files").files));
  const area = $("documents");
  area.addEventListener("dragover", (event) => { event.preventDefault(); area.classList.add("over"); });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    area.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    takeFiles(event.dataTransfer.files);
  });
  showCall();
  listModels(wanted);
}

start();
