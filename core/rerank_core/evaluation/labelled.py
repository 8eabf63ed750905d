"""What a reranker is measured on: queries, documents and judgments."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rerank_core.errors import InvalidRequestError

Judgments = Mapping[str, Mapping[str, int]]
"""Query id to document id to grade; 0 is not relevant."""

GRADES = range(-1_000, 1_001)
"""What a grade may be: trec_eval's C code takes memory in proportion to the greatest."""


GRADE = f"a whole number from {GRADES[0]} to {GRADES[-1]}"


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
        retrieval_scores: a retriever's scores of the candidates, by query and document, where the data comes with them.

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
    retrieval_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

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
        for name in ("judgments", "candidates", "retrieval_scores"):
            known = {query: value for query, value in getattr(self, name).items() if query in self.queries}
            object.__setattr__(self, name, known)
        _check_grades(self.name, self.judgments)
        _check_scores(self)
        unknown = {name for names in self.candidates.values() for name in names} - self.documents.keys()
        if unknown:
            raise InvalidRequestError(f"{self.name}: {len(unknown)} candidates have no text.", param="candidates")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.queries)} queries, {len(self.documents)} documents)"

    @property
    def checksum(self) -> str:
        """SHA-256 of everything that decides a figure, in hexadecimal."""
        digest = hashlib.sha256()
        parts: list[object] = [self.queries, self.documents, self.judgments, self.candidates]
        for part in parts + [self.retrieval_scores] * bool(self.retrieval_scores):
            digest.update(json.dumps(part, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def judged(name: str, queries: Mapping[str, str], documents: Mapping[str, str], judgments: Judgments) -> LabelledData:
    """The data with the queries that have judgments and a text.

    Raises:
        InvalidRequestError: when no query has both.
    """
    texts = {query: text for query, text in queries.items() if judgments.get(query) and text.strip()}
    if not texts:
        raise InvalidRequestError(f"{name}: no query has judgments; do the ids of queries and qrels agree?")
    known = {query: judgments[query] for query in texts}
    return LabelledData(name, texts, documents, known, without_text=len(judgments) - len(texts))


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
            if not is_grade(grade):
                raise InvalidRequestError(
                    f"{name}: the grade of {document!r} for query {query!r} must be {GRADE}, as an int.",
                    param="judgments",
                )


def _check_scores(data: LabelledData) -> None:
    for query, scores in data.retrieval_scores.items():
        wanted = data.candidates.get(query, ())
        wrong = next((name for name in wanted if not is_score(scores.get(name))), None)
        if wrong is not None or len(scores) != len(set(wanted)):
            raise InvalidRequestError(
                f"{data.name}: retrieval_scores of query {query!r} must have one finite number for each of its "
                "candidates, and for no other document.",
                param="retrieval_scores",
            )
    if data.retrieval_scores and data.retrieval_scores.keys() != data.candidates.keys():
        raise InvalidRequestError(
            f"{data.name}: all queries with candidates must have retrieval_scores, or none.", param="retrieval_scores"
        )


def is_score(value: object) -> bool:
    """Whether it is a finite number."""
    return type(value) in {int, float} and -math.inf < value < math.inf  # type: ignore[operator]  # a number


def _is_id(value: object) -> bool:
    """Whether trec_eval's C code takes it for what it is: there a lone surrogate ends the process, and NUL the id."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_grade(value: object) -> bool:
    """Whether it is a whole number that trec_eval takes."""
    return type(value) is int and value in GRADES
