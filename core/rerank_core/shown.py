"""Making text from outside safe to show: file names, keys, headers, replies and messages that contain them.

A terminal obeys control characters, and bidirectional ones reorder what a person reads. Text for people goes through
:func:`visible`; JSON goes through :func:`json_text`, which loses nothing.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

STEERING = re.compile(
    "["
    "\x00-\x08\x0b-\x1f"  # C0 without tab and line feed
    "\x7f-\x9f"  # delete, and C1: one-character forms of escape sequences
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks, embeddings, overrides, isolates
    "\u2028\u2029"  # line and paragraph separators
    "\ud800-\udfff"  # lone surrogates, which no encoding of a terminal has
    "]"
)
"""Characters that control a terminal, or cannot be written to one."""


def visible(text: str) -> str:
    r"""``text`` with every character that controls a terminal as an escape: ``\x1b``, ``\u202e``.

    Tabs and line feeds stay. Ordinary text comes back as it is.
    """
    return STEERING.sub(lambda found: escaped(found[0]), text)


def escaped(character: str) -> str:
    """One character as Python writes it in a string literal."""
    return character.encode("unicode_escape").decode("ascii")


def zoned_time(seconds: float) -> str:
    """A time, in seconds since the epoch, in UTC and saying so (RFC 3339)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_text(value: object, *, encoding: str = "utf-8", indent: int | None = None) -> str:
    r"""JSON that ``encoding`` can express, without terminal controls; a parser gets every character back.

    Characters that the encoding lacks, or that control a terminal, are written as ``\uXXXX``. Values that JSON cannot
    express become strings; NaN and infinity become null.
    """
    plain = _finite(value)
    text = json.dumps(plain, ensure_ascii=False, default=str, allow_nan=False, indent=indent)
    if not _fits(STEERING.sub("", text), encoding):
        text = json.dumps(plain, default=str, allow_nan=False, indent=indent)
    return STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
