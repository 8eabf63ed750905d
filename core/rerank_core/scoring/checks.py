"""Where a scorer's answer enters: count, kinds and ranges are checked once, and numbers are Python's from there on."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rerank_core.errors import ProtocolError
from rerank_core.ranking import as_float, as_probability
from rerank_core.results import Span
from rerank_core.scoring.base import Score, Scorer, Scores

_FLAGS = ("truncated", "query_truncated", "cached", "degraded", "judged")
_SPAN = 2


class UnsoundScoreError(ValueError):
    """A value is no score.

    Args:
        what: what it is instead, to be read after "gave".
        code: the code of the error it leads to.
    """

    def __init__(self, what: str, code: str) -> None:
        super().__init__(what)
        self.code = code


def ask(scorer: Scorer, query: str, texts: Sequence[str]) -> Scores:
    """What the scorer answers, checked.

    Raises:
        ProtocolError: when it is not one sound score per text.
        RerankError: whatever the scorer raises.
    """
    return check_scores(scorer.score(query, texts), len(texts), model=scorer.model)


async def aask(scorer: Scorer, query: str, texts: Sequence[str]) -> Scores:
    """:func:`ask` for asynchronous code.

    Raises:
        The same as :func:`ask`.
    """
    return check_scores(await scorer.ascore(query, texts), len(texts), model=scorer.model)


def check_scores(scores: object, expected: int, *, model: str) -> Scores:
    """``scores`` if it answers exactly ``expected`` texts, with other libraries' numbers turned into Python's.

    Raises:
        ProtocolError: otherwise: a wrong answer must never turn into a silently shorter or scrambled ranking.
    """
    if not isinstance(scores, Scores) or not isinstance(scores.items, Sequence):
        raise ProtocolError(
            f"the scorer for {model!r} gave {type(scores).__name__}, expected Scores with a tuple of items.",
            code="not_scores",
        )
    if len(scores.items) != expected:
        raise ProtocolError(
            f"the scorer for {model!r} gave {len(scores.items)} scores for {expected} texts.",
            code="wrong_score_count",
        )
    items: list[Score] = []
    try:
        for score in scores.items:
            items.append(sound(score))  # noqa: PERF401  (its length says where it failed)
    except UnsoundScoreError as fault:
        raise ProtocolError(
            f"the scorer for {model!r} gave {fault} for the text at position {len(items)}.", code=fault.code
        ) from None
    try:
        return _with_facts(scores, items)
    except UnsoundScoreError as fault:
        raise ProtocolError(f"the scorer for {model!r} gave {fault}.", code=fault.code) from None


def sound(score: object) -> Score:
    """``score`` with Python's own numbers, finite and in range.

    Raises:
        UnsoundScoreError: when it is none.
    """
    if not isinstance(score, Score):
        raise UnsoundScoreError(f"{type(score).__name__}, expected a Score,", "wrong_score_type")
    try:
        values: dict[str, Any] = {
            "relevance_score": _probability(score.relevance_score),
            "logit": None if score.logit is None else _number(score.logit, "a logit"),
            "window": _span(score.window),
        }
        values |= {name: _flag(getattr(score, name), name) for name in _FLAGS}
    except AttributeError:  # an object of an earlier version, out of somebody's pickles
        raise UnsoundScoreError("an incomplete score", "wrong_score_type") from None
    changed = {name: value for name, value in values.items() if value is not getattr(score, name)}
    return replace(score, **changed) if changed else score


def _with_facts(scores: Scores, items: Sequence[Score]) -> Scores:
    """The answer with its checked items, and with the facts of the call checked as well."""
    if not isinstance(scores.model, str):
        raise UnsoundScoreError(f"{type(scores.model).__name__} as its model's name, expected str", "wrong_score_type")
    tokens: object = scores.tokens
    if isinstance(tokens, bool) or not isinstance(tokens, numbers.Integral) or tokens < 0:
        raise UnsoundScoreError("a number of tokens that is no whole number from 0", "wrong_score_type")
    return replace(
        scores,
        items=tuple(items),
        tokens=int(tokens),
        encode_seconds=_number(scores.encode_seconds, "encode_seconds"),
        inference_seconds=_number(scores.inference_seconds, "inference_seconds"),
    )


def _probability(value: object) -> float:
    number = _number(value, "a relevance score")
    probability = as_probability(number)
    if probability is None:
        raise UnsoundScoreError(
            f"a relevance score of {number:g}, expected 0 to 1 (Score.from_logit takes logits),",
            "score_out_of_range",
        )
    return probability


def _number(value: object, what: str) -> float:
    number = as_float(value)
    if number is None:
        raise UnsoundScoreError(f"{what} of type {type(value).__name__}, expected float,", "wrong_score_type")
    if not math.isfinite(number):
        raise UnsoundScoreError("a score that is not a finite number", "non_finite_score")
    return number


def _flag(value: object, name: str) -> bool:
    """NumPy's truth values have types of their own, which JSON does not know."""
    if type(value) is bool:
        return value
    if type(value).__module__ == "numpy" and type(value).__name__ in {"bool", "bool_"}:
        return bool(value)
    raise UnsoundScoreError(f"{name} of type {type(value).__name__}, expected bool,", "wrong_score_type")


def _span(window: object) -> Span | None:
    if window is None:
        return None
    if isinstance(window, tuple | list) and len(window) == _SPAN:
        start, end = window
        whole = all(isinstance(each, numbers.Integral) and not isinstance(each, bool) for each in window)
        if whole and 0 <= start <= end:
            if isinstance(window, Span) and type(start) is int and type(end) is int:
                return window
            return Span(int(start), int(end))
    raise UnsoundScoreError("a window that is not two positions in the text", "wrong_score_type")
