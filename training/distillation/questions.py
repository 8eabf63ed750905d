"""The corpus as rows: all texts and queries numbered through, so that tensors can speak of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.corpus import TRAIN, Collection, Triple

TEXT_TOKENS, QUERY_TOKENS, TRIPLE_TOKENS = 448, 96, 300
"""The most tokens that are kept of a collection's text, of a query, and of a triple's answer or rival."""


@dataclass(frozen=True)
class Question:
    """A query: its row, its answers' rows with their grades, and the rows that must not be candidates."""

    row: int
    grades: dict[int, int]
    excluded: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A collection: the rows of its texts, and what is asked of them."""

    name: str
    train: bool
    rows: range
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Corpus:
    """All texts, queries and triples included, with the most tokens that are kept of each.

    Attributes:
        triples: rows of (query, answer, rival).
        kinds: the rule that made each triple.
    """

    texts: list[str]
    limits: list[int]
    parts: list[Part]
    triples: list[tuple[int, int, int]]
    kinds: list[str]

    def rows_to_train_on(self, device: torch.device) -> Tensor:
        """The rows of the texts of the collections to train on."""
        rows = [torch.arange(part.rows.start, part.rows.stop) for part in self.parts if part.train]
        return torch.cat(rows).to(device)


def number_through(collections: Sequence[Collection], triples: Sequence[Triple]) -> Corpus:
    """Give every text and every query a row."""
    texts: list[str] = []
    limits: list[int] = []

    def add(text: str, limit: int) -> int:
        texts.append(text)
        limits.append(limit)
        return len(texts) - 1

    parts = []
    for collection in collections:
        first = len(texts)
        for text in collection.texts:
            add(text, TEXT_TOKENS)
        rows = range(first, len(texts))
        questions = tuple(
            Question(
                add(query.text, QUERY_TOKENS),
                {first + row: grade for row, grade in query.grades.items()},
                tuple(first + row for row in query.excluded),
            )
            for query in collection.queries
        )
        parts.append(Part(collection.name, collection.use == TRAIN, rows, questions))
    rows_of_triples = [
        (add(item.query, QUERY_TOKENS), add(item.answer, TRIPLE_TOKENS), add(item.rival, TRIPLE_TOKENS))
        for item in triples
    ]
    return Corpus(texts, limits, parts, rows_of_triples, [item.kind for item in triples])
