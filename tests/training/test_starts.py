"""Lists of retrieved candidates, and the features of untrained starts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from training.bodies import load_base, minilm
from training.comparison import (
    Features,
    across_kinds,
    by_source,
    difference,
    list_weights,
    load,
    measured,
    part_of,
    rows,
)
from training.documentation import Passage
from training.lexical import continuation_pieces, inverse_document_frequency
from training.mining import GradedList
from training.model import RerankMini
from training.retrieved import KIND, Asked, Collection, graded, index_queries, retrieve
from training.selection import compute_features, tokenize_lists
from training.starts import Reader, lexical_features, shortened, similarities
from training.vectors import Embedder, VectorStore, fill

pytestmark = pytest.mark.torch

TEXTS = (
    "Download the wheel, then install it without a network.",
    "The cat sleeps on the mat all day.",
    "A mirror of the index serves packages where no network is.",
)
LISTS = [
    GradedList("selqa", "how do I install it offline?", TEXTS, (3, 0, 1)),
    GradedList("pubmed_sentence", "where do cats sleep?", TEXTS[:2], (0, 3)),
]


@pytest.fixture(scope="module")
def body():
    return minilm()


@pytest.fixture(scope="module")
def idf(body):
    return inverse_document_frequency(body.tokenizer, TEXTS, body.shape.vocab_size)


def test_the_features_are_those_of_a_model_with_shut_doors(body, idf) -> None:
    model = RerankMini(idf, continuation_pieces(body.tokenizer, len(idf)), gate=-30.0, shape=body.shape)
    load_base(model, body.state)
    expected, _ = compute_features(model.eval(), tokenize_lists(LISTS, body.tokenizer).pairs)
    found = similarities(Reader(body, (3, 6)), LISTS, idf)
    assert found.shape == (5, 2, 2)
    assert found[:, 1] == pytest.approx(expected[:, :2], abs=0.03)  # bfloat16 there, int8 here
    assert np.abs(found[:, 0] - expected[:, :2]).max() > 0.05
    assert lexical_features(LISTS, body.tokenizer, idf) == pytest.approx(expected[:, 2:], abs=1e-5)


def test_a_prefix_is_read_but_matches_nothing(body) -> None:
    ((_, bare),) = Reader(body, (6,))(["a cat"], "")
    ((_, led),) = Reader(body, (6,))(["a cat"], "passage: ")
    assert led.ids == bare.ids
    assert led.tokens.shape == bare.tokens.shape
    assert not torch.allclose(led.tokens, bare.tokens, atol=0.01)


def test_lists_are_cut_and_those_without_an_answer_left_are_not_counted() -> None:
    lists = [GradedList("s", f"q{n}", ("a", "b", "c"), (0, n % 2, 3)) for n in range(10)]
    found = shortened(lists, 3, 2)["s"]
    assert [(item.query, item.texts, item.grades) for item in found] == [
        (f"q{n}", ("a", "b"), (0, 1)) for n in (1, 3, 5)
    ]


def test_candidates_come_from_both_first_stages_best_first(body, tmp_path) -> None:
    texts = [*TEXTS, *(f"filler {n} about nothing in particular" for n in range(120))]
    query = "a feline rests"
    for role, wanted in (("query", [query]), ("passage", texts)):
        fill(VectorStore(tmp_path / role), Embedder(body, 64), wanted, "")
    collection = Collection(texts, [Asked("s", query, graded([TEXTS[1]], [TEXTS[0]])), Asked("s", query, {})])
    (found,) = retrieve(collection, VectorStore(tmp_path / "query"), VectorStore(tmp_path / "passage"))
    assert TEXTS[1] in found.texts[:2]
    assert found.grades[found.texts.index(TEXTS[1])] == 3
    assert len(set(found.texts)) == len(found.texts) >= 50


def test_index_entries_are_answered_by_the_sections_they_name() -> None:
    found = [
        Passage("html/a.html", ("A",), frozenset({"x"}), "first"),
        Passage("html/a.html", ("B",), frozenset({"y"}), "second"),
        Passage("html/b.html", ("C",), frozenset(), "third"),
    ]
    index = """<dl><dt>disk usage, <a class="indexterm" href="a.html#y">B</a></dt>
    <dt>two words, <a class="indexterm" href="b.html">C</a>, <a class="indexterm" href="a.html#none">A</a></dt>
    <dt>word, <a class="indexterm" href="a.html#y">B</a></dt><dt>my_function name, <a class="indexterm" href="b.html">
    </a></dt><dt>no section, <a class="indexterm" href="a.html#none">B</a></dt></dl>"""
    first, second = index_queries(index, found, "html")
    assert (first.query, first.grades) == ("disk usage", {found[0].headed: 1, found[1].headed: 3})
    assert second.grades == {found[2].headed: 3, found[0].headed: 1, found[1].headed: 1}


@pytest.fixture
def folder(tmp_path):
    """Features of which the cosine knows the answer, after layer 2 only."""
    generator = np.random.default_rng(0)
    for source in KIND:
        grades = np.tile([3, 0, 0, 1], 10)
        noise = generator.random((40, 2, 2)).astype(np.float32)
        noise[:, 1, 0] = grades / 3
        lexical = generator.random((40, 3)).astype(np.float32)
        lengths, layers = np.full(10, 4), np.array([1, 2])
        np.savez(
            tmp_path / f"{source}.npz", similar=noise, lexical=lexical, grades=grades, lengths=lengths, layers=layers
        )
    return tmp_path


EVERYTHING = (0, 1, 2, 3, 4)


def test_weights_are_fitted_on_other_kinds_than_they_are_measured_on(folder) -> None:
    found = load(folder, list(KIND))
    assert isinstance(found, Features)
    assert across_kinds(found.by_layers[2], found.data, EVERYTHING) == pytest.approx(np.ones(50))
    assert across_kinds(found.by_layers[1], found.data, EVERYTHING).mean() < 0.95
    spoiled = found.by_layers[2].copy()
    technical = [number for number, source in enumerate(found.data.sources) if KIND[source] == "technical"]
    spoiled[np.isin(found.data.list_of_pair, technical), 0] = 0.0
    values = by_source(across_kinds(spoiled, found.data, EVERYTHING), found.data.sources)
    assert values["selqa"] > 0.9 > values["postgres_index"]


def test_the_table_has_a_row_for_each_depth_and_setting(folder) -> None:
    features = load(folder, list(KIND))
    found = list(rows(list(measured("minilm", features, [1, 2])), features.data.sources))
    assert [row[1:3] for row in found if row[2] == "all"] == [["1", "all"], ["2", "all"]]
    assert {row[2] for row in found if row[1] == "2"} == {"cosine", "maxsim", "lexical", "cosine + lexical", "all"}
    assert all(len(row) == len(found[0]) for row in found)
    assert found[-1][-2:] == ["1.000", "+0.000 ± 0.000"]


def test_kinds_count_alike_however_many_lists_they_have() -> None:
    sources = ["postgres_index"] * 3 + ["postgres_sentence"] * 2 + ["selqa"]
    weights = list_weights(sources)
    assert weights == pytest.approx([1 / 12] * 3 + [1 / 8] * 2 + [1 / 2])
    values = np.array([0.0, 0.5, 1.0, 0.5, 0.5, 1.0], dtype=np.float32)
    assert difference(values, np.zeros(6, dtype=np.float32), ["selqa"] * 6) == "+0.583 ± 0.154"


def test_a_part_of_the_lists_keeps_their_pairs(folder) -> None:
    found = load(folder, list(KIND))
    source = random.Random(1).choice(list(KIND))
    features, data = part_of(found.by_layers[1], found.data, [source])
    assert data.sources == (source,) * 10
    assert data.list_of_pair.tolist() == np.repeat(np.arange(10), 4).tolist()
    assert features.shape == (40, 5)
