"""The scores of judged candidates: what a calibration and a fusion weight are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rerank_core.evaluation.experiment import Experiment, prepare
from rerank_core.evaluation.fusion_fit import ScoredCandidates
from rerank_core.evaluation.labelled import Judgments, LabelledData
from rerank_core.evaluation.plan import Plan
from rerank_core.evaluation.provenance import provenance
from rerank_core.evaluation.scored import Answer, System, score_queries
from rerank_core.evaluation.store import ScoreStore
from rerank_core.scoring.base import Scorer


@dataclass(frozen=True, slots=True, repr=False)
class LabelledScores:
    """What a calibration is fitted to.

    Attributes:
        pairs: (logit, whether relevant) of every candidate of every query; what nobody judged is not relevant.
        left_out: what was asked for and has no score, in words.
        origin: what they come from, and what is needed to have them again.
        lists: the same candidates by query, with the first stage's scores, for :func:`fit_fusion`.
        judgments: grades by query and document.
    """

    pairs: list[tuple[float, bool]]
    left_out: tuple[str, ...]
    origin: Mapping[str, Any]
    lists: Mapping[str, ScoredCandidates]
    judgments: Judgments


def labelled_scores(
    data: LabelledData,
    scorer: Scorer,
    plan: Plan | None = None,
    *,
    store: ScoreStore | None = None,
    check: Callable[[Sequence[bool]], None] = lambda _: None,
    on_query: Callable[[str], None] | None = None,
) -> LabelledScores:
    """The score of every candidate of every query, and whether it is relevant.

    Args:
        data: queries, documents, judgments.
        scorer: whose scores.
        plan: which candidates; None for the first 100 of the documents that come with each query, or BM25's best 100.
        store: where scores are kept; None for memory.
        check: given which candidates are relevant, before anything is scored; may raise.
        on_query: called with the name of what is running, once per query.

    Raises:
        The same as :func:`evaluate`, and what ``check`` raises.
    """
    tell = on_query or (lambda _: None)
    experiment = prepare(data, Plan() if plan is None else plan, partial(tell, "first stage"))
    judged = ((query, document) for query, documents in experiment.ranking.items() for document in documents)
    check([experiment.relevant(query, document) for query, document in judged])
    system = System(scorer.model, scorer, ScoreStore() if store is None else store)
    answers = score_queries(experiment, system, timed=0, on_query=partial(tell, system.name))
    pairs = [
        (score.log_odds, experiment.relevant(query, document))
        for query, answer in answers.items()
        for document, score in answer.scores.items()
    ]
    origin = {
        **provenance(experiment),
        "documents": len(pairs),
        "relevant": sum(label for _, label in pairs),
        "identity": scorer.identity,
    }
    lists = {query: _candidates(experiment, query, answer) for query, answer in answers.items()}
    return LabelledScores(pairs, experiment.stage.left_out, origin, lists, experiment.data.judgments)


def _candidates(experiment: Experiment, query: str, answer: Answer) -> ScoredCandidates:
    documents, scores = experiment.ranking[query], experiment.stage.scores
    retrieval = None if scores is None else [scores[query][document] for document in documents]
    return ScoredCandidates(documents, [answer.scores[document].log_odds for document in documents], retrieval)
