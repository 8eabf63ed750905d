"""What a rerank request and its answer say, whatever dialect they are written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, repr=False)
class WireRequest:
    """A question and the texts to rank.

    Attributes:
        query: what is looked for.
        texts: what the model reads of each document.
        model: the model asked for; None where a dialect lets the server choose.
        top_n: most results wanted; None for all.
        return_documents: whether the answer should hold the documents.
        documents: the documents as they came (strings or objects), to be handed back untouched; as long as
            ``texts``. A client has only texts.
        raw_scores: whether logits are wanted where the dialect speaks probabilities.
        queries: where each text has a query of its own: one per text, in the same order; ``query`` is then the first.
            Empty where all texts have the same.
        max_tokens_per_doc: most tokens to read of a document; None for the model's limit.
        max_tokens_per_query: most tokens to read of the query; None for the model's limit.
        truncate_prompt_tokens: most tokens to read of query and document together; None for the model's limit.
        whole: the field by which a client asks that no text be cut; "" where that may be.
        chunked: the field by which a client asks how documents are cut into pieces that are all read; "" where it does
            not.
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.texts)} texts, model={self.model!r}, top_n={self.top_n})"


@dataclass(frozen=True, slots=True, repr=False)
class WireResult:
    """One ranked document.

    Attributes:
        index: its position in the request.
        score: its score, in the scale the dialect speaks (:attr:`Dialect.scores`).
        logit: the model's raw output; None where a reply does not tell.
    """

    index: int
    score: float
    logit: float | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(index={self.index}, score={self.score:.4f})"


@dataclass(frozen=True, slots=True)
class WireResponse:
    """The ranking, best first.

    Attributes:
        results: the ranked documents.
        id: the server's name for this answer; "" where it gives none.
        model: the model that scored; None where the reply does not tell.
        tokens: tokens the server says it read; 0 where it does not tell.
        truncated: positions (in the request) of documents that were read only in part, as far as the reply tells.
    """

    results: tuple[WireResult, ...]
    id: str = ""
    model: str | None = None
    tokens: int = 0
    truncated: tuple[int, ...] = ()
