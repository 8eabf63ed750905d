// A ranking as a column of the page.

import { textOf } from "./documents.js";
import { element, plural } from "./dom.js";
import { marked } from "./marks.js";

export function column(request, { model, reply, milliseconds }) {
  const facts = [
    `${Math.round(milliseconds)} ms${request.marks ? ", with sentences" : ""}`,
    plural(reply.usage.total_tokens, "token"),
  ];
  const cut = new Set(reply.meta?.truncated_documents ?? []);
  if (cut.size) facts.push(`${cut.size} cut`);
  if (request.fusion) facts.push(`fused with ${request.scores ? "the scores given" : "the order given"}`);
  const items = reply.results.map((result, place) => item(request, result, place, cut.has(result.index)));
  return element(
    "div",
    { className: "column" },
    element("h3", { textContent: model }),
    element("p", { className: "quiet" }, element("span", { textContent: facts.join(" · ") }), element("span", { className: "stay" })),
    element("ol", { className: "results" }, ...items),
  );
}

function item(request, result, place, cut) {
  const { index, relevance_score: score, details, highlights } = result;
  const sentence = highlights?.[0];
  const text = element("p", { className: "text" }, ...marked(textOf(request.documents[index]), { window: details?.window, sentence }));
  const measure = element(
    "div",
    { className: "measure" },
    element("span", { className: "rank", textContent: place + 1 }),
    element("span", { className: "score", textContent: score.toFixed(3) }),
    move(index - place),
    meter(score),
  );
  const more = element("button", { type: "button", className: "plain more", textContent: "Whole text", hidden: true });
  more.setAttribute("aria-expanded", "false");
  const said = element("span", { textContent: notes(request, result, cut, text).join(" · ") });
  const made = element("li", { tabIndex: -1 }, measure, text, element("p", { className: "quiet note" }, said, more));
  made.dataset.score = score;
  made.dataset.index = index;
  return made;
}

function notes({ scores }, { index, details, highlights }, cut, text) {
  const found = [`Document ${index + 1}`];
  if (details?.tokens) found.push(plural(details.tokens, "token"));
  if (text.querySelector(".sentence")) found.push(`best sentence ${highlights[0].relevance_score.toFixed(3)}`);
  if (text.querySelector(".window")) found.push("best window marked");
  if (cut) found.push("longer than the model reads: only a part of it counts");
  if (scores) found.push(`retriever ${scores[index] ?? "gave no score"}`);
  return found;
}

function meter(score) {
  const bar = element("span", { className: "bar", role: "meter", ariaLabel: "Relevance score" }, element("span"));
  for (const [name, value] of [["min", 0], ["max", 1], ["now", score.toFixed(3)]]) bar.setAttribute(`aria-value${name}`, value);
  bar.firstChild.style.width = `${Math.min(1, Math.max(0, score)) * 100}%`;
  return bar;
}

function move(places) {
  const kind = places > 0 ? "up" : places < 0 ? "down" : "same";
  const sign = { up: `▲ ${places}`, down: `▼ ${-places}`, same: "=" }[kind];
  const said = { up: `up ${places}`, down: `down ${-places}`, same: "same place" }[kind];
  const made = element("span", { className: `move ${kind}`, role: "img", title: `Against the input order: ${said}`, ariaLabel: said });
  made.append(element("span", { ariaHidden: "true", textContent: sign }));
  return made;
}

/** Shows all of a result's text, or some lines of it again. */
export function toggleText(made) {
  const whole = made.querySelector(".text").classList.toggle("whole");
  const more = made.querySelector(".more");
  more.textContent = whole ? "Less" : "Whole text";
  more.setAttribute("aria-expanded", String(whole));
}

/** Offers the whole text where some of it is not shown. */
export function offerWhole(made) {
  const text = made.querySelector(".text");
  if (text.classList.contains("whole")) return;
  made.querySelector(".more").hidden = !text.querySelector(".lead") && text.scrollHeight <= text.clientHeight + 1;
}

/** Dims what falls below the threshold, or comes after the first `topN` (0 for all) that do not; says how many stay. */
export function applyLimits(made, { threshold, topN }) {
  const items = [...made.querySelectorAll("li")];
  const stay = items.filter((each) => Number(each.dataset.score) >= threshold).slice(0, topN || items.length);
  for (const each of items) each.classList.toggle("below", !stay.includes(each));
  made.querySelector(".stay").textContent = threshold || topN ? ` · ${stay.length} of ${items.length} stay` : "";
}
