"""Runs an evaluation: first stage, every reranker over every query, measures and comparisons."""

from __future__ import annotations

import hashlib
import math
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rerank_core.errors import InferenceError, InvalidRequestError
from rerank_core.evaluation import candidates as first_stage
from rerank_core.evaluation.assess import Answer, Bench
from rerank_core.evaluation.candidates import Ranking
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.plan import Plan
from rerank_core.evaluation.report import Evaluation, SystemReport
from rerank_core.evaluation.store import ScoreStore
from rerank_core.evaluation.trec import read_run
from rerank_core.events import Hook
from rerank_core.inference.cpus import available_cpus
from rerank_core.reranker import Reranker
from rerank_core.scores import Score
from rerank_core.scoring.base import Scorer
from rerank_core.scoring.cached import CachedScorer

_PACKAGES = (
    "rerank-plugins", "onnxruntime", "tokenizers", "torch", "numpy", "scipy", "scikit-learn",
    "bm25s", "snowballstemmer", "ir-measures", "pytrec-eval-terrier",
)  # fmt: skip

OnQuery = Callable[[str], None]
"""Called with the name of what is running, once a query."""


def evaluate(
    data: LabelledData,
    systems: Mapping[str, Scorer],
    plan: Plan | None = None,
    *,
    store: ScoreStore | None = None,
    stores: Mapping[str, ScoreStore] | None = None,
    price: float | None = None,
    on_query: OnQuery | None = None,
    hooks: Sequence[Hook] = (),
) -> Evaluation:
    """Measure a first stage and every reranker on top of it.

    Args:
        data: queries, documents, judgments.
        systems: scorers by the name they are reported under. Scores are kept for those that are ``pointwise``: the
            others' (cascades', whose parts may have caches of their own, and list-wise models') depend on the rest of
            the request, so these are also reported at full depth only.
        plan: what to measure; None for BM25's best 100.
        store: where scores are kept; what is there already is not computed again. None for memory. An API's identity
            is only its address and the model's name: keep its scores no longer than you know what stands there.
        stores: by the name of a system, in place of ``store``.
        price: dollars per million tokens, for the cost.
        on_query: called with the progress.
        hooks: called with the engine's events.

    Raises:
        InvalidRequestError: when data and plan do not fit.
        MissingDependencyError: when the extra ``eval`` is not installed.
        InferenceError: when a fallback answers for a scorer (code ``degraded``): it would be measured in its place.
        RerankError: when a scorer fails; what it had scored before is in the store.
    """
    if price is not None and not 0 <= price < math.inf:
        raise InvalidRequestError(f"price must be dollars per million tokens, 0 or more; got {price!r}.", param="price")
    store = ScoreStore() if store is None else store
    tell = on_query or (lambda _: None)
    bench, stage = _bench(data, Plan() if plan is None else plan, tell)
    first = SystemReport(stage.description, "", bench.measures(bench.ranking))
    reports = [first]
    for name, scorer in systems.items():
        own = (stores or {}).get(name, store)
        answers = _score(bench, CachedScorer(scorer, own, hooks=hooks), own, partial(tell, name))
        reports.append(bench.report(name, scorer.identity, answers, first, pointwise=scorer.pointwise))
    return Evaluation(
        **_provenance(bench, stage),
        candidates=statistics.fmean(map(len, bench.ranking.values())),
        systems=tuple(reports),
        left_out=(*stage.left_out, *_counts_zero(bench)),
        price=price,
    )


@dataclass(frozen=True, slots=True, repr=False)
class LabelledScores:
    """What a calibration is fitted to.

    Attributes:
        pairs: (logit, whether relevant) of every candidate of every query; what nobody judged is not relevant.
        left_out: what was asked for and has no score, in words.
        origin: what they come from, and what is needed to have them again.
    """

    pairs: list[tuple[float, bool]]
    left_out: tuple[str, ...]
    origin: Mapping[str, Any]


def labelled_scores(
    data: LabelledData,
    scorer: Scorer,
    plan: Plan | None = None,
    *,
    store: ScoreStore | None = None,
    check: Callable[[Sequence[bool]], None] = lambda _: None,
    on_query: OnQuery | None = None,
) -> LabelledScores:
    """The score of every candidate of every query, and whether it is relevant.

    Args:
        data: queries, documents, judgments.
        scorer: whose scores.
        plan: which candidates; None for BM25's best 100.
        store: where scores are kept; None for memory.
        check: given which candidates are relevant, before anything is scored; may raise.
        on_query: called with the progress.

    Raises:
        The same as :func:`evaluate`, and what ``check`` raises.
    """
    store = ScoreStore() if store is None else store
    tell = on_query or (lambda _: None)
    bench, stage = _bench(data, Plan() if plan is None else plan, tell)
    check([bench.relevant(query, document) for query, documents in bench.ranking.items() for document in documents])
    answers = _score(bench, CachedScorer(scorer, store, hooks=()), store, partial(tell, scorer.model))
    pairs = [
        (score.log_odds, bench.relevant(query, document))
        for query, answer in answers.items()
        for document, score in answer.scores.items()
    ]
    origin = {
        **_provenance(bench, stage),
        "documents": len(pairs),
        "relevant": sum(label for _, label in pairs),
        "identity": scorer.identity,
    }
    return LabelledScores(pairs, stage.left_out, origin)


def _sample(data: LabelledData, most: int | None) -> LabelledData:
    """The queries with the smallest digests: the same ones everywhere, and fewer are a part of more."""
    if most is None or most >= len(data.queries):
        return data
    chosen = set(sorted(data.queries, key=first_stage.digest)[:most])
    return replace(
        data,
        queries={query: text for query, text in data.queries.items() if query in chosen},
        judgments={query: grades for query, grades in data.judgments.items() if query in chosen},
        candidates={query: documents for query, documents in data.candidates.items() if query in chosen},
    )


@dataclass(frozen=True, slots=True)
class _FirstStage:
    """Where the candidates come from.

    Attributes:
        ranking: the candidates.
        description: for people.
        settings: what is needed to find them again, beside the plan.
        left_out: what was asked for and is not among them, in words.
    """

    ranking: Ranking
    description: str
    settings: Mapping[str, str | None]
    left_out: tuple[str, ...]


def _bench(data: LabelledData, plan: Plan, tell: OnQuery) -> tuple[Bench, _FirstStage]:
    """What is measured on, and how its candidates were found."""
    data = _sample(data, plan.max_queries)
    if not any(document in data.documents for grades in data.judgments.values() for document in grades):
        raise InvalidRequestError(
            f"{data.name}: no judged document has a text; do the ids of documents and judgments agree?"
        )
    stage = _first_stage(data, plan, tell)
    return Bench(data, stage.ranking, plan), stage


def _provenance(bench: Bench, stage: _FirstStage) -> dict[str, Any]:
    """What is needed to repeat a measurement, the scorer apart."""
    return {
        "data": bench.data.name,
        "checksum": bench.data.checksum,
        "queries": len(bench.data.queries),
        "first_stage": stage.description,
        "settings": {**asdict(bench.plan), **stage.settings},
        "environment": _environment(),
    }


def _first_stage(data: LabelledData, plan: Plan, tell: OnQuery) -> _FirstStage:
    if plan.run is not None:
        run = read_run(plan.run)
        ranking: Ranking = first_stage.of_run(data, run, depth=plan.depth)
        named = [document for query in data.queries for document in run.scores.get(query, ())]
        settings = {"run": run.name, "run_sha256": run.sha256}
        left_out = _left_out(data, named, f"results in {run.name}")
        return _FirstStage(ranking, f"{run.name}, best {plan.depth}", settings, left_out)
    if plan.pool:
        ranking, description = first_stage.judged_pool(data, language=plan.language), "judged documents in BM25's order"
        judged = [document for grades in data.judgments.values() for document in grades]
        return _FirstStage(ranking, description, {}, _left_out(data, judged, "judgments"))
    if data.candidates:
        ranking = first_stage.given(data, depth=plan.depth, language=plan.language)
        description = f"given documents in BM25's order, best {plan.depth}"
    else:
        ranking = first_stage.bm25(data, depth=plan.depth, language=plan.language, on_query=lambda: tell("BM25"))
        description = f"BM25, best {plan.depth}"
    return _FirstStage(ranking, description, {}, _left_out(data, (), ""))


def _counts_zero(bench: Bench) -> Iterator[str]:
    """Why the first stage, or all systems, miss what they miss: a wrong id looks like a bad retriever."""
    count = len(bench.data.queries)
    relevant = {
        query: [document for document in grades if bench.relevant(query, document)]
        for query, grades in bench.data.judgments.items()
    }
    without = sum(not documents for documents in relevant.values())
    if without:
        yield f"no relevant document for {without} of {count} queries: 0 for every system."
    empty = sum(not documents for documents in bench.ranking.values())
    if empty:
        yield f"no candidates for {empty} of {count} queries: 0 for every system."
    named = [document for documents in relevant.values() for document in documents]
    absent = sum(document not in bench.data.documents for document in named)
    if absent:
        yield f"{absent} of {len(named)} relevant judgments are of documents without a text: nobody can find those."


def _left_out(data: LabelledData, named: Sequence[str], what: str) -> tuple[str, ...]:
    """What cannot be measured: judged queries, and the documents ``named``, that have no text."""
    notes = []
    if data.without_text:
        kind, them = ("query", "it") if data.without_text == 1 else ("queries", "them")
        notes.append(f"{data.without_text} judged {kind} without a text: left out; trec_eval -c counts {them} as 0.")
    absent = sum(document not in data.documents for document in named)
    if absent:
        notes.append(f"{absent} of {len(named)} {what} without a text: left out.")
    return tuple(notes)


def _score(bench: Bench, scorer: Scorer, store: ScoreStore, tell: Callable[[], None]) -> dict[str, Answer]:
    """Every query's candidates through the engine, like any caller's."""
    reranker = Reranker(scorer=scorer)
    reranker.warm_up()  # so that loading counts for no query
    answers: dict[str, Answer] = {}
    for query, documents in bench.ranking.items():
        texts = [bench.data.documents[document] for document in documents]
        response = reranker.rerank(bench.data.queries[query], texts)
        if response.degraded:
            raise InferenceError(
                f"a fallback answered for {scorer.model!r} after {len(answers)} of {len(bench.ranking)} queries; its "
                "scores are not the model's. Evaluate without on_failure= and FallbackScorer, or try again.",
                code="degraded",
            )
        key = _request_key((scorer.identity if texts else "", bench.data.queries[query], *texts))
        if any(result.cached for result in response):
            seconds, tokens = None, store.tokens(key)  # tokens are the same every time, times are not
        else:
            seconds, tokens = response.timings.total, response.usage.total_tokens
            store.keep_tokens(key, tokens)
        scores = {
            documents[result.index]: Score(result.relevance_score, result.logit, truncated=result.truncated)
            for result in response
        }
        answers[query] = Answer(scores, seconds, tokens)
        tell()
    return answers


def _request_key(parts: Sequence[str]) -> bytes:
    """A digest in which no two different requests can meet: every part is preceded by its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def _machine() -> str:
    """The processor's name where the system tells it, and how many of them this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{platform.machine()}, {available_cpus()} CPUs, {name}"


def _environment() -> dict[str, str]:
    known = {"python": platform.python_version(), "machine": _machine()}
    for package in _PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known | {"date": datetime.now(tz=UTC).date().isoformat()}
