"""Hard negatives out of scored rows: texts that score high and are not what the query asks for."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rerank_core.bulk.columns import BadRowError, Columns, Row, work_of
from rerank_core.bulk.formats import read_rows
from rerank_core.bulk.inputs import find_files
from rerank_core.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class Band:
    """Which texts are hard negatives of a query, by their relevance scores.

    Attributes:
        lowest: the least score, 0 to 1; below it a text is an easy negative.
        highest: the greatest score; above it an unlabelled text is probably an answer that nobody has labelled.
        of_positive: the greatest share of the score of the query's worst positive. NV-Retriever found .95 best of what
            it tried (TopK-PercPos, https://arxiv.org/abs/2407.15831).
        skip: how many of the best in the band are left out.
        most: how many a query may have.

    Raises:
        InvalidRequestError: when a value is out of range.
    """

    lowest: float = 0.0
    highest: float = 1.0
    of_positive: float = 0.95
    skip: int = 0
    most: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.lowest <= self.highest <= 1:
            raise InvalidRequestError(
                f"a band needs 0 <= lowest <= highest <= 1, got lowest={self.lowest!r} and highest={self.highest!r}."
            )
        if not 0 < self.of_positive <= 1:
            raise InvalidRequestError(f"of_positive must be above 0 and at most 1, got {self.of_positive!r}.")
        if self.skip < 0 or self.most < 1:
            raise InvalidRequestError(
                f"a band needs skip >= 0 and most >= 1, got skip={self.skip!r} and most={self.most!r}."
            )


@dataclass(frozen=True, slots=True, repr=False)
class Mined:
    """A query to train on.

    Attributes:
        query: the query.
        positive: its labelled answers, the best-scored first.
        negative: its hard negatives, the hardest first.
    """

    query: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    text: str
    score: float
    positive: bool


def scored_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a job's output, in order.

    Args:
        folder: the output folder of a job that wrote JSONL or Parquet.

    Raises:
        InvalidRequestError: when there are no parts, or one cannot be read.
        MissingDependencyError: for Parquet without pyarrow.
    """
    for file in find_files([folder / "part-*"]):
        for row in read_rows(file):
            if row.values is None:
                raise InvalidRequestError(f"{file.name}, row {row.number}: {row.reason}; is this a job's output?")
            yield dict(row.values)


def hard_negatives(
    rows: Iterable[Mapping[str, Any]],
    band: Band | None = None,
    *,
    positives: Mapping[Any, Container[Any]] | None = None,
    label: str = "label",
    columns: Columns | None = None,
) -> Iterator[Mined]:
    """Hard negatives for every query that has a positive, out of what a job scored.

    A text that is a positive too, word for word, is never a negative. Queries without a positive are left out: nothing
    says what their negatives must stay below.

    Args:
        rows: scored rows; those of one query stand beside each other.
        band: which scores are those of hard negatives; None for :class:`Band`'s own.
        positives: the ids of the documents that answer a query, by the query's id; None where the rows have labels.
        label: the column, or the field of a candidate that is an object, that is true for what answers the query.
        columns: what the rows' columns are called; None for the usual names.

    Raises:
        InvalidRequestError: when a row is not one of a job's output.
    """
    band, columns = band or Band(), columns or Columns()
    known = ((_key(row, columns), row) for row in rows)
    for _, beside in groupby(known, key=lambda each: each[0]):
        group = [row for _, row in beside]
        candidates = [each for row in group for each in _candidates(row, positives, label, columns)]
        mined = _mined(str(group[0][columns.query]), candidates, band)
        if mined is not None:
            yield mined


def _mined(query: str, candidates: Iterable[_Candidate], band: Band) -> Mined | None:
    ranked = sorted(candidates, key=lambda each: -each.score)
    positive = [each for each in ranked if each.positive]
    if not positive:
        return None
    highest = min(band.highest, band.of_positive * positive[-1].score)
    answers = {each.text for each in positive}
    hard = [each.text for each in ranked if band.lowest <= each.score <= highest and each.text not in answers]
    negative = [*dict.fromkeys(hard)][band.skip : band.skip + band.most]
    return Mined(query, tuple(dict.fromkeys(each.text for each in positive)), tuple(negative))


def _key(row: Mapping[str, Any], columns: Columns) -> Any:
    return row.get(columns.query_id, row.get(columns.query))


def _candidates(
    row: Mapping[str, Any], positives: Mapping[Any, Container[Any]] | None, label: str, columns: Columns
) -> Iterator[_Candidate]:
    try:
        work = work_of(Row("rows", 0, {name: row[name] for name in row if name not in columns.added()}), columns)
        scores = row[columns.added()[0]]
    except (BadRowError, KeyError):
        raise InvalidRequestError(
            f"expected scored rows, with {columns.query!r}, {columns.document!r} or {columns.documents!r}, and "
            f"{columns.added()[0]!r}: those of a job's output."
        ) from None
    labels = [row.get(label)] if work.pair else [_label(each, label) for each in row[columns.documents]]
    answers = None if positives is None else positives.get(work.key, ())
    for text, identifier, labelled, score in zip(
        work.texts, work.ids, labels, [scores] if work.pair else scores, strict=True
    ):
        yield _Candidate(text, float(score), bool(labelled) if answers is None else identifier in answers)


def _label(candidate: Any, label: str) -> Any:
    return candidate.get(label) if isinstance(candidate, Mapping) else None
