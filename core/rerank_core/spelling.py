"""Names that somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question to put behind the message about an unknown ``name``, with a space before it; "" where none is near."""
    from difflib import get_close_matches

    spelled = {each.lower(): each for each in known}
    near = get_close_matches(name.lower()[:100], spelled, n=1)
    return f" Did you mean {spelled[near[0]]!r}?" if near else ""
