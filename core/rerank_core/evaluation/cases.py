"""What happened to each query, as frozen values: which documents were wanted, and where they came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerank_core.documents import one_line

EXCERPT = 160
_WANTED = 3


@dataclass(frozen=True, slots=True)
class Case:
    """A query.

    Attributes:
        query: its text.
        words: how many it has.
        candidates: how many documents could be reranked.
        wanted: the ids of its relevant documents that have a text, the highest grade first, three at most.
        reachable: whether a relevant document is among the candidates.
    """

    query: str = field(repr=False)
    words: int
    candidates: int
    wanted: tuple[str, ...]
    reachable: bool

    @classmethod
    def of(cls, query: str, relevant: Sequence[str], candidates: Sequence[str]) -> Case:
        """The case of a query, whose ``relevant`` documents are sorted by grade."""
        reachable = not set(relevant).isdisjoint(candidates)
        return cls(one_line(query, 2 * EXCERPT), len(query.split()), len(candidates), (*relevant[:_WANTED],), reachable)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """The inverse of ``dataclasses.asdict``."""
        return cls(**{**data, "wanted": tuple(map(str, data["wanted"]))})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a system, or the first stage, made of a query.

    Attributes:
        ranks: of the wanted documents, from 1; None for one that is no candidate.
        first: the id of the document that it puts first; "" where there is none.
        right: whether that one is relevant.
        cut: how many of the candidates were read only in part.
    """

    ranks: tuple[int | None, ...]
    first: str
    right: bool
    cut: int = 0

    @classmethod
    def of(cls, case: Case, ranking: Sequence[str], *, right: bool, cut: int = 0) -> Outcome:
        """What a ranking says of a case."""
        ranks = {document: rank for rank, document in enumerate(ranking, 1)}
        return cls(tuple(ranks.get(document) for document in case.wanted), ranking[0] if ranking else "", right, cut)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """The inverse of ``dataclasses.asdict``."""
        return cls(**{**data, "ranks": tuple(data["ranks"])})


def excerpts(texts: Mapping[str, str], documents: Iterable[str]) -> dict[str, str]:
    """The beginning of each document's text, by id."""
    return {document: one_line(texts[document], EXCERPT) for document in sorted(set(documents)) if document in texts}
