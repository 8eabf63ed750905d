"""From files, folders and standard input to documents with their place of origin."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rerank_core.cli.terminal import say
from rerank_core.errors import InvalidRequestError, MissingDependencyError
from rerank_core.files import accessing, reason
from rerank_core.optional import optional
from rerank_core.results import Document

STDIN = "-"
TEXT_SUFFIXES = frozenset({".txt", ".md", ".rst"})
_HEADING = re.compile(r"#{1,6} .*")
_BLANK_LINES = re.compile(r"\n[ \t]*\n")


def read_documents(paths: list[str], *, split: str, field: str) -> list[Document]:
    """Every document in the given files, in order.

    Folders are searched for files of the known kinds, hidden ones left out; those that cannot be read are named on
    standard error and left out too, unless that is all of them. Each document's metadata holds
    ``file``, ``line`` (from 1) and, for data files, the row's other ``fields``.

    Args:
        paths: files, folders, or ``-`` for standard input (read as text).
        split: ``file``, ``paragraph`` or ``line``: what a document is in text.
        field: where the text stands in data files.

    Raises:
        InvalidRequestError: when a file that was named does not exist, is of an unknown kind or cannot be
            understood; the message names the file and, where there is one, the line. For Parquet files without
            pyarrow it names the extra.
    """
    return [document for path in paths for document in _read(path, split, field)]


def _read(path: str, split: str, field: str) -> Iterator[Document]:
    if path == STDIN:
        if sys.stdin is None:
            raise InvalidRequestError("standard input is closed; name files, or pipe text in.")
        with accessing("standard input"):
            data = sys.stdin.buffer.read()
        yield from _split_text(_decode(data, "standard input"), "-", split)
        return
    with accessing(path[:200]):
        files = _expand(Path(path))
    problems: list[InvalidRequestError] = []
    for file in files:
        try:
            yield from list(_read_file(file, split, field))
        except InvalidRequestError as problem:
            if file == Path(path):
                raise
            problems.append(problem)
    if len(problems) == len(files):
        raise problems[0]
    for left_out in problems:
        say(f"rerank: left out: {left_out}", error=True)


def _read_file(file: Path, split: str, field: str) -> Iterator[Document]:
    if (kind := file.suffix.lower()) in _DATA_READERS:
        for line, row in _DATA_READERS[kind](file):
            yield _row_document(row, file, line, field)
    else:
        yield from _split_text(_decode(_bytes(file), str(file)), str(file), split)


def _expand(path: Path) -> list[Path]:
    """The file itself, or the readable files below a folder."""
    known = TEXT_SUFFIXES | set(_DATA_READERS)
    if path.is_dir():
        files = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in known
            and file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if not files:
            raise InvalidRequestError(f"the folder {path} holds no files of a known kind ({', '.join(sorted(known))}).")
        return files
    if not path.exists():
        raise InvalidRequestError(f"there is no file {path}.")
    if path.suffix.lower() in known or not path.suffix:
        return [path]
    raise InvalidRequestError(
        f"{path} is of an unknown kind; known are {', '.join(sorted(known))}. "
        f"Text of any other kind can be piped in: rerank query ... - < {path.name}"
    )


def _bytes(file: Path) -> bytes:
    with accessing(file):
        return file.read_bytes()


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{name} is not UTF-8 text (byte {error.start}).") from error


def _split_text(text: str, name: str, split: str) -> Iterator[Document]:
    for line, piece in _SPLITTERS[split](text):
        if piece.strip():
            yield Document(piece, {"file": name, "line": line})


def _whole(text: str) -> Iterator[tuple[int, str]]:
    yield 1, text


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.strip()


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Pieces between blank lines; a Markdown heading goes with the paragraph below it, whose subject it is."""
    heading: tuple[int, str] | None = None
    start = 0
    newlines = 0  # before start
    for border in [*_BLANK_LINES.finditer(text), None]:
        end = border.start() if border else len(text)
        raw = text[start:end]
        piece = raw.strip()
        line = newlines + raw[: len(raw) - len(raw.lstrip())].count("\n") + 1
        newlines += text.count("\n", start, border.end() if border else end)
        start = border.end() if border else end
        if heading is not None and piece:
            line, piece = heading[0], f"{heading[1]}\n\n{piece}"
            heading = None
        if _HEADING.fullmatch(piece.rpartition("\n")[2]) and border:
            heading = (line, piece)
        else:
            yield line, piece
    if heading is not None:
        yield heading


_SPLITTERS: dict[str, Callable[[str], Iterator[tuple[int, str]]]] = {
    "file": _whole,
    "line": _lines,
    "paragraph": _paragraphs,
}


def _row_document(row: object, file: Path, line: int, field: str) -> Document:
    if isinstance(row, str):
        return Document(row, {"file": str(file), "line": line})
    if not isinstance(row, Mapping):
        raise InvalidRequestError(
            f"{file}:{line} is {type(row).__name__}; expected a string or an object with a {field!r} field."
        )
    text = row.get(field)
    if not isinstance(text, str):
        seen = f"{type(text).__name__} in it" if field in row else f"only {', '.join(map(str, row)) or 'nothing'}"
        raise InvalidRequestError(
            f"{file}:{line} has no text under {field!r} ({seen}); name the right field with --field."
        )
    rest = {key: value for key, value in row.items() if key != field}
    return Document(text, {"file": str(file), "line": line} | ({"fields": rest} if rest else {}))


def _read_jsonl(file: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_decode(_bytes(file), str(file)).split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidRequestError(f"{file}:{number} is not JSON: {error}.") from error


def _read_csv(file: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(sys.maxsize)  # documents are longer than the module's 128 kB
    # Strictly: a quote that is never closed would take the rest of the file for one cell.
    reader = csv.reader(io.StringIO(_decode(_bytes(file), str(file)), newline=""), strict=True)
    names: list[str] | None = None
    line = 1
    try:
        for row in reader:
            if row and names is None:
                names = _csv_names(row, file, line)
            elif row and names is not None:
                if any(row[len(names) :]):
                    raise InvalidRequestError(
                        f"{file}:{line} has {len(row)} cells and the header {len(names)}: text with a comma in it "
                        'stands in quotes ("...").'
                    )
                yield line, dict(zip(names, row, strict=False))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidRequestError(
            f"{file}:{line} is not CSV: {error}; a cell that begins with a quote ends with one, and quotes inside it "
            'are doubled ("").'
        ) from error


def _csv_names(row: list[str], file: Path, line: int) -> list[str]:
    """The header; of two columns of one name, one would be lost."""
    twice = next((name for name in row if name and row.count(name) > 1), None)
    if twice is not None:
        raise InvalidRequestError(f"{file}:{line}: two columns are called {twice!r}; rename one of them.")
    return row


def _read_parquet(file: Path) -> Iterator[tuple[int, Any]]:
    try:
        with optional("reading Parquet files", extra="parquet"):
            from pyarrow import parquet
    except MissingDependencyError as error:
        raise InvalidRequestError(error.message) from error  # an input that cannot be read, not a model
    with accessing(file), file.open("rb"):
        pass
    try:
        rows = parquet.read_table(file).to_pylist()
    except MemoryError as error:
        raise InvalidRequestError(f"cannot read {file}: {reason(error)}.") from error
    except Exception as error:  # Arrow's own errors, and those of dates and numbers that Python has no room for
        raise InvalidRequestError(f"{file} is not a Parquet file that can be read: {error}.") from error
    yield from enumerate(rows, 1)


_DATA_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Any]]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
DATA_SUFFIXES = frozenset(_DATA_READERS)
"""Files of rows: a document's line is the row's, whatever line breaks its text has."""
