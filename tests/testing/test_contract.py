"""Each scorer of ours keeps the contract, and each promise of it that a scorer breaks is named."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import replace

import pytest

from rerank_core import InferenceError, Reranker
from rerank_core.scoring import (
    CachedScorer,
    CalibratedScorer,
    Calibration,
    CascadeScorer,
    FallbackScorer,
    KeepOrderScorer,
    LocalScorer,
    Score,
    Scores,
)
from rerank_core.testing import FakeScorer, assert_scorer_contract
from rerank_core.testing.contract import _THREADS
from waiting import wait_for

NUMBERS = itertools.count()
CURVE = Calibration("fake", "logistic", (1.0, 0.5))
OURS = {
    "fake": FakeScorer,
    "keep-order": KeepOrderScorer,
    "cached": lambda: CachedScorer(FakeScorer()),
    "calibrated": lambda: CalibratedScorer(FakeScorer(), CURVE),
    "fallback": lambda: FallbackScorer([FakeScorer(error=InferenceError("down")), FakeScorer("spare")], hooks=()),
    "cascade": lambda: CascadeScorer(FakeScorer("cheap"), FakeScorer("expensive"), keep=2),
    "local": LocalScorer,
    "local-windows": lambda: Reranker(long_documents="windows").scorer,
    "local-cached": lambda: CachedScorer(LocalScorer()),
}


@pytest.mark.parametrize("make", OURS.values(), ids=OURS)
def test_our_scorers_keep_the_contract(make):
    assert_scorer_contract(make())


def test_it_works_within_a_running_loop():
    async def main():
        assert_scorer_contract(FakeScorer())

    asyncio.run(main())


class Changed(FakeScorer):
    """A fake whose answers are changed."""

    def _answer(self, query, texts):
        return self.change(super()._answer(query, texts))

    def change(self, scores):
        return replace(scores, items=tuple(map(self.each, scores.items)))

    def each(self, score):
        return score


class NotScores(Changed):
    def change(self, scores):
        return list(scores.items)


class TooFew(Changed):
    def change(self, scores):
        return replace(scores, items=scores.items[1:])


class Text(Changed):
    def each(self, score):
        return replace(score, relevance_score="high", logit=None)  # what a service may well send


class NotFinite(Changed):
    def each(self, score):
        return replace(score, logit=float("nan"))


class Logits(Changed):
    def each(self, score):
        return Score(score.logit)


class Sorted(Changed):
    def change(self, scores):
        return replace(scores, items=tuple(sorted(scores.items, key=lambda score: -score.logit)))


class Backwards(Changed):
    def each(self, score):
        return replace(score, logit=-score.logit)


class Softmax(Changed):
    """Shares among the texts of a request, and says that they are not."""

    def change(self, scores):
        total = sum(score.relevance_score for score in scores.items)
        return replace(scores, items=tuple(Score(score.relevance_score / total) for score in scores.items))


class Forgetful(Changed):
    """Another answer each time."""

    def change(self, scores):
        return replace(scores, items=tuple(Score(1 / (len(self.calls) + 1)) for _ in scores.items))


class Sorting(FakeScorer):
    def score(self, query, texts):
        if isinstance(texts, list):
            texts.sort()
        return super().score(query, texts)


class Shared(FakeScorer):
    """Keeps the question in itself while it works."""

    def __init__(self):
        super().__init__()
        self.texts, self.callers = (), set()

    def score(self, query, texts):
        self.texts = texts
        self.callers.add(threading.current_thread())
        if threading.current_thread() is not threading.main_thread():
            wait_for(lambda: len(self.callers) > _THREADS)  # all are here: the last has overwritten the others
        return super().score(query, self.texts)


class OtherAsync(FakeScorer):
    async def ascore(self, query, texts):  # noqa: ARG002  (the protocol's)
        return Scores(tuple(Score(0.5) for _ in texts), self.model)


class BlockedAsync(FakeScorer):
    async def ascore(self, query, texts):  # noqa: ARG002  (as above)
        await asyncio.Event().wait()


class RaisesOwn(FakeScorer):
    def score(self, query, texts):  # noqa: ARG002  (as above)
        raise KeyError(query)


class RaisesOurs(FakeScorer):
    def score(self, query, texts):  # noqa: ARG002  (as above)
        raise InferenceError("no model")


class RaisesWhenClosed(FakeScorer):
    closed = False

    def score(self, query, texts):
        if self.closed:
            raise RuntimeError(query)
        return super().score(query, texts)

    def close(self):
        self.closed = True


class ClosesOnce(FakeScorer):
    def close(self):
        del self.calls


class AclosesOnce(FakeScorer):
    async def aclose(self):
        del self.calls


class NoName(FakeScorer):
    def __init__(self):
        super().__init__("")


class NotPointwise(FakeScorer):
    pointwise = 1


class NewIdentity(FakeScorer):
    @property
    def identity(self):
        return f"fake {next(NUMBERS)}"


class NoIdentity:
    model, pointwise = "m", True


class ColdFails(FakeScorer):
    def warm_up(self):
        raise InferenceError("no model")


BROKEN = {
    NotScores: "answers are Scores",
    TooFew: "one score per text. the scorer for 'fake' gave 5 scores for 6 texts",
    Text: "scores are Python numbers",
    NotFinite: "scores are finite",
    Logits: "relevance scores are 0 to 1",
    Sorted: "scores are in the order of the texts",
    Backwards: "logits and relevance scores have one order",
    Softmax: "pointwise: equal texts have equal scores",
    Forgetful: "the same question has the same answer",
    Sorting: "arguments are left alone",
    OtherAsync: "ascore gives what score gives",
    RaisesOwn: "errors are those of rerank_core.errors. it raised KeyError",
    RaisesOurs: "valid requests are answered. InferenceError: no model",
    RaisesWhenClosed: "errors are those of rerank_core.errors. it raised RuntimeError",
    ClosesOnce: "errors are those of rerank_core.errors. it raised AttributeError",
    AclosesOnce: "errors are those of rerank_core.errors. it raised AttributeError",
    NoName: "model is a str",
    NotPointwise: "pointwise is a bool",
    NewIdentity: "identity stays the same",
    NoIdentity: "it has all members of Scorer. there is no 'identity'",
    ColdFails: "warm_up() works",
    Shared: "safe to call from several threads at once",
}


@pytest.mark.parametrize(("broken", "promise"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_promise_is_named(broken, promise):
    with pytest.raises(AssertionError) as seen:
        assert_scorer_contract(broken())
    assert str(seen.value).startswith(f"broken promise: {promise}")
    assert "France" not in str(seen.value)


def test_an_answer_that_does_not_come_is_a_broken_promise():
    with pytest.raises(AssertionError, match=r"ascore gives what score gives\. no answer within 0\.2 s"):
        assert_scorer_contract(BlockedAsync(), seconds=0.2)


def test_a_scorer_that_is_not_pointwise_may_depend_on_company():
    class Listwise(Softmax):
        pointwise = False

    assert_scorer_contract(Listwise())


@pytest.mark.parametrize("texts", [[], ["a"], ["a", "a"]])
def test_it_needs_texts_that_differ(texts):
    with pytest.raises(ValueError, match="two different"):
        assert_scorer_contract(FakeScorer(), texts=texts)
