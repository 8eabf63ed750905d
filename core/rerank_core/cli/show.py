"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rerank_core.cli.read import DATA_SUFFIXES
from rerank_core.cli.terminal import Terminal
from rerank_core.documents import one_line
from rerank_core.models import ModelSpec
from rerank_core.results import RerankResponse, RerankResult

_BAR = 10
_SNIPPET = 160


def score_bar(score: float, width: int = _BAR) -> str:
    """A bar of ``width`` characters, filled in proportion to a score of 0..1."""
    filled = round(score * width)
    return "█" * filled + "░" * (width - filled)


def print_results(response: RerankResponse, *, documents: int) -> None:
    """Print rank, score, place and text of every result."""
    console = Terminal()
    if not len(response):
        console.print(f"nothing found in {documents} documents", style="dim")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", justify="right", style="dim")
    table.add_column("score", no_wrap=True)
    if any("file" in result.document.metadata for result in response):
        table.add_column("where", style="cyan", overflow="fold", max_width=36)
    table.add_column("text", ratio=1)
    for result in response:
        score = Text(f"{result.relevance_score:.3f} ")
        likely = result.relevance_score >= 0.5  # noqa: PLR2004  (more likely relevant than not)
        score.append(score_bar(result.relevance_score), style="green" if likely else "yellow")
        # Text objects: file names and documents are no markup.
        table.add_row(str(result.rank), score, *map(Text, _place(result)), Text(one_line(_shown(result), _SNIPPET)))
    console.print(table)
    cut = sum(result.truncated for result in response)
    note = f" · {cut} cut to fit the model (--windows reads everything)" if cut else ""
    console.print(
        f"{len(response)} of {documents} documents · {response.model} · {response.usage.prompt_tokens} tokens · "
        f"{response.timings.total:.2f} s{note}",
        style="dim",
        markup=False,
        highlight=False,
    )


def print_models(specs: Sequence[tuple[ModelSpec, bool]]) -> None:
    """Print the registry."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "here"):
        table.add_column(title, no_wrap=True)
    for title in ("MB", "tokens"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("what it is")
    for spec, here in specs:
        about = f"{spec.languages}, {spec.licence}: {spec.description}"
        table.add_row(spec.name, "yes" if here else "", str(spec.size_mb), str(spec.max_tokens), about)
    Terminal().print(table)


def _shown(result: RerankResult) -> str:
    """The best sentences where they were asked for, in the order of the text; else the passage that got the score."""
    best = sorted(result.highlights, key=lambda highlight: highlight.start)
    return " … ".join(highlight.text for highlight in best) or result.passage


def _place(result: RerankResult) -> list[str]:
    metadata = result.document.metadata
    if "file" not in metadata:
        return []
    before = 0
    if result.window is not None and Path(metadata["file"]).suffix.lower() not in DATA_SUFFIXES:
        before = result.document.text.count("\n", 0, result.window.start)
    return [f"{metadata['file']}:{metadata['line'] + before}"]
