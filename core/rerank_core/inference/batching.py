"""Packing model inputs into batches. A pure function of their lengths."""

from __future__ import annotations

from collections.abc import Sequence

_PADDING_SHARE = 0.2
_PADDING_TOKENS = 16


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group inputs of similar length so that each padded batch stays within a token budget.

    Args:
        lengths: tokens of each input.
        budget: most tokens a batch may have, padding included; an input longer than it stands alone.

    Returns:
        Positions of the inputs, one list a batch, longest first: every position exactly once. Within a batch
        no input is padded by more than a fifth of the batch's length (or 16 tokens, if that is more).

    Raises:
        ValueError: when ``budget`` is below 1.
    """
    if budget < 1:
        raise ValueError(f"the token budget must be at least 1, got {budget}.")
    batches: list[list[int]] = []
    width = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fits = batches and (len(batches[-1]) + 1) * width <= budget
        if fits and width - lengths[position] <= max(_PADDING_TOKENS, int(width * _PADDING_SHARE)):
            batches[-1].append(position)
        else:
            batches.append([position])
            width = lengths[position]
    return batches


def shared_budget(lengths: Sequence[int], budget: int, workers: int, least: int = 64) -> int:
    """The budget that lets ``workers`` share a small request, instead of one worker doing all of it."""
    return min(budget, max(least, -(-sum(lengths) // max(1, workers))))
