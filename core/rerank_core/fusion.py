"""What the retriever knows, put together with what the model says. Pure functions on lists of numbers.

Sources: reciprocal rank fusion is Cormack, Clarke and Büttcher (SIGIR 2009); the weighted sum of z-scores is among the
linear combinations of Fox and Shaw (TREC-2, 1994), with the normalisation of Montague and Aslam (CIKM 2001).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeVar

from rerank_core.errors import InvalidRequestError
from rerank_core.ranking import as_float

RRF: Literal["rrf"] = "rrf"
RRF_K = 60
"""What reciprocal rank fusion adds to every rank, as its authors have it."""

CALIBRATED = "calibrated"
"""Stands for the share that a calibration has."""

ListFusion = Literal["rrf", "weighted"]
K = TypeVar("K", bound=Hashable)
_PAIR = 2

Fusion = float | str
"""The share of the retriever in a weighted sum, from 0 to 1, or :data:`RRF`."""


class Fused(NamedTuple):
    """The two parts of a fused score. Only its order means something, and only within one list.

    Attributes:
        retrieval: the retriever's part.
        model: the model's part.
    """

    retrieval: float
    model: float

    @property
    def score(self) -> float:
        """Their sum, by which results are sorted."""
        return self.retrieval + self.model


def check_fusion(name: str, value: object) -> Fusion | None:
    """``value`` if it is None, :data:`RRF`, :data:`CALIBRATED` or a share; a share may be written as text.

    Raises:
        InvalidRequestError: otherwise.
    """
    if value is None:
        return None
    for word in (RRF, CALIBRATED):
        if value == word:
            return word
    share = as_float(_number(value)) if isinstance(value, str) else as_float(value)
    if share is None or not 0 <= share <= 1:
        raise InvalidRequestError(
            f"{name} must be the retriever's share from 0 to 1, {RRF!r}, {CALIBRATED!r}, or None for the model alone; "
            f"got {value!r}.",
            param=name,
        )
    return share


def resolved(fusion: Fusion | None, fitted: float | None, *, calibrated: bool) -> Fusion | None:
    """``fusion`` with the share that it stands for.

    Args:
        fusion: what :func:`check_fusion` returned.
        fitted: the calibration's share; None where it has none.
        calibrated: whether there is a calibration.

    Raises:
        InvalidRequestError: when :data:`CALIBRATED` stands for nothing.
    """
    if fusion != CALIBRATED:
        return fusion
    if fitted is None:
        seen = "this calibration has no fusion weight" if calibrated else "there is no calibration"
        raise InvalidRequestError(
            f"fusion={CALIBRATED!r} takes the weight out of calibration=, and {seen}; make one with `rerank calibrate` "
            "on 25 queries or more, or give the retriever's share from 0 to 1.",
            param="fusion",
        )
    return fitted


def check_retrieval_scores(scores: object, count: int) -> list[float | None] | None:
    """One finite number or None per document; None where none are given.

    Raises:
        InvalidRequestError: when there are more or fewer, or something else is among them
            (code ``invalid_retrieval_scores``).
    """
    if scores is None:
        return None
    if isinstance(scores, str | bytes) or not isinstance(scores, Iterable):
        raise _wrong(f"must be a list of numbers, one per document, got {type(scores).__name__}")
    values = list(scores)
    if len(values) != count:
        raise _wrong(f"must have one number per document; there are {len(values)} for {count} documents")
    checked: list[float | None] = []
    for position, value in enumerate(values):
        number = None if value is None else as_float(value)
        if value is not None and (number is None or not math.isfinite(number)):
            seen = f"{number:g}" if number is not None else type(value).__name__
            raise _wrong(f"must be finite numbers, or None where there is none; got {seen} at position {position}")
        checked.append(number)
    return checked


def fuse(fusion: Fusion, retrieval: Sequence[float | None] | None, model: Sequence[float]) -> list[Fused]:
    """Both parts of every document's fused score.

    Args:
        fusion: how.
        retrieval: the retriever's scores, higher is better. The order of the list stands in where there are none, or
            one of them is None: scores cannot be compared with ranks.
        model: the model's logits.

    A weighted sum does not change when one side's scores are shifted or scaled. With share 0 the order is the model's,
    with share 1 the retriever's.
    """
    given = known(retrieval)
    order = [-float(rank) for rank in range(len(model))] if given is None else given
    if isinstance(fusion, str):
        ranks = zip(ranked(order), ranked(model), strict=True)
        return [Fused(1 / (RRF_K + one), 1 / (RRF_K + other)) for one, other in ranks]
    both = zip(standard(order), standard(model), strict=True)
    return [Fused(fusion * one, (1 - fusion) * other) for one, other in both]


def fuse_lists(
    lists: Iterable[Iterable[tuple[K, float | None]]],
    *,
    method: ListFusion = RRF,
    weights: Iterable[float] | None = None,
) -> list[tuple[K, float]]:
    """The lists of several retrievers as one, best first: every key once, with its fused score.

    ``rrf`` adds up ``1 / (60 + rank)`` over the lists that have the key: scores of any unit, bounded or not, may stand
    beside each other, because only ranks count. ``weighted`` adds up z-scores, in each list those of its own scores; a
    key that a list does not have gets the lowest z-score there.

    In each list, scores count only where every item has a finite one, and otherwise the order of the list. Of a key
    that comes twice in one list, the better one counts. Equal fused scores keep the order of first appearance.

    Args:
        lists: of each retriever, pairs of a key (an id, or a text) and its score, higher is better, or None; best first
            where there are no scores.
        method: ``rrf`` or ``weighted``.
        weights: a number of at least 0 per list; None for equal ones.

    Raises:
        InvalidRequestError: when the method is none of the two, an item is no pair, or a weight is wrong or missing.
    """
    if method not in ("rrf", "weighted"):
        raise InvalidRequestError(f"method must be rrf or weighted; got {method!r}.", param="method")
    scored = [_best_of_each(position, items) for position, items in enumerate(lists)]
    total: dict[K, float] = dict.fromkeys((key for each in scored for key in each), 0.0)
    for each, weight in zip(scored, _weights(weights, len(scored)), strict=True):
        values = list(each.values())
        parts = [1 / (RRF_K + rank) for rank in ranked(values)] if method == RRF else standard(values)
        absent = 0.0 if method == RRF else min(parts, default=0.0)
        part_of = dict(zip(each, parts, strict=True))
        for key in total:
            total[key] += weight * part_of.get(key, absent)
    return sorted(total.items(), key=lambda item: -item[1])


def _best_of_each(position: int, items: Iterable[tuple[K, float | None]]) -> dict[K, float]:
    """The scores of one list by key; minus the place where there are none to compare."""
    pairs = list(items)
    if any(isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != _PAIR for pair in pairs):
        raise InvalidRequestError(f"lists[{position}] must have pairs of a key and a score, or None.", param="lists")
    numbers = [None if score is None else as_float(score) for _, score in pairs]
    given = [number for number in numbers if number is not None and math.isfinite(number)]
    scores = given if len(given) == len(pairs) else [-float(place) for place in range(len(pairs))]
    best: dict[K, float] = {}
    for (key, _), score in zip(pairs, scores, strict=True):
        best[key] = max(score, best.get(key, score))
    return best


def _weights(weights: Iterable[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1.0] * count
    found = [as_float(weight) for weight in weights]
    checked = [weight for weight in found if weight is not None and 0 <= weight < math.inf]
    if len(checked) != len(found) or len(found) != count:
        raise InvalidRequestError(
            f"weights must be one finite number of at least 0 per list; there are {len(found)} for {count} lists.",
            param="weights",
        )
    return checked


def known(retrieval: Sequence[float | None] | None) -> list[float] | None:
    """The retriever's scores if every document has one."""
    if retrieval is None:
        return None
    scores = [score for score in retrieval if score is not None]
    return scores if len(scores) == len(retrieval) else None


def ranked(scores: Sequence[float]) -> list[int]:
    """The rank of each score, from 1 for the highest; of equal scores the first one is the better."""
    ranks = [0] * len(scores)
    for rank, position in enumerate(sorted(range(len(scores)), key=lambda each: -scores[each]), 1):
        ranks[position] = rank
    return ranks


def standard(scores: Sequence[float]) -> list[float]:
    """z-scores: the distance from the mean in standard deviations of the list; 0 where all scores are equal."""
    if not scores:
        return []
    most = max(map(abs, scores)) or 1.0  # so that no square overflows
    scaled = [score / most for score in scores]
    mean = math.fsum(scaled) / len(scaled)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scaled) / len(scaled))
    if deviation < len(scaled) * 1e-16 or min(scores) == max(scores):  # what rounding makes of equal scores
        return [0.0] * len(scaled)
    return [(score - mean) / deviation for score in scaled]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _wrong(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"retrieval_scores {what}.", code="invalid_retrieval_scores", param="retrieval_scores")
