"""The scores that a scorer returns, and their one check.

Number, types and ranges are checked where a scorer's answer comes in; from there on every number is a Python float.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rerank_core.errors import ProtocolError
from rerank_core.ranking import as_float, as_probability, logit_of, sigmoid
from rerank_core.results import Span

_FLAGS = ("truncated", "query_truncated", "cached", "degraded", "judged")
_SPAN = 2


@dataclass(frozen=True, slots=True)
class Score:
    """How relevant one text is.

    Attributes:
        relevance_score: probability, 0..1.
        logit: the model's raw output, or None where only the probability is known.
        truncated: whether the model saw less than the whole query and text.
        query_truncated: whether the query had to be cut.
        window: the characters of the best window, when windows were used.
        cached: whether the score, or one that decided which texts were scored, comes from a cache.
        degraded: whether a fallback gave it.
        judged: whether relevance was scored; False where the order of the input was kept instead, so that no threshold
            applies.
        tokens: how many tokens the model read for it, the query's and those of every window; 0 where that is not known.
    """

    relevance_score: float
    logit: float | None = None
    truncated: bool = False
    query_truncated: bool = False
    window: Span | None = None
    cached: bool = False
    degraded: bool = False
    judged: bool = True
    tokens: int = 0

    @property
    def log_odds(self) -> float:
        """The logit, recovered from the probability where only that is known."""
        return logit_of(self.relevance_score) if self.logit is None else self.logit

    @property
    def genuine(self) -> bool:
        """Whether the scorer itself judged the text: no fallback did, and the input's order was not kept instead."""
        return self.judged and not self.degraded

    def as_cached(self) -> Score:
        """The same score, marked as one from a cache."""
        # Field by field: dataclasses.replace() takes four times as long, for each text of each request.
        return Score(
            self.relevance_score,
            self.logit,
            self.truncated,
            self.query_truncated,
            self.window,
            cached=True,
            degraded=self.degraded,
            judged=self.judged,
            tokens=self.tokens,
        )

    @classmethod
    def from_logit(
        cls,
        logit: float,
        *,
        truncated: bool = False,
        query_truncated: bool = False,
        window: Span | None = None,
        tokens: int = 0,
    ) -> Score:
        """The score of a raw model output."""
        return cls(
            sigmoid(logit), logit, truncated=truncated, query_truncated=query_truncated, window=window, tokens=tokens
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """What a scorer returns: one :class:`Score` per text, in order, and data about the call.

    Attributes:
        items: one score per text.
        model: the model that scored.
        tokens: tokens fed to the model.
        encode_seconds: time spent tokenising.
        inference_seconds: time spent in the model, or waiting for a server.
        judged: False marks all texts at once as not judged (:attr:`Score.judged`).
        search_units: what a service that bills per search has billed; None where nothing says so.
    """

    items: tuple[Score, ...]
    model: str
    tokens: int = 0
    encode_seconds: float = 0.0
    inference_seconds: float = 0.0
    judged: bool = True
    search_units: int | None = None

    def __post_init__(self) -> None:
        if not self.judged:
            object.__setattr__(self, "items", tuple(replace(score, judged=False) for score in self.items))

    @property
    def query_truncated(self) -> bool:
        """Whether the query had to be cut for any of the texts."""
        return any(score.query_truncated for score in self.items)

    @property
    def degraded(self) -> bool:
        """Whether any score comes from a fallback."""
        return any(score.degraded for score in self.items)

    @property
    def genuine(self) -> bool:
        """Whether every score is genuine (:attr:`Score.genuine`)."""
        return all(score.genuine for score in self.items)

    @property
    def judged_itself(self) -> bool:
        """Whether the scorer itself judged some of the texts, and no fallback any: the rest were left unjudged."""
        return any(score.judged for score in self.items) and all(s.genuine for s in self.items if s.judged)

    def keys(self) -> list[float]:
        """What to sort by: logits where every score has one, else probabilities; what was not judged comes last."""
        judged = [score for score in self.items if score.judged]
        raw = all(score.logit is not None for score in judged)
        return [
            -math.inf if not score.judged else score.logit if raw and score.logit is not None else score.relevance_score
            for score in self.items
        ]

    def as_degraded(self) -> Scores:
        """The same scores, marked as a fallback's."""
        return replace(self, items=tuple(replace(score, degraded=True) for score in self.items))


class InvalidScoreError(ValueError):
    """A value is not a valid score.

    Args:
        what: what it is instead, to be read after "gave".
        code: the code of the error to raise.
    """

    def __init__(self, what: str, code: str) -> None:
        super().__init__(what)
        self.code = code


def check_scores(scores: object, expected: int, *, model: str) -> Scores:
    """``scores`` if it has exactly ``expected`` valid items, with other libraries' numbers turned into Python's.

    Raises:
        ProtocolError: otherwise: a wrong answer must never become a ranking that is silently shorter or scrambled.
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
            items.append(check_score(score))  # noqa: PERF401  (its length says where it failed)
    except InvalidScoreError as fault:
        raise ProtocolError(
            f"the scorer for {model!r} gave {fault} for the text at position {len(items)}.", code=fault.code
        ) from None
    try:
        return _checked(scores, items)
    except InvalidScoreError as fault:
        raise ProtocolError(f"the scorer for {model!r} gave {fault}.", code=fault.code) from None


def check_score(score: object) -> Score:
    """``score`` with Python's own numbers, finite and in range.

    Raises:
        InvalidScoreError: when it is not a valid score.
    """
    if not isinstance(score, Score):
        raise InvalidScoreError(f"{type(score).__name__}, expected a Score,", "wrong_score_type")
    try:
        if _is_plain(score):
            return score
        values: dict[str, Any] = {
            "relevance_score": _probability(score.relevance_score),
            "logit": None if score.logit is None else _number(score.logit, "a logit"),
            "window": _span(score.window),
            "tokens": _tokens(score.tokens),
        }
        values |= {name: _flag(getattr(score, name), name) for name in _FLAGS}
    except AttributeError:  # an object that an earlier version pickled
        raise InvalidScoreError("an incomplete score", "wrong_score_type") from None
    changed = {name: value for name, value in values.items() if value is not getattr(score, name)}
    return replace(score, **changed) if changed else score


def _is_plain(score: Score) -> bool:
    """Whether there is nothing to translate, as usual: a third of the work, for every score that passes."""
    value, logit = score.relevance_score, score.logit
    return (
        type(value) is float
        and 0.0 <= value <= 1.0
        and (logit is None or (type(logit) is float and math.isfinite(logit)))
        and score.window is None
        and type(score.tokens) is int
        and score.tokens >= 0
        and type(score.truncated) is type(score.query_truncated) is type(score.cached) is bool
        and type(score.degraded) is type(score.judged) is bool
    )


def _checked(scores: Scores, items: Sequence[Score]) -> Scores:
    """The answer with its checked items; the data about the call are checked as well."""
    if not isinstance(scores.model, str):
        raise InvalidScoreError(f"{type(scores.model).__name__} as its model's name, expected str", "wrong_score_type")
    return replace(
        scores,
        items=tuple(items),
        tokens=_tokens(scores.tokens),
        encode_seconds=_number(scores.encode_seconds, "encode_seconds"),
        inference_seconds=_number(scores.inference_seconds, "inference_seconds"),
    )


def _probability(value: object) -> float:
    number = _number(value, "a relevance score")
    probability = as_probability(number)
    if probability is None:
        raise InvalidScoreError(
            f"a relevance score of {number:g}, expected 0 to 1 (Score.from_logit takes logits),",
            "score_out_of_range",
        )
    return probability


def _number(value: object, what: str) -> float:
    number = as_float(value)
    if number is None:
        raise InvalidScoreError(f"{what} of type {type(value).__name__}, expected float,", "wrong_score_type")
    if not math.isfinite(number):
        raise InvalidScoreError("a score that is not a finite number", "non_finite_score")
    return number


def _tokens(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise InvalidScoreError("a number of tokens that is no whole number from 0", "wrong_score_type")
    return int(value)


def _flag(value: object, name: str) -> bool:
    """NumPy's booleans have a type of their own, which JSON does not know."""
    if type(value) is bool:
        return value
    if type(value).__module__ == "numpy" and type(value).__name__ in {"bool", "bool_"}:
        return bool(value)
    raise InvalidScoreError(f"{name} of type {type(value).__name__}, expected bool,", "wrong_score_type")


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
    raise InvalidScoreError("a window that is not two positions in the text", "wrong_score_type")
