"""What every system of an evaluation is measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.candidates import Ranking, digest
from rerank_core.evaluation.first_stage import FirstStage, first_stage
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.measures import PerQuery, measure
from rerank_core.evaluation.plan import Plan


@dataclass(frozen=True, slots=True, repr=False)
class Experiment:
    """What every system is measured on.

    Attributes:
        data: queries, documents, judgments.
        plan: what was asked for.
        stage: the first stage's candidates.
    """

    data: LabelledData
    plan: Plan
    stage: FirstStage

    @property
    def ranking(self) -> Ranking:
        """The first stage's candidates."""
        return self.stage.ranking

    @property
    def texts(self) -> Mapping[str, str]:
        """The text of every candidate and every document of the data, by id."""
        return {**self.data.documents, **self.stage.documents} if self.stage.documents else self.data.documents

    def relevant(self, query: str, document: str) -> bool:
        """Whether it is judged so; what nobody judged is not."""
        return self.data.judgments[query].get(document, 0) >= self.plan.relevant_grade

    def measures(self, ranking: Ranking) -> dict[str, PerQuery]:
        """Every measure of every query."""
        grade, depth = self.plan.relevant_grade, self.plan.depth
        return measure(self.data.judgments, ranking, relevant_grade=grade, depth=depth)

    def counts_zero(self) -> Iterator[str]:
        """Why the first stage, or all systems, miss what they miss: a wrong id looks like a bad retriever."""
        count = len(self.data.queries)
        relevant = {
            query: [document for document in grades if self.relevant(query, document)]
            for query, grades in self.data.judgments.items()
        }
        without = sum(not documents for documents in relevant.values())
        if without:
            yield f"no relevant document for {without} of {count} queries: 0 for every system."
        empty = sum(not documents for documents in self.ranking.values())
        if empty:
            yield f"no candidates for {empty} of {count} queries: 0 for every system."
        named = [document for documents in relevant.values() for document in documents]
        absent = sum(document not in self.data.documents for document in named)
        if absent:
            yield f"{absent} of {len(named)} relevant judgments are of documents without a text: nobody can find those."


def prepare(data: LabelledData, plan: Plan, on_query: Callable[[], None]) -> Experiment:
    """The sample that the plan wants, and the first stage run on it.

    Args:
        data: queries, documents, judgments.
        plan: what is to be measured.
        on_query: called once per query that was searched for.

    Raises:
        InvalidRequestError: when data and plan do not fit.
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    data = _sample(data, plan.max_queries)
    if not any(document in data.documents for grades in data.judgments.values() for document in grades):
        raise InvalidRequestError(
            f"{data.name}: no judged document has a text; do the ids of documents and judgments agree?"
        )
    return Experiment(data, plan, first_stage(data, plan, on_query))


def _sample(data: LabelledData, most: int | None) -> LabelledData:
    """The queries with the smallest digests: the same ones everywhere, and fewer are a part of more."""
    if most is None or most >= len(data.queries):
        return data
    chosen = set(sorted(data.queries, key=digest)[:most])
    return replace(
        data,
        queries={query: text for query, text in data.queries.items() if query in chosen},
        judgments={query: grades for query, grades in data.judgments.items() if query in chosen},
        candidates={query: documents for query, documents in data.candidates.items() if query in chosen},
        retrieval_scores={query: scores for query, scores in data.retrieval_scores.items() if query in chosen},
    )
