"""How good a ranking is, by the field's own measures, as trec_eval computes them.

``ir-measures`` (https://ir-measur.es) does the computing, with trec_eval's code behind it. As there: documents without
a judgment count as not relevant; a query without any result, or without any relevant document, counts with 0 (trec_eval
-c); nDCG has linear gains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rerank_core.evaluation.candidates import Ranking
from rerank_core.evaluation.labelled import Judgments
from rerank_core.optional import optional

PerQuery = Mapping[str, float]
"""Query id to value."""

MAIN = "nDCG@10"


def measure(
    judgments: Judgments, ranking: Ranking, *, relevant_grade: int = 1, depth: int = 100
) -> dict[str, PerQuery]:
    """Every measure of every query.

    The order of the ranking is what is measured: no score of it can be tied.

    Args:
        judgments: grades by query and document.
        ranking: document ids by query, best first.
        relevant_grade: the least grade that counts as relevant where a measure knows only yes and no.
        depth: the k of Recall@k beside 10.

    Returns:
        nDCG@10, MRR@10, MAP, P@1, Recall@10 and Recall@depth, by query.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    with optional("evaluation", extra="eval"):
        import ir_measures
        from ir_measures import AP, RR, P, R, nDCG
    rel = relevant_grade
    measures = {
        MAIN: nDCG @ 10,
        "MRR@10": RR(rel=rel) @ 10,
        "MAP": AP(rel=rel),
        "P@1": P(rel=rel) @ 1,
        "Recall@10": R(rel=rel) @ 10,
        f"Recall@{depth}": R(rel=rel) @ depth,
    }
    names = {measure: name for name, measure in measures.items()}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judgments, 0.0) for name in measures}
    for metric in ir_measures.iter_calc(list(measures.values()), judgments, _run(ranking)):
        values[names[metric.measure]][metric.query_id] = float(metric.value)
    return dict(values)


def main_measure(judgments: Judgments, ranking: Ranking) -> PerQuery:
    """:data:`MAIN` of every query, for those who need no other.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    with optional("evaluation", extra="eval"):
        import ir_measures
        from ir_measures import nDCG
    values = dict.fromkeys(judgments, 0.0)
    for metric in ir_measures.iter_calc([nDCG @ 10], judgments, _run(ranking)):
        values[metric.query_id] = float(metric.value)
    return values


def _run(ranking: Ranking) -> dict[str, dict[str, float]]:
    """Scores that say nothing but the order."""
    return {
        query: {document: float(len(documents) - rank) for rank, document in enumerate(documents)}
        for query, documents in ranking.items()
    }


def mean(values: PerQuery) -> float:
    """The mean over all queries."""
    return sum(values.values()) / len(values) if values else 0.0


def reordered(first: Sequence[str], scores: Mapping[str, float], depth: int) -> list[str]:
    """``first`` with its best ``depth`` documents sorted by score; equal scores, and the rest, keep their order."""
    head = sorted(first[:depth], key=lambda document: -scores[document])
    return [*head, *first[depth:]]
