"""Documents, results and responses. All are frozen plain data.

Text never appears in a ``repr``, so values can be logged without leaking what users search for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, overload

from rerank_core.errors import InvalidRequestError
from rerank_core.fusion import Fused


class Span(NamedTuple):
    """A half-open range of characters: ``text[span.start:span.end]``."""

    start: int
    end: int


class Highlight(NamedTuple):
    """A sentence of a result.

    Attributes:
        start: its first character in the document's text.
        end: the one after its last.
        text: ``document.text[start:end]``.
        score: its probability of relevance by itself, 0..1.
    """

    start: int
    end: int
    text: str
    score: float

    def __repr__(self) -> str:
        return f"{type(self).__name__}(start={self.start}, end={self.end}, score={self.score:.4f})"


@dataclass(frozen=True, slots=True, repr=False)
class Document:
    """A text to rank, with any metadata.

    Args:
        text: what the model reads.
        metadata: any other fields; not read, not changed, returned with the result.

    Raises:
        InvalidRequestError: when the text is not a string or the metadata not a mapping.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InvalidRequestError(
                f'a Document\'s text must be a string, got {type(self.text).__name__}. Use "" for no text.',
                code="invalid_document",
                param="text",
            )
        if not isinstance(self.metadata, Mapping):
            raise InvalidRequestError(
                f"a Document's metadata must be a mapping, got {type(self.metadata).__name__}.",
                code="invalid_document",
                param="metadata",
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.text)} characters, {len(self.metadata)} metadata fields)"

    def to_dict(self) -> dict[str, Any]:
        """``{"text": ..., "metadata": {...}}``."""
        return {"text": self.text, "metadata": dict(self.metadata)}


@dataclass(frozen=True, slots=True, repr=False)
class RerankResult:
    """One ranked document.

    Attributes:
        index: the document's position in the caller's list, from 0.
        rank: its place in the new order, from 1.
        previous_rank: its place in the caller's order, from 1.
        relevance_score: probability of relevance, 0..1: the sigmoid of ``logit`` in float64.
        logit: the model's raw output, or None where a scorer reports probabilities only.
        document: the document, as given.
        truncated: whether the model saw less than the whole query and document.
        window: the characters of the best window when long documents are cut into windows.
        cached: whether the score comes from a cache.
        degraded: whether the score comes from a fallback because the model asked for had failed, or ``max_latency``
            left no time for it.
        retrieval_score: the retriever's score, as given.
        retrieval_rank: its place by these scores, from 1; None where not every document has one.
        fused: both parts of the score that decided the order; None where it was the model's alone.
        highlights: its best sentences, best first, where the option ``highlights`` asks for them.
        tokens: how many tokens the model read for it, the query's and those of every window; 0 where that is not known.
    """

    index: int
    rank: int
    previous_rank: int
    relevance_score: float
    logit: float | None
    document: Document
    truncated: bool = False
    window: Span | None = None
    cached: bool = False
    degraded: bool = False
    retrieval_score: float | None = None
    retrieval_rank: int | None = None
    fused: Fused | None = None
    highlights: tuple[Highlight, ...] = ()
    tokens: int = 0

    @property
    def text(self) -> str:
        """The document's text."""
        return self.document.text

    @property
    def passage(self) -> str:
        """The text of the best window, or the whole text when there were no windows."""
        return self.text if self.window is None else self.text[self.window.start : self.window.end]

    def __repr__(self) -> str:
        flags = [name for name in ("truncated", "cached", "degraded") if getattr(self, name)]
        parts = [f"index={self.index}", f"rank={self.rank}", f"relevance_score={self.relevance_score:.4f}"]
        return f"{type(self).__name__}({', '.join(parts + flags)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which JSON can express if it can the metadata."""
        return {
            "index": self.index,
            "rank": self.rank,
            "previous_rank": self.previous_rank,
            "relevance_score": self.relevance_score,
            "logit": self.logit,
            "document": self.document.to_dict(),
            "truncated": self.truncated,
            "window": None if self.window is None else list(self.window),
            "cached": self.cached,
            "degraded": self.degraded,
            "retrieval_score": self.retrieval_score,
            "retrieval_rank": self.retrieval_rank,
            "fused": None if self.fused is None else self.fused._asdict(),
            "highlights": [highlight._asdict() for highlight in self.highlights],
            "tokens": self.tokens,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RerankResult:
        """The inverse of :meth:`to_dict`."""
        window, fused = data["window"], data.get("fused")
        return cls(
            **{
                **data,
                "document": Document(**data["document"]),
                "window": None if window is None else Span(*window),
                "fused": None if fused is None else Fused(**fused),
                "highlights": tuple(Highlight(**each) for each in data.get("highlights", ())),
            }
        )


def raw_scores(results: Iterable[RerankResult]) -> list[float | None]:
    """The raw output of each result, for those who sort by it; None where a provider gives probabilities only.

    A fallback without any gives its probability. What nobody scored, for want of time or of a model that is loaded, has
    0, or the lowest raw output of the others where that is less: it comes last, and must not be sorted to the front.
    """
    given = list(results)
    last = min((result.logit for result in given if result.logit is not None and result.logit < 0), default=0.0)
    return [_raw_score(result, last) for result in given]


def _raw_score(result: RerankResult, last: float) -> float | None:
    if result.logit is not None or not result.degraded:
        return result.logit
    return result.relevance_score or last


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens fed to the model: special tokens and every window included, padding not.

    Repeated texts count once; scores from a cache count nothing.

    Attributes:
        prompt_tokens: tokens fed to the model; 0 also where a service does not report them.
        total_tokens: the same.
        cost: dollars, at ``price_per_million_tokens``; None where the price or the tokens are not known.
        search_units: what a service that bills per search reports as billed; None where nothing does.
    """

    prompt_tokens: int = 0
    total_tokens: int = 0
    cost: float | None = None
    search_units: int | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall-clock seconds of one call.

    Attributes:
        encode: tokenising and planning the batches.
        inference: running the model.
        total: everything, from the call to the response, loading the model included.
    """

    encode: float = 0.0
    inference: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class RerankResponse(Sequence[RerankResult]):
    """The ranking: a sequence of results, best first, with data about the call.

    Attributes:
        id: a unique id of this call, ``rerank-`` and 24 hexadecimal digits.
        model: the model that scored.
        results: the ranked results, best first.
        usage: tokens fed to the model.
        timings: where the time went.
        query_truncated: whether the query alone was too long and was cut.
        degraded: whether a fallback scored because the model asked for had failed, or ``unscored`` is not 0.
        unscored: how many documents no model scored, because ``max_latency`` did not suffice or the order was kept
            instead; of all that were given, whatever ``top_n`` leaves.
    """

    id: str
    model: str
    results: tuple[RerankResult, ...]
    usage: Usage = Usage()
    timings: Timings = Timings()
    query_truncated: bool = False
    degraded: bool = False
    unscored: int = 0

    @overload
    def __getitem__(self, position: int) -> RerankResult: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[RerankResult, ...]: ...
    def __getitem__(self, position: int | slice) -> RerankResult | tuple[RerankResult, ...]:
        return self.results[position]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[RerankResult]:
        return iter(self.results)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(id={self.id!r}, model={self.model!r}, results={len(self.results)}, "
            f"prompt_tokens={self.usage.prompt_tokens})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which JSON can express if it can the documents' metadata."""
        return {
            "id": self.id,
            "model": self.model,
            "results": [result.to_dict() for result in self.results],
            "usage": asdict(self.usage),
            "timings": asdict(self.timings),
            "query_truncated": self.query_truncated,
            "degraded": self.degraded,
            "unscored": self.unscored,
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """:meth:`to_dict` as JSON text.

        Raises:
            TypeError: when a document's metadata holds a value JSON cannot express.
            ValueError: when it holds a number that JSON does not have (NaN, infinity).
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RerankResponse:
        """The inverse of :meth:`to_dict`."""
        return cls(
            **{
                **data,
                "results": tuple(RerankResult.from_dict(result) for result in data["results"]),
                "usage": Usage(**data["usage"]),
                "timings": Timings(**data["timings"]),
            }
        )
