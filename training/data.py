"""Training sets: reading, splitting by topic, and one record per query."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MIN_SENTENCES = 3
SENTENCE_WORDS = range(6, 41)
TRAINING_SETS = ("nq_gold", "squad_dev36", "squad_train_sent", "selqa", "medquad", "pubmedqa")


@dataclass(frozen=True)
class Example:
    """A query with its relevant texts and the texts labelled irrelevant."""

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


def read_set(data: Path, name: str) -> list[Example]:
    """All rows of ``data/train/NAME/train.jsonl.gz``."""
    examples = []
    with gzip.open(data / "train" / name / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            examples.append(Example(row["query"], tuple(row["positive"]), tuple(row["negative"])))
    return examples


class Split(NamedTuple):
    """The rows to train on, those held out from it, and all rows in the order of their source."""

    training: list[Example]
    held_out: list[Example]
    source: list[Example]


def split_by_topic(examples: list[Example], held_out: float, block: int = 50) -> Split:
    """Consecutive blocks of rows go to one side.

    The files keep the order of their source, in which the questions on one article stand together, so blocks
    keep most topics on one side; held-out rows whose positive also occurs in training are then removed.
    """
    training: list[Example] = []
    away: list[Example] = []
    for start in range(0, len(examples), block):
        digest = hashlib.sha1(examples[start].query.encode(), usedforsecurity=False).digest()
        side = away if digest[0] / 256 < held_out else training
        side.extend(examples[start : start + block])
    seen = {positive for example in training for positive in example.positives}
    return Split(training, [row for row in away if not seen & set(row.positives)], examples)


def passages(examples: list[Example]) -> list[str]:
    """The distinct texts of ``examples``, positives and negatives, in order of appearance."""
    texts: dict[str, None] = {}
    for example in examples:
        texts.update(dict.fromkeys(example.positives))
        texts.update(dict.fromkeys(example.negatives))
    return list(texts)


def take_sentence(text: str, generator: random.Random) -> tuple[str, str] | None:
    """A sentence of ``text`` and the rest (the inverse cloze task of Lee et al. 2019), or None for a short text."""
    sentences = re.split(r"(?<=[.?!]) (?=[A-Z])", text[:4000])
    number = generator.randrange(len(sentences))
    if len(sentences) < MIN_SENTENCES or len(sentences[number].split()) not in SENTENCE_WORDS:
        return None
    return sentences[number], " ".join(sentences[:number] + sentences[number + 1 :])
