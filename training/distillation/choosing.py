"""Quality on the lists to choose on, every kind of text alike, and feature weights fitted on them."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from training.corpus import SECTIONS
from training.model import MASKED
from training.retrieved import KIND

from .candidates import Lists

KINDS = tuple(dict.fromkeys(KIND.values()))
JUDGED = f"{SECTIONS}_judged"
"""The source of lists that are the labelled sentences of a section, not what was retrieved."""
CUTOFF = 10
SHORT_LISTS, SHORT_DEPTH = 45, 50
"""Lists of a source, and candidates of a list, that students are measured on."""


def shortened(lists: Lists, count: int = SHORT_LISTS, depth: int = SHORT_DEPTH) -> Lists:
    """The first ``count`` lists of every source with their first ``depth`` candidates, if one is relevant."""
    taken: Counter[str] = Counter()
    rows = []
    relevant = (lists.grades[:, :depth] > 0).any(1).tolist()
    for row, source in enumerate(lists.sources):
        taken[source] += 1
        if taken[source] <= count and relevant[row]:
            rows.append(row)
    return lists.part(rows, depth)


def ndcg(scores: Tensor, lists: Lists) -> Tensor:
    """nDCG@10 (linear gain) of every list, [lists], by ``scores`` [lists, candidates]."""
    order = scores.masked_fill(~lists.valid, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :CUTOFF]
    discount = 1 / torch.log2(torch.arange(order.shape[1], device=scores.device).float() + 2)
    gain = lists.grades.float() * lists.valid
    found = (gain.gather(1, order) * discount).sum(1)
    best = (gain.sort(dim=1, descending=True).values[:, :CUTOFF] * discount).sum(1)
    return found / best.clamp(min=1e-9)


def kinds_of(lists: Lists) -> Tensor:
    """The number in ``KINDS`` of every list, [lists]."""
    return torch.tensor(
        [KINDS.index(KIND[SECTIONS if source == JUDGED else source]) for source in lists.sources],
        device=lists.queries.device,
    )


def mean_of_kinds(scores: Tensor, lists: Lists) -> float:
    """Mean nDCG@10, every kind of text that there is weighing the same."""
    values, kinds = ndcg(scores, lists), kinds_of(lists)
    return float(torch.stack([values[kinds == kind].mean() for kind in sorted(set(kinds.tolist()))]).mean())


def by_source(scores: Tensor, lists: Lists) -> dict[str, float]:
    """Mean nDCG@10 by source, and under ``"mean"`` that of kinds."""
    values: dict[str, list[float]] = {}
    for source, value in zip(lists.sources, ndcg(scores, lists).tolist(), strict=True):
        values.setdefault(source, []).append(value)
    found = {source: sum(row) / len(row) for source, row in values.items()}
    return {**found, "mean": mean_of_kinds(scores, lists)}


@torch.enable_grad()
def fit_weights(features: Tensor, lists: Lists, fixed: Tensor | None = None) -> Tensor:
    """Non-negative weights with the least listwise cross-entropy, every source weighing the same.

    The target is each grade's square, as in ``selection.fit_mix``. A small penalty keeps the weights finite where one
    feature already orders all lists rightly.

    Args:
        features: with a spread of about 1; [lists, candidates, features].
        lists: each with a relevant candidate.
        fixed: what is added to the weighted sum; [lists, candidates].

    Returns:
        [features]
    """
    target = lists.grades.float().square() * lists.valid
    target = target / target.sum(1, keepdim=True)
    counts = Counter(lists.sources)
    shares = torch.tensor([1 / counts[source] / len(counts) for source in lists.sources], device=features.device)
    # Weights are squares, which keeps them from going negative.
    roots = torch.full((features.shape[2],), 0.7, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([roots], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        scores = features @ roots.square()
        scores = (scores if fixed is None else scores + fixed).masked_fill(~lists.valid, MASKED)
        entropy = -(shares * (torch.log_softmax(scores, dim=1) * target).sum(1)).sum()
        loss = entropy + 1e-3 * roots.pow(4).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return roots.detach().square()


def across_kinds(features: Tensor, lists: Lists, fixed: Tensor | None = None) -> float:
    """``mean_of_kinds`` with weights that are fitted on all kinds of text but the one they are measured on."""
    kinds = kinds_of(lists)
    scores = torch.zeros(lists.valid.shape, device=features.device)
    for kind in sorted(set(kinds.tolist())):
        others = (kinds != kind).nonzero().flatten()
        part = None if fixed is None else fixed[others]
        weights = fit_weights(features[others], lists.part(others.tolist()), part)
        scores[kinds == kind] = features[kinds == kind] @ weights
    return mean_of_kinds(scores if fixed is None else scores + fixed, lists)
