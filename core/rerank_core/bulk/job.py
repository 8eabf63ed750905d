"""A job: rows out of files, in parts through the model, into a folder; what is done is not done again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from rerank_core.bulk.columns import Columns, Row
from rerank_core.bulk.formats import read_rows
from rerank_core.bulk.parts import Counts, Format, Parts
from rerank_core.bulk.scoring import RerankBatch
from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.files import accessing
from rerank_core.inference.encoding import ENCODING_VERSION
from rerank_core.reranker import Reranker

ROWS_PER_PART = 1_000
_MOST_TEXTS = 20_000  # of a part: rows with many candidates are in smaller ones


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        files: where the rows are, in order.
        output: the folder of the output.
        columns: which columns are read, and what the added ones are called.
        kind: the format of the output.
        rows_per_part: how many rows are scored before they are written; what is lost at most when the job is ended.
        max_rejects: how many rows may be bad; None for any number.
    """

    files: Sequence[Path]
    output: Path
    columns: Columns = field(default_factory=Columns)
    kind: Format = "jsonl"
    rows_per_part: int = ROWS_PER_PART
    max_rejects: int | None = None

    def __post_init__(self) -> None:
        if self.rows_per_part < 1:
            raise InvalidRequestError(f"rows_per_part must be at least 1, got {self.rows_per_part}.")

    def parts(self) -> Parts:
        """What is kept of the output.

        Raises:
            MissingDependencyError: for Parquet without pyarrow.
        """
        return Parts(self.output, self.kind, self.columns)


@dataclass(slots=True)
class Totals:
    """What was done, in this run and in those before.

    Attributes:
        rows: rows that were read: the scored ones and the rejects.
        scored: rows that were scored.
        rejects: rows that could not be.
        pairs: pairs that were scored.
        tokens: tokens that the model read.
        kept: how many of the rows were done before this run.
    """

    rows: int = 0
    scored: int = 0
    rejects: int = 0
    pairs: int = 0
    tokens: int = 0
    kept: int = 0

    def add(self, counts: Counts, *, kept: bool) -> None:
        """Count a part.

        Raises:
            RerankError: when its rows are not all accounted for.
        """
        if counts.rows != counts.scored + counts.rejects:
            raise RerankError(
                f"{counts.rows} rows came in, {counts.scored} out, {counts.rejects} were rejected: some are missing.",
                code="rows_missing",
            )
        self.rows += counts.rows
        self.scored += counts.scored
        self.rejects += counts.rejects
        self.pairs += counts.pairs
        self.tokens += counts.tokens
        self.kept += counts.rows if kept else 0


Progress = Callable[[Totals], None]
"""Called after each part."""


def run(job: Job, reranker: Reranker, on_part: Progress | None = None) -> Totals:
    """Score all rows of a job, or those that an earlier run has not done.

    A run that is ended at any moment, by Ctrl-C or SIGKILL, loses the part it was at. The same job in the same folder
    goes on; the output is that of one run.

    Args:
        job: what is to be done.
        reranker: what scores. Its model decides with the columns and files whether a folder holds the same job.
        on_part: called after each part.

    Raises:
        InvalidRequestError: when a file cannot be read, the folder holds another job, a row has columns that would be
            written over, or more rows are bad than ``max_rejects`` allows; parts that are done stay.
        RerankError: when the model fails.
    """
    parts, batch, totals = job.parts(), RerankBatch(reranker, columns=job.columns), Totals()
    parts.open(decisive(job, reranker))
    for name, rows in chain.from_iterable(parts_of(job, position) for position in range(len(job.files))):
        counts = parts.done(name)
        totals.add(counts or parts.keep(name, len(rows), batch.score(rows)), kept=counts is not None)
        check_rejects(job, totals)
        if on_part is not None:
            on_part(totals)
    return totals


def check_rejects(job: Job, totals: Totals) -> None:
    """Whether a job may go on.

    Raises:
        InvalidRequestError: when more rows are bad than ``max_rejects`` allows.
    """
    if job.max_rejects is not None and totals.rejects > job.max_rejects:
        raise InvalidRequestError(
            f"{totals.rejects} of {totals.rows} rows are bad, and {job.max_rejects} may be. Which, and why: "
            f"{job.output}/rejects-*.jsonl.",
            code="too_many_rejects",
        )


def decisive(job: Job, reranker: Reranker) -> dict[str, Any]:
    """All that decides the output, as JSON has it. Loads the model and reads the files.

    Raises:
        InvalidRequestError: when a file cannot be read.
        RerankError: when the model cannot be loaded.
    """
    return {
        "model": reranker.scorer.identity,
        "encoding": ENCODING_VERSION,
        "columns": asdict(job.columns),
        "format": job.kind,
        "rows_per_part": job.rows_per_part,
        "files": [[file.name, _digest(file)] for file in job.files],
    }


def _digest(path: Path) -> str:
    with accessing(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parts_of(job: Job, position: int) -> Iterator[tuple[str, list[Row]]]:
    """The parts of one file of a job, with their names: the same whoever reads it.

    Raises:
        InvalidRequestError: when the file cannot be read.
    """
    for number, rows in enumerate(_in_parts(read_rows(job.files[position]), job)):
        yield f"{position:04}-{number:05}", rows


def _in_parts(rows: Iterable[Row], job: Job) -> Iterator[list[Row]]:
    """Rows in parts. Pairs of one query that stand beside each other stay together, as far as a part may grow."""
    part: list[Row] = []
    texts, last = 0, None
    for row in rows:
        size, query = _size(row, job.columns)
        full = len(part) >= job.rows_per_part or texts + size > _MOST_TEXTS
        goes_on = query is not None and query == last and texts + size <= _MOST_TEXTS
        if part and full and not goes_on:
            yield part
            part, texts = [], 0
        part.append(row)
        texts, last = texts + size, query
    if part:
        yield part


def _size(row: Row, columns: Columns) -> tuple[int, Any]:
    """How many texts a row has, and what tells the query of a pair apart; None for a row that stands alone."""
    values = row.values or {}
    documents = values.get(columns.documents)
    if isinstance(documents, list):
        return max(1, len(documents)), None
    return 1, values.get(columns.query_id, values.get(columns.query))
