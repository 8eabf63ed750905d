"""An evaluation as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation, SystemReport

_STYLE = {"helps": "green", "hurts": "red", "no difference found": "yellow"}
_LOSSES = 3


def print_evaluation(found: Evaluation, *, price: float | None = None, console: Console | None = None) -> None:
    """Print everything.

    Args:
        found: the evaluation.
        price: dollars a million tokens, for the cost; None to leave it out.
        console: where to; None for standard output.
    """
    console = Console() if console is None else console
    size = f"{found.queries} queries, {found.candidates:.0f} candidates each"
    console.print(Text.assemble((found.data, "bold"), f": {size} ({found.first_stage})"))
    console.print(_quality(found))
    if found.rerankers:
        console.print(_difference(found))
        console.print(_depth(found))
        console.print(_cost(found, price))
    for line in _advice(found):
        console.print(line)


def verdict_lines(found: Evaluation) -> Iterator[tuple[str, str, str]]:
    """(name, verdict, what it rests on) of every reranker."""
    for system in found.rerankers:
        change = system.comparison
        if change is not None:
            interval = f"95 % interval {change.low:+.3f} to {change.high:+.3f}, {change.chance}"
            counts = f"{change.wins} queries better, {change.losses} worse, {change.ties} the same"
            yield system.name, change.verdict, f"{MAIN} {change.difference:+.3f}, {interval}; {counts}"


def _quality(found: Evaluation) -> Table:
    measures = list(found.baseline.measures)
    table = Table("", *measures, title="Quality")
    for system in found.systems:
        table.add_row(system.name, *(f"{system.mean(measure):.3f}" for measure in measures))
    return table


def _difference(found: Evaluation) -> Table:
    table = Table("", "does it help?", title="Against the first stage")
    for name, verdict, reason in verdict_lines(found):
        table.add_row(name, Text.assemble((verdict, f"bold {_STYLE[verdict]}"), f"\n{reason}"))
    return table


def _depth(found: Evaluation) -> Table:
    depths = sorted({depth for system in found.rerankers for depth in system.by_depth or {}})
    table = Table("", *map(str, depths), title=f"{MAIN} by how many candidates are reranked")
    for system in found.rerankers:
        values = system.by_depth or {}
        table.add_row(system.name, *(f"{values[depth]:.3f}" if depth in values else "" for depth in depths))
    return table


def _cost(found: Evaluation, price: float | None) -> Table:
    columns = ["", "query p50", "p95", "documents/s", "tokens/query", "cut documents"]
    table = Table(*columns, *(["$ / 1,000 queries"] if price is not None else []), title="Cost")
    for system in found.rerankers:
        row = [
            system.name,
            _seconds(system.seconds),
            _seconds(system.seconds_95),
            "" if system.documents_per_second is None else f"{system.documents_per_second:.1f}",
            f"{system.tokens:,.0f}",
            f"{system.truncated:.1%}",
        ]
        table.add_row(*row, *([] if price is None else [f"{cost(system, price):.4f}"]))
    return table


def cost(system: SystemReport, price: float) -> float:
    """Dollars for 1,000 queries at ``price`` dollars a million tokens."""
    return system.tokens * price / 1000


def _seconds(value: float | None) -> str:
    if value is None:
        return "not timed"
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"


def _advice(found: Evaluation) -> Iterator[Text]:
    for system in found.rerankers:
        if system.threshold is not None:
            cut = system.threshold
            yield Text(
                f"{system.name}: score_threshold={cut.shown} keeps {cut.kept:.0%} of the candidates, with precision "
                f"{cut.precision:.2f} and recall {cut.recall:.2f} on queries it was not chosen on."
            )
        for loss in system.losses[:_LOSSES]:
            yield Text.assemble(
                (f"\nworse with {system.name}: ", "bold"),
                f"{loss.query}  ({loss.before:.2f} → {loss.after:.2f})\n",
                ("  wanted:  ", "green"),
                f"{loss.wanted}\n",
                ("  got:     ", "red"),
                loss.preferred,
            )
    caution = next((s.comparison.caution for s in found.rerankers if s.comparison and s.comparison.caution), "")
    if caution:
        yield Text(f"\n{caution}", style="bold yellow")
