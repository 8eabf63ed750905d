"""What a scorer gives is checked where it comes in, and is made of Python's own values from there on."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from rerank_core import ProtocolError, Reranker, Span
from rerank_core.scoring import (
    CachedScorer,
    CalibratedScorer,
    Calibration,
    CascadeScorer,
    FakeScorer,
    FallbackScorer,
    Score,
    Scores,
)


class Answering(FakeScorer):
    """Answers with what it was given."""

    def __init__(self, answer):
        super().__init__("mine")
        self.answer = answer

    def _answer(self, _query, _texts):
        return self.answer


def scores(*items, **details):
    return Scores(items, details.pop("model", "mine"), **details)


GOOD = Score(0.5)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, "not_scores"),
        ([0.5, 0.5], "not_scores"),
        (Scores(None, "mine"), "not_scores"),
        (scores(GOOD), "wrong_score_count"),
        (scores(GOOD, 0.5), "wrong_score_type"),
        (scores(GOOD, Score(7.3)), "score_out_of_range"),
        (scores(GOOD, Score(-0.1)), "score_out_of_range"),
        (scores(GOOD, Score("0.5")), "wrong_score_type"),
        (scores(GOOD, Score(True)), "wrong_score_type"),
        (scores(GOOD, Score(None)), "wrong_score_type"),
        (scores(GOOD, Score(np.array([0.5]))), "wrong_score_type"),
        (scores(GOOD, Score(math.nan)), "non_finite_score"),
        (scores(GOOD, Score(np.float32("nan"))), "non_finite_score"),
        (scores(GOOD, Score(0.5, logit=-math.inf)), "non_finite_score"),
        (scores(GOOD, Score(0.5, logit=10**400)), "non_finite_score"),
        (scores(GOOD, Score(0.5, logit="3")), "wrong_score_type"),
        (scores(GOOD, Score(0.5, truncated=1)), "wrong_score_type"),
        (scores(GOOD, Score(0.5, window=(3,))), "wrong_score_type"),
        (scores(GOOD, Score(0.5, window=(3, 1))), "wrong_score_type"),
        (scores(GOOD, GOOD, tokens=-1), "wrong_score_type"),
        (scores(GOOD, GOOD, tokens=1.5), "wrong_score_type"),
        (scores(GOOD, GOOD, inference_seconds=math.nan), "non_finite_score"),
        (scores(GOOD, GOOD, model=None), "wrong_score_type"),
    ],
)
def test_a_wrong_answer_is_an_error_wherever_it_enters(answer, code):
    curve = Calibration("mine", "logistic", (1.0, 0.0))
    inner = Answering(answer)
    for scorer in (
        inner,
        CachedScorer(inner),
        CalibratedScorer(inner, curve),
        CascadeScorer(inner, FakeScorer(), keep=1),
        CascadeScorer(FakeScorer(), inner),
    ):
        for rerank in (
            Reranker(scorer=scorer).rerank,
            lambda *a, s=scorer: asyncio.run(Reranker(scorer=s).arerank(*a)),
        ):
            with pytest.raises(ProtocolError, match="the scorer for 'mine' gave") as caught:
                rerank("q", ["a", "b"])
            assert caught.value.code == code
    response = Reranker(scorer=FallbackScorer([inner, FakeScorer("spare")])).rerank("q", ["a", "b"])
    assert (response.model, response.degraded) == ("spare", True)


def test_other_libraries_numbers_become_pythons():
    answer = scores(
        Score(
            np.float32(0.25),
            logit=np.float64(-1.1),
            truncated=np.True_,
            query_truncated=np.False_,
            window=(np.int64(0), np.int32(2)),
            degraded=np.bool_(True),
        ),
        Score(Fraction(1, 2), logit=np.int64(0)),
        tokens=np.int64(7),
        encode_seconds=np.float32(0.5),
    )
    store = {}
    response = Reranker(scorer=CachedScorer(Answering(answer), store)).rerank("q", ["ab", "cd"])
    data = json.loads(response.to_json())
    best, worst = data["results"]
    assert (best["relevance_score"], best["logit"], best["window"]) == (0.5, 0.0, None)
    assert (worst["relevance_score"], worst["logit"], worst["window"]) == (0.25, -1.1, [0, 2])
    assert (worst["truncated"], worst["degraded"], data["query_truncated"]) == (True, True, False)
    assert (data["usage"]["total_tokens"], data["timings"]["encode"]) == (7, 0.5)
    for result in response:
        assert (type(result.relevance_score), type(result.logit)) == (float, float)
        assert result.window is None or (type(result.window), type(result.window.end)) == (Span, int)
    (kept,) = store.values()
    assert type(kept.logit) is float


def test_what_is_plain_already_is_not_made_anew():
    fresh = FakeScorer().score("a b", ["a", "b c"])
    checked = Reranker(scorer=CachedScorer(Answering(fresh), store := {})).rerank("a b", ["a", "b c"])
    assert len(checked) == 2
    assert {id(score) for score in store.values()} == {id(score) for score in fresh.items}


@pytest.mark.parametrize(("given", "taken"), [(1 + 5e-7, 1.0), (-5e-7, 0.0)])
def test_a_probability_may_overshoot_by_rounding(given, taken):
    (result,) = Reranker(scorer=Answering(scores(Score(given)))).rerank("q", ["a"])
    assert result.relevance_score == taken


def test_an_answer_that_judged_nothing_says_so_of_every_text():
    answer = scores(Score(0.0), Score(0.0), judged=False)
    assert [score.judged for score in answer.items] == [False, False]
    assert not answer.genuine
    assert not replace(answer, items=(GOOD, GOOD)).items[0].judged
    response = Reranker(scorer=Answering(answer)).rerank("q", ["a", "b"], score_threshold=1.0)
    assert [result.text for result in response] == ["a", "b"]


def test_scores_pickled_before_they_had_a_module_of_their_own_load():
    score = Score(0.75, 1.1, truncated=True, window=Span(3, 9))
    pickled = pickle.dumps(score, protocol=2)
    earlier = pickled.replace(b"crerank_core.scores\nScore\n", b"crerank_core.scoring.base\nScore\n")
    assert earlier != pickled
    assert pickle.loads(earlier) == score


def test_marking_as_cached_keeps_the_rest():
    for score in (
        Score(0.3),
        Score(0.3, -0.8, truncated=True, query_truncated=True, window=Span(2, 9), degraded=True, judged=False),
    ):
        assert score.as_cached() == replace(score, cached=True)
