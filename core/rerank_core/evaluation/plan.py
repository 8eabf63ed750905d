"""What is to be measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.labelled import GRADES

# What C numbers hold, and more than anybody needs.
_MOST = {"depth": 1_000_000, "relevant_grade": GRADES[-1]}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        depth: how many candidates of each query are reranked, and the k of Recall@k.
        pool: rerank the judged documents, all of them, in place of what a first stage finds.
        run: a TREC run as the first stage, in place of BM25: a file, or its name.
        relevant_grade: the least grade that counts as relevant where a measure knows only yes and no.
        language: of the texts, for BM25's stemmer.
        max_queries: measure only so many queries, a sample by a fixed seed; None for all.

    Raises:
        InvalidRequestError: when a number is out of range, or both a run and the pool are asked for.
    """

    depth: int = 100
    pool: bool = False
    run: Path | None = None
    relevant_grade: int = 1
    language: str = "english"
    max_queries: int | None = None

    def __post_init__(self) -> None:
        if self.run is not None:
            object.__setattr__(self, "run", Path(self.run))
        if self.pool and self.run is not None:
            raise InvalidRequestError("give a run or the judged pool as the first stage, not both.", param="pool")
        for name in ("depth", "relevant_grade", "max_queries"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidRequestError(f"{name} must be a whole number of at least 1; got {value!r}.", param=name)
            if value is not None and value > _MOST.get(name, value):
                raise InvalidRequestError(f"{name} can be at most {_MOST[name]}; got {value}.", param=name)
