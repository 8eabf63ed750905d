"""Where an experiment's candidates come from, and what is needed to find them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rerank_core.evaluation import candidates
from rerank_core.evaluation.candidates import Ranking
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.plan import Plan
from rerank_core.evaluation.retriever import Retriever, retriever_name, search
from rerank_core.evaluation.trec import read_run


@dataclass(frozen=True, slots=True, repr=False)
class FirstStage:
    """What a first stage found.

    Attributes:
        ranking: the candidates.
        description: for people.
        settings: what is needed to find them again, beside the plan.
        left_out: what was asked for and is not among them, in words.
        scores: by query and document, higher is better; None where there are none.
        documents: the texts of candidates that are not in the data, by id.
    """

    ranking: Ranking
    description: str
    settings: Mapping[str, str | None]
    left_out: tuple[str, ...]
    scores: Mapping[str, Mapping[str, float]] | None = None
    documents: Mapping[str, str] = field(default_factory=dict)


def first_stage(data: LabelledData, plan: Plan, on_query: Callable[[], None]) -> FirstStage:
    """Find the candidates of every query.

    Args:
        data: queries, documents, judgments.
        plan: which first stage.
        on_query: called once per query that was searched for.

    Raises:
        InvalidRequestError: when a run or a retriever does not fit the data, or BM25 cannot search it.
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    best = f"best {plan.depth}"
    if plan.run is not None:
        run = read_run(plan.run)
        found = candidates.of_run(data, run, depth=plan.depth)
        named = [document for query in data.queries for document in run.scores.get(query, ())]
        settings = {"run": run.name, "run_sha256": run.sha256}
        left_out = _left_out(data, named, f"results in {run.name}")
        return FirstStage(found.ranking, f"{run.name}, {best}", settings, left_out, found.scores)
    if plan.retriever is not None:
        return _searched(data, plan, plan.retriever, on_query)
    if plan.pool:
        found = candidates.judged_pool(data, language=plan.language)
        judged = [document for grades in data.judgments.values() for document in grades]
        left_out = _left_out(data, judged, "judgments")
        return FirstStage(found.ranking, "judged documents in BM25's order", {}, left_out, found.scores)
    if data.candidates and not plan.bm25:
        return _given(data, plan)
    if data.candidates:
        found = candidates.given_by_bm25(data, depth=plan.depth, language=plan.language)
        description = f"given documents in BM25's order, {best}"
    else:
        found = candidates.bm25(data, depth=plan.depth, language=plan.language, on_query=on_query)
        description = f"BM25, {best}"
    return FirstStage(found.ranking, description, {}, _left_out(data, (), ""), found.scores)


def _searched(data: LabelledData, plan: Plan, retriever: str | Retriever, on_query: Callable[[], None]) -> FirstStage:
    found, name = search(data, retriever, depth=plan.depth, on_query=on_query), retriever_name(retriever)
    settings = {"retriever": name, "retriever_sha256": found.sha256}
    notes = (*_left_out(data, (), ""), *_rising(found.ranking, found.scores))
    return FirstStage(found.ranking, f"{name}, best {plan.depth}", settings, notes, found.scores, found.documents)


def _given(data: LabelledData, plan: Plan) -> FirstStage:
    """The order in which the documents stand in the data."""
    found = candidates.given(data, depth=plan.depth)
    notes = [*_left_out(data, (), ""), *_rising(found.ranking, found.scores)]
    choices = [(query, documents) for query, documents in found.ranking.items() if len(documents) > 1]
    if choices and all(_relevant_first(documents, data.judgments[query]) for query, documents in choices):
        notes.append(
            "the relevant documents stand first in every query. If that is not your retriever's order, but how the "
            "file was written, take BM25's: --bm25."
        )
    return FirstStage(found.ranking, f"given order, best {plan.depth}", {}, tuple(notes), found.scores)


def _relevant_first(documents: Sequence[str], grades: Mapping[str, int]) -> bool:
    """Whether no document has a higher grade than the one before it, and some have."""
    found = [grades.get(document, 0) for document in documents]
    return found == sorted(found, reverse=True) and found[0] > found[-1]


def _rising(ranking: Ranking, scores: Mapping[str, Mapping[str, float]] | None) -> Iterator[str]:
    """A note where scores rise down the list: distances, or a list that was not sorted."""
    if scores is None:
        return
    lists = [[scores[query][document] for document in documents] for query, documents in ranking.items()]
    rising = sum(values != sorted(values, reverse=True) for values in lists)
    if rising:
        yield (
            f"scores of {rising} of {len(lists)} queries do not fall from the first document to the last. The order "
            "counts, not the scores; +fusion takes higher scores as better, so give similarities, no distances."
        )


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
