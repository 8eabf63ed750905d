"""Scores on disk: what was computed once is there the next time, and after Ctrl-C."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from dataclasses import asdict
from operator import methodcaller
from pathlib import Path

from rerank_core import forks
from rerank_core.errors import InvalidRequestError
from rerank_core.results import Span
from rerank_core.scoring.base import Score


class ScoreStore(MutableMapping[bytes, Score]):
    """A file of scores by key; the keys of :class:`~rerank_core.scoring.CachedScorer`, which hold no text.

    Beside the scores it keeps how long each query took when it was really computed.

    Args:
        file: a SQLite database, made if it is not there; None to keep everything in memory.

    Raises:
        InvalidRequestError: when the file is something else, or cannot be written.

    Attributes:
        reused: how often a score was found that had been there when the file was opened.
        failed: whether a score could not be written: a full disk, or another process in the way.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self._lock = forks.Lock()
        try:
            self._file = None if file is None else Path(file)
            self._connection: sqlite3.Connection | None = _open(self._file)
        except (OSError, sqlite3.Error) as error:
            raise InvalidRequestError(
                f"{file} cannot hold scores ({error}); name a file of an earlier run, or one that is not there yet.",
                param="cache",
            ) from error
        self._old: int = self._database.execute("select coalesce(max(rowid), 0) from scores").fetchone()[0]
        self.reused = 0
        self.failed = False
        forks.before_fork(self._disconnect)

    @property
    def _database(self) -> sqlite3.Connection:
        """The connection; made again after a fork, by each process for itself."""
        if self._connection is None:
            self._connection = _open(self._file)
        return self._connection

    def _disconnect(self) -> None:
        """No connection may cross a fork, not even an unused one: SQLite takes the parent's locks for the child's.

        Source: "How To Corrupt An SQLite Database File", 2.6.
        """
        if self._file is not None and self._connection is not None:
            self._connection.close()
            self._connection = None

    def __getitem__(self, key: bytes) -> Score:
        with self._lock:
            row = self._database.execute("select score, rowid from scores where key = ?", (key,)).fetchone()
            self.reused += row is not None and row[1] <= self._old
        if row is None:
            raise KeyError(key)
        values = json.loads(row[0])
        window = values.pop("window")
        return Score(**values, window=None if window is None else Span(*window))

    def __setitem__(self, key: bytes, score: Score) -> None:
        row = json.dumps(asdict(score), default=methodcaller("item"))  # other people's scorers may give NumPy's numbers
        with self._lock:
            try:
                self._database.execute("insert or replace into scores values (?, ?)", (key, row))
            except sqlite3.Error:
                self.failed = True
                raise

    def __delitem__(self, key: bytes) -> None:
        with self._lock:
            if not self._database.execute("delete from scores where key = ?", (key,)).rowcount:
                raise KeyError(key)

    def __iter__(self) -> Iterator[bytes]:
        with self._lock:
            keys = self._database.execute("select key from scores").fetchall()
        return (key for (key,) in keys)

    def __len__(self) -> int:
        with self._lock:
            count: int = self._database.execute("select count(*) from scores").fetchone()[0]
        return count

    def cost(self, key: str) -> tuple[float, int] | None:
        """Seconds and tokens of the query with this key, as they were when it was computed."""
        row = None
        with self._lock, suppress(sqlite3.OperationalError):  # as with scores, a store that fails is empty
            row = self._database.execute("select cost from costs where key = ?", (key,)).fetchone()
        return None if row is None else tuple(json.loads(row[0]))

    def keep_cost(self, key: str, seconds: float, tokens: int) -> None:
        """Remember what a query cost."""
        with self._lock, suppress(sqlite3.OperationalError):
            self._database.execute("insert or replace into costs values (?, ?)", (key, json.dumps([seconds, tokens])))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
            self._file = None  # what is closed stays so


_TABLES = (
    "CREATE TABLE scores (key blob primary key, score text not null)",
    "CREATE TABLE costs (key text primary key, cost text not null)",
)


def _open(file: Path | None) -> sqlite3.Connection:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(file or ":memory:", check_same_thread=False, isolation_level=None)
    try:
        there = {text for (text,) in database.execute("select sql from sqlite_master where type = 'table'")}
        if not there <= set(_TABLES):
            raise sqlite3.DatabaseError("it is a database of something else")
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        for table in set(_TABLES) - there:
            database.execute(table.replace("CREATE TABLE", "create table if not exists"))
    except sqlite3.Error:
        database.close()
        raise
    return database
