"""Scores on disk: what was computed once is there the next time, and after Ctrl-C. Nothing read back is believed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rerank_core import forks
from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.database import DAMAGE, DamagedError, open_database, set_aside
from rerank_core.events import logger
from rerank_core.files import reason
from rerank_core.results import Span
from rerank_core.scores import InvalidScoreError, Score, check_score


class ScoreStore(MutableMapping[bytes, Score]):
    """A file of scores by key; the keys of :class:`~rerank_core.scoring.CachedScorer`, which hold no text.

    Beside the scores it keeps how many tokens each query took. A row that is no sound score, or not the one that was
    written, counts as absent. A damaged file, or one of another version, is set aside with a warning and made anew.

    Args:
        file: a SQLite database, made if it is not there; None to keep everything in memory.
        ours: whether the file is nobody else's, so that it may be set aside when nothing in it says what it is.

    Raises:
        InvalidRequestError: when the file is something else, or cannot be written.

    Attributes:
        reused: how often a score was found that had been there when the file was opened.
        failed: whether a score could not be written: a full disk, or another process in the way.
    """

    def __init__(self, file: str | Path | None = None, *, ours: bool = False) -> None:
        self._lock = forks.Lock()
        self._file = None if file is None else Path(file)
        self.reused = 0
        self.failed = False
        self._old = 0
        self._warned = False
        try:
            try:
                self._connection: sqlite3.Connection | None = open_database(self._file, check=True)
            except DamagedError as error:
                if not (ours or error.ours):
                    raise
                self._connection = self._renewed(error)
        except (OSError, sqlite3.Error) as error:
            known = "of an earlier run, or one that is not there yet"
            advice = f"name a file with --cache, one {known}." if ours else f"name a file {known}."
            raise InvalidRequestError(
                f"{file} cannot hold scores ({reason(error)}); {advice}", param="cache"
            ) from error
        self._old = next((row[0] for row in self._rows("select coalesce(max(rowid), 0) from scores")), 0)
        forks.before_fork(self._disconnect)

    @property
    def _database(self) -> sqlite3.Connection:
        """The connection; made again after a fork, by each process for itself."""
        if self._connection is None:
            self._connection = open_database(self._file)
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
            rows = self._rows("select score, seal, rowid from scores where key = ?", key)
            score = _read(key, *rows[0][:2]) if rows else None
            self.reused += score is not None and rows[0][2] <= self._old
            if rows and score is None:
                self._warn_of_rows()
        if score is None:
            raise KeyError(key)
        return score

    def __setitem__(self, key: bytes, score: Score) -> None:
        row = json.dumps(asdict(check_score(score)), allow_nan=False)
        with self._lock:
            self._write("insert or replace into scores values (?, ?, ?)", key, row, _seal(key, row))

    def __delitem__(self, key: bytes) -> None:
        with self._lock:
            if not self._write("delete from scores where key = ?", key):
                raise KeyError(key)

    def __iter__(self) -> Iterator[bytes]:
        with self._lock:
            keys = self._rows("select key from scores")
        return (key for (key,) in keys)

    def __len__(self) -> int:
        with self._lock:
            rows = self._rows("select count(*) from scores")
        return int(rows[0][0]) if rows else 0

    def tokens(self, key: bytes, *, computed: int | None = None) -> int | None:
        """How many tokens the request with this key takes; None where that is not known.

        Args:
            key: of the request.
            computed: how many it took just now, which is kept; where that cannot be written, nobody misses it. None
                when its scores were there already: then it is what was kept before.
        """
        if computed is not None:
            with self._lock, suppress(sqlite3.Error, OSError):
                self._write("insert or replace into tokens values (?, ?, ?)", key, computed, _seal(key, str(computed)))
            return computed
        with self._lock:
            rows = self._rows("select tokens, seal from tokens where key = ?", key)
        if not rows or type(rows[0][0]) is not int or rows[0][1] != _seal(key, str(rows[0][0])):
            return None
        return int(rows[0][0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
            self._file = None  # what is closed stays so

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        """What a query finds; nothing in a file that cannot be read, which is then made anew if it is damaged."""
        try:
            return self._database.execute(statement, values).fetchall()
        except (sqlite3.OperationalError, OSError):  # another process is in the way, or the disk is
            self.failed = True
        except DAMAGE as error:
            self._replace(error)  # or raises it: not every error is damage
        return []

    def _write(self, statement: str, *values: Any) -> int:
        """Change something; in a new file, where this one turns out to be damaged. Returns the number of rows."""
        try:
            try:
                return self._database.execute(statement, values).rowcount
            except sqlite3.OperationalError:
                raise
            except DAMAGE as error:
                self._replace(error)
                return self._database.execute(statement, values).rowcount
        except (sqlite3.Error, OSError):
            self.failed = True
            raise

    def _replace(self, error: Exception) -> None:
        """A new file in place of one that is damaged; what was in it is computed again.

        Raises:
            sqlite3.DatabaseError: as it is, when it speaks of something else than damage, or there is no file.
        """
        if self._file is None or type(error) not in {sqlite3.DatabaseError, DamagedError, UnicodeDecodeError}:
            raise error
        with suppress(sqlite3.Error):
            self._database.close()
        self._connection = self._renewed(error)

    def _renewed(self, error: Exception) -> sqlite3.Connection:
        """A connection to a new file, or to memory where the damaged one cannot be moved out of the way."""
        file, self._old = self._file, 0
        try:
            aside = None if file is None else set_aside(file)
            connection = open_database(file)
        except (OSError, sqlite3.Error):
            self._file, self.failed = None, True
            logger.warning("%s cannot be read (%s) nor set aside: scores are kept in memory only.", file, error)
            return open_database(None)
        logger.warning("%s cannot be read (%s): it is now %s, and its scores are computed again.", file, error, aside)
        return connection

    def _warn_of_rows(self) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s holds damaged scores: those are computed again.", self._file)


def _read(key: bytes, row: object, seal: object) -> Score | None:
    """The score of a row, if it is what was written and one that may be kept."""
    if not isinstance(row, str) or seal != _seal(key, row):
        return None
    try:
        values = json.loads(row)
        window = values.pop("window")
        score = check_score(Score(**values, window=None if window is None else Span(*window)))
    except (InvalidScoreError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # an earlier or later version of this package wrote it
    return score if score.genuine else None


def _seal(key: bytes, row: str) -> bytes:
    """A checksum of a row together with its key."""
    return hashlib.blake2b(key + row.encode("utf-8", "surrogatepass"), digest_size=8).digest()
