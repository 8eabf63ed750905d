"""A job: rows out of files, in parts through the model, into a folder; what is done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from rerank_core.bulk.columns import BadRowError, Columns, Row, work_of
from rerank_core.bulk.formats import kinds_of, read_rows, rows_about
from rerank_core.bulk.inputs import KINDS, Input, named_kinds
from rerank_core.bulk.parts import Counts, Format, Parts
from rerank_core.bulk.runs import read_run
from rerank_core.bulk.scoring import RerankBatch
from rerank_core.bulk.texts import Texts, keep_texts
from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.inference.encoding import ENCODING_VERSION
from rerank_core.reranker import Reranker

ROWS_PER_PART = 1_000
# What a part has at most, so that memory stays bounded: one with long rows or many candidates has fewer rows.
_MOST_TEXTS = 20_000
_MOST_CHARACTERS = 32_000_000
_RUNS = (".trec", ".run")


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        files: where the rows are, in order: paths, URLs, or what :func:`~rerank_core.bulk.find_files` found.
        output: the folder of the output.
        columns: which columns are read, and what the added ones are called.
        kind: the format of the output.
        rows_per_part: how many rows are scored before they are written; what is lost at most when the job is ended.
        max_rejects: how many rows may be bad; None for any number.
        queries: the queries of TREC runs: JSONL with ``_id`` and ``text``, or ``id<TAB>text`` lines.
        texts: the documents of TREC runs, in the same formats.

    Raises:
        InvalidRequestError: when there are no files, one is of no known kind, ``rows_per_part`` is below 1, or TREC
            runs and their texts do not come together.
    """

    files: Sequence[str | Path | Input]
    output: Path
    columns: Columns = field(default_factory=Columns)
    kind: Format = "jsonl"
    rows_per_part: int = ROWS_PER_PART
    max_rejects: int | None = None
    queries: Path | None = None
    texts: Sequence[Path] = ()

    def __post_init__(self) -> None:
        if self.rows_per_part < 1:
            raise InvalidRequestError(f"rows_per_part must be at least 1, got {self.rows_per_part}.")
        if not self.files:
            raise InvalidRequestError("files is empty; a job needs at least one.", param="files")
        for file in self.inputs():
            if file.kind not in KINDS:
                raise InvalidRequestError(f"{file.name}: expected a file of {named_kinds()}.", param="files")
        runs = [file.name for file in self.inputs() if file.kind in _RUNS]
        if runs and not (self.queries and self.texts):
            raise InvalidRequestError(
                f"{runs[0]} is a TREC run, which has ids only: name the files of its texts too (--queries, --texts).",
                param="texts",
            )
        if not runs and (self.queries or self.texts):
            raise InvalidRequestError("queries and texts are for TREC runs, and no file is one.", param="texts")

    def inputs(self) -> list[Input]:
        """The files."""
        return [file if isinstance(file, Input) else Input(str(file)) for file in self.files]

    def parts(self) -> Parts:
        """What is kept of the output.

        Raises:
            MissingDependencyError: for Parquet without pyarrow.
        """
        return Parts(self.output, self.kind, self.columns)

    def resolved(self) -> Job:
        """The same job, whatever the working folder is."""
        return replace(
            self,
            files=[file.resolved() for file in self.inputs()],
            output=self.output.resolve(),
            queries=self.queries and self.queries.resolve(),
            texts=[file.resolve() for file in self.texts],
        )

    def rows(self, position: int) -> Iterator[Row]:
        """The rows of a file; of a TREC run with their texts, which :meth:`keep_texts` has kept.

        Raises:
            InvalidRequestError: when the file cannot be read.
        """
        file = self.inputs()[position]
        if file.kind not in _RUNS:
            yield from read_rows(file)
            return
        with closing(Texts(self.parts().texts)) as texts:
            yield from read_run(file, self.columns, texts)

    def rows_about(self) -> int:
        """How many rows there are, estimated from sizes where a file does not say it.

        Raises:
            InvalidRequestError: when a file cannot be read.
        """
        return sum(map(rows_about, self.inputs()))

    def keep_texts(self) -> None:
        """Keep the texts of TREC runs in the output's folder, for whoever reads rows.

        Raises:
            InvalidRequestError: when a text's line is malformed, or an id has two texts.
        """
        if self.queries is not None:
            keep_texts(self.parts().texts, queries=self.queries, texts=self.texts)


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """Some rows of a file.

    Attributes:
        name: of the part.
        rows: the rows.
        kinds: pyarrow's types of their columns, where they are known.
    """

    name: str
    rows: Sequence[Row]
    kinds: Mapping[str, Any]


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
        expected: rows of all files, about.
        workers: how many rerankers are at work.
    """

    rows: int = 0
    scored: int = 0
    rejects: int = 0
    pairs: int = 0
    tokens: int = 0
    kept: int = 0
    expected: int = 0
    workers: int = 1

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
    parts, batch, totals = job.parts(), RerankBatch(reranker, columns=job.columns), Totals(expected=job.rows_about())
    parts.open(decisive(job, reranker.scorer.identity))
    job.keep_texts()
    for part in chain.from_iterable(parts_of(job, position) for position in range(len(job.files))):
        counts = parts.done(part.name)
        totals.add(counts or score_part(part, batch, parts), kept=counts is not None)
        check_rejects(job, totals)
        if on_part is not None:
            on_part(totals)
    parts.tidy()
    return totals


def score_part(part: Part, batch: RerankBatch, parts: Parts) -> Counts:
    """Score a part and write it.

    Raises:
        InvalidRequestError: when a row has columns that would be written over, or the part cannot be written.
        RerankError: when the model fails.
    """
    return parts.keep(part.name, len(part.rows), batch.score(part.rows), part.kinds)


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


def decisive(job: Job, model: str) -> dict[str, Any]:
    """All that decides the output, as JSON has it. Reads the files.

    Args:
        job: the job.
        model: the identity of what scores.

    Raises:
        InvalidRequestError: when a file cannot be read.
    """
    return {
        "model": model,
        "encoding": ENCODING_VERSION,
        "columns": asdict(job.columns),
        "format": job.kind,
        "rows_per_part": job.rows_per_part,
        "files": [[file.name, file.fingerprint()] for file in job.inputs()],
        "texts": [[file.name, file.fingerprint()] for file in _files_of_texts(job)],
    }


def _files_of_texts(job: Job) -> list[Input]:
    return [Input(str(file)) for file in (job.queries, *job.texts) if file is not None]


def parts_of(job: Job, position: int) -> Iterator[Part]:
    """The parts of one file of a job: the same whoever reads it.

    Raises:
        InvalidRequestError: when the file cannot be read.
    """
    kinds = kinds_of(job.inputs()[position])
    for number, rows in enumerate(_in_parts(job.rows(position), job)):
        yield Part(f"{position:04}-{number:05}", rows, kinds)


def _in_parts(rows: Iterable[Row], job: Job) -> Iterator[list[Row]]:
    """Rows in parts. Pairs of one query that stand beside each other stay together, as far as a part may grow."""
    part: list[Row] = []
    texts = characters = 0
    last = None
    for row in rows:
        size = _size(row, job.columns)
        query = last if size.bad else size.query
        fits = texts + size.texts <= _MOST_TEXTS and characters + size.characters <= _MOST_CHARACTERS
        goes_on = len(part) < job.rows_per_part or (query is not None and query == last)
        if part and not (fits and goes_on):
            yield part
            part, texts, characters = [], 0, 0
        part.append(row)
        texts, characters, last = texts + size.texts, characters + size.characters, query
    if part:
        yield part


class _Size(NamedTuple):
    """What a row takes.

    Attributes:
        texts: to score.
        characters: of its texts and other columns.
        query: of a pair; None for a row that stands alone.
        bad: whether it cannot be scored, and so parts no pairs of one query.
    """

    texts: int
    characters: int
    query: Any
    bad: bool


def _size(row: Row, columns: Columns) -> _Size:
    cells = (row.values or {}).values()
    characters = sum(len(cell) for cell in cells if isinstance(cell, str))
    try:
        work = work_of(row, columns)
    except BadRowError:
        return _Size(1, characters, None, bad=True)
    candidates = 0 if work.pair else sum(map(len, work.texts))
    return _Size(len(work.texts), characters + candidates, work.shared_query, bad=False)
