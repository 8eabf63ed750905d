"""Queries and documents by id, on disk: a collection need not fit in memory to be joined with a run."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from rerank_core.files import accessing

Kind = Literal["query", "document"]
_TABLE = "CREATE TABLE texts (kind TEXT, id TEXT, text TEXT, UNIQUE (kind, id))"


class Texts:
    """The texts of a run.

    Args:
        file: what :func:`keep_texts` wrote.
    """

    def __init__(self, file: Path) -> None:
        # Nobody writes to it any more, so readers on other machines need no locks.
        self._connection = sqlite3.connect(f"file:{quote(str(file))}?immutable=1", uri=True, check_same_thread=False)

    def get(self, kind: Kind, identifier: str) -> str | None:
        """A text by its id; None where there is none."""
        found = self._connection.execute("SELECT text FROM texts WHERE kind = ? AND id = ?", (kind, identifier))
        row = found.fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Close its file."""
        self._connection.close()


def keep_texts(file: Path, *, queries: Path, texts: Sequence[Path]) -> None:
    """Write the texts of a run, if they are not there yet; all of them or nothing.

    Args:
        file: where.
        queries: the queries, JSONL with ``_id`` and ``text``, or ``id<TAB>text`` lines.
        texts: the documents, in the same formats.

    Raises:
        InvalidRequestError: when a line is malformed, or an id has two texts.
    """
    if file.exists():
        return
    begun = file.with_suffix(".begun")
    with accessing(file, "write"):
        begun.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(begun)) as connection:
            # A file that is not whole is thrown away, so nothing is gained by a journal.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(_TABLE)
            _insert(connection, "query", [queries])
            _insert(connection, "document", texts)
            connection.commit()
        begun.replace(file)
    except BaseException:
        with suppress(OSError):
            begun.unlink()
        raise


def _insert(connection: sqlite3.Connection, kind: Kind, files: Sequence[Path]) -> None:
    from rerank_core.evaluation.lines import conflict
    from rerank_core.evaluation.trec import each_text

    for file in files:
        for number, identifier, text in each_text(file):
            row = (kind, identifier, text)
            if connection.execute("INSERT OR IGNORE INTO texts VALUES (?, ?, ?)", row).rowcount:
                continue
            known = connection.execute("SELECT text FROM texts WHERE kind = ? AND id = ?", row[:2]).fetchone()
            if known[0] != text:
                raise conflict(file, number, f"another text of {identifier!r}")
