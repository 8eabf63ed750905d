"""Results that say different things, and from different sources."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InferenceError, InvalidRequestError, Reranker
from rerank_core.diversity import WordVectors, scaled, select
from rerank_core.scoring import FakeScorer, FallbackScorer, KeepOrderScorer, Score, Scores

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "cat", "dog"]), max_size=5).map(" ".join)
ITEMS = st.lists(st.tuples(st.integers(-9, 9), WORDS, st.sampled_from([None, "a", "b"])), max_size=9)
SHARES = st.floats(0, 1)


class ByLastWord(FakeScorer):
    """The logit of a text is its last word, a number."""

    def score(self, _query, texts):
        return Scores(tuple(Score.from_logit(float(text.split()[-1])) for text in texts), self.model)

    async def ascore(self, query, texts):
        return self.score(query, texts)


def documents(items):
    return [
        {"text": f"{words} {logit}"} | ({} if source is None else {"source": source}) for logit, words, source in items
    ]


def order(items, *, retrieval=None, top_n=None, **options):
    reranker = Reranker(scorer=ByLastWord(), **options)
    response = reranker.rerank("q", documents(items), retrieval_scores=retrieval, top_n=top_n)
    assert [result.rank for result in response] == list(range(1, len(response) + 1))
    return [result.index for result in response]


@given(ITEMS, SHARES, st.booleans())
def test_nothing_is_lost_or_doubled_and_the_best_stays_first(items, share, fused):
    fusion = {"fusion": 0.4} if fused else {}
    found = order(items, diversify=share, **fusion)
    assert sorted(found) == list(range(len(items)))
    assert found[:1] == order(items, **fusion)[:1]


@given(ITEMS, st.sampled_from([None, 0.0, 0.4, 1.0, "rrf"]))
def test_lambda_1_is_the_plain_ranking(items, fusion):
    assert order(items, diversify=1.0, fusion=fusion) == order(items, fusion=fusion)


@given(ITEMS, SHARES, st.integers(1, 9))
def test_a_limit_takes_the_first_of_them(items, share, top_n):
    assert order(items, diversify=share, top_n=top_n) == order(items, diversify=share)[:top_n]


@given(ITEMS, SHARES, st.integers(1, 3))
def test_no_source_has_more_than_its_share_and_none_less_than_it_could(items, share, most):
    found = order(items, diversify=share, max_per_source=most)
    taken = Counter(items[index][2] for index in found)
    there = Counter(source for _, _, source in items)
    assert {source: min(count, most) if source else count for source, count in there.items()} == taken
    plain = order(items, max_per_source=most)
    assert plain == [index for index in order(items) if index in plain]


@given(st.lists(st.floats(0, 1), max_size=8), SHARES)
def test_equals_keep_the_order_of_the_ranking(relevance, share):
    same = ["one text"] * len(relevance)
    found = select(relevance, same, [None] * len(same), trade_off=share)
    falling = sorted(relevance, reverse=True)
    assert found == select(falling, same, [None] * len(same), trade_off=1.0) == list(range(len(same)))


def test_the_formula_by_hand():
    relevance, texts = [0.9, 0.8, 0.5], ["red cat", "red cat", "blue dog"]
    # 0.7 * 0.8 - 0.3 * 1 = 0.26 is less than 0.7 * 0.5 = 0.35; with 0.9 relevance decides.
    assert select(relevance, texts, [None] * 3, trade_off=0.7) == [0, 2, 1]
    assert select(relevance, texts, [None] * 3, trade_off=0.9) == [0, 1, 2]


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_vectors_are_those_of_scikit_learn(texts):
    sklearn = pytest.importorskip("sklearn.feature_extraction.text")
    if not any(texts):
        return
    expected = sklearn.TfidfVectorizer(token_pattern=r"\w+").fit_transform(texts)
    expected = (expected @ expected.T).toarray()
    vectors = WordVectors(texts)
    for position in range(len(texts)):
        found = vectors.similarities(position)
        for other in range(len(texts)):
            assert found[other] == pytest.approx(expected[position, other], abs=1e-9)


def test_scripts_without_spaces_are_compared_by_character():
    found = WordVectors(["\u6771\u4eac\u306e\u5929\u6c17", "\u6771\u4eac\u306e\u99c5", "Wetter"]).similarities(0)
    assert 0 < found[1] < 1
    assert found[2] == 0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_scaled_scores_keep_their_order(scores):
    found = scaled(scores)
    assert all(0 <= value <= 1 for value in found)
    assert max(found) == 1
    for one, two in zip(scores, found, strict=True):
        assert all((one <= other) <= (two <= value) for other, value in zip(scores, found, strict=True))


def test_the_threshold_comes_first_and_fields_of_any_name_are_sources():
    items = [{"text": f"red {logit}", "page": page} for logit, page in [(3, [1]), (2, [1]), (1, [2]), (-5, [3])]]
    reranker = Reranker(scorer=ByLastWord(), max_per_source=1, source_field="page")
    found = reranker.rerank("q", items, score_threshold=0.5)
    assert [result.index for result in found] == [0, 2]


class Failing(FakeScorer):
    def score(self, _query, _texts):
        raise InferenceError("broken")


def test_kept_order_is_not_diversified_and_sources_are_limited_all_the_same():
    scorer = FallbackScorer([Failing(), KeepOrderScorer()])
    items = documents([(1, "red", "a"), (2, "red", "a"), (3, "blue", "b")])
    kept = Reranker(scorer=scorer, diversify=0.1).rerank("q", items)
    assert [result.index for result in kept] == [0, 1, 2]
    limited = Reranker(scorer=scorer, diversify=0.1, max_per_source=1).rerank("q", items)
    assert [result.index for result in limited] == [0, 2]


def test_many_and_async_follow_the_same_rules():
    reranker = Reranker(scorer=ByLastWord(), diversify=0.5, max_per_source=2)
    items = documents([(1, "red", "a"), (2, "red", "a"), (3, "red", "a"), (0, "blue", "b")])
    plain = reranker.rerank("q", items, top_n=3).results
    assert reranker.rerank_many([("q", items)], top_n=3)[0].results == plain
    assert asyncio.run(reranker.arerank("q", items, top_n=3)).results == plain
    assert asyncio.run(reranker.arerank_many([("q", items)], top_n=3))[0].results == plain


@pytest.mark.parametrize(
    ("option", "value"),
    [("diversify", 1.1), ("diversify", -0.1), ("diversify", True), ("diversify", "0.5"), ("diversify", float("nan")),
     ("max_per_source", 0), ("max_per_source", 1.5), ("source_field", 3)],
)  # fmt: skip
def test_wrong_values_are_refused(option, value):
    with pytest.raises(InvalidRequestError, match=option) as caught:
        Reranker(scorer=FakeScorer(), **{option: value})
    assert caught.value.param == option
