"""Writes ``benchmarks/README.md`` from the results that the benchmarks have kept.

python benchmarks/page.py
"""

from __future__ import annotations

import json
from typing import Any

from measure import RESULTS

PAGE = RESULTS.parent / "README.md"
ORDER = (
    "throughput", "throughput_base", "hub_files", "peers", "peers_1000", "roof", "operators", "norms", "growth",
    "cold_start", "cache", "zipf", "long_documents", "cascade", "memory", "prefix", "long_texts", "server_load", "bulk",
    "bulk_equal", "bulk_memory", "tokenizing",
)  # fmt: skip
HEAD = """# Speed, measured

The latest result of each script, with command, machine and date; `python benchmarks/page.py` writes this page from
`results/`. Competitors take turns in every round and medians count, so that a busy machine slows all alike: ratios say
more than seconds. Quality is measured by `quality.py` and `first_stages.py`, whose results stand in the README and in
the models' cards.
"""


def page() -> str:
    """The page's text."""
    files = {name: RESULTS / f"{name}.json" for name in ORDER}
    sections = [section(json.loads(file.read_text())) for file in files.values() if file.exists()]
    missing = ", ".join(f"`{name}`" for name, file in files.items() if not file.exists())
    return "\n".join([HEAD, *sections, *([f"Without a result here: {missing}."] if missing else [])])


def section(result: dict[str, Any]) -> str:
    """One result: what it is, the table, the plot if there is one, and how it was made."""
    head = result["columns"]
    lines = [f"## {result['title']}", "", row(head), "|---|" + "---:|" * (len(head) - 1), *map(row, result["rows"])]
    plot = RESULTS / f"{result['name']}.svg"
    if plot.exists():
        lines += ["", f"![{result['title']}]({plot.relative_to(PAGE.parent)})"]
    for note in result["notes"]:
        lines += ["", note]
    return "\n".join([*lines, "", f"`{result['command']}`, {result['machine']}, {result['date']}", ""])


def row(cells: list[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page())
