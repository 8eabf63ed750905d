"""Lines of files that people write: numbered, in UTF-8, with errors that say where."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.files import accessing

_ENCODING = "utf-8-sig"  # with a byte order mark or without


def read_lines(file: Path, digest: hashlib._Hash | None = None) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers; ``digest`` gets all of them."""
    try:
        with accessing(file), file.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if digest is not None:
                    digest.update(raw)
                line = raw.decode(_ENCODING if number == 1 else "utf-8")
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{file.name}:{number}: this is not UTF-8; save the file as UTF-8.") from None


def read_object(file: Path, number: int, line: str) -> Mapping[str, Any]:
    """The JSON object of a line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise InvalidRequestError(f"{file.name}:{number}: expected a JSON object.")
    return row


def conflict(file: Path, number: int, what: str) -> InvalidRequestError:
    """The error for a line that contradicts one above it."""
    return InvalidRequestError(f"{file.name}:{number}: a line above has {what}; leave one of the two out.")
