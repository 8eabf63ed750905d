"""What the second version is trained on: collections of texts with queries, and triples made by rule.

Only texts and queries are needed: a teacher grades what is retrieved, so a query may be anything that people type:
labelled questions, headings, sentences taken out of a text, keywords, and several sentences in a row (questions that
ramble). The collections to choose on (``training.retrieved``) are in the same file.
"""

from __future__ import annotations

import argparse
import json
import logging
import lzma
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .behaviour import RULES, Material, content
from .data import Example, passages, read_set, split_by_topic, take_sentence
from .documentation import PACKAGES, passages_of, read_package
from .mining import sample
from .retrieved import ANSWER, ON_TOPIC, collect
from .technical import HELD_OUT, PAGES, query_of

logger = logging.getLogger("training.corpus")

TRAIN, CHOOSE = "train", "choose"
CHARACTERS = 2400
"""Of a text; more is never read in training."""
HEADINGS, SENTENCES, KEYWORDS, RAMBLING = 700, 350, 350, 120
"""Queries of each sort per collection, at most."""
RIVALS = 4000
"""Triples of a rule, at most."""
HEADED = 0.5
"""Share of the passages of documentation that stand under their headings."""
LOWER, WHAT_IS, HOW_TO = 0.4, 0.1, 0.1
"""Shares of the headings that are asked in lower case, of these as "what is ...?", and of all as "How do I ...?"."""
KEYWORD_LETTERS, KEYWORD_POOL, KEYWORD_COUNT = 3, (5, 14), (2, 5)
"""A keyword's least letters; how many of a text's rarest words keywords are drawn from (least, most); how many are."""
READ = 1200
"""Characters of a text that its keywords are taken from."""
RAMBLING_SENTENCES, RAMBLING_TAKEN = 7, 3
"""A text's least sentences, and how many of them are the query."""
SHARED = 3
"""Words that a sentence shares with a question to be its answer."""

SECTIONS = "selqa"
"""The set of which people labelled every sentence of a section."""
SET_ASIDE, QUESTIONS_ASIDE = 0.25, 300
"""The share of SelQA's topics that the second stage chooses on, and how many of their questions."""
FEW_PACKAGES = ("python3.11-doc", "sqlite3-doc", "nodejs-doc", "cmake-doc")
"""Documentation that the second stage reads."""
COMPARED = 16
"""Words by which a text is known again."""

SENTENCE = re.compile(r"(?<=[.?!]) (?=[A-Z])")


@dataclass
class Query:
    """A query with the rows of the texts that answer it, by grade, and of those that must not be candidates."""

    text: str
    grades: dict[int, int] = field(default_factory=dict)
    excluded: list[int] = field(default_factory=list)


@dataclass
class Collection:
    """Texts and what is asked of them."""

    name: str
    use: str
    texts: list[str]
    queries: list[Query] = field(default_factory=list)


@dataclass(frozen=True)
class Triple:
    """A query, a text that answers it, and one that only looks as if it did."""

    kind: str
    query: str
    answer: str
    rival: str


def labelled(
    name: str, rows: Sequence[Example], others: Sequence[str], limit: int, generator: random.Random
) -> Collection:
    """A set's questions over its texts and ``others``."""
    texts = list(dict.fromkeys([*passages(list(rows)), *others]))
    place = {text: row for row, text in enumerate(texts)}
    found = Collection(name, TRAIN, [text[:CHARACTERS] for text in texts])
    for row in generator.sample(list(rows), min(limit, len(rows))):
        found.queries.append(Query(row.query, {place[text]: 3 for text in row.positives}))
    return found


def documentation(package: str, docs: Path, generator: random.Random) -> Collection:
    """A package's passages, with or without their headings, and its headings as queries."""
    found = passages_of(list(read_package(docs / package, PAGES)))
    texts = [passage.headed if generator.random() < HEADED else passage.text for passage in found]
    collection = Collection(package, TRAIN, [text[:CHARACTERS] for text in texts])
    by_query: dict[str, Query] = {}
    for row, passage in enumerate(found):
        if heading := query_of(passage.titles):
            by_query.setdefault(heading, Query(heading)).grades[row] = 3
    for query in generator.sample(list(by_query.values()), min(HEADINGS, len(by_query))):
        chance = generator.random()
        if chance < LOWER:
            query.text = query.text.lower()
        if chance < WHAT_IS:
            query.text = f"what is {query.text}?"
        elif chance > 1 - HOW_TO:
            query.text = f"How do I use {query.text}?"
        collection.queries.append(query)
    return collection


def add_made_queries(collection: Collection, generator: random.Random) -> None:
    """Sentences, keywords and rambling queries out of the collection's own texts."""
    count = len(collection.texts)
    frequency = Counter(word for text in collection.texts for word in content(text))
    order = iter(generator.sample(range(count), count))
    sorts = [(_sentence, SENTENCES), (_keywords, KEYWORDS), (_rambling, RAMBLING)]
    for make, limit in sorts:
        made = 0
        for row in order:
            if made == min(limit, count // 6):
                break
            result = make(collection.texts[row], frequency, generator)
            if result is None:
                continue
            query, rest = result
            if rest is None:
                collection.queries.append(Query(query, {row: 3}))
            else:
                collection.texts.append(rest)
                collection.queries.append(Query(query, {len(collection.texts) - 1: 3}, [row]))
            made += 1


def _sentence(text: str, frequency: Counter[str], generator: random.Random) -> tuple[str, str] | None:
    _ = frequency
    pair = take_sentence(text, generator)
    return pair if pair and "\n" not in pair[0] else None


def _keywords(text: str, frequency: Counter[str], generator: random.Random) -> tuple[str, None] | None:
    words = sorted(content(text[:READ]), key=lambda word: (frequency[word], word))
    words = [word for word in words if word.isalpha() and len(word) >= KEYWORD_LETTERS and frequency[word] > 1]
    least, most = KEYWORD_POOL
    if len(words) < least:
        return None
    picked = set(generator.sample(words[:most], generator.randint(*KEYWORD_COUNT)))
    ordered = [word for word in re.findall(r"[a-z]+", text[:READ].lower()) if word in picked]
    return " ".join(dict.fromkeys(ordered)), None


def _rambling(text: str, frequency: Counter[str], generator: random.Random) -> tuple[str, str] | None:
    _ = frequency
    sentences = SENTENCE.split(text)
    if len(sentences) < RAMBLING_SENTENCES or "\n" in text[:300]:
        return None
    start = generator.randrange(len(sentences) - RAMBLING_TAKEN)
    end = start + RAMBLING_TAKEN
    return " ".join(sentences[start:end])[:600], " ".join([*sentences[:start], *sentences[end:]])


def best_sentence(row: Example) -> Example:
    """The row with its answer cut to the sentence that shares most words with the question, where one shares three."""
    words = content(row.query)
    sentences = SENTENCE.split(row.positives[0])
    best = max(sentences, key=lambda sentence: len(words & content(sentence)))
    return Example(row.query, (best,), ()) if len(words & content(best)) >= SHARED else row


def triples(rows: Sequence[Example], seed: int) -> Iterator[Triple]:
    """Up to ``RIVALS`` triples of every rule."""
    rows = [best_sentence(row) if number % 4 else row for number, row in enumerate(rows)]
    material = Material([row.positives[0] for row in rows], seed)
    order = sample(rows, len(rows), seed)
    for kind, rule in RULES.items():
        made = 0
        for row in order:
            answer = row.positives[0][:CHARACTERS]
            rival = rule(row.query, answer, material)
            if rival is not None and rival != answer:
                yield Triple(kind, row.query, answer, rival)
                made += 1
            if made == RIVALS:
                break


def to_choose_on(data: Path, docs: Path) -> list[Collection]:
    """The collections of ``training.retrieved``."""
    made = []
    for part in collect(data, docs):
        texts = list(part.texts)
        place = {text: row for row, text in enumerate(texts)}
        queries = [
            Query(asked.query, {place[text]: grade for text, grade in asked.grades.items() if text in place})
            for asked in part.queries
        ]
        made.append(Collection(part.queries[0].source, CHOOSE, texts, queries))
    return made


def normalised(text: str) -> str:
    """The first words of a text, by which two copies of it are known."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower())[:COMPARED])


def unseen(rows: Sequence[Example], texts: Iterable[str]) -> list[Example]:
    """The rows of which no text and no query is one of ``texts``."""
    known = {normalised(text) for text in texts}
    return [row for row in rows if known.isdisjoint(map(normalised, [row.query, *row.positives, *row.negatives]))]


def sections(rows: Sequence[Example], use: str, limit: int, generator: random.Random) -> Collection:
    """Questions with the sentences of a section, of which people said which answer."""
    texts = passages(list(rows))
    place = {text: row for row, text in enumerate(texts)}
    found = Collection(SECTIONS, use, texts)
    for row in generator.sample(list(rows), min(limit, len(rows))):
        grades = {place[text]: ON_TOPIC for text in row.negatives} | {place[text]: ANSWER for text in row.positives}
        found.queries.append(Query(row.query, grades))
    return found


def build_labelled(data: Path, docs: Path, seed: int = 29) -> tuple[list[Collection], list[Triple]]:
    """What the second stage reads: fewer texts, and SelQA's labels; a quarter of its topics is to choose on.

    Args:
        data: folder with train/, and with eval/, whose texts are left out of SelQA.
        docs: folder of unpacked documentation packages.
        seed: decides every draw.
    """
    generator = random.Random(seed)
    squad, sentences, nq, medquad = (
        read_set(data, name) for name in ("squad_dev36", "squad_train_sent", "nq_gold", "medquad")
    )
    tests = [text for folder in sorted((data / "eval").iterdir()) for text in eval_texts(folder)]
    marked = split_by_topic([row for row in unseen(read_set(data, SECTIONS), tests) if row.negatives], SET_ASIDE)
    logger.info("selqa: %d questions to train on, %d to choose on", len(marked.training), len(marked.held_out))
    made = [
        sections(marked.training, TRAIN, len(marked.training), generator),
        labelled("squad", squad, (), 5000, generator),
        labelled("squad_sentences", sentences, (), 8000, generator),
        labelled("nq", nq, passages(squad), 2245, generator),
        labelled("medquad", generator.sample(medquad, 3000), (), 3000, generator),
    ]
    made += [documentation(package, docs, generator) for package in FEW_PACKAGES]
    for collection in made[1:]:
        add_made_queries(collection, generator)
    others = [part for part in to_choose_on(data, docs) if part.name != SECTIONS]
    aside = sections(marked.held_out, CHOOSE, QUESTIONS_ASIDE, generator)
    return [*made, *others, aside], list(triples([*squad, *nq, *medquad[::3]], seed))


def eval_texts(folder: Path) -> Iterator[str]:
    """Documents and queries of a set in BEIR layout."""
    for file in ("corpus.jsonl", "queries.jsonl"):
        with (folder / file).open(encoding="utf-8") as lines:
            yield from (json.loads(line)["text"] for line in lines)


def build(data: Path, docs: Path, seed: int = 23) -> tuple[list[Collection], list[Triple]]:
    """All collections, those to train on first, and the triples.

    Args:
        data: folder with train/.
        docs: folder of unpacked documentation packages.
        seed: decides every draw.
    """
    generator = random.Random(seed)
    squad, sentences, nq, medquad = (
        read_set(data, name) for name in ("squad_dev36", "squad_train_sent", "nq_gold", "medquad")
    )
    made = [
        labelled("squad", squad, (), 8038, generator),
        labelled("squad_sentences", sentences, (), 6000, generator),
        labelled("nq", nq, passages(squad), 2245, generator),
        labelled("medquad", medquad, (), 9000, generator),
    ]
    for package in PACKAGES:
        if package not in HELD_OUT:
            made.append(documentation(package, docs, generator))
            logger.info("%s: %d texts", package, len(made[-1].texts))
    for collection in made:
        add_made_queries(collection, generator)
    return made + to_choose_on(data, docs), list(triples([*squad, *nq, *medquad[::3]], seed))


def write_corpus(path: Path, collections: Sequence[Collection], rivals: Sequence[Triple]) -> None:
    """One collection per line, and the triples on the last line, compressed by LZMA."""
    part = path.with_suffix(".part")  # a file that is there is whole
    with lzma.open(part, "wt", encoding="utf-8", preset=6) as lines:
        for collection in collections:
            lines.write(json.dumps(asdict(collection)) + "\n")
        lines.write(json.dumps([asdict(triple) for triple in rivals]) + "\n")
    part.replace(path)


def read_corpus(path: Path) -> tuple[list[Collection], list[Triple]]:
    """What ``write_corpus`` wrote; JSON's keys are numbers again."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        *collections, rivals = map(json.loads, lines)
    return [_collection(row) for row in collections], [Triple(**row) for row in rivals]


def _collection(row: dict[str, Any]) -> Collection:
    queries = [
        Query(asked["text"], {int(place): grade for place, grade in asked["grades"].items()}, asked["excluded"])
        for asked in row["queries"]
    ]
    return Collection(row["name"], row["use"], row["texts"], queries)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.corpus", description="Collections to train on.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/")
    parser.add_argument("--docs", type=Path, required=True, help="folder of unpacked documentation packages")
    parser.add_argument("--out", type=Path, required=True, help="one file, .jsonl.xz")
    parser.add_argument("--labelled", action="store_true", help="the collections of the second stage")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    make = build_labelled if options.labelled else build
    write_corpus(options.out, *make(options.data, options.docs))


if __name__ == "__main__":
    main()
