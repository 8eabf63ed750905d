"""Which texts go into which request. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_PER_TEXT = 4  # two quotation marks, a comma and a space around each text


def split(
    positions: Sequence[int], texts: Sequence[str], *, max_documents: int | None, max_bytes: int
) -> list[Sequence[int]]:
    """``positions`` cut into runs, in order, that fit a request each.

    Args:
        positions: of the texts to send.
        texts: what they are positions in.
        max_documents: most texts per request; None for no limit.
        max_bytes: most bytes of text per request; a longer text is sent alone.
    """
    runs: list[Sequence[int]] = []
    start, size = 0, 0
    for end, position in enumerate(positions):
        cost = len(texts[position].encode("utf-8", "surrogatepass")) + _PER_TEXT
        if end > start and (end - start == max_documents or size + cost > max_bytes):
            runs.append(positions[start:end])
            start, size = end, 0
        size += cost
    if start < len(positions):
        runs.append(positions[start:])
    return runs


def halves(positions: Sequence[int]) -> list[Sequence[int]]:
    """Two runs of (almost) the same length, in order."""
    middle = (len(positions) + 1) // 2
    return [positions[:middle], positions[middle:]]
