"""A context out of results: exact about tokens, nothing cut, nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rerank_core import Document, InvalidRequestError, RerankResponse, RerankResult, Span, pack
from rerank_core.models.source import locate

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "cat"]), max_size=6).map(" ".join)
TEXTS = st.lists(WORDS, max_size=7)
BUDGETS = st.integers(1, 30)
ORDERS = st.sampled_from(["relevance", "ends"])


def results(texts, windows=()):
    spans = dict(enumerate(windows))
    return [
        RerankResult(place, place + 1, place + 1, 0.5, 0.0, Document(text), window=spans.get(place))
        for place, text in enumerate(texts)
    ]


def words(text):
    return len(text.split())


@st.composite
def windowed(draw):
    texts = draw(st.lists(WORDS.filter(bool), max_size=6))
    spans = []
    for text in texts:
        start = draw(st.integers(0, len(text) - 1))
        spans.append(Span(start, draw(st.integers(start + 1, len(text)))))
    return results(texts, spans)


@pytest.mark.parametrize("count", [words, len])
@given(TEXTS, BUDGETS, ORDERS, st.sampled_from(["\n\n", " | ", ""]))
def test_never_over_budget_only_whole_documents_and_nothing_twice(count, texts, budget, order, separator):
    packed = pack(results(texts), max_tokens=budget, order=order, separator=separator, tokenizer=count)
    assert packed.tokens == count(packed.text) <= budget
    assert packed.text == separator.join(piece.text for piece in packed.pieces)
    assert all(piece.text == piece.result.text for piece in packed.pieces)
    assert len(packed.pieces) + packed.left_out == len(texts)
    for one in packed.pieces:
        assert not any(one.text in other.text for other in packed.pieces if other is not one)


@given(windowed(), BUDGETS, ORDERS)
def test_windows_are_packed_whole(given_results, budget, order):
    packed = pack(given_results, max_tokens=budget, order=order, pieces="passages", tokenizer=len)
    assert packed.tokens == len(packed.text) <= budget
    for piece in packed.pieces:
        assert piece.text == piece.result.passage
        assert piece.text in piece.result.text
    spans = [(piece.result.text, set(range(*piece.span))) for piece in packed.pieces]
    for place, (text, one) in enumerate(spans):
        assert not any(text == other and one & two for other, two in spans[place + 1 :])


@given(st.integers(0, 12))
def test_the_best_stand_at_both_ends(count):
    texts = [f"<{number}>" for number in range(count)]
    plain, ends = (pack(results(texts), max_tokens=1000, order=order, tokenizer=len) for order in ("relevance", "ends"))
    assert [piece.text for piece in plain.pieces] == texts
    found = [piece.result.index for piece in ends.pieces]
    assert sorted(found) == list(range(count))
    from_outside = [found[place // 2] if place % 2 == 0 else found[-1 - place // 2] for place in range(count)]
    assert from_outside == list(range(count))


def test_what_does_not_fit_makes_room_for_the_next():
    packed = pack(results(["one two three", "four five six seven", "eight"]), max_tokens=4, tokenizer=words)
    assert [piece.text for piece in packed.pieces] == ["one two three", "eight"]
    assert (packed.tokens, packed.left_out) == (4, 1)


def test_a_longer_text_takes_the_place_of_its_part():
    packed = pack(results(["blue cat", "a blue cat sat", "red"]), max_tokens=9, tokenizer=words)
    assert [piece.text for piece in packed.pieces] == ["a blue cat sat", "red"]
    small = pack(results(["blue cat", "a blue cat sat", "red"]), max_tokens=3, tokenizer=words)
    assert [piece.text for piece in small.pieces] == ["blue cat", "red"]


def test_of_overlapping_windows_of_one_text_the_first_is_taken():
    text = "red green blue cat"
    windows = [Span(0, 9), Span(4, 14), Span(10, 18)]
    packed = pack(results([text] * 3, windows), max_tokens=99, pieces="passages", tokenizer=words)
    assert [piece.text for piece in packed.pieces] == ["red green", "blue cat"]
    assert pack(results([text] * 3, windows), max_tokens=99, tokenizer=words).text == text


def test_without_a_tokenizer_the_models_own_counts(bundled):
    response = bundled.rerank("capital of France", ["Berlin is big.", "Paris, of course.", "Bread is baked daily."])
    own = Tokenizer.from_file(str(locate(response.model).folder / "tokenizer.json"))
    own.no_truncation()
    for budget in range(1, 20):
        packed = pack(response, max_tokens=budget)
        assert packed == pack(response, max_tokens=budget, tokenizer=own)
        assert packed.tokens == len(own.encode(packed.text, add_special_tokens=False).ids) <= budget
    assert len(pack(response, max_tokens=19).pieces) == 3


def test_a_tokenizer_that_cuts_and_fills_is_asked_for_the_whole_text():
    own = Tokenizer.from_file(str(locate("rerank-mini-en-v1").folder / "tokenizer.json"))
    own.enable_truncation(2)
    own.enable_padding(length=50)
    assert pack(results(["one two three four"]), max_tokens=3, tokenizer=own).pieces == ()
    assert pack(results(["one two three four"]), max_tokens=4, tokenizer=own).tokens == 4
    assert own.truncation["max_length"] == 2


@pytest.mark.parametrize("given_results", [[], [RerankResult(0, 1, 1, 0.5, 0.0, Document("a"))]])
def test_results_of_no_model_need_a_tokenizer(given_results):
    with pytest.raises(InvalidRequestError, match="give tokenizer=") as caught:
        pack(given_results, max_tokens=5)
    assert caught.value.param == "tokenizer"


def test_a_services_model_needs_a_tokenizer():
    with pytest.raises(InvalidRequestError, match=r"'rerank-v3\.5' is not on this machine; give tokenizer="):
        pack(RerankResponse("id", "rerank-v3.5", ()), max_tokens=5)


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ({"max_tokens": 0}, "max_tokens must be a whole number of at least 1"),
        ({"max_tokens": None}, "max_tokens must be a whole number"),
        ({"max_tokens": True}, "max_tokens must be a whole number of at least 1"),
        ({"order": "best"}, "order must be one of relevance, ends"),
        ({"pieces": "words"}, "pieces must be one of documents, passages"),
        ({"separator": 3}, "separator must be a string"),
        ({"tokenizer": 3}, "got int"),
        ({"tokenizer": lambda _: 1.5}, "it gave 1.5"),
        ({"tokenizer": lambda _: None}, "it gave NoneType"),
        ({"tokenizer": lambda _: -1}, "it gave -1"),
        ({"results": ["a"]}, r"results\[0\] is str; expected a RerankResponse"),
        ({"results": 3}, "results must be a RerankResponse"),
    ],
)
def test_wrong_arguments_are_refused(arguments, seen):
    arguments = {"results": results(["a"]), "max_tokens": 5, "tokenizer": len} | arguments
    with pytest.raises(InvalidRequestError, match=seen):
        pack(**arguments)


def test_texts_are_in_no_repr():
    packed = pack(results(["secret"]), max_tokens=9, tokenizer=len)
    assert repr(packed) == "Packed(1 pieces, 6 tokens, 0 left out)"
    assert "secret" not in repr(packed.pieces)
