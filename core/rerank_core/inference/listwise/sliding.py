"""A long list in windows that a list-wise model can read, from the bottom to the top.

The best of a window move up into the next one, so the best of all reach the top in one pass; below, the order is what
single windows made of it. Source: the sliding window of LightOn's reference implementation
(https://huggingface.co/collections/lightonai/lighton-rerank), and before it RankGPT (arXiv 2304.09542).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PAIR = 2  # one text alone has no order


def windows(count: int, size: int, stride: int) -> list[range]:
    """The windows of ``count`` texts, the lowest first; each overlaps the one before it by ``size - stride``.

    Args:
        count: how many texts there are.
        size: how many a window has.
        stride: how far the next window is moved up.
    """
    if count < _PAIR:
        return []
    starts = list(range(max(0, count - size), -1, -stride))
    if starts[-1] != 0:
        starts.append(0)
    return [range(start, min(start + size, count)) for start in starts]


def read_order(answer: str, count: int) -> list[int] | None:
    """The order in an answer such as ``[2] > [1] > [3]``, counted from 0; None where it names not each text once."""
    found = re.search(r"\s*>\s*".join([r"\[(\d+)\]"] * count), answer)
    order = [int(number) - 1 for number in found.groups()] if found else []
    return order if sorted(order) == list(range(count)) else None


def places(order: Sequence[int]) -> list[float]:
    """A score per text from their order, best first: n / (n + 1) for the first of n, 1 / (n + 1) for the last."""
    scores = [0.0] * len(order)
    for rank, position in enumerate(order):
        scores[position] = (len(order) - rank) / (len(order) + 1)
    return scores


def share(lengths: Sequence[int], room: int) -> int:
    """The most tokens that each text may have so that all fit into ``room``; short ones leave more to others.

    Args:
        lengths: tokens of each text.
        room: tokens for all of them.
    """
    left, count = room, len(lengths)
    for length in sorted(lengths):
        if length * count > left:
            return max(0, left // count)
        left, count = left - length, count - 1
    return max(lengths, default=0)
