"""Data files: JSON lines, CSV and Parquet. Each row is a document."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError, MissingDependencyError
from rerank_core.files import accessing, reason
from rerank_core.optional import optional
from rerank_core.reading.contents import contents, decoded
from rerank_core.results import Document


def row_documents(file: Path, field: str) -> Iterator[Document]:
    """The rows of a data file, with ``file``, ``line`` and, where a row has more, its other ``fields``.

    Args:
        file: of a kind in ``ROW_SUFFIXES``.
        field: where the text stands in each row.

    Raises:
        InvalidRequestError: when a row has no such text, or the file is not what its name says; the message names the
            line. For Parquet files without pyarrow it names the extra.
    """
    for line, row in _READERS[file.suffix.lower()](file):
        yield _row_document(row, file, line, field)


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
    for number, line in enumerate(decoded(contents(file), str(file)).split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidRequestError(f"{file}:{number} is not JSON: {error}.") from error


def _read_csv(file: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(sys.maxsize)  # documents are longer than the module's 128 kB
    # Strictly: a quote that is never closed would take the rest of the file for one cell.
    reader = csv.reader(io.StringIO(decoded(contents(file), str(file)), newline=""), strict=True)
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


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Any]]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
ROW_SUFFIXES = frozenset(_READERS)
