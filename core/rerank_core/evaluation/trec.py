"""Files as TREC and BEIR have them: texts, judgments and runs."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.labelled import GRADE, GRADES
from rerank_core.evaluation.lines import conflict, read_lines, read_object

_TREC_QRELS_COLUMNS = 4


def read_texts(file: Path) -> dict[str, str]:
    """Texts by id; a document's title stands before its text, unless that begins with it.

    Raises:
        InvalidRequestError: when a line has no id, no text or a title that is not text, or an id has two texts.
    """
    texts: dict[str, str] = {}
    for number, identifier, text in each_text(file):
        if texts.setdefault(identifier, text) != text:
            raise conflict(file, number, f"another text of {identifier!r}")
    return texts


def each_text(file: Path) -> Iterator[tuple[int, str, str]]:
    """The texts of :func:`read_texts` one after the other: line number, id and text.

    Raises:
        InvalidRequestError: when a line has no id, no text or a title that is not text.
    """
    for number, line in read_lines(file):
        if line.startswith("{"):
            row = read_object(file, number, line)
            identifier, text, title = row.get("_id"), row.get("text"), row.get("title")
            if not isinstance(title, str | None):
                raise InvalidRequestError(f"{file.name}:{number}: 'title' must be a text, or left out.")
            if title and isinstance(text, str) and not text.startswith(title):
                text = f"{title} {text}"
        else:
            identifier, tab, text = line.partition("\t")
            text = text if tab else None
        if not isinstance(identifier, str | int) or not isinstance(text, str):
            raise InvalidRequestError(f"{file.name}:{number}: expected an id and a text.")
        yield number, str(identifier), text


def read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """Judgments: TREC's ``query iteration document grade``, or BEIR's three columns below a header.

    Raises:
        InvalidRequestError: when a line is neither, its grade is out of range, or a document has two grades.
    """
    judgments: dict[str, dict[str, int]] = {}
    for number, line in read_lines(file):
        try:
            cells = _qrels_cells(line)
            if cells[-1] == "score":
                continue
            query, document, last = cells
            grade = int(last)
        except (ValueError, csv.Error):
            raise InvalidRequestError(
                f"{file.name}:{number}: expected 'query 0 document grade' or 'query<TAB>document<TAB>grade'."
            ) from None
        if grade not in GRADES:
            raise InvalidRequestError(f"{file.name}:{number}: the grade must be {GRADE}.")
        if judgments.setdefault(query, {}).setdefault(document, grade) != grade:
            raise conflict(file, number, f"another grade of {document!r} for query {query!r}")
    return judgments


def _qrels_cells(line: str) -> list[str]:
    """Query, document and grade: BEIR may put quotes around its cells, TREC's quotes are part of the ids."""
    plain = line.split("\t") if "\t" in line else line.split()
    if len(plain) == _TREC_QRELS_COLUMNS:
        return [plain[0], *plain[2:]]
    cells = next(csv.reader([line], delimiter="\t"))
    return cells if len(cells) > 1 else plain


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """What a retriever found.

    Attributes:
        name: the file's.
        sha256: of the file, in hexadecimal.
        scores: by query and document.
    """

    name: str
    sha256: str
    scores: Mapping[str, Mapping[str, float]]


def read_run(file: Path) -> Run:
    """A TREC run: ``query Q0 document rank score name`` a line.

    Raises:
        InvalidRequestError: when a line is not one of a run, its score is no number, or a document has two scores for a
            query.
    """
    scores: dict[str, dict[str, float]] = {}
    digest = hashlib.sha256()
    for number, line in read_lines(file, digest):
        try:
            query, _, document, _, score, *_ = line.split()
            value = float(score)
        except ValueError:
            raise InvalidRequestError(f"{file.name}:{number}: expected 'query Q0 document rank score name'.") from None
        if math.isnan(value):
            raise InvalidRequestError(f"{file.name}:{number}: the score is no number.")
        if scores.setdefault(query, {}).setdefault(document, value) != value:
            raise conflict(file, number, f"another score of {document!r} for query {query!r}")
    return Run(file.name, digest.hexdigest(), scores)
