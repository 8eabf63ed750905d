"""How much the retriever should count: the share of a weighted sum, fitted on labelled data.

What is fitted is kept by :class:`~rerank_core.scoring.Calibration`, and applied by :mod:`rerank_core.fusion`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.labelled import Judgments
from rerank_core.evaluation.measures import MAIN, PerQuery, main_measure
from rerank_core.evaluation.significance import ENOUGH_QUERIES, Comparison, compare
from rerank_core.fusion import fuse

SHARES = tuple(step / 20 for step in range(21))
"""The shares that are tried."""
_FOLDS = 5
_SEED = 0
_ROUNDING = 1e-12


class ScoredCandidates(NamedTuple):
    """One query's candidates, in the first stage's order.

    Attributes:
        documents: their ids.
        logits: the model's.
        retrieval: the first stage's scores; None where its order stands in for them.
    """

    documents: Sequence[str]
    logits: Sequence[float]
    retrieval: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class FusionFit:
    """The share that suits labelled data best, and what it is worth on queries that it was not chosen on.

    Attributes:
        share: the retriever's, from 0 to 1, chosen on all queries.
        alone: mean nDCG@10 of the model alone.
        retriever: that of the first stage.
        fused: that of both, each fifth of the queries with the share chosen on the other four.
        gain: ``fused`` compared with the better one of the two, query by query.
    """

    share: float
    alone: float
    retriever: float
    fused: float
    gain: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "measure": MAIN, "verdict": self.gain.verdict}


def enough_to_fit(lists: Mapping[str, ScoredCandidates]) -> bool:
    """Whether there are enough queries for :func:`fit_fusion`: 25."""
    return len(lists) >= ENOUGH_QUERIES


def fit_fusion(lists: Mapping[str, ScoredCandidates], judgments: Judgments) -> FusionFit:
    """The share of the retriever with the best mean nDCG@10, and its gain in a cross-validation over queries.

    Tried are the shares 0, 0.05, ..., 1; of equally good ones the middle one is taken. Five folds of the queries from a
    fixed seed say what a share is worth that was chosen on other queries, and :func:`compare` (a paired randomisation
    test) gives the interval of the gain over the model alone or the retriever alone, whichever has the higher mean.

    Args:
        lists: every query's candidates with the scores of both sides.
        judgments: grades by query and document.

    Raises:
        InvalidRequestError: when there are fewer than 25 queries.
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    if not enough_to_fit(lists):
        raise InvalidRequestError(
            f"a fusion weight needs at least {ENOUGH_QUERIES} queries; there are {len(lists)}. Label more of them."
        )
    graded = {query: judgments.get(query, {}) for query in lists}
    worth = {share: main_measure(graded, {q: _fused(each, share) for q, each in lists.items()}) for share in SHARES}
    names = sorted(lists)
    random.Random(_SEED).shuffle(names)  # noqa: S311  (folds, not secrets)
    held_out: dict[str, float] = {}
    for fold in range(_FOLDS):
        tested = names[fold::_FOLDS]
        share = _best(worth, sorted(set(names) - set(tested)))
        held_out |= {query: worth[share][query] for query in tested}
    alone, retriever = (_mean(worth[share], names) for share in (0.0, 1.0))
    better = worth[0.0] if alone >= retriever else worth[1.0]
    gain = compare([better[query] for query in names], [held_out[query] for query in names])
    return FusionFit(_best(worth, sorted(names)), alone, retriever, _mean(held_out, names), gain)


def _fused(candidates: ScoredCandidates, share: float) -> list[str]:
    """The candidates in the order that this share gives."""
    scores = [each.score for each in fuse(share, candidates.retrieval, candidates.logits)]
    return [candidates.documents[i] for i in sorted(range(len(scores)), key=lambda i: -scores[i])]


def _best(worth: Mapping[float, PerQuery], queries: Sequence[str]) -> float:
    """The share with the highest mean, the middle one of several: farthest from where it gets worse."""
    means = {share: _mean(values, queries) for share, values in worth.items()}
    best = [share for share, value in means.items() if value >= max(means.values()) - _ROUNDING]
    return best[(len(best) - 1) // 2]


def _mean(values: PerQuery, queries: Sequence[str]) -> float:
    return sum(values[query] for query in queries) / len(queries)
