"""From one reranker's scores to what is reported of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rerank_core.documents import one_line
from rerank_core.evaluation.candidates import Ranking
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.measures import MAIN, PerQuery, mean, measure, reordered
from rerank_core.evaluation.plan import Plan
from rerank_core.evaluation.report import Loss, SystemReport, Threshold
from rerank_core.evaluation.significance import compare
from rerank_core.evaluation.thresholds import suggest_threshold
from rerank_core.scores import Score, Scores

DEPTHS = (10, 20, 50, 100)
_LOSSES = 5
_EXCERPT = 160


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """One query's scores by document, and what they cost.

    Attributes:
        scores: by document.
        seconds: how long they took; None where they were not all computed in this run.
        tokens: fed to the model; None where that is not known.
    """

    scores: Mapping[str, Score]
    seconds: float | None
    tokens: int | None

    def keys(self) -> dict[str, float]:
        """What to sort the documents by: logits where every score has one."""
        return dict(zip(self.scores, Scores(tuple(self.scores.values()), "").keys(), strict=True))


@dataclass(frozen=True, slots=True, repr=False)
class Bench:
    """What every system is measured on.

    Attributes:
        data: queries, documents, judgments.
        ranking: the first stage's candidates.
        plan: what was asked for.
    """

    data: LabelledData
    ranking: Ranking
    plan: Plan

    def relevant(self, query: str, document: str) -> bool:
        """Whether it is judged so; what nobody judged is not."""
        return self.data.judgments[query].get(document, 0) >= self.plan.relevant_grade

    def measures(self, ranking: Ranking) -> dict[str, PerQuery]:
        """Every measure of every query."""
        grade, depth = self.plan.relevant_grade, self.plan.depth
        return measure(self.data.judgments, ranking, relevant_grade=grade, depth=depth)

    def report(
        self, name: str, identity: str, answers: Mapping[str, Answer], baseline: SystemReport, *, pointwise: bool = True
    ) -> SystemReport:
        """What one reranker's answers are worth; for fewer candidates too, where its scores would be the same."""
        keys = {query: answer.keys() for query, answer in answers.items()}
        ranking = self._cut(keys, max(map(len, self.ranking.values()), default=0))
        measures = self.measures(ranking)
        before, after = baseline.measures[MAIN], measures[MAIN]
        scores = [score for answer in answers.values() for score in answer.scores.values()]
        by_depth = self._by_depth(keys, DEPTHS if pointwise else ())
        return SystemReport(
            name=name,
            identity=identity,
            measures=measures,
            comparison=compare([before[query] for query in self.ranking], [after[query] for query in self.ranking]),
            by_depth=by_depth,
            seconds_by_depth=_seconds_by_depth(answers.values(), by_depth),
            losses=self._worst_losses(ranking, before, after),
            truncated=sum(score.truncated for score in scores) / max(1, len(scores)),
            tokens=_mean_tokens(answers.values()),
            threshold=self._threshold(answers),
            **_latency(answers.values()),
        )

    def _cut(self, keys: Mapping[str, Mapping[str, float]], depth: int) -> Ranking:
        """The ranking when only the first ``depth`` candidates are reranked, and the rest follow as they were."""
        return {query: reordered(documents, keys[query], depth) for query, documents in self.ranking.items()}

    def _by_depth(self, keys: Mapping[str, Mapping[str, float]], shallower: Iterable[int]) -> dict[int, float]:
        longest = max(map(len, self.ranking.values()), default=0)
        depths = sorted({depth for depth in shallower if depth < longest} | {longest})
        return {depth: mean(self.measures(self._cut(keys, depth))[MAIN]) for depth in depths}

    def _worst_losses(self, ranking: Ranking, before: PerQuery, after: PerQuery) -> tuple[Loss, ...]:
        worse = sorted((q for q in ranking if after[q] < before[q]), key=lambda q: after[q] - before[q])
        losses = []
        for query in worse[:_LOSSES]:
            documents = lost(self.ranking[query], ranking[query], self.data.judgments[query])
            texts = (self.data.queries[query], *(self.data.documents[document] for document in documents))
            shown, wanted, preferred = (one_line(text, _EXCERPT) for text in texts)
            losses.append(Loss(shown, before[query], after[query], wanted, preferred))
        return tuple(losses)

    def _threshold(self, answers: Mapping[str, Answer]) -> Threshold | None:
        return suggest_threshold(
            {
                query: [(score.relevance_score, self.relevant(query, d)) for d, score in answer.scores.items()]
                for query, answer in answers.items()
            }
        )


def lost(before: Sequence[str], after: Sequence[str], grades: Mapping[str, int]) -> tuple[str, str]:
    """The best document of the first ten that fell, and the highest one that is less relevant and now above it.

    Both exist where nDCG@10 went down.
    """

    def grade(document: str) -> int:
        return grades.get(document, 0)

    ranks = {document: rank for rank, document in enumerate(after)}
    fallen = [document for rank, document in enumerate(before[:10]) if grade(document) > 0 and ranks[document] > rank]
    fallen.sort(key=lambda document: -grade(document))
    for document in fallen:
        for other in after[: ranks[document]]:
            if grade(other) < grade(document):
                return document, other
    return fallen[0], after[0]


def _timed(answers: Iterable[Answer]) -> list[tuple[float, int]]:
    """Seconds and number of documents of all queries, or nothing: those of a part would stand beside all of others."""
    asked = [answer for answer in answers if answer.scores]
    timed = [(answer.seconds, len(answer.scores)) for answer in asked if answer.seconds is not None]
    return timed if len(timed) == len(asked) else []


def _latency(answers: Iterable[Answer]) -> dict[str, float | None]:
    timed = _timed(answers)
    if not timed:
        return {"seconds": None, "seconds_95": None, "documents_per_second": None}
    seconds = sorted(took for took, _ in timed)
    return {
        "seconds": statistics.median(seconds),
        "seconds_95": seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))],
        "documents_per_second": sum(count for _, count in timed) / sum(seconds),
    }


def _seconds_by_depth(answers: Iterable[Answer], depths: Iterable[int]) -> dict[int, float] | None:
    """Scoring one by one, a query takes time in proportion to how many candidates it has."""
    timed = _timed(answers)
    if not timed:
        return None
    return {depth: statistics.median(took * min(1, depth / count) for took, count in timed) for depth in depths}


def _mean_tokens(answers: Iterable[Answer]) -> float | None:
    """Over the queries whose tokens are known: services do not always tell them, and caches never."""
    known = [answer.tokens for answer in answers if answer.tokens]
    return statistics.fmean(known) if known else None
