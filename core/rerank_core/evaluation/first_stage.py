"""Where an experiment's candidates come from, and what is needed to find them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rerank_core.evaluation import candidates
from rerank_core.evaluation.candidates import Ranking
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.plan import Plan
from rerank_core.evaluation.trec import read_run


@dataclass(frozen=True, slots=True, repr=False)
class FirstStage:
    """What a first stage found.

    Attributes:
        ranking: the candidates.
        description: for people.
        settings: what is needed to find them again, beside the plan.
        left_out: what was asked for and is not among them, in words.
        scores: by query and document; None where there are none, or the order says as much.
    """

    ranking: Ranking
    description: str
    settings: Mapping[str, str | None]
    left_out: tuple[str, ...]
    scores: Mapping[str, Mapping[str, float]] | None = None


def first_stage(data: LabelledData, plan: Plan, on_query: Callable[[], None]) -> FirstStage:
    """Find the candidates of every query.

    Args:
        data: queries, documents, judgments.
        plan: which first stage.
        on_query: called once per query that BM25 has searched for.

    Raises:
        InvalidRequestError: when a run does not fit the data, or BM25 cannot search it.
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    if plan.run is not None:
        run = read_run(plan.run)
        ranking = candidates.of_run(data, run, depth=plan.depth)
        named = [document for query in data.queries for document in run.scores.get(query, ())]
        settings = {"run": run.name, "run_sha256": run.sha256}
        left_out = _left_out(data, named, f"results in {run.name}")
        return FirstStage(ranking, f"{run.name}, best {plan.depth}", settings, left_out, run.scores)
    if plan.pool:
        ranking = candidates.judged_pool(data, language=plan.language)
        judged = [document for grades in data.judgments.values() for document in grades]
        return FirstStage(ranking, "judged documents in BM25's order", {}, _left_out(data, judged, "judgments"))
    if data.retrieval_scores:
        ranking, nothing = candidates.scored(data, depth=plan.depth), _left_out(data, (), "")
        return FirstStage(ranking, f"given scores, best {plan.depth}", {}, nothing, data.retrieval_scores)
    if data.candidates:
        ranking = candidates.given(data, depth=plan.depth, language=plan.language)
        description = f"given documents in BM25's order, best {plan.depth}"
    else:
        ranking = candidates.bm25(data, depth=plan.depth, language=plan.language, on_query=on_query)
        description = f"BM25, best {plan.depth}"
    return FirstStage(ranking, description, {}, _left_out(data, (), ""))


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
