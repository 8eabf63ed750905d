"""A system's scores of every query, through the engine, like any caller's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from rerank_core.errors import InferenceError
from rerank_core.evaluation.experiment import Experiment
from rerank_core.evaluation.store import ScoreStore
from rerank_core.events import Hook
from rerank_core.fusion import Fusion
from rerank_core.reranker import Reranker
from rerank_core.results import RerankResponse
from rerank_core.scores import Score, Scores
from rerank_core.scoring.base import Scorer
from rerank_core.scoring.cached import CachedScorer

TIMED = 100
"""Queries that are scored one by one, for their time; the others share one schedule."""

TIMED_SERVICE = 10
"""The same for models behind an API, which answer several queries at once."""

RETIMED = 5
"""Queries that are scored anew for their time, where the scores of all are known from before."""

_TOGETHER = 64  # of those; what is done is kept before the next ones begin


@dataclass(frozen=True, slots=True, repr=False)
class System:
    """What is measured, from the command line to the report.

    Attributes:
        name: what it is reported under.
        scorer: whose scores.
        store: where they are kept; what is there already is not computed again. An API's identity is only its address
            and the model's name: keep its scores no longer than you know what stands there.
        fusion: how the first stage's scores count; None for not at all.
        uncached: what computes the same scores anew, to time it where ``store`` had them; None for no times then.
        timed: so many queries are scored one by one, for their time; None for :data:`TIMED`.
    """

    name: str
    scorer: Scorer
    store: ScoreStore
    fusion: Fusion | None = None
    uncached: Scorer | None = None
    timed: int | None = None

    @property
    def identity(self) -> str:
        """Everything that decides its order."""
        return self.scorer.identity if self.fusion is None else f"fusion({self.fusion!r}, {self.scorer.identity})"

    @property
    def pointwise(self) -> bool:
        """Whether a document's place among fewer candidates follows from its score."""
        return self.scorer.pointwise and self.fusion is None

    def __repr__(self) -> str:
        return f"System({self.name!r}, {self.scorer!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """One query's scores by document, and what they cost.

    Attributes:
        scores: by document.
        seconds: how long they took; None where they were not all computed in this run.
        tokens: fed to the model; None where that is not known.
        alone: whether nothing else was at work, so that the time counts.
        fused: what decides the order, by document, in place of the scores; None where nothing was fused.
    """

    scores: Mapping[str, Score]
    seconds: float | None
    tokens: int | None
    alone: bool = True
    fused: Mapping[str, float] | None = None

    def keys(self) -> Mapping[str, float]:
        """What to sort the documents by: fused scores, else logits where every score has one."""
        if self.fused is not None:
            return self.fused
        return dict(zip(self.scores, Scores(tuple(self.scores.values()), "").keys(), strict=True))


def time_afresh(experiment: Experiment, system: System) -> dict[str, Answer]:
    """The first :data:`RETIMED` queries that have candidates, scored anew one by one, for their time.

    Nothing where the system does not say how.
    """
    if system.uncached is None:
        return {}
    reranker = Reranker(scorer=system.uncached, fusion=system.fusion)
    reranker.warm_up()
    answers = {}
    for query in islice((query for query, documents in experiment.ranking.items() if documents), RETIMED):
        text, texts, retrieval = _request(experiment, query)
        response = reranker.rerank(text, texts, retrieval_scores=retrieval)
        answers[query] = _answer(experiment, system, query, response, alone=True)
    return answers


def score_queries(
    experiment: Experiment,
    system: System,
    *,
    timed: int | None = None,
    on_query: Callable[[], None],
    hooks: Sequence[Hook] = (),
) -> dict[str, Answer]:
    """Every query's answer, by its id, in the order of the experiment.

    Args:
        experiment: queries and candidates.
        system: whose scores.
        timed: so many queries are scored one by one; None for as many as the system says.
        on_query: called once per query.
        hooks: called with the engine's events.

    Raises:
        InferenceError: when a fallback answers (code ``degraded``): it would be measured in the system's place.
        RerankError: when the scorer fails; what it had scored before is in the store.
    """
    reranker = Reranker(scorer=CachedScorer(system.scorer, system.store, hooks=hooks), fusion=system.fusion)
    reranker.warm_up()  # so that loading counts for no query
    answers: dict[str, Answer] = {}
    queries = iter(experiment.ranking)
    alone = system.timed if timed is None else timed
    for query in islice(queries, TIMED if alone is None else alone):
        text, texts, retrieval = _request(experiment, query)
        response = reranker.rerank(text, texts, retrieval_scores=retrieval)
        _check_genuine(response, system, len(answers), experiment)
        answers[query] = _answer(experiment, system, query, response, alone=True)
        on_query()

    def requests(these: Sequence[str]) -> Iterator[tuple[str, list[str], list[float] | None]]:
        for query in these:
            yield _request(experiment, query)
            on_query()

    while these := list(islice(queries, _TOGETHER)):
        for query, response in zip(these, reranker.rerank_many(requests(these)), strict=True):
            _check_genuine(response, system, len(answers), experiment)
            answers[query] = _answer(experiment, system, query, response, alone=False)
    return answers


def _request(experiment: Experiment, query: str) -> tuple[str, list[str], list[float] | None]:
    """A query, its candidates, and the first stage's scores of them where it has some."""
    documents = experiment.ranking[query]
    texts = [experiment.texts[document] for document in documents]
    scores = experiment.stage.scores
    retrieval = None if scores is None else [scores[query][document] for document in documents]
    return experiment.data.queries[query], texts, retrieval


def _answer(experiment: Experiment, system: System, query: str, response: RerankResponse, *, alone: bool) -> Answer:
    """What a response says about the experiment's documents. A cached score has cost no time and no tokens."""
    documents = experiment.ranking[query]
    text, texts, _ = _request(experiment, query)
    computed = not any(result.cached for result in response)
    key = _request_key((system.scorer.identity if texts else "", text, *texts))
    scores = {
        documents[result.index]: Score(result.relevance_score, result.logit, truncated=result.truncated)
        for result in response
    }
    return Answer(
        scores,
        seconds=response.timings.total if computed else None,
        tokens=system.store.tokens(key, computed=response.usage.total_tokens if computed else None),
        alone=alone,
        fused={documents[result.index]: result.fused.score for result in response if result.fused is not None} or None,
    )


def _check_genuine(response: RerankResponse, system: System, count: int, experiment: Experiment) -> None:
    if response.degraded:
        raise InferenceError(
            f"a fallback answered for {system.scorer.model!r} after {count} of {len(experiment.ranking)} queries; "
            "its scores are not the model's. Evaluate without on_failure= and FallbackScorer, or try again.",
            code="degraded",
        )


def _request_key(parts: Sequence[str]) -> bytes:
    """A digest in which no two different requests can meet: every part is preceded by its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
