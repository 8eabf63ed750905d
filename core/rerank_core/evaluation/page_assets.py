"""The style of the page, and the script that sorts, searches and filters its table of queries."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #545d68; --line: #d8dde3; --card: #f6f8fa; --page: #fff;
  --good: #176f30; --bad: #b62f25; --even: #7d5800; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3adba; --line: #333b46; --card: #161b22;
  --page: #0d1117; --good: #4cc26a; --bad: #ff7b72; --even: #d9a441; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; } h3 { font-size: 1rem; }
h2.stage { font-size: 1.4rem; border-top: 2px solid var(--line); padding-top: 1rem; }
p.about, figcaption, .soft { color: var(--soft); }
.scroll { overflow-x: auto; position: relative; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
th { font-weight: 600; color: var(--soft); }
tbody th { color: var(--ink); font-weight: 400; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin: 1rem 0; }
.choice { font-size: 1.5rem; font-weight: 700; margin: 0 0 .5rem; }
.card dt { font-weight: 600; }
.helps { color: var(--good); } .hurts { color: var(--bad); } .even, .caution { color: var(--even); }
.caution, .best { font-weight: 700; }
figure { margin: 1rem 0; } svg { width: 100%; min-width: 32rem; height: auto; color: var(--ink); }
details { margin: .4rem 0; } summary { cursor: pointer; }
summary:focus-visible, .scroll:focus-visible, button:focus-visible,
input:focus-visible, select:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
code { overflow-wrap: anywhere; }
.controls { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; margin: .6rem 0; }
.controls[hidden] { display: none; }
.controls label { display: grid; gap: .2rem; min-width: 0; max-width: 100%; }
input, select, th button { font: inherit; color: inherit; }
input, select { max-width: 100%; min-width: 0; background: var(--page); border: 1px solid var(--soft);
  border-radius: .3rem; padding: .3rem .5rem; }
th button { background: none; border: 0; padding: 0; cursor: pointer; text-align: inherit; text-decoration: underline; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
@media (max-width: 40rem) {
  table, thead, tbody, tr, td, tbody th { display: block; width: 100%; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .queries thead { position: static; width: auto; height: auto; clip-path: none; }
  .queries thead tr { display: flex; flex-wrap: wrap; gap: 0 1rem; }
  .queries thead th { width: auto; }
  tbody tr { border-bottom: 2px solid var(--line); padding: .4rem 0; }
  tbody td, tbody th { border: 0; padding: .1rem 0; text-align: left; }
  tbody td { display: flex; justify-content: space-between; gap: 1rem; text-align: right; }
  tbody td::before { content: attr(data-label); color: var(--soft); text-align: left; }
  tr[hidden] { display: none; }
  dl { grid-template-columns: 1fr; } .card dd { margin-bottom: .4rem; }
}
"""

SCRIPT = """
for (const section of document.querySelectorAll(".queries")) {
  const rows = [...section.querySelectorAll("tbody tr")], body = section.querySelector("tbody");
  const controls = section.querySelector(".controls"), shown = section.querySelector("output");
  const search = section.querySelector("input"), selects = [...section.querySelectorAll("select")];
  const texts = new Map(rows.map(row => [row, row.textContent.toLowerCase()]));
  const apply = () => {
    const words = search.value.toLowerCase().split(/\\s+/), [system, kind] = selects.map(each => each.value);
    for (const row of rows) {
      const kinds = (row.dataset["s" + system] || "").split(" ");
      row.hidden = !(words.every(word => texts.get(row).includes(word)) && (kind === "" || kinds.includes(kind)));
    }
    shown.textContent = rows.filter(row => !row.hidden).length + " of " + rows.length + " queries";
  };
  section.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      section.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.children[column].dataset.sort;
      const number = rows.every(row => key(row) !== "" && !isNaN(key(row)));
      const order = (a, b) => number ? key(a) - key(b) : key(a).localeCompare(key(b));
      rows.sort((a, b) => up ? order(a, b) : order(b, a));
      body.append(...rows);
    });
  });
  [search, ...selects].forEach(each => each.addEventListener("input", apply));
  controls.hidden = false;
  apply();
}
"""
