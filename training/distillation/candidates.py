"""What three first stages retrieve for every query, on the device: BM25 over word pieces, and two bi-encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from rerank_core.bm25 import K1, B
from training.retrieved import DEPTH

from .questions import Corpus, Part, Question
from .texts import Texts

QUERIES_AT_ONCE = 512
NEVER = -1e9
"""The score of a text that must not be a candidate."""


@dataclass(frozen=True)
class Depths:
    """How many candidates to train on come from where.

    Attributes:
        answers: labelled ones.
        bm25: its best.
        mpnet: its best.
        e5: its best.
        middle: drawn from what mpnet ranks further down.
        ranks: from which to which rank that is.
        random: any texts of the collection.
    """

    answers: int = 6
    bm25: int = 24
    mpnet: int = 32
    e5: int = 24
    middle: int = 14
    ranks: tuple[int, int] = (30, 200)
    random: int = 8


@dataclass(frozen=True)
class Lists:
    """Queries with candidates; all tensors have one row per list.

    Attributes:
        sources: the collection of each.
        queries: rows of texts; [lists].
        candidates: rows of texts; [lists, candidates].
        valid: which of them are there, each text once; [lists, candidates].
        grades: 0 where none is known; [lists, candidates].
    """

    sources: tuple[str, ...]
    queries: Tensor
    candidates: Tensor
    valid: Tensor
    grades: Tensor

    def part(self, rows: Sequence[int], depth: int | None = None) -> Lists:
        """Some of the lists, each with its first ``depth`` candidates."""
        kept = torch.tensor(rows, device=self.queries.device, dtype=torch.long)
        columns = (part[kept, :depth] for part in (self.candidates, self.valid, self.grades))
        return Lists(tuple(self.sources[row] for row in rows), self.queries[kept], *columns)

    def to(self, device: torch.device) -> Lists:
        """The same on a device."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)[1:]}
        return replace(self, **moved)


def joined(parts: Sequence[Lists]) -> Lists:
    """All lists of ``parts``, the narrower ones filled up."""
    width = max(part.candidates.shape[1] for part in parts)

    def column(name: str) -> Tensor:
        values = [getattr(part, name) for part in parts]
        return torch.cat([torch.nn.functional.pad(value, (0, width - value.shape[1])) for value in values])

    queries = torch.cat([part.queries for part in parts])
    sources = tuple(source for part in parts for source in part.sources)
    return Lists(sources, queries, column("candidates"), column("valid"), column("grades"))


def bm25_weights(texts: Texts, rows: Tensor, size: int) -> Tensor:
    """BM25's weight of every piece in every text of ``rows``, as ``rerank_core.bm25`` has it; sparse.

    Pieces of a vocabulary of ``size`` instead of stems, and no stop words: frequent pieces weigh little.

    Returns:
        [rows, size]
    """
    owner, ids = texts.tokens_of(rows)
    key, count = torch.unique(owner * size + ids, return_counts=True)
    owner, ids = key // size, key % size
    containing = torch.bincount(ids, minlength=size).float()
    idf = torch.log1p((len(rows) - containing + 0.5) / (containing + 0.5))
    length, frequency = texts.length[rows].float(), count.float()
    norm = K1 * (1 - B + B * length / length.mean())
    weights = idf[ids] * frequency * (K1 + 1) / (frequency + norm[owner])
    shape = (len(rows), size)
    return torch.sparse_coo_tensor(torch.stack([owner, ids]), weights, shape, check_invariants=True).coalesce()


def bm25_scores(weights: Tensor, texts: Texts, queries: Tensor) -> Tensor:
    """The score of every text for ``queries``, each of a query's pieces counted once; [queries, texts]."""
    owner, ids = texts.tokens_of(queries)
    asked = torch.zeros(weights.shape[1], len(queries), device=texts.device)
    asked[ids, owner] = 1.0
    scores: Tensor = torch.sparse.mm(weights, asked).T
    return scores


@dataclass(frozen=True)
class FirstStages:
    """What retrieves.

    Attributes:
        words: tokens of all texts, for BM25.
        size: of their vocabulary.
        mpnet: mean vectors of all texts.
        e5: mean vectors of all texts.
    """

    words: Texts
    size: int
    mpnet: Tensor
    e5: Tensor

    def scores(self, part: Part, weights: Tensor, questions: Sequence[Question]) -> tuple[Tensor, Tensor, Tensor]:
        """(BM25's, mpnet's, e5's) scores of a collection's texts, each [questions, texts]; excluded ones ``NEVER``."""
        queries = torch.tensor([asked.row for asked in questions], device=self.words.device)
        inside = slice(part.rows.start, part.rows.stop)
        found = (
            bm25_scores(weights, self.words, queries),
            self.mpnet[queries] @ self.mpnet[inside].T,
            self.e5[queries] @ self.e5[inside].T,
        )
        for scores in found:
            exclude(scores, part, questions)
        return found


def exclude(scores: Tensor, part: Part, questions: Sequence[Question]) -> None:
    """Give ``NEVER`` to what must not be a candidate, in place; ``scores`` is [questions, texts of the collection]."""
    for row, asked in enumerate(questions):
        scores[row, [place - part.rows.start for place in asked.excluded]] = NEVER


def grades_of(part: Part, questions: Sequence[Question], device: torch.device) -> Tensor:
    """[questions, texts of the collection]."""
    grades = torch.zeros(len(questions), len(part.rows), dtype=torch.long)
    for row, asked in enumerate(questions):
        for place, grade in asked.grades.items():
            grades[row, place - part.rows.start] = grade
    return grades.to(device)


def first_of_each(candidates: Tensor, valid: Tensor) -> Tensor:
    """``valid`` without the later ones of equal candidates."""
    marked = torch.where(valid, candidates, -1 - torch.arange(candidates.shape[1], device=candidates.device))
    order = marked.argsort(dim=1, stable=True)
    ordered = marked.gather(1, order)
    repeated = torch.zeros_like(valid)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return valid & ~torch.zeros_like(valid).scatter(1, order, repeated)


def to_train_on(
    part: Part, questions: Sequence[Question], stages: FirstStages, weights: Tensor, depths: Depths
) -> Lists:
    """The answers, the best of each first stage, some of the middle and some at random, in this order."""
    device, count = stages.words.device, len(part.rows)
    by_words, by_mpnet, by_e5 = stages.scores(part, weights, questions)
    grades = grades_of(part, questions, device)
    answers = grades.topk(min(depths.answers, count), dim=1).indices
    ranking = by_mpnet.topk(min(depths.ranks[1], count), dim=1).indices
    first = min(depths.ranks[0], ranking.shape[1] - 1)
    middle = torch.randint(first, ranking.shape[1], (len(questions), depths.middle), device=device)
    columns = [
        answers,
        by_words.topk(min(depths.bm25, count), dim=1).indices,
        ranking[:, : depths.mpnet],
        by_e5.topk(min(depths.e5, count), dim=1).indices,
        ranking.gather(1, middle),
        torch.randint(0, count, (len(questions), depths.random), device=device),
    ]
    found = torch.cat(columns, dim=1)
    valid = by_words.gather(1, found) > NEVER
    valid[:, : answers.shape[1]] &= grades.gather(1, answers) > 0
    return in_columns(part, questions, found, first_of_each(found, valid), grades)


def to_choose_on(part: Part, questions: Sequence[Question], stages: FirstStages, weights: Tensor) -> Lists:
    """The best of BM25 and of mpnet, best rank first, as ``training.retrieved`` has them of BM25 and MiniLM."""
    by_words, by_mpnet, _ = stages.scores(part, weights, questions)
    best = [scores.topk(min(DEPTH, len(part.rows)), dim=1).indices for scores in (by_words, by_mpnet)]
    found = torch.stack(best, dim=2).flatten(1)
    valid = first_of_each(found, by_words.gather(1, found) > NEVER)
    # What is there first, so that the first n of a list are what shorter lists would hold.
    order = (~valid).long().argsort(dim=1, stable=True)
    grades = grades_of(part, questions, stages.words.device)
    return in_columns(part, questions, found.gather(1, order), valid.gather(1, order), grades)


def in_columns(part: Part, questions: Sequence[Question], found: Tensor, valid: Tensor, grades: Tensor) -> Lists:
    """Lists of a collection's questions: the texts ``found`` in it, [questions, candidates], with their grades."""
    queries = torch.tensor([asked.row for asked in questions], device=found.device)
    sources = (part.name,) * len(questions)
    return Lists(sources, queries, found + part.rows.start, valid, grades.gather(1, found) * valid)


@torch.no_grad()
def mine(corpus: Corpus, stages: FirstStages, depths: Depths) -> tuple[Lists, Lists]:
    """(lists to train on, lists to choose on); of the latter those with an answer among the candidates."""
    training: list[Lists] = []
    choosing: list[Lists] = []
    for part in corpus.parts:
        rows = torch.arange(part.rows.start, part.rows.stop, device=stages.words.device)
        weights = bm25_weights(stages.words, rows, stages.size)
        for first in range(0, len(part.questions), QUERIES_AT_ONCE):
            questions = part.questions[first : first + QUERIES_AT_ONCE]
            if part.train:
                training.append(to_train_on(part, questions, stages, weights, depths))
            else:
                lists = to_choose_on(part, questions, stages, weights)
                choosing.append(lists.part((lists.grades > 0).any(1).nonzero().flatten().tolist()))
    return joined(training), joined(choosing)
