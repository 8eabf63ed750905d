"""Cutting a long token sequence into overlapping windows. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rerank_core.results import Span


def window_ranges(length: int, size: int) -> list[tuple[int, int]]:
    """Half-open token ranges that cover ``0..length``, each at most ``size`` long.

    Neighbours overlap by at least a quarter of ``size``, so that a passage shorter than that, cut by the end of one
    window, is whole in the next. The last window is moved back to be full.

    Raises:
        ValueError: when ``size`` is below 1.
    """
    if size < 1:
        raise ValueError(f"a window must hold at least one token, got {size}.")
    if length <= size:
        return [(0, length)]
    stride = max(1, size - -(-size // 4))
    starts = [*range(0, length - size, stride), length - size]
    return [(start, start + size) for start in starts]


def likely_ranges(
    query: NDArray[np.int32], text: NDArray[np.int32], ranges: Sequence[tuple[int, int]], most: int
) -> list[tuple[int, int]]:
    """The windows worth reading where not all shall be read: the first one, and those that share most with the query.

    A window's share is the sum over the query's tokens in it of their inverse document frequency among the windows,
    log(1 + (n - df + 0.5) / (df + 0.5)): BM25's, with neither counts nor lengths, as windows are equally long. Of equal
    shares the earlier window is taken.

    Args:
        query: the query's token ids.
        text: the text's token ids.
        ranges: the windows, as :func:`window_ranges` gives them.
        most: how many to keep, at least 1.

    Returns:
        At most ``most`` of ``ranges``, in their order.
    """
    if len(ranges) <= most:
        return list(ranges)
    edges = np.array(ranges)
    shares = np.zeros(len(ranges))
    for token in np.unique(query):
        places = np.flatnonzero(text == token)
        found = np.searchsorted(places, edges[:, 0]) < np.searchsorted(places, edges[:, 1])
        frequency = found.sum()
        shares[found] += np.log1p((len(ranges) - frequency + 0.5) / (frequency + 0.5))
    best = np.argsort(-shares[1:], kind="stable")[: most - 1] + 1
    return [ranges[position] for position in (0, *sorted(best.tolist()))]


def character_span(offsets: NDArray[np.int32], start: int, stop: int) -> Span:
    """The characters covered by tokens ``start..stop``, from their character offsets, shape [tokens, 2].

    Several tokens may share one character (bytes of an emoji) and some characters have no token (white space),
    so the span runs from the first character of any token to the last.
    """
    if start >= stop:
        return Span(0, 0)
    return Span(int(offsets[start:stop, 0].min()), int(offsets[start:stop, 1].max()))
