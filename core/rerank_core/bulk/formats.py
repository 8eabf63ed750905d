"""Files of rows: JSONL, CSV and, with pyarrow, Parquet."""

from __future__ import annotations

import csv
import glob
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rerank_core.bulk.columns import Row
from rerank_core.errors import InvalidRequestError
from rerank_core.files import accessing
from rerank_core.optional import optional

_PARQUET_BATCH = 1024
_LARGEST_FIELD = 2**31 - 1
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def find_files(names: Sequence[str | Path]) -> list[Path]:
    """The files that ``names`` mean, each once: files, folders (what they hold of a known kind, sorted) and patterns.

    Raises:
        InvalidRequestError: when a name means none, or a file is of no known kind.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix in READERS and each.is_file())
        elif path.exists():
            inside = [path]
        else:
            inside = sorted(Path(each) for each in glob.glob(str(name), recursive=True) if Path(each).is_file())  # noqa: PTH207
        if not inside:
            raise InvalidRequestError(f"{name}: there is no such file, and no file of {_kinds()} in it.", param="files")
        found |= dict.fromkeys(inside)
    for path in found:
        if path.suffix not in READERS:
            raise InvalidRequestError(f"{path.name}: expected a file of {_kinds()}.", param="files")
    return list(found)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, one after the other; those that cannot be read say why.

    Raises:
        InvalidRequestError: when the file cannot be read.
        MissingDependencyError: for Parquet without pyarrow.
    """
    return READERS[path.suffix](path)


def _jsonl(path: Path) -> Iterator[Row]:
    with accessing(path), path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _object(path, number, line)


def _object(path: Path, number: int, line: bytes) -> Row:
    try:
        values: Any = json.loads(
            line.decode("utf-8-sig")
        )  # json would guess the encoding, and let half characters pass
    except UnicodeDecodeError:
        return Row(path.name, number, None, "not UTF-8")
    except (ValueError, RecursionError):
        return Row(path.name, number, None, "not JSON")
    if not isinstance(values, dict):
        return Row(path.name, number, None, "no JSON object")
    if _SURROGATE.search(line) and not _writable(values):
        return Row(path.name, number, None, "half of a surrogate pair, which no file in UTF-8 can hold")
    return Row(path.name, number, values)


def _writable(values: Any) -> bool:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(_LARGEST_FIELD)  # the usual limit is 131,072 characters
    try:
        with accessing(path), path.open(encoding="utf-8-sig", newline="") as file:
            for number, values in enumerate(csv.DictReader(file, restkey=""), 1):
                if "" in values:
                    yield Row(path.name, number, None, "more cells than the head has columns")
                else:
                    yield Row(path.name, number, values)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequestError(f"{path.name}: this is no CSV in UTF-8 ({type(error).__name__}).") from None


def _parquet(path: Path) -> Iterator[Row]:
    with optional("Parquet files", extra="parquet"):
        from pyarrow import parquet
    number = 0
    with accessing(path), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
            for values in batch.to_pylist():
                number += 1
                yield Row(path.name, number, values)


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}


def _kinds() -> str:
    return ", ".join(kind.removeprefix(".") for kind in READERS)
