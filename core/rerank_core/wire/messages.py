"""A rerank request and its response, independent of any dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rerank_core.fusion import Fused, Fusion
from rerank_core.results import Highlight, Span


@dataclass(frozen=True, slots=True, repr=False)
class WireRequest:
    """A query and the texts to rank.

    Attributes:
        query: the query.
        texts: the text of each document, as the model reads it.
        model: the requested model; None where a dialect lets the server choose.
        top_n: most results to return; None for all.
        return_documents: whether the response should hold the documents.
        documents: the documents as they came (strings or objects), to be returned unchanged; as many as ``texts``. A
            client has only texts.
        raw_scores: whether logits are requested where the dialect has probabilities.
        queries: one query per text, in the same order, where each text has its own; ``query`` is then the first.
            Empty where all texts have the same query.
        max_tokens_per_doc: most tokens to read of a document; None for the model's limit.
        max_tokens_per_query: most tokens to read of the query; None for the model's limit.
        truncate_prompt_tokens: most tokens to read of query and document together; None for the model's limit.
        whole: the name of the field that forbids cutting texts; "" where there is none.
        instruction: what the model is asked besides the query; None for nothing.
        return_details: whether each result should say what was read of its text, and which part was best.
        highlights: how many of a text's best sentences should come with each result.
        fusion: how the retriever's scores count (:data:`rerank_core.fusion.Fusion`); None for what the server does
            anyway.
        retrieval_scores: the retriever's score of each text, or None where it has none; empty for the order of the
            texts.
        chunked: the name of the field that says how to cut documents into pieces that are all read; "" where there is
            none.
    """

    query: str
    texts: Sequence[str]
    model: str | None = None
    top_n: int | None = None
    return_documents: bool = True
    documents: Sequence[Any] = ()
    raw_scores: bool = False
    queries: Sequence[str] = ()
    max_tokens_per_doc: int | None = None
    max_tokens_per_query: int | None = None
    truncate_prompt_tokens: int | None = None
    whole: str = ""
    chunked: str = ""
    instruction: str | None = None
    return_details: bool = False
    highlights: int = 0
    fusion: Fusion | None = None
    retrieval_scores: Sequence[float | None] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.texts)} texts, model={self.model!r}, top_n={self.top_n})"


@dataclass(frozen=True, slots=True, repr=False)
class WireResult:
    """One ranked document.

    Attributes:
        index: its position in the request.
        score: its score, on the dialect's scale (:attr:`Dialect.scores`).
        logit: the model's raw output; None where a reply does not have it.
        truncated: whether the model read less than the whole text.
        window: the characters of the best window; None where the text was read in one piece.
        fused: both parts of the score that decided the order; None where it was the model's alone.
        highlights: the best sentences of the text, best first.
        tokens: how many tokens the model read for it; 0 where that is not known.
    """

    index: int
    score: float
    logit: float | None = None
    truncated: bool = False
    window: Span | None = None
    fused: Fused | None = None
    highlights: tuple[Highlight, ...] = ()
    tokens: int = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(index={self.index}, score={self.score:.4f})"


@dataclass(frozen=True, slots=True)
class WireResponse:
    """The ranking, best first.

    Attributes:
        results: the ranked documents.
        id: the server's id of this response; "" where it has none.
        model: the model that scored; None where the reply does not say.
        tokens: tokens that the server reports as read; 0 where it reports none.
        truncated: positions (in the request) of documents that the reply reports as read only in part.
        search_units: what the reply reports as billed by a service that bills per search; None where it does not.
    """

    results: tuple[WireResult, ...]
    id: str = ""
    model: str | None = None
    tokens: int = 0
    truncated: tuple[int, ...] = ()
    search_units: int | None = None
