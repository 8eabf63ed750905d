"""Where to cut: a score threshold that was tried on queries it was not chosen on."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from rerank_core.evaluation.report import Threshold

_FOLDS = 5
_SEED = 0
_LEAST_RELEVANT = 10

Labelled = Sequence[tuple[float, bool]]
"""(relevance score, whether relevant) of a query's candidates."""


def suggest_threshold(queries: Mapping[str, Labelled]) -> Threshold | None:
    """The threshold with the best F1, its precision and recall measured on held-out folds of the queries.

    Returns:
        None where fewer than ten relevant candidates, or fewer queries than folds, would decide it.
    """
    relevant = sum(label for pairs in queries.values() for _, label in pairs)
    if len(queries) < _FOLDS or relevant < _LEAST_RELEVANT:
        return None
    names = sorted(queries)
    random.Random(_SEED).shuffle(names)  # noqa: S311  (folds, not secrets)
    found = kept = right = total = 0
    for fold in range(_FOLDS):
        held_out = set(names[fold::_FOLDS])
        cut = _best_cut([pair for name in names if name not in held_out for pair in queries[name]])
        for name in held_out:
            for score, label in queries[name]:
                total += 1
                found += label
                kept += score >= cut
                right += label and score >= cut
    value = _best_cut([pair for name in names for pair in queries[name]])
    return Threshold(value, right / kept if kept else 0.0, right / found if found else 0.0, kept / total)


def _best_cut(pairs: Sequence[tuple[float, bool]]) -> float:
    """The score at which F1 is highest when everything from there on is kept."""
    ordered = sorted(pairs, key=lambda pair: -pair[0])
    relevant = sum(label for _, label in pairs)
    best, cut, right = 0.0, 1.0, 0
    for count, (score, label) in enumerate(ordered, 1):
        right += label
        last_of_its_score = count == len(ordered) or ordered[count][0] < score
        f1 = 2 * right / (count + relevant)
        if last_of_its_score and f1 > best:
            best, cut = f1, score
    return cut
