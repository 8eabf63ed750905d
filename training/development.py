"""Lists to choose on: whole collections searched, texts graded as TREC does.

The answer has grade 3, another text on its topic grade 1. Lists of an answer and its hardest negatives alone
would be saturated, and would teach that being on the topic is a fault.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from rerank_core.bm25 import Bm25

from .data import Example, Split, passages, take_sentence
from .mining import GradedList, embed, sample
from .model import RerankMini

ANSWER, ON_TOPIC = 3, 1
QUERIES = 60
NEIGHBOURHOOD = 6
"""Paragraphs so many places apart in their source, which has them article by article, count as on the same topic."""


@dataclass(frozen=True)
class Search:
    """Finds candidates as a first stage would: BM25's best and the bi-encoder's."""

    model: RerankMini
    tokenizer: Tokenizer

    def lists(
        self,
        source: str,
        queries: Sequence[str],
        corpus: Sequence[str],
        grade: Callable[[int, str], int],
        depth: int = 20,
    ) -> Iterable[GradedList]:
        """The lists that hold at least one relevant text; ``grade`` gets a query's number and a text."""
        index = Bm25(corpus)
        by_words = [index.top(query, depth) for query in queries]
        similarity = embed(self.model, self.tokenizer, queries) @ embed(self.model, self.tokenizer, corpus).T
        by_meaning = np.argsort(-similarity, axis=1)[:, :depth]
        for number, query in enumerate(queries):
            texts = tuple(corpus[row] for row in dict.fromkeys([*by_words[number], *by_meaning[number]]))
            grades = tuple(grade(number, text) for text in texts)
            if any(grades):
                yield GradedList(source, query, texts, grades)


def labelled_grade(rows: Sequence[Example]) -> Callable[[int, str], int]:
    """Answers by their label; labelled negatives, which stand beside the answer, are on the topic."""

    def grade(number: int, text: str) -> int:
        row = rows[number]
        return ANSWER if text in row.positives else ON_TOPIC if text in row.negatives else 0

    return grade


def nearby_grade(answers: Sequence[str], articles: Sequence[str]) -> Callable[[int, str], int]:
    """The answer itself, and paragraphs close to it in ``articles``, the paragraphs in their source's order."""
    place = {text: number for number, text in enumerate(articles)}

    def grade(number: int, text: str) -> int:
        distance = abs(place[text] - place[answers[number]])
        return ANSWER if distance == 0 else ON_TOPIC if distance <= NEIGHBOURHOOD else 0

    return grade


def sentence_queries(
    texts: Sequence[str], corpus: Sequence[str], generator: random.Random
) -> tuple[list[str], list[str], list[str]]:
    """(queries, answers, corpus): a sentence of each text asks for the rest, which takes the text's place."""
    taken = {text: found for text in texts if (found := take_sentence(text, generator))}
    rest = {text: taken[text][1] for text in list(taken)[:QUERIES]}
    return [taken[text][0] for text in rest], list(rest.values()), [rest.get(text, text) for text in corpus]


def build_graded_lists(
    examples: Mapping[str, Split], model: RerankMini, tokenizer: Tokenizer, seed: int = 5
) -> list[GradedList]:
    """Lists of six sources, queries held out from training, searched for in all texts of their kind."""
    search = Search(model, tokenizer)
    generator = random.Random(seed)
    held_out = {name: sample(split.held_out, QUERIES, seed) for name, split in examples.items()}
    questions = {name: [row.query for row in rows] for name, rows in held_out.items()}
    everything = {name: passages(split.source) for name, split in examples.items()}
    lists: list[GradedList] = []

    articles = everything["squad_dev36"]
    answers = [row.positives[0] for row in held_out["squad_dev36"]]
    lists.extend(search.lists("squad", questions["squad_dev36"], articles, nearby_grade(answers, articles)))

    paragraphs = sample(passages(examples["squad_dev36"].held_out), 3 * QUERIES, seed)
    queries, answers, corpus = sentence_queries(paragraphs, articles, generator)
    lists.extend(search.lists("squad_sentence", queries, corpus, nearby_grade(answers, corpus)))

    abstracts = passages(examples["pubmedqa"].held_out)
    queries, answers, corpus = sentence_queries(sample(abstracts, 3 * QUERIES, seed), abstracts, generator)
    rows = [Example(query, (answer,), ()) for query, answer in zip(queries, answers, strict=True)]
    lists.extend(search.lists("pubmed_sentence", queries, corpus, labelled_grade(rows)))

    for name, corpus in (
        ("selqa", passages(examples["selqa"].held_out)),
        ("nq_gold", list(dict.fromkeys([*everything["nq_gold"], *articles]))),
        ("medquad", passages(examples["medquad"].held_out)),
    ):
        lists.extend(search.lists(name, questions[name], corpus, labelled_grade(held_out[name])))
    return lists
