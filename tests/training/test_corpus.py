"""What the second version is trained on: queries of every sort, and where their answers are."""

from __future__ import annotations

import random
import re

import pytest

from training.corpus import (
    CHOOSE,
    KEYWORD_COUNT,
    TRAIN,
    Collection,
    Query,
    Triple,
    add_made_queries,
    best_sentence,
    documentation,
    labelled,
    read_corpus,
    sections,
    triples,
    unseen,
    write_corpus,
)
from training.data import Example

pytestmark = pytest.mark.torch

WORDS = ("engine", "valve", "piston", "harbour", "timber", "glacier", "violin", "orchard")


def text_of(number: int) -> str:
    """Nine sentences in a row, of which each says its number."""
    word = WORDS[number % len(WORDS)]
    part = "The {word} of chapter {number} was described in sentence {place} by several careful writers."
    return " ".join(part.format(word=word, number=number, place=place) for place in range(9))


def rows_of(count: int) -> list[Example]:
    return [Example(f"what is described in chapter {number}?", (text_of(number),), ()) for number in range(count)]


def test_a_sets_questions_are_over_its_texts_and_others() -> None:
    rows = [*rows_of(5), Example("again?", (text_of(0),), ("a negative",))]
    found = labelled("set", rows, ["other", text_of(1)], 4, random.Random(1))
    assert found.use == TRAIN
    assert sorted(found.texts) == sorted({*map(text_of, range(5)), "a negative", "other"})
    assert len(found.queries) == 4
    by_query = {row.query: row.positives[0] for row in rows}
    for query in found.queries:
        assert {found.texts[row]: grade for row, grade in query.grades.items()} == {by_query[query.text]: 3}


def test_questions_over_sections_keep_the_labels_of_all_sentences() -> None:
    rows = [Example("who?", ("She did.",), ("It rained.", "They left.")), Example("when?", ("They left.",), ())]
    found = sections(rows, CHOOSE, 5, random.Random(1))
    assert found.use == CHOOSE
    graded = {query.text: {found.texts[row]: grade for row, grade in query.grades.items()} for query in found.queries}
    assert graded == {"who?": {"She did.": 3, "It rained.": 1, "They left.": 1}, "when?": {"They left.": 3}}
    assert len(sections(rows, CHOOSE, 1, random.Random(1)).queries) == 1


def test_rows_with_a_text_of_a_test_set_are_left_out() -> None:
    rows = rows_of(4)
    copies = [text_of(0).upper().replace(" ", "  "), rows[1].query.replace("?", " ?")]
    assert unseen(rows, copies) == rows[2:]
    assert unseen([Example("q", ("a",), (text_of(9),))], [text_of(9)]) == []


def test_made_queries_are_answered_by_the_text_they_come_from() -> None:
    collection = Collection("made", TRAIN, [text_of(number) for number in range(60)])
    add_made_queries(collection, random.Random(2))
    keywords = [query for query in collection.queries if not query.excluded]
    taken = [query for query in collection.queries if query.excluded]
    assert len(keywords) == 10
    assert len(taken) == 20
    least, most = KEYWORD_COUNT
    for query in keywords:
        ((row, grade),) = query.grades.items()
        assert grade == 3
        words = query.text.split()
        assert least <= len(words) <= most
        assert set(words) <= set(re.findall(r"[a-z]+", collection.texts[row].lower()))
    for query in taken:
        ((row, _),), (source,) = query.grades.items(), query.excluded
        assert row >= 60
        assert query.text not in collection.texts[row]
        assert query.text in collection.texts[source]
        sentences = query.text.count("writers.")
        assert sentences in {1, 3}
        assert collection.texts[row].count("writers.") == 9 - sentences


def test_headings_of_documentation_are_asked(tmp_path) -> None:
    page = "<html><body>{}</body></html>"
    section = "<h1>Installing the {0} offline</h1><p>{1}</p>"
    (tmp_path / "some-doc").mkdir()
    body = "".join(section.format(word, text_of(number)) for number, word in enumerate(WORDS))
    (tmp_path / "some-doc" / "index.html").write_text(page.format(body))
    found = documentation("some-doc", tmp_path, random.Random(0))
    assert len(found.queries) == len(WORDS)
    for query in found.queries:
        (word,) = (word for word in WORDS if word in query.text)
        assert all(word in found.texts[row] for row in query.grades)
        assert query.text.lower().removeprefix("how do i use ").removeprefix("what is ").startswith("installing the")


def test_an_answer_is_cut_to_the_sentence_that_answers() -> None:
    text = "The sea is deep. The old harbour of Turku was built from oak timber. Nobody came."
    row = Example("what timber was the harbour of Turku built from?", (text,), ())
    assert best_sentence(row).positives == ("The old harbour of Turku was built from oak timber.",)
    assert best_sentence(Example("who came?", (text,), ())).positives == (text,)


def test_a_rival_is_not_the_answer() -> None:
    rows = [
        Example(
            f"how many ships did Turku build in {1800 + n}?", (f"In {1800 + n} the city of Turku built {n} ships.",), ()
        )
        for n in range(20, 40)
    ]
    found = list(triples(rows, 3))
    assert {triple.kind for triple in found} >= {"number"}
    assert all(triple.rival != triple.answer for triple in found)
    assert found == list(triples(rows, 3))


def test_a_corpus_is_read_as_it_was_written(tmp_path) -> None:
    collections = [
        Collection("one", TRAIN, ["a", "b é"], [Query("q", {1: 3, 0: 1}, [0])]),
        Collection("two", CHOOSE, ["c"]),
    ]
    rivals = [Triple("number", "q", "1", "2")]
    path = tmp_path / "corpus.jsonl.xz"
    write_corpus(path, collections, rivals)
    assert read_corpus(path) == (collections, rivals)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
