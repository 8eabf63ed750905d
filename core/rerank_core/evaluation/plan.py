"""What is to be measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.labelled import GRADES
from rerank_core.evaluation.retriever import Retriever

# What C numbers hold, and more than anybody needs.
_MOST = {"depth": 1_000_000, "relevant_grade": GRADES[-1]}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        depth: how many candidates of each query are reranked, and the k of Recall@k.
        pool: the first stage is the judged documents, all of them, in BM25's order.
        run: the first stage is a TREC run: a file, or its name.
        relevant_grade: the least grade that counts as relevant where a measure knows only yes and no.
        language: of the texts, for BM25's stemmer.
        max_queries: measure only so many queries, a sample by a fixed seed; None for all.
        bm25: the first stage is BM25, also where each query comes with documents: then it sorts those.
        retriever: the first stage is a function, or the ``module:function`` that names one: a query goes in; texts, or
            pairs of a text and its score, best first, come out.

    Without ``pool``, ``run``, ``bm25`` and ``retriever`` the first stage is the order in which each query's documents
    stand in the data, or BM25 where the data has none.

    Raises:
        InvalidRequestError: when a number is out of range, or more than one first stage is asked for.
    """

    depth: int = 100
    pool: bool = False
    run: Path | None = None
    relevant_grade: int = 1
    language: str = "english"
    max_queries: int | None = None
    bm25: bool = False
    retriever: str | Retriever | None = None

    def __post_init__(self) -> None:
        if self.run is not None:
            object.__setattr__(self, "run", Path(self.run))
        if sum((self.pool, self.bm25, self.run is not None, self.retriever is not None)) > 1:
            raise InvalidRequestError(
                "a plan has one first stage: a run, a retriever, BM25 or the judged pool.", param="pool"
            )
        for name in ("depth", "relevant_grade", "max_queries"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidRequestError(f"{name} must be a whole number of at least 1; got {value!r}.", param=name)
            if value is not None and value > _MOST.get(name, value):
                raise InvalidRequestError(f"{name} can be at most {_MOST[name]}; got {value}.", param=name)
