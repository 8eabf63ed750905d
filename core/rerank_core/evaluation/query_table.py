"""All queries as a table: what every system made of them, with the texts behind it."""

from __future__ import annotations

from collections.abc import Iterator

from rerank_core.evaluation.cases import Case, Outcome
from rerank_core.evaluation.markup import listed, text_of
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.pictures import best_rank
from rerank_core.evaluation.report import Evaluation, SystemReport

WON, LOST, SAME, WRONG, HOPELESS = "won", "lost", "same", "still wrong", "nothing relevant among the candidates"
_NONE = 10**6
"""The rank of what is no candidate, for sorting."""


def kinds_of(case: Case, outcome: Outcome, change: float) -> list[str]:
    """What a query is for a system: won, lost or the same; still wrong where a document that is not relevant is first.

    Where nothing relevant is among the candidates, no system can do better, so that is a kind of its own.
    """
    kinds = [WON if change > 0 else LOST if change < 0 else SAME]
    if not case.reachable:
        return [*kinds, HOPELESS]
    return kinds if outcome.right else [*kinds, WRONG]


def query_table(found: Evaluation, number: int) -> str:
    """The table with its controls, which a script shows.

    Args:
        found: the evaluation.
        number: that no other table of the page has.
    """
    names = ["query", "first stage", *(system.name for system in found.rerankers)]
    head = "".join(f'<th scope="col" role="columnheader">{text_of(name)}</th>' for name in names)
    rows = "".join(_row(found, query) for query in found.cases)
    return (
        f'<section class="queries">{_controls(found, number)}'
        '<div class="scroll" tabindex="0" role="group" aria-label="all queries"><table role="table">'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">{rows}</tbody></table></div>'
        "</section>"
    )


def _controls(found: Evaluation, number: int) -> str:
    systems = "".join(
        f'<option value="{position}">{text_of(system.name)}</option>' for position, system in enumerate(found.rerankers)
    )
    kinds = "".join(f'<option value="{_key(kind)}">{kind}</option>' for kind in (WON, LOST, SAME, WRONG, HOPELESS))
    return (
        '<div class="controls" hidden>'
        f'<label for="search{number}">Search<input id="search{number}" type="search"></label>'
        f'<label for="system{number}">With<select id="system{number}">{systems}</select></label>'
        f'<label for="kind{number}">Show<select id="kind{number}"><option value="">all</option>{kinds}</select></label>'
        f'<output for="search{number} system{number} kind{number}"></output></div>'
    )


def _key(kind: str) -> str:
    return kind.replace(" ", "-")


def _row(found: Evaluation, query: str) -> str:
    case, first = found.cases[query], found.baseline.outcomes[query]
    before = found.baseline.measures[MAIN][query]
    kinds, cells = [], [_rank_cell("first stage", best_rank(first.ranks), "", best_rank(first.ranks) or _NONE)]
    for position, system in enumerate(found.rerankers):
        outcome, change = system.outcomes[query], system.measures[MAIN][query] - before
        these = kinds_of(case, outcome, change)
        kinds.append(f'data-s{position}="{" ".join(map(_key, these))}"')
        words = ", ".join(these if case.reachable else these[:1])
        shown = f"{words} {change:+.2f}" if change else words
        style = {WON: "helps", LOST: "hurts"}.get(these[0], "soft")
        note = f'<span class="{style}">{shown}</span>'
        cells.append(_rank_cell(system.name, best_rank(outcome.ranks), note, change))
    return (
        f'<tr role="row" {" ".join(kinds)}><th scope="row" role="rowheader" data-sort="{text_of(case.query)}">'
        f"<details><summary>{text_of(case.query)}</summary>{listed(_texts(found, query))}</details></th>"
        f"{''.join(cells)}</tr>"
    )


def _rank_cell(name: str, rank: int | None, note: str, sort: float) -> str:
    shown = "not a candidate" if rank is None else f"rank {rank}"
    return f'<td role="cell" data-label="{text_of(name)}" data-sort="{sort:.4f}"><span>{shown}<br>{note}</span></td>'


def _texts(found: Evaluation, query: str) -> Iterator[tuple[str, str]]:
    """What was wanted, with its ranks, and what came first instead."""
    case = found.cases[query]
    for position, document in enumerate(case.wanted):
        ranks = ", ".join(
            f"{_short(found, system)} {_rank(system.outcomes[query].ranks[position])}" for system in found.systems
        )
        yield f"wanted, {document}", f"{found.texts.get(document, '')} (rank: {ranks})"
    for system in found.systems:
        outcome = system.outcomes[query]
        if outcome.first and not outcome.right:
            yield f"first with {_short(found, system)}", found.texts.get(outcome.first, "")


def _short(found: Evaluation, system: SystemReport) -> str:
    return "first stage" if system is found.baseline else system.name


def _rank(rank: int | None) -> str:
    return "none" if rank is None else str(rank)
