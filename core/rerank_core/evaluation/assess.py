"""From one system's answers to what is reported of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rerank_core.documents import one_line
from rerank_core.evaluation.candidates import Ranking
from rerank_core.evaluation.cases import EXCERPT, Case, Outcome
from rerank_core.evaluation.curves import cuts, reliability
from rerank_core.evaluation.experiment import Experiment
from rerank_core.evaluation.measures import MAIN, PerQuery, mean, reordered
from rerank_core.evaluation.report import Loss, SystemReport
from rerank_core.evaluation.scored import Answer, System
from rerank_core.evaluation.significance import Comparison, compare
from rerank_core.evaluation.thresholds import suggest_threshold
from rerank_core.evaluation.zero_shot import trained_on

DEPTHS = (10, 20, 50, 100)
_LOSSES = 5


def cases(experiment: Experiment) -> dict[str, Case]:
    """The queries, by id."""
    data, found = experiment.data, {}
    for query, candidates in experiment.ranking.items():
        known = [name for name in data.judgments[query] if experiment.relevant(query, name) and name in data.documents]
        wanted = sorted(known, key=lambda document: -data.judgments[query][document])
        found[query] = Case.of(data.queries[query], wanted, candidates)
    return found


def baseline(experiment: Experiment, known: Mapping[str, Case]) -> SystemReport:
    """What the first stage is worth."""
    ranking = experiment.ranking
    return SystemReport(
        experiment.stage.description,
        "",
        experiment.measures(ranking),
        outcomes=_outcomes(experiment, known, ranking, {}),
    )


def ceiling(experiment: Experiment) -> float:
    """nDCG@10 of the best order of the candidates."""
    best = {}
    for query, documents in experiment.ranking.items():
        grades = experiment.data.judgments[query]
        best[query] = sorted(documents, key=lambda document, grades=grades: -grades.get(document, 0))  # type: ignore[misc]
    return mean(experiment.measures(best)[MAIN])


def report(
    experiment: Experiment,
    system: System,
    answers: Mapping[str, Answer],
    baseline: SystemReport,
    known: Mapping[str, Case],
) -> SystemReport:
    """What a system's answers are worth; for fewer candidates too, where its scores would be the same."""
    keys = {query: answer.keys() for query, answer in answers.items()}
    ranking = _cut(experiment.ranking, keys, max(map(len, experiment.ranking.values()), default=0))
    measures = experiment.measures(ranking)
    before, after = baseline.measures[MAIN], measures[MAIN]
    queries = experiment.ranking
    scores = [score for answer in answers.values() for score in answer.scores.values()]
    changes = _by_depth(experiment, keys, before, DEPTHS if system.pointwise else ())
    by_depth = {depth: mean(before) + change.difference for depth, change in changes.items()}
    pairs = _labelled(experiment, answers)
    every = [pair for each in pairs.values() for pair in each]
    return SystemReport(
        name=system.name,
        identity=system.identity,
        measures=measures,
        comparison=compare([before[query] for query in queries], [after[query] for query in queries]),
        by_depth=by_depth,
        seconds_by_depth=_seconds_by_depth(answers.values(), by_depth),
        losses=_worst_losses(experiment, ranking, before, after),
        truncated=sum(score.truncated for score in scores) / max(1, len(scores)),
        tokens=_mean_tokens(answers.values()),
        threshold=suggest_threshold(pairs),
        bands={depth: (change.low, change.high) for depth, change in changes.items()},
        outcomes=_outcomes(experiment, known, ranking, answers),
        cuts=cuts(every),
        reliability=reliability(every),
        trained_on=trained_on(system.scorer, experiment.data.name),
        **_latency(answers.values()),
    )


def timed(found: SystemReport, afresh: Mapping[str, Answer]) -> SystemReport:
    """The report with the times of queries that were scored once more; as it is where there are none."""
    if not afresh:
        return found
    times = _seconds_by_depth(afresh.values(), found.by_depth or {})
    return replace(found, seconds_by_depth=times, retimed=len(afresh), **_latency(afresh.values()))


def _cut(first: Ranking, keys: Mapping[str, Mapping[str, float]], depth: int) -> Ranking:
    """The ranking when only the first ``depth`` candidates are reranked, and the rest follow as they were."""
    return {query: reordered(documents, keys[query], depth) for query, documents in first.items()}


def _by_depth(
    experiment: Experiment, keys: Mapping[str, Mapping[str, float]], before: PerQuery, shallower: Iterable[int]
) -> dict[int, Comparison]:
    """The change against the first stage by how many candidates are reranked."""
    longest = max(map(len, experiment.ranking.values()), default=0)
    changes = {}
    for depth in sorted({depth for depth in shallower if depth < longest} | {longest}):
        after = experiment.measures(_cut(experiment.ranking, keys, depth))[MAIN]
        changes[depth] = compare([before[query] for query in after], list(after.values()))
    return changes


def _outcomes(
    experiment: Experiment, known: Mapping[str, Case], ranking: Ranking, answers: Mapping[str, Answer]
) -> dict[str, Outcome]:
    found = {}
    for query, documents in ranking.items():
        scores = answers[query].scores.values() if query in answers else ()
        right = bool(documents) and experiment.relevant(query, documents[0])
        cut = sum(bool(score.truncated) for score in scores)
        found[query] = Outcome.of(known[query], documents, right=right, cut=cut)
    return found


def _worst_losses(experiment: Experiment, ranking: Ranking, before: PerQuery, after: PerQuery) -> tuple[Loss, ...]:
    data = experiment.data
    worse = sorted((q for q in ranking if after[q] < before[q]), key=lambda q: after[q] - before[q])
    losses = []
    for query in worse[:_LOSSES]:
        documents = lost(experiment.ranking[query], ranking[query], data.judgments[query])
        texts = (data.queries[query], *(experiment.texts[document] for document in documents))
        shown, wanted, preferred = (one_line(text, EXCERPT) for text in texts)
        losses.append(Loss(shown, before[query], after[query], wanted, preferred))
    return tuple(losses)


def _labelled(experiment: Experiment, answers: Mapping[str, Answer]) -> dict[str, list[tuple[float, bool]]]:
    """(relevance score, whether relevant) of each query's candidates."""
    return {
        query: [(score.relevance_score, experiment.relevant(query, d)) for d, score in answer.scores.items()]
        for query, answer in answers.items()
    }


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
    """Seconds and number of documents of all queries scored alone, or nothing.

    Those of a part would stand beside all of another system.
    """
    alone = [answer for answer in answers if answer.scores and answer.alone]
    timed = [(answer.seconds, len(answer.scores)) for answer in alone if answer.seconds is not None]
    return timed if len(timed) == len(alone) else []


def _latency(answers: Iterable[Answer]) -> dict[str, Any]:
    known = _timed(answers)
    if not known:
        return {"seconds": None, "seconds_95": None, "documents_per_second": None}
    seconds = sorted(took for took, _ in known)
    return {
        "seconds": statistics.median(seconds),
        "seconds_95": seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))],
        "documents_per_second": sum(count for _, count in known) / sum(seconds),
    }


def _seconds_by_depth(answers: Iterable[Answer], depths: Iterable[int]) -> dict[int, float] | None:
    """Scoring one by one, a query takes time in proportion to how many candidates it has."""
    known = _timed(answers)
    if not known:
        return None
    return {depth: statistics.median(took * min(1, depth / count) for took, count in known) for depth in depths}


def _mean_tokens(answers: Iterable[Answer]) -> float | None:
    """Over the queries whose tokens are known: services do not always tell them, and caches never."""
    known = [answer.tokens for answer in answers if answer.tokens]
    return statistics.fmean(known) if known else None
