from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import (
    AuthenticationError,
    ConnectionError,  # noqa: A004  (ours)
    InvalidRequestError,
    MissingDependencyError,
    ModelLoadError,
    ModelNotFoundError,
    ProtocolError,
    Reranker,
    TimeoutError,  # noqa: A004  (ours)
)
from rerank_core.events import CacheUsed, Degraded, emit, log_event
from rerank_core.ranking import sigmoid
from rerank_core.scoring import (
    ApiOptions,
    ApiScorer,
    CachedScorer,
    CalibratedScorer,
    Calibration,
    CascadeScorer,
    FakeScorer,
    FallbackScorer,
    KeepOrderScorer,
    LocalScorer,
    Score,
    Scorer,
    Scores,
)

TEXTS = ["a b c", "a b", "a", "x", "y"]
QUERY = "a b c"
DOWN = TimeoutError("too slow")


def ask(scorer, mode, query=QUERY, texts=TEXTS):
    """The same call, sync or async."""
    return scorer.score(query, texts) if mode == "sync" else asyncio.run(scorer.ascore(query, texts))


both = pytest.mark.parametrize("mode", ["sync", "async"])


class Short(FakeScorer):
    """Loses a text."""

    def _answer(self, query, texts):
        return super()._answer(query, texts[1:])


def test_every_scorer_fulfils_the_protocol():
    fake = FakeScorer()
    for scorer in (fake, CachedScorer(fake), FallbackScorer([fake, fake]), CascadeScorer(fake, fake)):
        assert isinstance(scorer, Scorer)
        scorer.warm_up()
        assert scorer.model == "fake"
        scorer.close()
        asyncio.run(scorer.aclose())


def test_who_scores_each_text_for_itself():
    fake, cascade = FakeScorer(), CascadeScorer(FakeScorer("cheap"), FakeScorer())
    listwise = ApiScorer("jina-reranker-v3", "jina", ApiOptions("http://127.0.0.1:9", "key"))
    pairwise = ApiScorer("jina-reranker-m0", "jina", ApiOptions("http://127.0.0.1:9", "key"))
    assert [each.pointwise for each in (fake, LocalScorer(), KeepOrderScorer(), pairwise)] == [True] * 4
    assert [each.pointwise for each in (cascade, listwise)] == [False] * 2
    curve = Calibration("fake", "logistic", (1.0, 0.0))
    for inner in (fake, cascade):
        wrapped = (CachedScorer(inner), FallbackScorer([inner, fake]), CalibratedScorer(inner, curve))
        assert [each.pointwise for each in wrapped] == [inner.pointwise] * 3


@both
def test_a_cache_remembers_nothing_of_a_scorer_that_sees_the_whole_request(mode):
    cheap, expensive, store = FakeScorer("cheap"), FakeScorer("expensive"), {}
    cached = CachedScorer(CascadeScorer(cheap, expensive, keep=2), store)
    assert ask(cached, mode).keys() == ask(cached, mode).keys()
    assert (len(cheap.calls), len(expensive.calls), store) == (2, 2, {})


@both
def test_the_fake_scores_by_shared_words(mode):
    scores = ask(FakeScorer(delay=0.001), mode)
    logits = [score.logit for score in scores.items]
    assert logits == sorted(logits, reverse=True)
    assert (logits[0], logits[-1]) == (6.0, -6.0)
    assert scores.tokens > 0
    assert FakeScorer().score("?!", ["a"]).items[0].logit == -6.0


@both
def test_a_cache_asks_only_for_what_it_has_not_seen(mode):
    fake, events = FakeScorer(), []
    cached = CachedScorer(fake, hooks=[events.append])
    first = ask(cached, mode)
    again = ask(cached, mode, texts=["new", *TEXTS[::-1]])
    assert [texts for _, texts in fake.calls] == [tuple(TEXTS), ("new",)]
    assert [score.logit for score in again.items[1:]] == [score.logit for score in first.items[::-1]]
    assert [score.cached for score in again.items] == [False] + [True] * 5
    assert not any(score.cached for score in first.items)
    assert events == [CacheUsed("fake", 0, 5), CacheUsed("fake", 5, 1)]
    whole = ask(cached, mode)
    assert len(fake.calls) == 2
    assert whole.tokens == 0


def test_a_cached_score_reaches_the_result():
    reranker = Reranker(scorer=CachedScorer(FakeScorer()))
    reranker.rerank(QUERY, TEXTS)
    assert all(result.cached for result in reranker.rerank(QUERY, TEXTS))


def test_the_cache_key_separates_query_text_and_model():
    store = {}
    one, two = FakeScorer("one"), FakeScorer("two")
    CachedScorer(one, store).score("ab", ["c"])
    CachedScorer(one, store).score("a", ["bc"])
    CachedScorer(two, store).score("ab", ["c"])
    assert (len(one.calls), len(two.calls), len(store)) == (2, 1, 3)
    assert all(isinstance(key, bytes) and len(key) == 32 for key in store)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_different_pairs_never_share_a_score(one, two):
    store = {}
    fake = FakeScorer()
    for query, text in (one, two):
        CachedScorer(fake, store).score(query, [text])
    assert len(store) == len({one, two})


@pytest.mark.parametrize("message", ["it cannot be reached (Connection refused).", "too slow"])
def test_a_fallback_is_logged_in_one_sentence(caplog, message):
    FallbackScorer([FakeScorer("main", error=TimeoutError(message)), FakeScorer("spare")]).score(QUERY, TEXTS)
    reason = message.removesuffix(".")
    assert caplog.messages == [
        f"'main' failed ({reason}), so 'spare' answers, marked degraded. This is logged once, until something changes."
    ]


@both
def test_remembered_scores_are_not_mixed_with_a_fallbacks(mode):
    """Scores of two models cannot be compared: either all are the preferred one's, or all the fallback's."""
    main, spare = FakeScorer("main"), FakeScorer("spare")
    scorer = CachedScorer(FallbackScorer([main, spare]))
    ask(scorer, mode, texts=TEXTS[:2])
    main._error = DOWN
    scores = ask(scorer, mode)
    assert scores.model == "spare"
    assert all(score.degraded and not score.cached for score in scores.items)
    assert spare.calls[-1] == (QUERY, tuple(TEXTS))
    assert all(score.cached for score in ask(scorer, mode, texts=TEXTS[:2]).items)


@both
def test_a_cache_around_a_fallback_does_not_defeat_it(mode):
    class Unloadable(FakeScorer):
        @property
        def identity(self):
            raise ModelLoadError("cannot be loaded")

    main = Unloadable("main", error=ModelLoadError("cannot be loaded"))
    scores = ask(CachedScorer(FallbackScorer([main, FakeScorer("spare")])), mode)
    assert (scores.model, scores.degraded) == ("spare", True)


@both
@pytest.mark.parametrize(
    "stored",
    [
        "0.5",
        0.5,
        None,
        Score(5.0),
        Score(float("nan")),
        Score("0.5"),
        Score(0.5, logit="high"),
        Score(0.5, logit=float("inf")),
        Score(0.5, truncated="no"),
        Score(0.5, window=(9, 3)),
        Score(0.5, degraded=True),
        Score(0.5, judged=False),
        object.__new__(Score),  # what a pickle of another version may lack
    ],
)
def test_what_a_store_gives_back_is_not_believed(mode, stored):
    store = {}
    ask(CachedScorer(FakeScorer(), store), mode)
    for key in list(store):
        store[key] = stored
    again = ask(CachedScorer(FakeScorer(), store), mode)
    assert again.items == FakeScorer().score(QUERY, TEXTS).items
    assert all(ask(CachedScorer(FakeScorer(), store), mode).items[i].cached for i in range(5))


@both
def test_what_nobody_judged_is_not_remembered(mode):
    store = {}
    ask(CachedScorer(KeepOrderScorer(), store), mode)
    assert store == {}


@both
def test_a_store_that_fails_counts_as_empty(mode, caplog):
    class Full(dict):
        def __setitem__(self, key, value):
            raise OSError("disk full")

    class Gone(dict):
        def get(self, _key):
            raise OSError("no such store")

    for store in (Full(), Gone()):
        scorer = CachedScorer(FakeScorer(), store)
        for _ in range(2):
            assert len(ask(scorer, mode).items) == 5
    assert "the score store of 'fake' failed" in caplog.text


def test_a_remembered_score_remembers_that_the_query_was_cut():
    reranker = Reranker(scorer=CachedScorer(Reranker(max_tokens=16).scorer))
    for _ in range(2):
        assert reranker.rerank("word " * 50, ["a"]).query_truncated


def test_everything_is_closed_even_when_one_fails_to():
    closed = []

    class Stubborn(FakeScorer):
        def close(self):
            closed.append(self.model)
            raise ModelLoadError("stuck")

        async def aclose(self):
            self.close()

    for make in (lambda a, b: FallbackScorer([a, b]), CascadeScorer):
        scorer = make(Stubborn("a"), Stubborn("b"))
        with pytest.raises(ModelLoadError):
            scorer.close()
        with pytest.raises(ModelLoadError):
            asyncio.run(scorer.aclose())
    assert sorted(closed) == ["a"] * 4 + ["b"] * 4


def test_a_fallbacks_scores_are_not_remembered():
    cached = CachedScorer(FallbackScorer([FakeScorer("main", error=DOWN), FakeScorer("spare")]))
    for _ in range(2):
        assert all(score.degraded and not score.cached for score in cached.score(QUERY, TEXTS).items)


@both
def test_a_wrong_count_inside_a_cache_is_an_error(mode):
    with pytest.raises(ProtocolError, match="4 scores for 5"):
        ask(CachedScorer(Short()), mode)


@both
def test_a_fallback_answers_degraded_and_says_so(mode):
    events = []
    scorer = FallbackScorer([FakeScorer("main", error=DOWN), FakeScorer("spare")], hooks=[events.append])
    scores = ask(scorer, mode)
    assert scores.model == "spare"
    assert scores.degraded
    assert all(score.degraded for score in scores.items)
    assert events == [Degraded("main", "spare", "deadline_exceeded")]
    response = Reranker(scorer=scorer).rerank(QUERY, TEXTS)
    assert response.degraded
    assert all(result.degraded for result in response)


@both
def test_a_fallback_that_is_not_needed_changes_nothing(mode):
    spare = FakeScorer("spare")
    scores = ask(FallbackScorer([FakeScorer("main"), spare]), mode)
    assert (scores.model, scores.degraded, spare.calls) == ("main", False, [])


@both
def test_a_wrong_answer_counts_as_a_failure(mode):
    assert ask(FallbackScorer([Short("main"), FakeScorer("spare")]), mode).model == "spare"


@both
def test_a_wrong_request_is_not_tried_elsewhere(mode):
    spare = FakeScorer("spare")
    scorer = FallbackScorer([FakeScorer(error=InvalidRequestError("wrong")), spare])
    with pytest.raises(InvalidRequestError):
        ask(scorer, mode)
    assert spare.calls == []


@both
def test_when_all_fail_the_last_error_names_the_others(mode):
    scorer = FallbackScorer([FakeScorer("main", error=DOWN), FakeScorer("spare", error=ModelLoadError("no"))])
    with pytest.raises(ModelLoadError) as caught:
        ask(scorer, mode)
    assert caught.value.__notes__ == ["before that, 'main' failed: deadline_exceeded"]


PERMANENT = [
    AuthenticationError("the key was refused"),
    ModelNotFoundError("nobody knows it"),
    ModelLoadError("no such device"),
    MissingDependencyError("torch is not installed"),
]


@both
@pytest.mark.parametrize("error", PERMANENT)
def test_what_will_not_pass_is_not_hidden_by_keeping_the_order(mode, error):
    broken = FakeScorer("main", error=error)
    for scorer in (
        FallbackScorer([broken, KeepOrderScorer()]),
        FallbackScorer([broken, FakeScorer("spare", error=error), KeepOrderScorer()]),
        CachedScorer(FallbackScorer([broken, CachedScorer(KeepOrderScorer())])),
        Reranker(scorer=broken, on_failure="keep_order").scorer,
    ):
        with pytest.raises(type(error), match=error.message):
            ask(scorer, mode)
    assert ask(FallbackScorer([broken, FakeScorer("spare")]), mode).model == "spare"
    spare = FakeScorer("spare", error=DOWN)
    assert ask(FallbackScorer([broken, spare, KeepOrderScorer()]), mode).model == "keep_order"


def test_warming_up_says_what_keeping_the_order_would_not_hide():
    class Cold(FakeScorer):
        def warm_up(self):
            raise self._error

    for error in (*PERMANENT, InvalidRequestError("max_tokens is more than it can take")):
        with pytest.raises(type(error)):
            Reranker(scorer=Cold(error=error), on_failure="keep_order").warm_up()
    Reranker(scorer=Cold(error=DOWN), on_failure="keep_order").warm_up()
    with pytest.raises(InvalidRequestError):
        FallbackScorer([Cold(error=InvalidRequestError("wrong")), FakeScorer()]).warm_up()


@both
def test_notes_do_not_pile_up_on_an_error_that_is_raised_again(mode):
    class Again(FakeScorer):
        shared = ModelLoadError("no", code="a_code")

        def _answer(self, _query, _texts):
            raise self.shared

    scorer = FallbackScorer([FakeScorer("main", error=DOWN), Again("spare")])
    for _ in range(3):
        with pytest.raises(ModelLoadError, match="no") as caught:
            ask(scorer, mode)
        assert caught.value.__notes__ == ["before that, 'main' failed: deadline_exceeded"]
        assert (caught.value.code, caught.value.__cause__) == ("a_code", Again.shared)
    assert not hasattr(Again.shared, "__notes__")


def test_a_fallback_warms_up_as_long_as_one_can():
    class Cold(FakeScorer):
        def warm_up(self):
            raise ModelLoadError("cold")

    FallbackScorer([Cold(), FakeScorer()]).warm_up()
    with pytest.raises(ModelLoadError, match="cold"):
        FallbackScorer([Cold(), Cold()]).warm_up()


def test_a_fallback_needs_two():
    with pytest.raises(InvalidRequestError, match="at least two"):
        FallbackScorer([FakeScorer()])


@both
def test_a_cascade_shows_the_expensive_scorer_only_the_best(mode):
    cheap, expensive = FakeScorer("cheap"), FakeScorer("expensive")
    scores = ask(CascadeScorer(cheap, expensive, keep=2), mode)
    assert expensive.calls == [(QUERY, ("a b c", "a b"))]
    assert scores.model == "expensive"
    assert scores.tokens > cheap.score(QUERY, TEXTS).tokens


@both
def test_a_cascade_of_few_texts_asks_the_expensive_scorer_alone(mode):
    cheap, expensive = FakeScorer("cheap"), FakeScorer("expensive")
    scores = ask(CascadeScorer(cheap, expensive, keep=len(TEXTS)), mode)
    assert scores.keys() == expensive.score(QUERY, TEXTS).keys()
    assert cheap.calls == []


@both
def test_a_cascade_of_few_texts_asks_the_cheap_scorer_where_the_expensive_one_judges_nothing(mode):
    silent = FallbackScorer([FakeScorer("expensive", error=DOWN), KeepOrderScorer()])
    cheap = FakeScorer("cheap")
    scores = ask(CascadeScorer(cheap, silent, keep=len(TEXTS)), mode)
    assert scores.keys() == cheap.score(QUERY, TEXTS).keys()
    assert all(score.degraded for score in scores.items)


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=12),
    st.lists(st.floats(-30, 30), min_size=12, max_size=12),
    st.integers(1, 12),
)
def test_a_cascade_keeps_everything_in_two_ordered_tiers(cheap, expensive, keep):
    class Fixed(FakeScorer):
        def __init__(self, values):
            super().__init__()
            self.values = values

        def _answer(self, _query, texts):
            return Scores(tuple(Score.from_logit(self.values[int(text)]) for text in texts), "fixed")

    texts = [str(i) for i in range(len(cheap))]
    scores = CascadeScorer(Fixed(cheap), Fixed(expensive), keep=keep).score("q", texts)
    best = sorted(range(len(cheap)), key=lambda i: (-cheap[i], i))[:keep]
    tail = [i for i in range(len(cheap)) if i not in best]
    assert [scores.items[i].logit for i in best] == [expensive[i] for i in best]
    for i in tail:
        assert scores.items[i].logit < min(expensive[j] for j in best)
        assert scores.items[i].relevance_score == sigmoid(scores.items[i].logit)
    for one, two in pairwise(tail):
        assert (scores.items[one].logit >= scores.items[two].logit) or cheap[one] < cheap[two]


def test_a_cascade_of_probabilities_still_sorts():
    class Probability(FakeScorer):
        def _answer(self, _query, texts):
            return Scores(tuple(Score(len(text) / 10) for text in texts), "p")

    response = Reranker(scorer=CascadeScorer(Probability(), FakeScorer(), keep=1)).rerank(QUERY, TEXTS)
    assert len(response) == 5
    scores = [result.relevance_score for result in response]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("keep", [0, True, 1.5])
def test_a_cascade_keeps_at_least_one(keep):
    with pytest.raises(InvalidRequestError, match="keep"):
        CascadeScorer(FakeScorer(), FakeScorer(), keep=keep)


def test_identities_tell_compositions_apart():
    one, two = FakeScorer("one"), FakeScorer("two")
    assert CachedScorer(one).identity == FallbackScorer([one, two]).identity == one.identity
    assert CascadeScorer(one, two).identity != CascadeScorer(two, one).identity


def test_a_broken_hook_does_not_disturb_the_request(caplog):
    def broken(_event):
        raise RuntimeError("metrics are down")

    cached = CachedScorer(FakeScorer(), hooks=[broken])
    with caplog.at_level(logging.ERROR):
        assert len(cached.score(QUERY, TEXTS).items) == 5
    assert "failed on CacheUsed" in caplog.text


def test_the_log_holds_events_and_no_texts(caplog):
    with caplog.at_level(logging.DEBUG, logger="rerank_core"):
        emit([log_event], Degraded("a", "b", "overloaded"))
        Reranker(scorer=CachedScorer(FakeScorer())).rerank("secret query", ["secret text"])
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
    assert "secret" not in caplog.text


def test_a_fallbacks_answers_are_warned_of_once_with_what_happened(caplog):
    main = FakeScorer("main", error=DOWN)
    reranker = Reranker(scorer=main, on_failure="keep_order")

    def warned():
        reranker.rerank("secret query", ["secret text"])
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    first = [*warned(), *warned()]
    assert first == [first[0]] * 2
    assert "'main' failed (too slow), so 'keep_order' answers" in first[0]
    main._error = ConnectionError("cannot be reached")
    assert len(warned()) == 2  # something else happened
    main._error = None
    warned()
    main._error = DOWN
    assert len(warned()) == 3  # it had answered in between
    assert "secret" not in caplog.text


def test_a_store_is_used_by_one_thread_at_a_time():
    """Whoever reads or writes holds the lock: a user's mapping need not be safe for threads, and the default is not."""

    class Store(dict):
        def get(self, key, default=None):
            used.append(("get", cached._lock._is_owned()))
            return super().get(key, default)

        def __setitem__(self, key, value):
            used.append(("set", cached._lock._is_owned()))
            super().__setitem__(key, value)

    used = []
    cached = CachedScorer(FakeScorer(), Store())
    cached.score("q", ["a"])
    cached.score("q", ["a"])
    assert used == [("get", True), ("set", True), ("get", True)]
