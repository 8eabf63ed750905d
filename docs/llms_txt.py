"""Writes llms.txt (llmstxt.org) beside the site: the title, address and first sentence of every page."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

_LEAD = "> A cross-encoder reranker for Python, LlamaIndex, LangChain and Haystack. It runs offline on a CPU."


def _summary(document: nodes.document) -> str:
    """The first sentence of prose; empty for pages without any."""
    paragraphs = document.findall(nodes.paragraph)
    text = next(
        (
            " ".join(found.astext().split())
            for found in paragraphs
            if found.parent is found.document or isinstance(found.parent, nodes.section)
        ),
        "",
    )
    return re.split(r"(?<=[.!?:])\s", text, maxsplit=1)[0]


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    lines = [f"# {app.config.project}", "", _LEAD, ""]
    for name in sorted(app.env.found_docs):
        title = app.env.titles[name].astext()
        lines.append(
            f"- [{title}]({app.builder.get_target_uri(name)}): {_summary(app.env.get_doctree(name))}".rstrip(": ")
        )
    Path(app.outdir, "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
