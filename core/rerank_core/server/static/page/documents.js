// From what is in the text field to documents: strings, or objects of a JSON array that may carry a retriever's score.

const RETRIEVED = [
  ["Shoes last longer when you wear them every other day. Air them overnight.", 0.74],
  ["You may send unworn items back within 30 days of delivery. Please use the label in the parcel.", 0.69],
  ["Trainers, boots and sandals come with a box that you should keep.", 0.66],
  ["A refund reaches your account five days after your return has arrived.", 0.64],
  ["Every pair is checked before it leaves our warehouse. Worn footwear cannot be refunded, unless it has a defect.", 0.6],
  ["Orders over 50 euros are delivered free of charge.", 0.55],
];
export const SAMPLE_QUERY = "Can I return shoes that I have already worn?";
export const SAMPLE = RETRIEVED.map(([text]) => text).join("\n");
export const SCORED_SAMPLE = `[\n${RETRIEVED.map(([text, score]) => `  ${JSON.stringify({ text, score })}`).join(",\n")}\n]`;

export function parseDocuments(text, by) {
  if (by === "json") return parseArray(text);
  return text.split(by === "line" ? /\r?\n/ : /\r?\n(?:[ \t]*\r?\n)+/).map((part) => part.trim()).filter(Boolean);
}

function parseArray(text) {
  let items;
  try {
    items = JSON.parse(text);
  } catch {
    throw new Error("The documents are no valid JSON. Expected an array, such as [\"first\", \"second\"].");
  }
  if (!Array.isArray(items)) throw new Error("The documents are JSON, but no array. Expected [\"first\", \"second\"].");
  return items;
}

export const textOf = (item) =>
  typeof item === "string" ? item : typeof item?.text === "string" ? item.text : JSON.stringify(item);

const scoreOf = (item) => (typeof item?.score === "number" ? item.score : null);

/** The retriever's scores, null where an item has none; null instead of the list where no item has one. */
export function scoresOf(documents) {
  const scores = documents.map(scoreOf);
  return scores.some((score) => score !== null) ? scores : null;
}
