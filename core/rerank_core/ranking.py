"""Scores, duplicates, threshold, order, limit. Pure functions on plain values."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Sequence
from typing import TypeVar

from rerank_core.errors import InvalidRequestError

T = TypeVar("T", bound=Hashable)

_SMALLEST = math.ulp(0.0)  # the smallest float above 0
_ROUNDING = 1e-6  # float32 softmaxes overshoot 1 by rounding


def sigmoid(logit: float) -> float:
    """The logistic function in float64, exact in both tails: never overflows, 0..1."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    power = math.exp(logit)
    return power / (1.0 + power)


def logit_of(probability: float) -> float:
    """The inverse of :func:`sigmoid`: finite for 0 and 1 too, and greater for a greater probability in both tails.

    0 gives the logit of the smallest float above it, minus ln 2; 1 gives 54 ln 2, as the float below it gives 53 ln 2.
    """
    if probability <= 0:
        return math.log(_SMALLEST) - math.log(2)
    if probability >= 1:
        return 54 * math.log(2)
    return math.log(probability) - math.log1p(-probability)


def as_float(value: object) -> float | None:
    """Any library's number as a Python float, infinite where float64 cannot hold it; None for anything else."""
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return -math.inf if value < 0 else math.inf


def as_probability(value: float) -> float | None:
    """``value`` clipped to 0..1 where float32 rounding put it just outside; None where it is further outside."""
    return min(max(value, 0.0), 1.0) if -_ROUNDING <= value <= 1 + _ROUNDING else None


def unique(values: Sequence[T]) -> tuple[list[T], list[int]]:
    """The distinct values in order of first appearance, and for each input the position of its value there."""
    positions: dict[T, int] = {}
    index = [positions.setdefault(value, len(positions)) for value in values]
    return list(positions), index


def check_top_n(top_n: object) -> int | None:
    """``top_n`` if it is None or a whole number of at least 1.

    Raises:
        InvalidRequestError: otherwise (code ``invalid_top_n``).
    """
    if top_n is None:
        return None
    if isinstance(top_n, bool) or not isinstance(top_n, numbers.Integral) or top_n < 1:
        raise InvalidRequestError(
            f"top_n must be a whole number of at least 1, or None for all documents; got {top_n!r}.",
            code="invalid_top_n",
            param="top_n",
        )
    return int(top_n)


def check_threshold(threshold: object) -> float | None:
    """``threshold`` as a float if it is None or within 0..1.

    Raises:
        InvalidRequestError: otherwise (code ``invalid_score_threshold``).
    """
    if threshold is None:
        return None
    number = as_float(threshold)
    if number is None or not 0 <= number <= 1:
        raise InvalidRequestError(
            f"score_threshold must be a number from 0 to 1, or None for no threshold; got {threshold!r}.",
            code="invalid_score_threshold",
            param="score_threshold",
        )
    return number


def order(
    keys: Sequence[float],
    probabilities: Sequence[float | None],
    *,
    threshold: float | None = None,
    top_n: int | None = None,
) -> list[int]:
    """Positions of the kept items, best first.

    Args:
        keys: what to sort by, highest first; ties keep their input order.
        probabilities: what the threshold is compared with, inclusive; None where relevance was not judged: no threshold
            drops it.
        threshold: items below it are dropped, before the limit is applied.
        top_n: how many to keep at most.
    """
    low = -math.inf if threshold is None else threshold
    kept = [i for i, probability in enumerate(probabilities) if probability is None or probability >= low]
    kept.sort(key=lambda i: -keys[i])
    return kept[:top_n]
