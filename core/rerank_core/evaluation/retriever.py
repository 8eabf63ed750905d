"""A user's own search as the first stage: a query goes in, texts come out."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.labelled import LabelledData, is_score
from rerank_core.ranking import as_float

Retriever = Callable[[str], Iterable[Any]]
"""A query in; texts, or pairs of a text and its score, best first, out."""


@dataclass(frozen=True, slots=True, repr=False)
class Search:
    """What a retriever found.

    Attributes:
        ranking: document ids by query, best first. Texts that are not in the data have ids of their own.
        documents: the texts of those ids.
        scores: by query and document; None where the retriever gives none.
        sha256: of all that it returned, in hexadecimal.
    """

    ranking: Mapping[str, Sequence[str]]
    documents: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float]] | None
    sha256: str


def load_retriever(name: str) -> Retriever:
    """The function that ``module:function`` names; modules of the current folder are found, too.

    Raises:
        InvalidRequestError: when there is none, or its module cannot be imported; the cause is chained.
    """
    module, colon, path = name.partition(":")
    if not colon or not module or not path:
        raise _wrong(f"{name!r} is no retriever; expected module:function.")
    try:
        with _current_folder():
            found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise _wrong(f"{name}: cannot be imported ({type(error).__name__}); is the module in this folder?") from error
    if not callable(found):
        raise _wrong(f"{name} is a {type(found).__name__}; expected a function of a query.")
    retriever: Retriever = found
    return retriever


def retriever_name(retriever: str | Retriever) -> str:
    """What a retriever is called in a report."""
    if isinstance(retriever, str):
        return retriever
    return str(getattr(retriever, "__qualname__", type(retriever).__qualname__))


def search(data: LabelledData, retriever: str | Retriever, *, depth: int, on_query: Callable[[], None]) -> Search:
    """The best ``depth`` texts of every query; a text that a query gets twice counts once.

    A text is the document of the data that has it. Where several do, it is the one with the highest grade.

    Raises:
        InvalidRequestError: when the retriever cannot be imported or fails, returns something else, or none of its
            texts is in the data.
    """
    name, function = retriever_name(retriever), load_retriever(retriever) if isinstance(retriever, str) else retriever
    names: dict[str, list[str]] = {}
    for identifier, text in data.documents.items():
        names.setdefault(text, []).append(identifier)
    known, digest = len(names), hashlib.sha256()
    ranking: dict[str, list[str]] = {}
    scores: dict[str, dict[str, float]] = {}
    others: dict[str, str] = {}
    for query, text in data.queries.items():
        found = _results(name, query, _called(name, function, query, text, depth))
        digest.update(json.dumps([query, found]).encode())
        grades = data.judgments[query]
        best: dict[str, float | None] = {}
        for result, score in found:
            if result not in names:
                identifier = f"retrieved:{len(names) - known}"
                names[result], others[identifier] = [identifier], result
            best.setdefault(max(names[result], key=lambda each: grades.get(each, 0)), score)
        ranking[query] = list(best)
        scores[query] = {document: score for document, score in best.items() if score is not None}
        on_query()
    if all(document in others for documents in ranking.values() for document in documents):
        raise _wrong(f"{name}: none of the texts that it returns is a document of {data.name}; texts must be the same.")
    complete = all(len(scores[query]) == len(documents) for query, documents in ranking.items())
    return Search(ranking, others, scores if complete else None, digest.hexdigest())


def _called(name: str, function: Retriever, query: str, text: str, depth: int) -> list[Any]:
    try:
        return list(islice(function(text), depth))
    except Exception as error:
        raise _wrong(f"{name} raised {type(error).__name__} for query {query!r}.") from error


def _results(name: str, query: str, values: Sequence[Any]) -> list[tuple[str, float | None]]:
    """Texts with their scores."""
    found: list[tuple[str, float | None]] = []
    for value in values:
        text, given = value if isinstance(value, tuple | list) and len(value) == 2 else (value, None)  # noqa: PLR2004
        score = as_float(given)  # NumPy's as well
        if not isinstance(text, str) or (given is not None and not is_score(score)):
            raise _wrong(
                f"{name}, query {query!r}: expected texts or (text, finite number); got {type(value).__name__}."
            )
        found.append((text, score))
    return found


@contextmanager
def _current_folder() -> Iterator[None]:
    """Commands do not look for modules in the current folder by themselves."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _wrong(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, param="retriever")
