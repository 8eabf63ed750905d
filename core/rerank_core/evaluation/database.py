"""The SQLite file behind kept scores: how it is recognised, made, and set aside when it is damaged."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

# "rrks", in the place that SQLite reserves for saying whose a file is (pragma application_id).
_APPLICATION = 0x72726B73
_VERSION = 2
_TABLES = (
    "CREATE TABLE scores (key blob primary key, score text not null, seal blob not null)",
    "CREATE TABLE tokens (key blob primary key, tokens integer not null, seal blob not null)",
)
# The first version said nowhere whose it was.
_FIRST_VERSION = {
    "CREATE TABLE scores (key blob primary key, score text not null)",
    "CREATE TABLE costs (key text primary key, cost text not null)",
}
# SQLite's file format, "The Database Header": the magic bytes, and where the application's id is.
_MAGIC = b"SQLite format 3\0"
_ID_AT = slice(68, 72)
_COMPANIONS = ("", "-wal", "-shm")


DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What the sqlite3 module raises for a damaged file: the second where its own message repeats a damaged name."""


class DamagedError(sqlite3.DatabaseError):
    """A file is no database of this version.

    Args:
        message: what it is.
        ours: whether something in it says that it was one, or is one of another version.
    """

    def __init__(self, message: str, *, ours: bool) -> None:
        super().__init__(message)
        self.ours = ours


def open_database(file: Path | None, *, check: bool = False) -> sqlite3.Connection:
    """A connection to the file, which is made if it is not there; None for memory.

    Args:
        file: the database.
        check: read all of it first, and look for damage to its structure. Checksums of single rows do not see that: in
            an index out of order, a key may lead to a row that was replaced. Half a second for 300,000 scores.

    Raises:
        DamagedError: when it is not a sound database of scores of this version.
        sqlite3.OperationalError: when it cannot be opened or written.
        OSError: when its folder cannot be made.
    """
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(file or ":memory:", check_same_thread=False, isolation_level=None)
    database.text_factory = _text
    try:
        _prepare(database)
        if check:
            _check_structure(database)
    except (DamagedError, sqlite3.OperationalError):
        database.close()
        raise
    except DAMAGE as error:
        database.close()
        raise DamagedError(str(error), ours=file is not None and _says_ours(file)) from error
    return database


def set_aside(file: Path) -> Path:
    """Give the file another name beside the old one, which is then free. Returns it.

    Raises:
        OSError: when it cannot be renamed.
    """
    number = 1
    while (aside := file.with_name(f"{file.name}.unreadable-{number}")).exists():
        number += 1
    file.rename(aside)
    for companion in _COMPANIONS[1:]:  # what is not yet in the file itself
        with suppress(OSError):
            file.with_name(file.name + companion).rename(aside.with_name(aside.name + companion))
    return aside


def _prepare(database: sqlite3.Connection) -> None:
    (application,) = database.execute("pragma application_id").fetchone()
    (version,) = database.execute("pragma user_version").fetchone()
    there = {text for (text,) in database.execute("select sql from sqlite_master where type = 'table'")}
    ours = application == _APPLICATION
    if there and not ours and there <= _FIRST_VERSION:
        raise DamagedError("it is of an earlier version", ours=True)
    if ours and version != _VERSION:
        raise DamagedError(f"it is of version {version}, not {_VERSION}", ours=True)
    if not there <= set(_TABLES):
        raise DamagedError("it is a database of something else", ours=ours)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    for table in (each for each in _TABLES if each not in there):  # in order: files of equal content are equal
        database.execute(table.replace("CREATE TABLE", "create table if not exists"))
    if not ours:
        database.execute(f"pragma application_id = {_APPLICATION}")
        database.execute(f"pragma user_version = {_VERSION}")


def _check_structure(database: sqlite3.Connection) -> None:
    """Raise DamagedError unless keys are in order, and tables and indexes agree (``pragma integrity_check``)."""
    (found,) = database.execute("pragma integrity_check(1)").fetchone()
    if found != "ok":
        raise DamagedError(f"its structure is damaged: {found.splitlines()[-1]}", ours=True)


def _text(data: bytes) -> str:
    """A damaged text is a wrong one; SQLite's own reading would call the whole database out of order."""
    return data.decode("utf-8", "replace")


def _says_ours(file: Path) -> bool:
    """Whether the header of a file that SQLite cannot read has our name in it."""
    try:
        with file.open("rb") as opened:
            header = opened.read(100)
    except OSError:
        return False
    return header.startswith(_MAGIC) and header[_ID_AT] == _APPLICATION.to_bytes(4, "big")
