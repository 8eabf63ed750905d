// Lines between columns that stand side by side, from each document's place in one ranking to its place in the next.

const SVG = "http://www.w3.org/2000/svg";

export function drawLines(columns) {
  columns.querySelector("svg")?.remove();
  const lists = [...columns.querySelectorAll(".results")];
  const frame = columns.getBoundingClientRect();
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("aria-hidden", "true");
  drawing.setAttribute("class", "lines");
  lists.slice(1).forEach((right, place) => {
    const left = lists[place];
    if (right.getBoundingClientRect().left > left.getBoundingClientRect().right) drawing.append(...between(left, right, frame));
  });
  if (drawing.childElementCount) columns.append(drawing);
}

function* between(left, right, frame) {
  const [from, to] = [left.getBoundingClientRect().right - frame.left, right.getBoundingClientRect().left - frame.left];
  const middle = (from + to) / 2;
  const targets = new Map([...right.children].map((item, place) => [item.dataset.index, { item, place }]));
  for (const [place, item] of [...left.children].entries()) {
    const target = targets.get(item.dataset.index);
    if (!target) continue;
    const [start, end] = [height(item, frame), height(target.item, frame)];
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("d", `M ${from + 4} ${start} C ${middle} ${start}, ${middle} ${end}, ${to - 4} ${end}`);
    line.setAttribute("class", target.place === place ? "stays" : "moves");
    line.dataset.index = item.dataset.index;
    yield line;
  }
}

function height(item, frame) {
  const box = item.querySelector(".measure").getBoundingClientRect();
  return box.top + box.height / 2 - frame.top;
}
