"""An evaluation as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core.documents import one_line
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation
from rerank_core.evaluation.significance import p_value_text

_STYLE = {"helps": "green", "hurts": "red", "no difference found": "yellow", "too few queries to tell": "yellow"}
_LOSSES = 3
_LINE = 2_000
UNKNOWN = "?"
UNKNOWN_MEANS = "?: scores from the cache are not timed, and a service need not tell its tokens"
_NAME = 12  # the least that is left for a name


def print_evaluation(found: Evaluation, *, console: Console | None = None) -> None:
    """Print everything.

    Args:
        found: the evaluation.
        console: where to; None for standard output.
    """
    console = Console() if console is None else console
    console.print(Text.assemble((plain(found.data), "bold"), f": {size(found)} ({plain(found.first_stage)})"))
    for note in found.left_out:
        console.print(Text(plain(note), style="yellow"))
    _print_figures(_quality(found), console)
    if found.rerankers:
        console.print(_difference(found))
        if len(found.rerankers) > 1:
            console.print(_pairs(found))
        _print_figures(_depth(found), console)
        _print_figures(_cost(found), console)
    for line in _advice(found):
        console.print(line)


def plain(text: str) -> str:
    """``text`` as one line, without what would steer a terminal."""
    return one_line(text, _LINE)


def size(found: Evaluation) -> str:
    """How much was measured."""
    queries = "query" if found.queries == 1 else "queries"
    candidates = "candidate" if found.candidates == 1 else "candidates"
    return f"{found.queries:,} {queries}, {found.candidates:,.1f}".removesuffix(".0") + f" {candidates} each"


def verdict_lines(found: Evaluation) -> Iterator[tuple[str, str, str]]:
    """(name, verdict, what it rests on) of every reranker."""
    for system in found.rerankers:
        change = system.comparison
        if change is not None:
            interval = (
                f"95 % interval {change.low:+.3f} to {change.high:+.3f}"
                if change.bounded
                else "too few for an interval"
            )
            counts = f"{change.wins} queries better, {change.losses} worse, {change.ties} the same"
            reason = f"{MAIN} {change.difference:+.3f}, {interval}, {change.p_value_text}; {counts}"
            yield plain(system.name), change.verdict, reason


def pair_cells(found: Evaluation) -> list[list[str]]:
    """Every reranker against every later one: a head, and a row for each pair; the head alone where there are none."""
    rows = [["", MAIN, "95 % interval", "p (Holm)", ""]]
    for pair in found.pairs():
        change = pair.comparison
        interval = f"{change.low:+.3f} to {change.high:+.3f}" if change.bounded else UNKNOWN
        p_value = p_value_text(pair.p_value).removeprefix("p ")
        rows.append([f"{pair.one} - {pair.other}", f"{change.difference:+.3f}", interval, p_value, pair.verdict])
    return rows


def _print_figures(table: Table, console: Console) -> None:
    """Print a table of figures whole: in a narrow terminal its lines go on below, where they would lose digits."""
    room = console.options.update(max_width=_LINE)
    longest = max((Text(str(cell)).cell_len for cell in table.columns[0].cells), default=0)
    needed = console.measure(table, options=room).maximum - max(longest - _NAME, 0)
    width = console.width
    console.width = max(width, needed)
    try:
        console.print(table)
    finally:
        console.width = width


def _quality(found: Evaluation) -> Table:
    head, *rows = quality_cells(found)
    return _filled(head, rows, title="Quality")


def _difference(found: Evaluation) -> Table:
    table = Table("", "does it help?", title="Against the first stage")
    for name, verdict, reason in verdict_lines(found):
        table.add_row(Text(name), Text.assemble((verdict, f"bold {_STYLE[verdict]}"), f"\n{reason}"))
    return table


def _pairs(found: Evaluation) -> Table:
    table = Table("", "which is better?", title="Against each other")
    _, *rows = pair_cells(found)
    for names, difference, interval, p_value, verdict in rows:
        reason = f"{MAIN} {difference}, 95 % interval {interval}, p {p_value} (Holm's correction)"
        table.add_row(Text(plain(names)), Text.assemble((plain(verdict), "bold"), f"\n{reason}"))
    return table


def _depth(found: Evaluation) -> Table:
    depths = sorted({depth for system in found.rerankers for depth in system.by_depth or {}})
    rows = []
    for system in found.rerankers:
        values = system.by_depth or {}
        rows.append([system.name, *(f"{values[depth]:.3f}" if depth in values else "" for depth in depths)])
    return _filled(["", *map(str, depths)], rows, title=f"{MAIN} by how many candidates are reranked")


def _cost(found: Evaluation) -> Table:
    head, *rows = cost_cells(found, _seconds)
    table = _filled(head, rows, title="Cost")
    table.caption = UNKNOWN_MEANS if any(UNKNOWN in row for row in rows) else None
    return table


def _filled(head: Sequence[str], rows: Iterable[Sequence[str]], *, title: str) -> Table:
    """A table in which names are folded where there is no room, and figures are whole, also in 80 columns."""
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column(head[0], overflow="fold", min_width=_NAME)
    for name in head[1:]:
        table.add_column(name, no_wrap=True, justify="right")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


def quality_cells(found: Evaluation) -> list[list[str]]:
    """The means of every measure: a head, and a row for each system."""
    measures = list(found.baseline.measures)
    rows = [[system.name, *(f"{system.mean(measure):.3f}" for measure in measures)] for system in found.systems]
    return [["", *measures], *rows]


def cost_cells(found: Evaluation, shown: Callable[[float], str]) -> list[list[str]]:
    """What each reranker costs: a head, and a row for each.

    Args:
        found: the evaluation.
        shown: seconds, for people.
    """
    head = ["", "query\np50", "p95", "documents\n/s", "tokens\n/query", "cut\ndocuments"]
    rows = [head if found.price is None else [*head, "$ / 1,000\nqueries"]]
    for system in found.rerankers:
        times = (system.seconds, system.seconds_95)
        row = [
            system.name,
            *(UNKNOWN if value is None else shown(value) for value in times),
            UNKNOWN if system.documents_per_second is None else f"{system.documents_per_second:.1f}",
            UNKNOWN if system.tokens is None else f"{system.tokens:,.0f}",
            f"{system.truncated:.1%}",
        ]
        dollars = found.dollars(system)
        rows.append(row if found.price is None else [*row, UNKNOWN if dollars is None else f"{dollars:.4f}"])
    return rows


def _seconds(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"


def _advice(found: Evaluation) -> Iterator[Text]:
    for system in found.rerankers:
        if system.threshold is not None:
            cut = system.threshold
            yield Text(
                f"{plain(system.name)}: score_threshold={cut.shown} keeps {cut.kept:.0%} of the candidates, with "
                f"precision {cut.precision:.2f} and recall {cut.recall:.2f} among the candidates of queries it was not "
                "chosen on; what nobody judged counts as not relevant."
            )
        for loss in system.losses[:_LOSSES]:
            yield Text.assemble(
                (f"\nworse with {plain(system.name)}: ", "bold"),
                f"{plain(loss.query)}  ({loss.before:.2f} → {loss.after:.2f})\n",
                ("  wanted:  ", "green"),
                f"{plain(loss.wanted)}\n",
                ("  got:     ", "red"),
                plain(loss.preferred),
            )
    caution = next((s.comparison.caution for s in found.rerankers if s.comparison and s.comparison.caution), "")
    if caution:
        yield Text(f"\n{caution}", style="bold yellow")
