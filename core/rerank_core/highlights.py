"""The sentences of a text, and the best ones of a result. Pure functions on plain values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from rerank_core.documents import clean_text
from rerank_core.results import Highlight, RerankResponse, RerankResult, Span, Timings
from rerank_core.scores import Scores

MOST_SENTENCES = 100
"""Of each result, so that a book among the results does not cost as much as a library."""

# A sentence ends at its mark, with what closes it, where white space and no small letter follows; after a full stop of
# scripts without spaces; and at an empty line. Each run of marks is read once: texts may have a million of them.
_ENDS = re.compile(
    "(?<![.!?\u2026])[.!?\u2026]++[\"')\\]\u201d\u2019\u00bb]*+(?=\\s+[^\\s])|[\u3002\uff01\uff1f]+[\u300d\u300f\uff09]*|\\n\\s*\\n"
)
_VISIBLE = re.compile(r"\S")
_SHORT = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|No|Fig|e\.g|i\.e|cf|etc))\.$")


def sentences(text: str, within: Span | None = None) -> Iterator[Span]:
    """The sentences of a text, in order: spans without white space around them, each with a letter or digit.

    No more of the text is read than the sentences that are asked for.

    Marks end a sentence where no small letter follows; an initial or a usual abbreviation before a full stop does not.

    Args:
        text: the text.
        within: the part of it to look at; None for all.
    """
    first, last = (0, len(text)) if within is None else within
    start = first
    for end in _ENDS.finditer(text, first, last):
        if _ends_here(text, start, end, last):
            yield from _worded(text, Span(start, end.end()))
            start = end.end()
    yield from _worded(text, Span(start, last))


def _ends_here(text: str, start: int, mark: re.Match[str], last: int) -> bool:
    if not mark[0].startswith((".", "!", "?", "\u2026")):
        return True
    following = _VISIBLE.search(text, mark.end(), last)
    small = following is not None and following[0].islower()
    return not small and not _SHORT.search(text, max(start, mark.end() - 8), mark.end())


def _worded(text: str, span: Span) -> Iterator[Span]:
    """The span without white space around it, if it has a letter or digit."""
    trimmed = _trimmed(text, span)
    if any(map(str.isalnum, text[trimmed.start : trimmed.end])):
        yield trimmed


def _trimmed(text: str, span: Span) -> Span:
    part = text[span.start : span.end]
    start = span.start + len(part) - len(part.lstrip())
    return Span(start, max(start, span.start + len(part.rstrip())))


class Sentences:
    """What is to be scored for the highlights of a response.

    Args:
        results: what is returned.

    Attributes:
        texts: the sentences, each once, as the model reads them.
    """

    def __init__(self, results: Sequence[RerankResult]) -> None:
        self._spans = {
            result.index: list(islice(sentences(result.text, result.window), MOST_SENTENCES))
            for result in results
            if not result.degraded
        }
        read = (clean_text(_part(result, span)) for result in results for span in self._spans.get(result.index, ()))
        self.texts = list(dict.fromkeys(read))

    def added(self, response: RerankResponse, scores: Scores, most: int) -> RerankResponse:
        """The response with the ``most`` best sentences of each result, and with the time they took.

        Equal scores keep the order of the text. Where a fallback scored the sentences, there are none.
        """
        timings = Timings(
            response.timings.encode + scores.encode_seconds,
            response.timings.inference + scores.inference_seconds,
            response.timings.total,
        )
        keys = dict(zip(self.texts, zip(scores.keys(), scores.items, strict=True), strict=True))
        found = {} if scores.degraded else {text: (key, item.relevance_score) for text, (key, item) in keys.items()}
        results = tuple(replace(result, highlights=self._best(result, found, most)) for result in response)
        return replace(response, results=results, timings=timings)

    def _best(self, result: RerankResult, found: Mapping[str, tuple[float, float]], most: int) -> tuple[Highlight, ...]:
        if not found:
            return ()
        spans = [(span, found[clean_text(_part(result, span))]) for span in self._spans.get(result.index, ())]
        spans.sort(key=lambda each: -each[1][0])
        return tuple(Highlight(*span, _part(result, span), score) for span, (_, score) in spans[:most])


def _part(result: RerankResult, span: Span) -> str:
    return result.text[span.start : span.end]
