"""What adapters put into their frameworks' objects for a result: its score, and metadata about it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

from rerank_core import ProtocolError, RerankResult
from rerank_core.results import raw_scores

WRITTEN = frozenset({"rerank_truncated", "rerank_degraded", "rerank_window", "rerank_highlights"})
"""What :func:`result_metadata` writes; of an earlier pass it would be wrong."""


def result_scores(results: Iterable[RerankResult], *, logits: bool) -> list[float]:
    """The probability of relevance of each result, or the model's raw output (:func:`~rerank_core.results.raw_scores`).

    Raises:
        ProtocolError: when raw output is wanted from a server that gives probabilities only.
    """
    given = list(results)
    if not logits:
        return [result.relevance_score for result in given]
    found = [logit for logit in raw_scores(given) if logit is not None]
    if len(found) < len(given):
        raise ProtocolError("logits=True, but this provider gives probabilities only.", code="no_logits")
    return found


def retrieval_scores(scores: Iterable[object]) -> list[float | None]:
    """What a framework's documents were scored with, for the engine; None for what is no finite number.

    Where one is missing, the order of the documents stands in for all: ranks and scores cannot be compared.
    """
    return [
        float(score) if isinstance(score, Real) and not isinstance(score, bool) and math.isfinite(score) else None
        for score in scores
    ]


def result_metadata(result: RerankResult) -> dict[str, Any]:
    """What there is to know of a result besides its score; only what is the case.

    ``rerank_truncated``: the model read only part of it. ``rerank_degraded``: a fallback ranked it.
    ``rerank_window``: ``[start, end]``, the characters of the text that got the score. ``rerank_highlights``: its best
    sentences, each with ``start``, ``end``, ``text`` and ``score``.
    """
    metadata: dict[str, Any] = {}
    if result.truncated:
        metadata["rerank_truncated"] = True
    if result.degraded:
        metadata["rerank_degraded"] = True
    if result.window is not None:
        metadata["rerank_window"] = list(result.window)
    if result.highlights:
        metadata["rerank_highlights"] = [highlight._asdict() for highlight in result.highlights]
    return metadata


def highlights_after(result: RerankResult, before: int, length: int) -> list[dict[str, Any]]:
    """A result's highlights by their place in a content that starts ``before`` characters into what the model read.

    What lies outside the content is left out.
    """
    found = []
    for highlight in result.highlights:
        start, end = (min(max(position - before, 0), length) for position in highlight[:2])
        if start < end:
            text = result.text[before + start : before + end]
            found.append(highlight._replace(start=start, end=end, text=text)._asdict())
    return found
