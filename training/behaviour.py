"""Pairs of texts made by rule, of which one answers a query and the other only looks as if it did.

From a query and its answer each rule makes a rival: the answer with one thing wrong (an entity, who did what to whom, a
number, a unit, a negation), or a text of the query's own words that says nothing. In ``no_word`` the answer shares no
word with the query, and the rival, a labelled negative, shares some. A model makes a mistake where the rival scores at
least as high, and accepts a rival whose calibrated logit is above 0.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rerank_core.models.source import BUNDLED
from rerank_core.scoring import LocalScorer

from .card import table
from .data import Example, passages, read_set
from .mining import sample

HELD_OUT = "selqa"
"""The set that is measured on; no model is trained on it."""

PER_KIND = 150

ENTITY = re.compile(r"\b[A-Z][a-z]+(?: (?:of |the |de )?[A-Z][a-z]+)*\b")
AROUND = r"(?<![\w.,-]){}(?![\w-]|[.,]\d)"
NUMBER = re.compile(AROUND.replace("{}", r"\d{1,4}"))
VERB = re.compile(r"\b(is|are|was|were|can|could|will|would|has|have|had|does|did)\b(?! not\b|n't)")
WORD = re.compile(r"[a-z0-9]+")
UNITS = (
    *(("kilometres", "miles"), ("kilometers", "miles"), ("km", "miles"), ("metres", "feet"), ("meters", "feet")),
    *(("centimeters", "inches"), ("inches", "feet"), ("kg", "pounds"), ("kilograms", "pounds"), ("tons", "grams")),
    *(("hours", "minutes"), ("minutes", "seconds"), ("years", "months"), ("days", "weeks"), ("centuries", "decades")),
    *(("million", "billion"), ("thousand", "million"), ("percent", "per mille"), ("dollars", "euros")),
)
COMMON = {
    *("a", "an", "the", "of", "in", "on", "at", "to", "for", "from", "by", "with", "and", "or", "as", "about", "into"),
    *("is", "are", "was", "were", "be", "been", "do", "does", "did", "has", "have", "had", "can", "could", "will"),
    *("what", "who", "whom", "whose", "which", "when", "where", "why", "how", "many", "much", "some", "any", "would"),
    *("it", "its", "this", "that", "these", "those", "than", "then", "there", "name", "list", "s", "t"),
}
DATES = {
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    *("December", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "Season", "Chapter"),
}


@dataclass(frozen=True)
class Rivals:
    """A query, the text that answers it, and one that does not."""

    kind: str
    query: str
    answer: str
    rival: str


Rule = Callable[[str, str, "Material"], str | None]


class Material:
    """What rules draw on: chance, and the entities of other texts."""

    def __init__(self, texts: Sequence[str], seed: int) -> None:
        self.generator = random.Random(seed)
        self.entities: dict[int, list[str]] = {}
        for text in texts:
            for name in names_in(text):
                self.entities.setdefault(len(name.split()), []).append(name)


def names_in(text: str) -> list[str]:
    """Capitalised names that do not begin a sentence."""
    found = []
    for match in ENTITY.finditer(text):
        before = text[: match.start()].rstrip()
        if before and before[-1] not in ".?!:\"'(" and match.group() not in DATES:
            found.append(match.group())
    return found


def content(text: str) -> set[str]:
    """The words of a text that are not among the most common ones."""
    return set(WORD.findall(text.lower())) - COMMON


def other_entity(query: str, answer: str, material: Material) -> str | None:
    """The answer about somebody or something else: a name of the query is exchanged for one from elsewhere."""
    shared = [name for name in names_in(query) if name in answer]
    if not shared:
        return None
    name = max(shared, key=len)
    others = [other for other in material.entities.get(len(name.split()), []) if other not in query + answer]
    if not others:
        return None
    return answer.replace(name, material.generator.choice(others))


def other_roles(query: str, answer: str, material: Material) -> str | None:
    """Two names of the answer change places, one of them also in the query: the same words, another fact."""
    _ = material
    both = list(dict.fromkeys(names_in(answer)))
    pairs = [(one, two) for one in both for two in both if one in query and two not in query and one not in two]
    pairs = [(one, two) for one, two in pairs if two not in one]
    if not pairs:
        return None
    one, two = pairs[0]
    return answer.replace(one, "\0").replace(two, one).replace("\0", two)


def other_number(query: str, answer: str, material: Material) -> str | None:
    """A number that the query and the answer share is another one in the rival."""
    shared = [number for number in NUMBER.findall(query) if number in NUMBER.findall(answer)]
    if not shared:
        return None
    changed = str(int(shared[0]) + material.generator.choice([-7, -4, -3, -2, 2, 3, 5, 9]))
    return re.sub(AROUND.replace("{}", shared[0]), changed.lstrip("-"), answer)


def other_unit(query: str, answer: str, material: Material) -> str | None:
    """A unit that the query and the answer share is another one in the rival."""
    _ = material
    for one, two in UNITS:
        for unit, other in ((one, two), (two, one)):
            if re.search(rf"\b{unit}\b", query) and re.search(rf"\b{unit}\b", answer):
                return re.sub(rf"\b{unit}\b", other, answer)
    return None


def negated(query: str, answer: str, material: Material) -> str | None:
    """The first verb of the answer that can be negated is."""
    _ = query, material
    changed, count = VERB.subn(lambda match: f"{match.group()} not", answer, count=1)
    return changed if count else None


def echo(query: str, answer: str, material: Material) -> str | None:
    """The query itself, asked by somebody who does not know either."""
    _ = answer
    forms = ("I would also like to know: {} Does anybody know?", "{} {}", "Frequently asked: {}")
    return material.generator.choice(forms).replace("{}", query)


def shuffled(query: str, answer: str, material: Material) -> str | None:
    """The words of the query in any order, twice."""
    _ = answer
    words = query.rstrip("?.").split()
    return " ".join(material.generator.sample(words, len(words)) + material.generator.sample(words, len(words)))


def disclaimed(query: str, answer: str, material: Material) -> str | None:
    """A text that says that it is about something else."""
    _ = answer
    names = names_in(query)
    if not names:
        return None
    topic = max(names, key=len)
    forms = (
        "This page is not about {}. It has nothing to do with {}.",
        "Not related to {}: see the page on {} instead.",
    )
    return material.generator.choice(forms).replace("{}", topic)


RULES: dict[str, Rule] = {
    "entity": other_entity,
    "roles": other_roles,
    "number": other_number,
    "unit": other_unit,
    "negation": negated,
    "echo": echo,
    "shuffled": shuffled,
    "disclaimed": disclaimed,
}


def no_word(rows: Sequence[Example]) -> Iterator[Rivals]:
    """Answers that share no word with their query, against the labelled negative that shares most."""
    for row in rows:
        words = content(row.query)
        answers = [text for text in row.positives if not words & content(text)]
        rivals = [text for text in row.negatives if words & content(text)]
        if answers and rivals:
            rival = max(rivals, key=lambda text: len(words & content(text)))
            yield Rivals("no_word", row.query, answers[0], rival)


def make(rows: Sequence[Example], seed: int = 17, per_kind: int = PER_KIND) -> list[Rivals]:
    """Up to ``per_kind`` pairs of every kind out of ``rows``."""
    texts = passages(list(rows))
    material = Material(texts, seed)
    order = sample(rows, len(rows), seed)
    made: list[Rivals] = []
    for kind, rule in RULES.items():
        found = []
        for row in order:
            rival = rule(row.query, row.positives[0], material)
            if rival is not None and rival != row.positives[0]:
                found.append(Rivals(kind, row.query, row.positives[0], rival))
            if len(found) == per_kind:
                break
        made += found
    return made + list(no_word(order))[:per_kind]


@dataclass(frozen=True)
class Behaviour:
    """Of one kind: pairs, and the shares of mistakes and of accepted rivals."""

    pairs: int
    mistakes: float
    accepted: float


def measure(suite: Sequence[Rivals], score: Callable[[str, Sequence[str]], Sequence[float]]) -> dict[str, Behaviour]:
    """How a model behaves by kind, and under ``mean`` the plain mean; ``score`` gives logits of texts for a query."""
    wrong: dict[str, list[bool]] = {}
    accepted: dict[str, list[bool]] = {}
    for item in suite:
        answer, rival = score(item.query, [item.answer, item.rival])
        wrong.setdefault(item.kind, []).append(rival >= answer)
        accepted.setdefault(item.kind, []).append(rival > 0)
    found = {
        kind: Behaviour(len(values), sum(values) / len(values), sum(accepted[kind]) / len(values))
        for kind, values in wrong.items()
    }
    means = [sum(getattr(row, name) for row in found.values()) / len(found) for name in ("mistakes", "accepted")]
    return {**found, "mean": Behaviour(len(suite), *means)}


def behaviour_table(found: Mapping[str, Mapping[str, Behaviour]]) -> str:
    """Kinds by model: mistakes, and accepted rivals in brackets."""
    rows = [
        [kind, str(row.pairs), *(f"{of[kind].mistakes:.0%} ({of[kind].accepted:.0%})" for of in found.values())]
        for kind, row in next(iter(found.values())).items()
    ]
    return table(["mistakes (accepted)", "pairs", *found], rows)


def logits(scorer: LocalScorer, query: str, texts: Sequence[str]) -> list[float]:
    """A local model's raw scores."""
    return [item.relevance_score if item.logit is None else item.logit for item in scorer.score(query, texts).items]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.behaviour", description="Mistakes by kind.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/")
    parser.add_argument("--model", nargs="+", default=list(BUNDLED), help="names or folders (default: bundled)")
    parser.add_argument("--out", type=Path, help="write the shares as JSON")
    options = parser.parse_args()
    suite = make(read_set(options.data, HELD_OUT))
    found: dict[str, dict[str, Behaviour]] = {}
    for name in options.model:
        with closing(LocalScorer(name)) as scorer:
            found[name] = measure(suite, partial(logits, scorer))
    print(behaviour_table(found))
    if options.out is not None:
        content = {name: {kind: asdict(row) for kind, row in rows.items()} for name, rows in found.items()}
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
