"""Cutting a long token sequence into overlapping windows. Pure functions."""

from __future__ import annotations

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


def character_span(offsets: NDArray[np.int32], start: int, stop: int) -> Span:
    """The characters covered by tokens ``start..stop``, from their character offsets, shape [tokens, 2].

    Several tokens may share one character (bytes of an emoji) and some characters have no token (white space),
    so the span runs from the first character of any token to the last.
    """
    if start >= stop:
        return Span(0, 0)
    return Span(int(offsets[start:stop, 0].min()), int(offsets[start:stop, 1].max()))
