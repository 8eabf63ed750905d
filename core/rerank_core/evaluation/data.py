"""Labelled data: queries, documents and judgments, from the layouts people have them in.

- a folder in BEIR layout (https://github.com/beir-cellar/beir): ``corpus.jsonl``, ``queries.jsonl`` and
  ``qrels/test.tsv``;
- a JSONL file written by hand: ``{"query": str, "documents": [str, ...], "relevant": [positions]}`` a line, or
  ``"grades"`` with one grade for each document;
- files as TREC has them: judgments (``query 0 document grade``), texts and queries;
- an ``ir_datasets`` id (https://ir-datasets.com), written ``ir_datasets:ID``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.files import accessing
from rerank_core.optional import optional

Judgments = Mapping[str, Mapping[str, int]]
"""Query id to document id to grade; 0 is not relevant."""

GRADES = range(-1_000, 1_001)
"""What a grade may be: trec_eval's C code takes memory in proportion to the greatest."""

BEIR_FILES = {"queries": "queries.jsonl", "texts": "corpus.jsonl", "qrels": "qrels/test.tsv"}
"""What a folder in BEIR layout has, by the name of the argument that may take its place."""

_GRADE = f"a whole number from {GRADES[0]} to {GRADES[-1]}"
_TREC_QRELS_COLUMNS = 4
_ENCODING = "utf-8-sig"  # with a byte order mark or without
_IR_DATASETS = "ir_datasets:"


@dataclass(frozen=True, slots=True, repr=False)
class LabelledData:
    """What a reranker is measured on.

    Attributes:
        name: for people.
        queries: id to text; only queries that have judgments.
        documents: id to text.
        judgments: what is known of their relevance.
        candidates: the documents of each query, where the data comes with them (hand-written JSONL).
        without_text: how many queries were judged and are not here, for want of a text.

    Judgments and candidates of other queries are left out: means are over the queries.

    Raises:
        InvalidRequestError: when there are no queries, a query is blank or has no judgments, a candidate has no text,
            or what should be an id, a text or a grade is not; the message names the id.
    """

    name: str
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    judgments: Judgments
    candidates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    without_text: int = 0

    def __post_init__(self) -> None:
        if not self.queries:
            raise InvalidRequestError(f"{self.name} has no queries.", param="queries")
        for part in ("queries", "documents"):
            _check_texts(self.name, part, getattr(self, part))
        blank = next((query for query, text in self.queries.items() if not text.strip()), None)
        if blank is not None:
            raise InvalidRequestError(f"{self.name}: query {blank!r} is blank; leave it out.", param="queries")
        bare = [query for query in self.queries if not self.judgments.get(query)]
        if bare:
            raise InvalidRequestError(
                f"{self.name}: {len(bare)} of {len(self.queries)} queries have no judgments, {bare[0]!r} is one.",
                param="judgments",
            )
        for name in ("judgments", "candidates"):
            known = {query: value for query, value in getattr(self, name).items() if query in self.queries}
            object.__setattr__(self, name, known)
        _check_grades(self.name, self.judgments)
        unknown = {name for names in self.candidates.values() for name in names} - self.documents.keys()
        if unknown:
            raise InvalidRequestError(f"{self.name}: {len(unknown)} candidates have no text.", param="candidates")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.queries)} queries, {len(self.documents)} documents)"

    @property
    def checksum(self) -> str:
        """SHA-256 of everything that decides a figure, in hexadecimal."""
        digest = hashlib.sha256()
        for part in (self.queries, self.documents, self.judgments, self.candidates):
            digest.update(json.dumps(part, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def load_data(
    source: str | Path | None = None,
    *,
    queries: Path | None = None,
    texts: Path | None = None,
    qrels: Path | None = None,
) -> LabelledData:
    """Read labelled data.

    Files may begin with a byte order mark.

    Args:
        source: a BEIR folder, a JSONL file or a pipe with one, or ``ir_datasets:ID``; None where the three files say it
            all. The other arguments are for folders, or for no source.
        queries: queries in place of the source's own: JSONL with ``_id`` and ``text``, or ``id<TAB>text`` lines.
        texts: documents in place of the source's own, in the same formats.
        qrels: judgments in place of the source's own: TREC's four columns, or BEIR's three with a header.

    Raises:
        InvalidRequestError: when something is missing or malformed, or said twice and differently; the message has file
            and line. Also when ``ir_datasets`` cannot fetch or read what is asked for.
        MissingDependencyError: when ``ir_datasets`` is asked for and not installed.
    """
    given = {"queries": queries, "texts": texts, "qrels": qrels}
    if source is not None and str(source).startswith(_IR_DATASETS):
        _refuse(given, "a data set of ir_datasets")
        return _read_ir_dataset(str(source).removeprefix(_IR_DATASETS))
    path = None if source is None else Path(source)
    if path is not None and _is_file(path):
        _refuse(given, "a JSONL file")
        return _read_hand_written(path)
    if path is not None and not _is_folder(path):
        raise InvalidRequestError(f"there is no {path}: expected a BEIR folder, a JSONL file or ir_datasets:ID.")
    files = {name: given[name] or _inside(path, inside) for name, inside in BEIR_FILES.items()}
    missing = [f"--{name}" for name, file in files.items() if file is None or not _is_file(file)]
    if missing:
        where = f"{path} is no BEIR folder" if path is not None else "no data was named"
        raise InvalidRequestError(f"{where}, and these files are missing: {', '.join(missing)}.")
    judgments = read_qrels(_known(files["qrels"]))
    found = read_texts(_known(files["queries"]))
    name = path.name if path is not None else _known(files["qrels"]).stem
    return _checked(name, found, read_texts(_known(files["texts"])), judgments)


def read_texts(file: Path) -> dict[str, str]:
    """Texts by id; a document's title stands before its text, unless that begins with it.

    Raises:
        InvalidRequestError: when a line has no id, no text or a title that is not text, or an id has two texts.
    """
    texts: dict[str, str] = {}
    for number, line in _lines(file):
        if line.startswith("{"):
            row = _json(file, number, line)
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
        if texts.setdefault(str(identifier), text) != text:
            raise _said_twice(file, number, f"another text of {str(identifier)!r}")
    return texts


def read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """Judgments: TREC's ``query iteration document grade``, or BEIR's three columns below a header.

    Raises:
        InvalidRequestError: when a line is neither, its grade is out of range, or a document has two grades.
    """
    judgments: dict[str, dict[str, int]] = {}
    for number, line in _lines(file):
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
            raise InvalidRequestError(f"{file.name}:{number}: the grade must be {_GRADE}.")
        if judgments.setdefault(query, {}).setdefault(document, grade) != grade:
            raise _said_twice(file, number, f"another grade of {document!r} for query {query!r}")
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
    for number, line in _lines(file, digest):
        try:
            query, _, document, _, score, *_ = line.split()
            value = float(score)
        except ValueError:
            raise InvalidRequestError(f"{file.name}:{number}: expected 'query Q0 document rank score name'.") from None
        if math.isnan(value):
            raise InvalidRequestError(f"{file.name}:{number}: the score is no number.")
        if scores.setdefault(query, {}).setdefault(document, value) != value:
            raise _said_twice(file, number, f"another score of {document!r} for query {query!r}")
    return Run(file.name, digest.hexdigest(), scores)


def _read_hand_written(file: Path) -> LabelledData:
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    judgments: dict[str, dict[str, int]] = {}
    candidates: dict[str, list[str]] = {}
    for number, line in _lines(file):
        row = _json(file, number, line)
        query, (texts, grades) = row.get("query"), _graded(file, number, row)
        if not isinstance(query, str) or not query.strip():
            raise InvalidRequestError(f"{file.name}:{number}: 'query' must be a text that says something.")
        name = f"q{number}"
        identifiers = [f"{name}d{position}" for position in range(len(texts))]
        queries[name] = query
        documents.update(zip(identifiers, texts, strict=True))
        judgments[name] = dict(zip(identifiers, grades, strict=True))
        candidates[name] = identifiers
    if not queries:
        raise InvalidRequestError(f"{file} has no queries.")
    return LabelledData(file.stem, queries, documents, judgments, candidates)


def _graded(file: Path, number: int, row: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """The documents of a hand-written line, and the grade of each."""
    texts, relevant, grades = row.get("documents"), row.get("relevant"), row.get("grades")
    where = f"{file.name}:{number}"
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError(f"{where}: 'documents' must be a list of texts.")
    if grades is not None:
        if relevant is not None:
            raise InvalidRequestError(f"{where}: both 'relevant' and 'grades' are given; leave one of them out.")
        if not isinstance(grades, list) or len(grades) != len(texts) or not all(map(_is_grade, grades)):
            raise InvalidRequestError(f"{where}: 'grades' must have {_GRADE} for each of the documents.")
        return texts, grades
    if not isinstance(relevant, list) or not all(type(p) is int and 0 <= p < len(texts) for p in relevant):
        raise InvalidRequestError(
            f"{where}: 'relevant' must list positions in 'documents', from 0 to {len(texts) - 1}; or give 'grades'."
        )
    return texts, [int(position in relevant) for position in range(len(texts))]


def _read_ir_dataset(identifier: str) -> LabelledData:
    with optional("reading ir_datasets:ID", extra="ir-datasets"):
        import ir_datasets
    try:
        queries, documents, judgments = _ir_dataset_parts(ir_datasets.load, identifier)
    except (RerankError, LookupError, AttributeError, TypeError, NameError):  # ours, or a mistake in its code
        raise
    except Exception as error:  # a download that failed, files that are absent or damaged: each format has its own
        raise InvalidRequestError(
            f"ir_datasets cannot read {identifier!r}: {type(error).__name__}. It downloads data at the first use: "
            "check the network. Licensed files have to be put in place as https://ir-datasets.com says."
        ) from error
    return _checked(identifier, queries, documents, judgments)


def _ir_dataset_parts(
    load: Callable[[str], Any], identifier: str
) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Queries, documents and judgments."""
    try:
        dataset = load(identifier)
    except KeyError:
        raise InvalidRequestError(f"ir_datasets knows no {identifier!r}; see https://ir-datasets.com.") from None
    for part in ("queries", "docs", "qrels"):
        if not getattr(dataset, f"has_{part}")():
            raise InvalidRequestError(f"{identifier} of ir_datasets has no {part}; one of its subsets may have them.")
    judgments: dict[str, dict[str, int]] = {}
    for row in dataset.qrels_iter():
        judgments.setdefault(row.query_id, {})[row.doc_id] = row.relevance
    queries = {row.query_id: row.default_text() for row in dataset.queries_iter()}
    documents = {row.doc_id: row.default_text() for row in dataset.docs_iter()}
    return queries, documents, judgments


def _checked(name: str, queries: Mapping[str, str], documents: Mapping[str, str], judgments: Judgments) -> LabelledData:
    judged = {query: text for query, text in queries.items() if judgments.get(query) and text.strip()}
    if not judged:
        raise InvalidRequestError(f"{name}: no query has judgments; do the ids of queries and qrels agree?")
    known = {query: judgments[query] for query in judged}
    return LabelledData(name, judged, documents, known, without_text=len(judgments) - len(judged))


def _refuse(given: Mapping[str, Path | None], source: str) -> None:
    """What would be ignored is a mistake."""
    for name, file in given.items():
        if file is not None:
            raise InvalidRequestError(f"{source} has its own {name}; leave --{name} out.", param=name)


def _check_texts(name: str, part: str, texts: Mapping[str, str]) -> None:
    for identifier, text in texts.items():
        if not _is_id(identifier):
            raise InvalidRequestError(
                f"{name}, {part}: {identifier!r} is no id; expected a str, without NUL and lone surrogates.", param=part
            )
        if not isinstance(text, str):
            raise InvalidRequestError(
                f"{name}, {part}: {identifier!r} has a text of type {type(text).__name__}; expected str.", param=part
            )


def _check_grades(name: str, judgments: Judgments) -> None:
    for query, grades in judgments.items():
        for document, grade in grades.items():
            if not _is_id(document):
                raise InvalidRequestError(
                    f"{name}: {document!r}, judged for query {query!r}, is no id; expected a str, without NUL and lone "
                    "surrogates.",
                    param="judgments",
                )
            if not _is_grade(grade):
                raise InvalidRequestError(
                    f"{name}: the grade of {document!r} for query {query!r} must be {_GRADE}, as an int.",
                    param="judgments",
                )


def _is_id(value: object) -> bool:
    """Whether trec_eval's C code takes it for what it is: there a lone surrogate ends the process, and NUL the id."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_grade(value: object) -> bool:
    return type(value) is int and value in GRADES


def _said_twice(file: Path, number: int, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"{file.name}:{number}: a line above has {what}; leave one of the two out.")


def _is_file(path: Path) -> bool:
    """Whether there are lines to read: in a file, or from a pipe."""
    with accessing(path):
        return path.exists() and not path.is_dir()


def _is_folder(path: Path) -> bool:
    with accessing(path):
        return path.is_dir()


def _inside(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name


def _known(file: Path | None) -> Path:
    if file is None:
        raise InvalidRequestError("a file is missing.")
    return file


def _lines(file: Path, digest: hashlib._Hash | None = None) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers; ``digest`` gets all of them."""
    try:
        with accessing(file), file.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if digest is not None:
                    digest.update(raw)
                line = raw.decode(_ENCODING if number == 1 else "utf-8")
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{file.name}:{number}: this is not UTF-8; save the file as UTF-8.") from None


def _json(file: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise InvalidRequestError(f"{file.name}:{number}: expected a JSON object.")
    return row
