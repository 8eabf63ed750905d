"""Rows out of files: JSONL, CSV and, with pyarrow, Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from rerank_core.bulk.columns import Row
from rerank_core.bulk.inputs import Input
from rerank_core.errors import InvalidRequestError
from rerank_core.optional import optional

_PARQUET_BATCH = 1024
_LARGEST_FIELD = 2**31 - 1
_SAMPLE_LINES = 1000
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_rows(file: Input) -> Iterator[Row]:
    """The rows of a file, one after the other; those that cannot be read say why.

    Args:
        file: JSONL, CSV or Parquet.

    Raises:
        InvalidRequestError: when the file cannot be read.
        MissingDependencyError: for Parquet without pyarrow.
    """
    return _READERS[file.kind](file)


def kinds_of(file: Input) -> dict[str, Any]:
    """The types of a Parquet file's columns, as pyarrow has them; nothing for other files, whose columns have none.

    Raises:
        InvalidRequestError: when the file cannot be read.
        MissingDependencyError: for Parquet without pyarrow.
    """
    if file.kind != ".parquet":
        return {}
    with _parquet_file(file) as parquet:
        return {field.name: field.type for field in parquet.schema_arrow}


def rows_about(file: Input) -> int:
    """How many rows a file has: Parquet says so; of others it is estimated from their size and their first lines.

    Raises:
        InvalidRequestError: when the file cannot be read.
        MissingDependencyError: for Parquet without pyarrow.
    """
    if file.kind == ".parquet":
        with _parquet_file(file) as parquet:
            return int(parquet.metadata.num_rows)
    with file.access(), file.open(raw=True) as stored:
        content = gzip.GzipFile(fileobj=stored) if file.name.endswith(".gz") else stored
        lines = sum(1 for _ in islice(content, _SAMPLE_LINES))
        read = stored.tell()  # of a compressed file it is a little ahead of the lines
    rows = round(lines * file.size() / max(1, read))
    return max(0, rows - 1) if file.kind == ".csv" else rows  # without the head


def _jsonl(file: Input) -> Iterator[Row]:
    with file.access(), file.open() as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _object(file.name, number, line)


def _object(source: str, number: int, line: bytes) -> Row:
    try:
        values: Any = json.loads(
            line.decode("utf-8-sig")
        )  # json would guess the encoding, and let half characters pass
    except UnicodeDecodeError:
        return Row(source, number, None, "not UTF-8")
    except (ValueError, RecursionError):
        return Row(source, number, None, "not JSON")
    if not isinstance(values, dict):
        return Row(source, number, None, "no JSON object")
    if _SURROGATE.search(line) and not _writable(values):
        return Row(source, number, None, "half of a surrogate pair, which no file in UTF-8 can hold")
    return Row(source, number, values)


def _writable(values: Any) -> bool:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv(file: Input) -> Iterator[Row]:
    csv.field_size_limit(_LARGEST_FIELD)  # the usual limit is 131,072 characters
    try:
        with file.access(), io.TextIOWrapper(file.open(), encoding="utf-8-sig", newline="") as lines:
            for number, values in enumerate(csv.DictReader(lines, restkey=""), 1):
                if "" in values:
                    yield Row(file.name, number, None, "more cells than the head has columns")
                else:
                    yield Row(file.name, number, values)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequestError(f"{file.name}: this is no CSV in UTF-8 ({type(error).__name__}).") from None


def _parquet(file: Input) -> Iterator[Row]:
    number = 0
    with _parquet_file(file) as parquet:
        for batch in parquet.iter_batches(batch_size=_PARQUET_BATCH):
            for cells in zip(*map(_cells, batch.columns), strict=True):
                number += 1
                yield Row(file.name, number, dict(zip(batch.schema.names, cells, strict=True)))


def _cells(column: Any) -> list[Any]:
    """A column as Python has it, whose times end at the microsecond; pandas, which may be absent, has finer ones."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    cells: list[Any] = column.to_pylist()
    return cells


@contextmanager
def _parquet_file(file: Input) -> Iterator[Any]:
    with optional("Parquet files", extra="parquet"):
        from pyarrow import parquet
    with file.access(), file.open() as content, parquet.ParquetFile(content) as opened:
        yield opened


_READERS: dict[str, Callable[[Input], Iterator[Row]]] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
