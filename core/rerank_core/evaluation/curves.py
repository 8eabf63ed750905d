"""What scores are worth as probabilities and as cuts: points to draw, from (score, whether relevant)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_POINTS = 40
_BINS = 10


class Cut(NamedTuple):
    """What a threshold buys among the candidates.

    Attributes:
        threshold: the least score that is kept.
        precision: share of what is kept that is relevant.
        recall: share of the relevant candidates that is kept.
    """

    threshold: float
    precision: float
    recall: float


class Bin(NamedTuple):
    """Candidates with scores in one tenth of the range from 0 to 1.

    Attributes:
        score: their mean score.
        relevant: the share that is relevant.
        documents: how many there are.
    """

    score: float
    relevant: float
    documents: int


def cuts(pairs: Sequence[tuple[float, bool]]) -> tuple[Cut, ...]:
    """Precision and recall at up to 40 thresholds, the highest first; none where nothing is relevant."""
    ordered = sorted(pairs, key=lambda pair: -pair[0])
    relevant, right, found = sum(label for _, label in pairs), 0, []
    if not relevant:
        return ()
    for count, (score, label) in enumerate(ordered, 1):
        right += label
        if count == len(ordered) or ordered[count][0] < score:  # the last one with its score
            found.append(Cut(score, right / count, right / relevant))
    step = max(1, -(-len(found) // _POINTS))
    return tuple(found[::-1][::step][::-1])


def reliability(pairs: Sequence[tuple[float, bool]]) -> tuple[Bin, ...]:
    """Mean score and share of relevant candidates in each tenth that has any, the lowest first."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for score, label in pairs:
        bins.setdefault(min(_BINS - 1, max(0, int(score * _BINS))), []).append((score, label))
    return tuple(
        Bin(sum(score for score, _ in each) / len(each), sum(label for _, label in each) / len(each), len(each))
        for _, each in sorted(bins.items())
    )
