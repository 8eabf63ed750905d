"""Where a system gains and where it loses: the queries in groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rerank_core.evaluation.cases import Case, Outcome
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation, SystemReport

_SHORT, _LONG = 3, 9


@dataclass(frozen=True, slots=True)
class Group:
    """Queries that have something in common.

    Attributes:
        name: what that is.
        queries: how many there are.
        before: mean nDCG@10 of the first stage.
        after: mean nDCG@10 of the system.
    """

    name: str
    queries: int
    before: float
    after: float


_GROUPS: dict[str, Callable[[Case, Outcome], bool]] = {
    f"queries of 1 to {_SHORT} words": lambda case, _: case.words <= _SHORT,
    f"queries of {_SHORT + 1} to {_LONG - 1} words": lambda case, _: _SHORT < case.words < _LONG,
    f"queries of {_LONG} words or more": lambda case, _: case.words >= _LONG,
    "some candidates read only in part": lambda _, outcome: outcome.cut > 0,
    "all candidates read to the end": lambda _, outcome: outcome.cut == 0,
    "a relevant document among the candidates": lambda case, _: case.reachable,
    "nothing relevant among the candidates": lambda case, _: not case.reachable,
}


def breakdown(found: Evaluation, system: SystemReport) -> list[Group]:
    """The groups that have queries; of those that part all queries in two, none where one is empty."""
    before, after = found.baseline.measures[MAIN], system.measures[MAIN]
    groups = []
    for name, belongs in _GROUPS.items():
        queries = [query for query, outcome in system.outcomes.items() if belongs(found.cases[query], outcome)]
        if queries and len(queries) < len(system.outcomes):
            means = (sum(values[query] for query in queries) / len(queries) for values in (before, after))
            groups.append(Group(name, len(queries), *means))
    return groups
