"""Lists to choose on that look like use: what two first stages retrieve, graded, of sources no model is trained on.

Three kinds of text: technical (PostgreSQL's documentation: entries of its index, which people made, and sentences taken
out of a section), medical (PubMedQA: titles that ask, and sentences taken out of an abstract) and encyclopaedic (SelQA:
questions and sentences of Wikipedia). A text is a candidate when it is among the
best 50 of BM25 or of all-MiniLM-L6-v2; candidates stand in the order of their better rank, so the first ``n`` of a list
are what shorter lists of both would hold.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from rerank_core.bm25 import Bm25

from .data import passages, read_set, take_sentence
from .documentation import Passage, passages_of, read_index, read_package
from .mining import GradedList, sample, write_lists
from .vectors import PASSAGE, QUERY, VectorStore, write_texts

ANSWER, ON_TOPIC = 3, 1
DEPTH = 50
QUERIES = 100
TECHNICAL = "postgresql-doc-15"
KIND = {
    "postgres_index": "technical",
    "postgres_sentence": "technical",
    "pubmed_question": "medical",
    "pubmed_sentence": "medical",
    "selqa": "encyclopaedic",
}
"""Which kind of text a source is; a choice counts every kind alike."""

WORDED = re.compile(r"[A-Za-z][A-Za-z '\-]+")


@dataclass(frozen=True)
class Asked:
    """A query with the grades of the texts that have one."""

    source: str
    query: str
    grades: Mapping[str, int]


@dataclass(frozen=True)
class Collection:
    """Texts, and what is asked of them."""

    texts: Sequence[str]
    queries: Sequence[Asked]


def graded(answers: Sequence[str], near: Sequence[str]) -> dict[str, int]:
    """The answers' grade, and that of other texts on their topic."""
    return dict.fromkeys(near, ON_TOPIC) | dict.fromkeys(answers, ANSWER)


def index_queries(index: str, found: Sequence[Passage], folder: str) -> Iterator[Asked]:
    """Index entries of two to six words: the sections they name answer them, the pages of these are on the topic."""
    by_page: dict[str, list[Passage]] = {}
    for passage in found:
        by_page.setdefault(passage.page, []).append(passage)
    for entry in read_index(index):
        words = " ".join(entry.terms)
        if not WORDED.fullmatch(words) or len(words.split()) not in range(2, 7):
            continue
        answers, near = [], []
        for link in entry.links:
            page, _, anchor = link.partition("#")
            on_page = by_page.get(f"{folder}/{page}", [])
            named = [passage for passage in on_page if anchor in passage.anchors] if anchor else on_page[:1]
            answers += [passage.headed for passage in named]
            near += [passage.headed for passage in on_page]
        if answers:
            yield Asked("postgres_index", words, graded(answers, near))


def technical(folder: Path, generator: random.Random) -> list[Collection]:
    """PostgreSQL's documentation, from the unpacked package."""
    root = next(folder.rglob("bookindex.html")).parent
    found = passages_of(list(read_package(folder)))
    index = (root / "bookindex.html").read_text(encoding="utf-8")
    entries = list(index_queries(index, found, str(root.relative_to(folder))))
    collections = [Collection([passage.headed for passage in found], sample(entries, QUERIES, generator.randrange(99)))]
    taken: dict[int, tuple[str, str]] = {}
    for row in generator.sample(range(len(found)), len(found)):
        if len(taken) == QUERIES:
            break
        pair = take_sentence(found[row].text, generator)
        if pair and "\n" not in pair[0]:
            taken[row] = pair
    rest = {row: replace(found[row], text=text) for row, (_, text) in taken.items()}
    texts = [rest.get(row, passage).headed for row, passage in enumerate(found)]
    by_page: dict[str, list[str]] = {}
    for passage, text in zip(found, texts, strict=True):
        by_page.setdefault(passage.page, []).append(text)
    queries = [
        Asked("postgres_sentence", sentence, graded([rest[row].headed], by_page[found[row].page]))
        for row, (sentence, _) in taken.items()
    ]
    return [*collections, Collection(texts, queries)]


def medical(data: Path, generator: random.Random) -> list[Collection]:
    """All of PubMedQA."""
    rows = read_set(data, "pubmedqa")
    abstracts = passages(rows)
    asked = [Asked("pubmed_question", row.query, graded(row.positives, ())) for row in rows]
    asked = sample(asked, QUERIES, generator.randrange(99))
    taken: dict[str, tuple[str, str]] = {}
    for text in generator.sample(abstracts, len(abstracts)):
        if len(taken) == QUERIES:
            break
        if pair := take_sentence(text, generator):
            taken[text] = pair
    sentences = [Asked("pubmed_sentence", sentence, graded([rest], ())) for sentence, rest in taken.values()]
    texts = [taken[text][1] if text in taken else text for text in abstracts]
    return [Collection(abstracts, asked), Collection(texts, sentences)]


def encyclopaedic(data: Path, generator: random.Random) -> list[Collection]:
    """All of SelQA."""
    rows = read_set(data, "selqa")
    asked = [Asked("selqa", row.query, graded(row.positives, row.negatives)) for row in rows if row.negatives]
    return [Collection(passages(rows), sample(asked, QUERIES, generator.randrange(99)))]


def collect(data: Path, docs: Path, seed: int = 7) -> list[Collection]:
    """The collections of all kinds."""
    generator = random.Random(seed)
    return [
        *technical(docs / TECHNICAL, generator),
        *medical(data, generator),
        *encyclopaedic(data, generator),
    ]


def retrieve(collection: Collection, queries: VectorStore, texts: VectorStore) -> Iterator[GradedList]:
    """Both first stages' candidates, the lists without any relevant one left out."""
    index = Bm25(collection.texts)
    similarity = queries[[asked.query for asked in collection.queries]] @ texts[collection.texts].T
    for row, asked in enumerate(collection.queries):
        by_words = index.top(asked.query, DEPTH)
        by_meaning = np.argsort(-similarity[row], kind="stable")[:DEPTH].tolist()
        both = chain.from_iterable(zip_longest(by_words, by_meaning))
        found = tuple(collection.texts[place] for place in dict.fromkeys(both) if place is not None)
        grades = tuple(asked.grades.get(text, 0) for text in found)
        if any(grades):
            yield GradedList(asked.source, asked.query, found, grades)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.retrieved", description="Build the lists to choose on.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/")
    parser.add_argument("--docs", type=Path, required=True, help="folder of unpacked documentation packages")
    parser.add_argument("--store", type=Path, required=True, help="folder of vectors; MiniLM's must be complete")
    parser.add_argument("--texts", type=Path, help="write the texts whose vectors are needed, and stop")
    parser.add_argument("--out", type=Path, required=True, help="the lists, JSON lines")
    options = parser.parse_args()
    collections = collect(options.data, options.docs)
    if options.texts is not None:
        write_texts(
            options.texts,
            [asked.query for part in collections for asked in part.queries],
            [text for part in collections for text in part.texts],
        )
        return
    queries, texts = (VectorStore(options.store / "minilm" / role) for role in (QUERY, PASSAGE))
    write_lists(options.out, [item for part in collections for item in retrieve(part, queries, texts)])


if __name__ == "__main__":
    main()
