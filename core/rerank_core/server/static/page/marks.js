// The best window and the best sentence, marked in a text.

import { element } from "./dom.js";

const LEAD = 160; // characters that may stand before the first mark while a result shows only some lines
const CONTEXT = 60; // characters that are left of a longer beginning

/** Nodes for `text`. Positions count code points, as the API has them; JavaScript's own count UTF-16 units. */
export function marked(text, { window, sentence }) {
  const characters = Array.from(text);
  const parts = { window: shorter(characters, window), sentence: shorter(characters, sentence) };
  const first = (parts.sentence ?? parts.window)?.start ?? 0;
  const lead = first > LEAD ? wordAfter(characters, first - CONTEXT) : 0;
  const ends = [characters.length, ...Object.values(parts).flatMap((part) => (part ? [part.start, part.end] : []))];
  const cuts = [...new Set([lead, ...ends])].filter((end) => end > 0).sort((one, other) => one - other);
  const pieces = cuts.map((to, place) => piece(characters, cuts[place - 1] ?? 0, to, parts));
  if (!lead) return pieces;
  const hidden = cuts.indexOf(lead) + 1;
  return [element("span", { className: "lead" }, ...pieces.slice(0, hidden)), ellipsis(), ...pieces.slice(hidden)];
}

/** The range, unless it is the whole text: to mark everything marks nothing. */
function shorter(characters, range) {
  if (!range) return null;
  const rest = [...characters.slice(0, range.start), ...characters.slice(range.end)].join("");
  return rest.trim() ? range : null;
}

function wordAfter(characters, position) {
  const space = characters.indexOf(" ", position);
  return space < 0 ? position : space + 1;
}

const within = (from, to, range) => Boolean(range) && range.start <= from && to <= range.end;
const ellipsis = () => element("span", { className: "ellipsis", ariaHidden: "true", textContent: "… " });

function piece(characters, from, to, { window, sentence }) {
  const text = characters.slice(from, to).join("");
  if (within(from, to, sentence)) return element("mark", { className: "sentence", title: "Best sentence", textContent: text });
  if (within(from, to, window)) return element("mark", { className: "window", title: "Best window", textContent: text });
  return document.createTextNode(text);
}
