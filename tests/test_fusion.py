"""The retriever's scores beside the model's: pure functions, the engine, and every wrapper around a scorer."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InferenceError, InvalidRequestError, Reranker, RerankResponse
from rerank_core.fusion import RRF, RRF_K, Fused, check_fusion, check_retrieval_scores, fuse, ranked, standard
from rerank_core.scoring import (
    CachedScorer,
    CalibratedScorer,
    Calibration,
    CascadeScorer,
    FakeScorer,
    FallbackScorer,
    KeepOrderScorer,
    Score,
    Scores,
)

NUMBERS = st.floats(-1e9, 1e9).map(lambda number: round(number, 3))
LISTS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12)
SHARES = st.floats(0, 1)
METHODS = SHARES | st.just(RRF)


class ByNumber(FakeScorer):
    """The logit of a text is the number that it is."""

    def score(self, _query, texts):
        return Scores(tuple(Score.from_logit(float(text)) for text in texts), self.model)

    async def ascore(self, query, texts):
        return self.score(query, texts)


def order_of(fused):
    return sorted(range(len(fused)), key=lambda each: -fused[each].score)


def rank(logits, retrieval=None, *, fusion=None, **limits):
    with Reranker(scorer=ByNumber(), fusion=fusion) as reranker:
        return reranker.rerank("q", [repr(logit) for logit in logits], retrieval_scores=retrieval, **limits)


def order(response):
    return [result.index for result in response]


@given(METHODS, LISTS)
def test_fusion_keeps_every_document_once_and_sorts_by_the_sum_of_its_parts(method, pairs):
    retrieval, model = (list(side) for side in zip(*pairs, strict=True))
    logits = [number / 1e8 for number in model]
    response = rank(logits, retrieval, fusion=method)
    assert sorted(order(response)) == list(range(len(pairs)))
    scores = [result.fused.retrieval + result.fused.model for result in response]
    assert scores == sorted(scores, reverse=True)
    assert [result.retrieval_score for result in response] == [retrieval[index] for index in order(response)]


@given(LISTS)
def test_share_0_is_the_models_order_and_share_1_the_retrievers(pairs):
    retrieval, model = (list(side) for side in zip(*pairs, strict=True))
    logits = [number / 1e8 for number in model]
    assert order(rank(logits, retrieval, fusion=0.0)) == order(rank(logits))
    assert order(rank(logits, retrieval, fusion=1.0)) == sorted(range(len(pairs)), key=lambda each: -retrieval[each])


@given(SHARES, st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=1, max_size=12))
def test_a_weighted_sum_does_not_change_when_scores_are_shifted_and_scaled(share, pairs):
    retrieval, model = ([float(number) for number in side] for side in zip(*pairs, strict=True))
    plain = fuse(share, retrieval, model)
    for other in (fuse(share, [8 * score - 1024 for score in retrieval], model), fuse(share, retrieval, model)):
        for one, two in zip(plain, other, strict=True):
            assert one == pytest.approx(two, abs=1e-9)


@given(LISTS)
def test_reciprocal_rank_fusion_looks_at_ranks_only(pairs):
    retrieval, model = (list(side) for side in zip(*pairs, strict=True))
    wanted = [Fused(1 / (RRF_K + r), 1 / (RRF_K + m)) for r, m in zip(ranked(retrieval), ranked(model), strict=True)]
    assert fuse(RRF, retrieval, model) == wanted
    assert fuse(RRF, [float(-rank) for rank in ranked(retrieval)], model) == wanted


@given(st.lists(st.floats(-1e300, 1e300), max_size=20))
def test_z_scores_are_finite_and_have_mean_0_and_deviation_1(scores):
    found = standard(scores)
    assert len(found) == len(scores)
    if any(found):
        assert sum(found) / len(found) == pytest.approx(0, abs=1e-6)
        assert sum(value**2 for value in found) / len(found) == pytest.approx(1, abs=1e-6)
    else:
        assert not scores or max(scores) - min(scores) <= 1e-12 * max(map(abs, scores))


@pytest.mark.parametrize("retrieval", [None, [0.1, None, 0.9]], ids=["none", "one missing"])
def test_the_order_stands_in_where_a_score_is_missing(retrieval):
    response = rank([0.0, 0.0, 0.0], retrieval, fusion=1.0)
    assert order(response) == [0, 1, 2]
    assert [result.retrieval_score for result in response] == (retrieval or [None] * 3)
    assert [result.retrieval_rank for result in response] == [None] * 3


def test_without_fusion_scores_come_back_and_do_not_count():
    response = rank([0.0, 2.0], [9.0, 1.0])
    found = [(result.index, result.retrieval_score, result.retrieval_rank, result.fused) for result in response]
    assert found == [(1, 1.0, 2, None), (0, 9.0, 1, None)]


def test_the_threshold_is_on_probabilities_and_the_limit_comes_last():
    response = rank([-3.0, 1.0, 2.0], [9.0, 5.0, 1.0], fusion=1.0, score_threshold=0.5, top_n=1)
    assert order(response) == [1]  # the first is what the retriever likes best, and is not relevant
    assert response[0].relevance_score > 0.5


@pytest.mark.parametrize("fusion", [True, -0.1, 1.1, float("nan"), "rff", "1.5", [0.5]])
def test_a_wrong_fusion_is_refused(fusion):
    with pytest.raises(InvalidRequestError, match="fusion must be the retriever's share from 0 to 1") as caught:
        Reranker(scorer=ByNumber(), fusion=fusion)
    assert caught.value.param == "fusion"


def test_a_share_may_be_written_as_text():
    assert (check_fusion("fusion", "0.25"), check_fusion("fusion", "rrf"), check_fusion("fusion", None)) == (
        0.25,
        RRF,
        None,
    )


@pytest.mark.parametrize(
    ("scores", "seen"),
    [
        ([1.0], "there are 1 for 2 documents"),
        ([1.0, float("nan")], "got nan at position 1"),
        ([float("inf"), 1.0], "got inf at position 0"),
        (["0.5", 1.0], "got str at position 0"),
        ([True, 1.0], "got bool at position 0"),
        ("ab", "got str"),
        (3, "got int"),
    ],
)
def test_wrong_retrieval_scores_are_refused_before_anything_is_scored(scores, seen):
    scorer = FakeScorer()
    with pytest.raises(InvalidRequestError, match=seen) as caught:
        Reranker(scorer=scorer).rerank("q", ["a", "b"], retrieval_scores=scores)
    assert (caught.value.code, caught.value.param) == ("invalid_retrieval_scores", "retrieval_scores")
    assert scorer.calls == []


def test_numbers_of_other_libraries_are_taken():
    numpy = pytest.importorskip("numpy")
    assert check_retrieval_scores(numpy.array([0.5, 2], numpy.float32), 2) == [0.5, 2.0]
    assert check_retrieval_scores((score for score in (1, 2)), 2) == [1.0, 2.0]


def test_documents_of_one_text_have_retrieval_scores_of_their_own():
    scorer = ByNumber()
    response = Reranker(scorer=scorer, fusion=0.5).rerank("q", ["1", "1", "2"], retrieval_scores=[0.0, 5.0, 1.0])
    assert {result.index: result.retrieval_score for result in response} == {0: 0.0, 1: 5.0, 2: 1.0}
    assert order(response).index(1) < order(response).index(0)


WRAPPED = {
    "cached": lambda: CachedScorer(ByNumber()),
    "calibrated": lambda: CalibratedScorer(ByNumber(), Calibration("fake", "logistic", (2.0, 1.0))),
    "cascade": lambda: CascadeScorer(ByNumber(), ByNumber(), keep=3),
    "fallback": lambda: FallbackScorer([Failing(), ByNumber()]),
}


class Failing(FakeScorer):
    def score(self, _query, _texts):
        raise InferenceError("broken")


@pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED)
@given(METHODS, LISTS)
def test_every_wrapper_is_fused_like_the_scorer_it_wraps(make, method, pairs):
    retrieval, model = (list(side) for side in zip(*pairs, strict=True))
    logits = [repr(number / 1e8) for number in model]
    plain = Reranker(scorer=make())
    fused = Reranker(scorer=make(), fusion=method)
    before, after = plain.rerank("q", logits), fused.rerank("q", logits, retrieval_scores=retrieval)
    assert after.degraded == before.degraded
    by_index = {result.index: result for result in before}
    for result in after:  # nothing but the order is another
        assert result.relevance_score == by_index[result.index].relevance_score
        assert result.logit == by_index[result.index].logit
    assert sorted(order(after)) == sorted(by_index)


def test_a_cache_knows_nothing_of_the_retriever():
    scorer = ByNumber()
    reranker = Reranker(scorer=CachedScorer(scorer), fusion=0.5)
    first = reranker.rerank("q", ["1", "2"], retrieval_scores=[9.0, 0.0])
    again = reranker.rerank("q", ["1", "2"], retrieval_scores=[0.0, 9.0])
    assert all(result.cached for result in again)
    assert order(first) == [0, 1] or first[0].fused.score == first[1].fused.score
    assert order(again) == [1, 0]


@pytest.mark.parametrize("fusion", [0.5, 1.0, RRF])
def test_kept_order_stays_the_order_that_was_given(fusion):
    reranker = Reranker(scorer=FallbackScorer([Failing(), KeepOrderScorer()]), fusion=fusion)
    response = reranker.rerank("q", ["1", "2", "3"], retrieval_scores=[1.0, 3.0, 2.0])
    assert (order(response), response.degraded) == ([0, 1, 2], True)
    assert [result.fused for result in response] == [None] * 3


def test_many_queries_may_bring_retrieval_scores():
    reranker = Reranker(scorer=ByNumber(), fusion=1.0)
    requests = [("q", ["1", "2"], [5.0, 1.0]), ("q", ["1", "2"], None), ("q", ["1", "2"])]
    expected = [[0, 1], [0, 1], [0, 1]]
    assert [order(response) for response in reranker.rerank_many(requests)] == expected
    assert [order(response) for response in asyncio.run(reranker.arerank_many(requests))] == expected
    with pytest.raises(InvalidRequestError, match=r"requests\[0\].*there are 1 for 2") as caught:
        reranker.rerank_many([("q", ["1", "2"], [5.0])])
    assert caught.value.param == "requests[0].retrieval_scores"


def test_async_ranks_like_sync():
    reranker = Reranker(scorer=ByNumber(), fusion=0.3)
    arguments = ("q", ["1", "2", "4"])
    scores = {"retrieval_scores": [3.0, 9.0, 1.0]}
    assert asyncio.run(reranker.arerank(*arguments, **scores)).results == reranker.rerank(*arguments, **scores).results


def test_a_response_survives_json():
    response = rank([1.0, 2.0], [0.5, 0.25], fusion=0.5)
    assert RerankResponse.from_dict(json.loads(response.to_json())) == response
    older = response.to_dict()
    for result in older["results"]:
        del result["fused"], result["retrieval_score"], result["retrieval_rank"]
    assert RerankResponse.from_dict(older)[0].fused is None


def test_the_bundled_model_is_fused(bundled):
    documents = ["Berlin is big.", "Paris, of course.", "Bread is baked."]
    query = "What is the capital of France?"
    fused = Reranker(fusion=0.5).rerank(query, documents, retrieval_scores=[0.2, 0.9, 0.1])
    plain = bundled.rerank(query, documents)
    assert fused[0].index == 1
    assert {r.index: r.relevance_score for r in fused} == {r.index: r.relevance_score for r in plain}
