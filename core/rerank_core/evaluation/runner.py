"""Runs an evaluation: a first stage, every system over every query, measures and comparisons."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.assess import baseline, cases, ceiling, report, timed
from rerank_core.evaluation.cases import excerpts
from rerank_core.evaluation.experiment import prepare
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.plan import Plan
from rerank_core.evaluation.provenance import provenance
from rerank_core.evaluation.report import Evaluation
from rerank_core.evaluation.scored import System, score_queries, time_afresh
from rerank_core.evaluation.store import ScoreStore
from rerank_core.events import Hook
from rerank_core.scoring.base import Scorer


def evaluate(
    data: LabelledData,
    systems: Mapping[str, Scorer] | Sequence[System],
    plan: Plan | None = None,
    *,
    store: ScoreStore | None = None,
    price: float | None = None,
    on_query: Callable[[str], None] | None = None,
    hooks: Sequence[Hook] = (),
) -> Evaluation:
    """Measure a first stage and every reranker on top of it.

    Args:
        data: queries, documents, judgments.
        systems: scorers by the name they are reported under, or systems with stores of their own. Scores are kept for
            those that are ``pointwise``: the others' (cascades', whose parts may have caches of their own, and
            list-wise models') depend on the rest of the request, so these are also reported at full depth only.
        plan: what to measure; None for the first 100 of the documents that come with each query, or BM25's best 100.
        store: where the scores of scorers without one are kept; None for memory.
        price: dollars per million tokens, for the cost.
        on_query: called with the name of what is running, once per query.
        hooks: called with the engine's events.

    Raises:
        InvalidRequestError: when data and plan do not fit.
        MissingDependencyError: when the extra ``eval`` is not installed.
        InferenceError: when a fallback answers for a scorer (code ``degraded``): it would be measured in its place.
        RerankError: when a scorer fails; what it had scored before is in the store.
    """
    if price is not None and not 0 <= price < math.inf:
        raise InvalidRequestError(f"price must be dollars per million tokens, 0 or more; got {price!r}.", param="price")
    tell = on_query or (lambda _: None)
    experiment = prepare(data, Plan() if plan is None else plan, partial(tell, "first stage"))
    known = cases(experiment)
    first = baseline(experiment, known)
    reports = [first]
    for system in _with_stores(systems, store):
        answers = score_queries(experiment, system, on_query=partial(tell, system.name), hooks=hooks)
        found = report(experiment, system, answers, first, known)
        reports.append(found if found.seconds is not None else timed(found, time_afresh(experiment, system)))
    named = [outcome.first for each in reports for outcome in each.outcomes.values()]
    named += [document for case in known.values() for document in case.wanted]
    return Evaluation(
        **provenance(experiment),
        candidates=statistics.fmean(map(len, experiment.ranking.values())),
        systems=tuple(reports),
        left_out=(*experiment.stage.left_out, *experiment.counts_zero()),
        price=price,
        cases=known,
        texts=excerpts(experiment.texts, named),
        ceiling=ceiling(experiment),
    )


def _with_stores(systems: Mapping[str, Scorer] | Sequence[System], store: ScoreStore | None) -> Sequence[System]:
    if not isinstance(systems, Mapping):
        return systems
    shared = ScoreStore() if store is None else store  # not "or": a store without scores is false
    return [System(name, scorer, shared) for name, scorer in systems.items()]
