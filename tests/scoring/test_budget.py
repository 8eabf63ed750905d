"""A budget of time: how many texts it lets through, on a clock that only the scorer moves."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InvalidRequestError, Reranker
from rerank_core.events import BudgetSpent
from rerank_core.scoring import (
    BudgetScorer,
    CachedScorer,
    CalibratedScorer,
    Calibration,
    CascadeScorer,
    FakeScorer,
    FallbackScorer,
    KeepOrderScorer,
    LocalScorer,
)
from rerank_core.scoring.budget import Pace, affordable

QUERY = "capital of France"
TEXTS = [f"{number} words about Paris and France" * (1 + number % 3) for number in range(40)]

LATENCY = 0.5

costs = st.lists(st.integers(1, 1000), min_size=1, max_size=50)
seconds = st.floats(0, 1e6)
paces = st.floats(0, 1e3)


class Timed(FakeScorer):
    """Takes a millisecond per character."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.asked = []
        self.seconds = 0.001

    def clock(self):
        return self.now

    def score(self, query, texts):
        self.now += self.seconds * sum(len(query) + len(text) for text in texts)
        self.asked.append(len(texts))
        return super().score(query, texts)

    async def ascore(self, query, texts):
        return self.score(query, texts)


def budget(scorer, max_latency, **options):
    return BudgetScorer(scorer, max_latency, clock=scorer.clock, **options)


def warm(scorer, max_latency, **options):
    made = budget(scorer, max_latency, **options)
    made.warm_up()
    scorer.asked.clear()
    return made


@given(costs, paces, seconds)
def test_from_one_to_all(costs, pace, budget):
    assert 1 <= affordable(costs, pace, budget) <= len(costs)


@given(costs, paces, seconds, seconds)
def test_more_time_is_never_fewer_texts(costs, pace, one, other):
    less, more = sorted((one, other))
    assert affordable(costs, pace, less) <= affordable(costs, pace, more)


@given(costs, paces, seconds)
def test_what_fits_is_all_that_fits(costs, pace, budget):
    count = affordable(costs, pace, budget)
    assert count == 1 or sum(costs[:count]) * pace <= budget
    assert count == len(costs) or sum(costs[: count + 1]) * pace > budget


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=40, unique=True), st.floats(0.001, 1.0))
def test_the_rest_keep_their_order_behind_what_was_scored(texts, max_latency):
    timed = Timed()
    scorer = warm(timed, max_latency)
    plain, scores = FakeScorer().score(QUERY, texts), scorer.score(QUERY, texts)
    (scored,) = timed.asked
    assert 1 <= scored <= len(texts) == len(scores.items)
    assert scores.items[:scored] == plain.items[:scored]
    assert all(not score.judged and score.degraded and score.relevance_score == 0 for score in scores.items[scored:])
    response = Reranker(scorer=scorer).rerank(QUERY, texts, score_threshold=0.5)
    left = len(texts) - timed.asked[-1]
    assert (response.unscored, response.degraded) == (left, bool(left))
    assert [result.index for result in response][len(response) - left :] == list(range(len(texts) - left, len(texts)))


def test_a_budget_that_suffices_changes_nothing():
    scorer = warm(Timed(), 10.0)
    assert scorer.score(QUERY, TEXTS) == FakeScorer().score(QUERY, TEXTS)
    assert asyncio.run(scorer.ascore(QUERY, TEXTS)) == FakeScorer().score(QUERY, TEXTS)


def test_the_budget_is_kept_and_the_event_says_what_was_left():
    timed, events = Timed(), []
    scorer = warm(timed, LATENCY, hooks=[events.append])
    started = timed.now
    scorer.score(QUERY, [TEXTS[0]] * 40)
    (scored,) = timed.asked
    assert LATENCY / 2 <= timed.now - started <= LATENCY
    assert scored > 1
    assert events == [BudgetSpent(scorer.model, scored, 40 - scored, LATENCY)]


def test_the_pace_is_learnt_anew_when_the_machine_slows_down():
    timed = Timed()
    scorer = warm(timed, LATENCY)
    scorer.score(QUERY, [TEXTS[0]] * 40)
    timed.seconds *= 4
    for _ in range(9):
        started = timed.now
        scorer.score(QUERY, [TEXTS[0]] * 40)
    assert timed.now - started <= LATENCY
    assert timed.asked[-1] < timed.asked[0]


def test_one_slow_call_does_not_change_the_pace():
    pace = Pace()
    for call in (1.0, 1.0, 100.0, 1.0):
        pace.learn(100, call)
    assert pace.seconds_per_token == 0.01


def test_the_first_call_measures_on_its_own_texts_and_counts_their_tokens():
    timed = Timed()
    first = budget(timed, 0.05).score(QUERY, TEXTS)
    assert timed.asked == [1, 16]  # the sample took longer than the budget: what it scored is used
    assert sum(score.judged for score in first.items) == 16
    assert first.tokens == sum(FakeScorer().score(QUERY, TEXTS[:count]).tokens for count in (1, 16))


def test_what_was_billed_to_measure_the_pace_is_counted():
    class Billed(Timed):
        def score(self, query, texts):
            return replace(super().score(query, texts), search_units=1, encode_seconds=0.25, inference_seconds=0.5)

    timed = Billed()
    scores = budget(timed, 10.0).score(QUERY, TEXTS)
    assert timed.asked == [1, 16, 40]
    assert (scores.search_units, scores.encode_seconds, scores.inference_seconds) == (3, 0.75, 1.5)
    assert budget(Timed(), 10.0).score(QUERY, TEXTS).search_units is None


def test_one_text_is_scored_whatever_the_budget():
    timed = Timed()
    scorer = warm(timed, 1e-9)
    assert [score.judged for score in scorer.score(QUERY, TEXTS[:3]).items] == [True, False, False]


def test_what_kept_the_order_teaches_nothing():
    scorer = BudgetScorer(KeepOrderScorer(), 0.1)
    assert scorer.score(QUERY, TEXTS) == KeepOrderScorer().score(QUERY, TEXTS)


def inside(make, max_latency=1e-9):
    """A scorer of others that has a budget for one text once it knows its pace."""
    reranker = Reranker(scorer=make(FakeScorer()), max_latency=max_latency)
    reranker.warm_up()
    return reranker


def test_a_cache_costs_nothing_and_keeps_nothing_unscored():
    reranker = inside(CachedScorer)
    assert [reranker.rerank(QUERY, TEXTS[:4]).unscored for _ in range(5)] == [3, 2, 1, 0, 0]


def test_a_cascade_keeps_the_first_models_scores():
    cheap = FakeScorer()
    response = inside(lambda main: CascadeScorer(cheap, main, keep=10)).rerank(QUERY, TEXTS)
    assert response.unscored == 0
    assert (
        sum(not result.degraded for result in response) == 31
    )  # 30 were never meant for the second model, 1 got there


def test_a_calibration_applies_to_what_was_scored():
    calibration = Calibration("fake", "isotonic", (0.0, 0.5))
    response = inside(lambda main: CalibratedScorer(main, calibration)).rerank(QUERY, TEXTS[:3])
    assert [result.relevance_score for result in response] == [0.5, 0.0, 0.0]


def test_a_fallback_steps_in_as_without_a_budget():
    response = inside(lambda main: FallbackScorer([main, KeepOrderScorer()])).rerank(QUERY, TEXTS[:3])
    assert (response.unscored, response.model) == (2, "fake")


@pytest.mark.parametrize("options", [{"fusion": 0.5}, {"fusion": "rrf"}, {"diversify": 0.7}, {"max_per_source": 40}])
def test_rules_leave_the_unscored_behind(options):
    reranker = Reranker(scorer=FakeScorer(), **options)
    reranker.warm_up()
    response = reranker.rerank(QUERY, TEXTS, max_latency=1e-9)
    assert response.unscored == 24  # the first call's sample is scored
    assert [result.index for result in response][16:] == list(range(16, 40))


def test_a_call_has_its_own_budget_and_numbers_have_none():
    reranker = inside(lambda main: main)
    assert reranker.rerank(QUERY, TEXTS).unscored == 39
    assert reranker.rerank(QUERY, TEXTS, max_latency=1e6).unscored == 0
    assert asyncio.run(reranker.arerank(QUERY, TEXTS)).unscored == 39
    assert [each.unscored for each in reranker.rerank_many([(QUERY, TEXTS)] * 2)] == [39, 39]
    assert reranker.score(QUERY, TEXTS) == Reranker(scorer=FakeScorer()).score(QUERY, TEXTS)


def test_a_model_in_this_process():
    with Reranker("rerank-tiny-en-v1", max_latency=1e-9) as reranker:
        reranker.warm_up()
        short, full = reranker.rerank(QUERY, TEXTS), reranker.rerank(QUERY, TEXTS, max_latency=1e6)
        copy = pickle.loads(pickle.dumps(reranker))
    with Reranker("rerank-tiny-en-v1") as plain:
        expected = plain.rerank(QUERY, TEXTS)
    assert (short.unscored, short[0].index) == (39, 0)
    assert short[0].logit is not None
    assert (full.results, full.usage, full.unscored) == (expected.results, expected.usage, 0)
    with copy:
        assert copy.rerank(QUERY, TEXTS[:1]).unscored == 0


def test_a_budget_beyond_all_floats_is_a_very_large_one():
    assert len(budget(Timed(), 10**400).score(QUERY, TEXTS).items) == len(TEXTS)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "fast", True])
def test_a_budget_that_is_none(wrong):
    with pytest.raises(InvalidRequestError, match="max_latency must be seconds above 0"):
        Reranker(max_latency=wrong)
    with pytest.raises(InvalidRequestError, match="max_latency"):
        Reranker().rerank(QUERY, TEXTS, max_latency=wrong)
    with pytest.raises(InvalidRequestError, match="max_latency"):
        BudgetScorer(LocalScorer(), wrong)
