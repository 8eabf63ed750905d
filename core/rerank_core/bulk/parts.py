"""The folder of a job: numbered parts of the output, and what is known of those that are done.

    OUT/part-0000-00000.jsonl      scored rows of a file's part (or .parquet, or a TREC run: .trec)
    OUT/rejects-0000-00000.jsonl   rows of the same part that could not be scored; none where there are none
    OUT/job.json                   what decides the scores, so that only the same job goes on here
    OUT/done-0000-00000.json       written last: the part and its counts are complete

Every file is written under another name first, which begins with a dot, and then renamed, so a process that is killed
leaves whole files or none. What it was writing is removed when the job is complete.
"""

from __future__ import annotations

import json
import math
import os
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

from rerank_core.bulk.columns import Columns
from rerank_core.bulk.runs import run_lines
from rerank_core.bulk.scoring import Scored
from rerank_core.errors import InvalidRequestError
from rerank_core.files import accessing
from rerank_core.optional import optional

Format = Literal["jsonl", "parquet", "trec"]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a part is made of.

    Attributes:
        rows: rows that were read.
        scored: rows that were scored.
        rejects: the others.
        pairs: pairs that were scored.
        tokens: tokens that the model read.
    """

    rows: int
    scored: int
    rejects: int
    pairs: int
    tokens: int


class Parts:
    """The parts of one job.

    Args:
        folder: where they are; it need not exist.
        kind: the format of the scored rows.
        columns: what the added columns are called.

    Raises:
        MissingDependencyError: for Parquet without pyarrow.
    """

    def __init__(self, folder: Path, kind: Format, columns: Columns) -> None:
        self.folder = folder
        self.kind = kind
        self._columns = columns
        if kind == "parquet":
            with optional("Parquet files", extra="parquet"):
                import pyarrow.parquet  # noqa: F401  (before any work is done)

    @property
    def texts(self) -> Path:
        """Where the texts of TREC runs are while the job is under way."""
        return self.folder / ".texts.sqlite"

    def open(self, job: Mapping[str, Any]) -> None:
        """Begin the job in an empty folder, or go on with it where it is the same. One without parts was not begun.

        Args:
            job: what decides the output, as JSON has it.

        Raises:
            InvalidRequestError: when the folder holds another job, and what differs; or other files.
        """
        with accessing(self.folder, "write to"):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.folder / "job.json"
            there = sorted(each.name for each in self.folder.iterdir() if not each.name.startswith("."))
        if there in ([], ["job.json"]):
            self.tidy()
            self._write(file, lambda out: out.write(json.dumps(job, indent=1).encode()))
            return
        if not file.exists():
            raise InvalidRequestError(
                f"{self.folder} holds other files ({there[0]}); name a new or empty folder.", param="output"
            )
        with accessing(file):
            before = json.loads(file.read_bytes())
        differing = [name for name in {**before, **job} if before.get(name) != job.get(name)]
        if differing:
            shown = ", ".join(f"{name} ({_short(before.get(name))}, now {_short(job.get(name))})" for name in differing)
            raise InvalidRequestError(
                f"{self.folder} holds another job, whose scores would not fit these: {shown}. Name another folder, or "
                "go on with what it was begun with.",
                code="another_job",
                param="output",
            )

    def done(self, name: str) -> Counts | None:
        """The counts of a part that is complete; None for one that is not.

        Raises:
            InvalidRequestError: when its file cannot be read.
        """
        file = self.folder / f"done-{name}.json"
        if not file.exists():
            return None
        with accessing(file):
            return Counts(**json.loads(file.read_bytes()))

    def all_done(self) -> list[Counts]:
        """The counts of all parts that are complete, in order.

        Raises:
            InvalidRequestError: when a file cannot be read.
        """
        names = sorted(file.stem.removeprefix("done-") for file in self.folder.glob("done-*.json"))
        return [counts for counts in map(self.done, names) if counts is not None]

    def keep(self, name: str, rows: int, scored: Scored, kinds: Mapping[str, Any] | None = None) -> Counts:
        """Write a part.

        Args:
            name: of the part.
            rows: how many rows were read for it.
            scored: what became of them.
            kinds: pyarrow's types of the columns that were read, where they are known.

        Raises:
            InvalidRequestError: when a column is none that the format can hold, or the part cannot be written.
            RerankError: when the storage fails.
        """
        self._write(self.folder / f"part-{name}.{self.kind}", partial(self._rows, rows=scored.rows, kinds=kinds or {}))
        if scored.rejects:
            self._write(self.folder / f"rejects-{name}.jsonl", lambda out: _lines(out, scored.rejects))
        counts = Counts(rows, len(scored.rows), len(scored.rejects), scored.pairs, scored.tokens)
        self._write(self.folder / f"done-{name}.json", lambda out: out.write(json.dumps(asdict(counts)).encode()))
        return counts

    def tidy(self) -> None:
        """Remove what killed processes were writing, and :attr:`texts`. Nobody may be at work on the job then."""
        for kind in ("part-", "rejects-", "done-", "job.", "texts."):
            for file in self.folder.glob(f".{kind}*"):
                with suppress(OSError):
                    file.unlink()

    def _rows(self, out: IO[bytes], *, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Any]) -> None:
        if self.kind == "parquet":
            _parquet(out, rows, {**kinds, **_added_types(rows, self._columns.added())})
        elif self.kind == "trec":
            out.writelines(f"{line}\n".encode() for line in run_lines(rows, self._columns))
        else:
            _lines(out, rows)

    def _write(self, file: Path, write: Callable[[IO[bytes]], object]) -> None:
        """All of the file or nothing of it."""
        with accessing(file, "write"):
            begun = self.folder / f".{file.name}.{os.getpid()}"
            try:
                with begun.open("wb") as out:
                    write(out)
                    out.flush()
                    os.fsync(out.fileno())
                begun.replace(file)
            except BaseException:
                with suppress(OSError):
                    begun.unlink()
                raise


def _lines(out: IO[bytes], rows: Sequence[Mapping[str, Any]]) -> None:
    out.writelines(_line(row) for row in rows)


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        line = json.dumps(row, ensure_ascii=False, default=_as_text, allow_nan=False)
    except ValueError:  # JSON has no NaN, though Python reads and writes it
        line = json.dumps(_without_nan(row), ensure_ascii=False, default=_as_text)
    return line.encode() + b"\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    return [_without_nan(each) for each in value] if isinstance(value, list | tuple) else value


def _as_text(value: Any) -> str:
    """What JSON has no kind for: bytes in base64, dates and decimals as they are written."""
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _parquet(out: IO[bytes], rows: Sequence[Mapping[str, Any]], types: Mapping[str, Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = {name: _column([row.get(name) for row in rows], name, types.get(name)) for name in names}
    parquet.write_table(pa.table(table), out)


def _added_types(rows: Sequence[Mapping[str, Any]], added: Sequence[str]) -> dict[str, Any]:
    """The same in every part, also where a part has no windows: readers take the first file's types for all."""
    import pyarrow as pa

    types = (pa.float64(), pa.float64(), pa.int64(), pa.bool_(), pa.list_(pa.int64()), pa.int64(), pa.string())
    candidates = bool(rows) and isinstance(rows[0][added[0]], list)
    return dict(zip(added, map(pa.list_, types) if candidates else types, strict=True))


def _column(cells: Sequence[Any], name: str, kind: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.array(cells, kind)
    except (pa.ArrowException, OverflowError):  # its message would show a cell
        kinds = ", ".join(sorted({type(cell).__name__ for cell in cells if cell is not None}))
        raise InvalidRequestError(
            f"column {name!r} holds values of the types {kinds}, and a column of Parquet holds one kind, pairs or rows "
            "with candidates. Write JSONL (--format jsonl) to another folder.",
            code="mixed_column",
        ) from None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004
