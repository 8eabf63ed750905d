"""Many queries in one call: the answers of a loop, in order, from a window of queries that are at work together."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import CancelledError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver import ApiServer, hang, rank, reply
from interrupts import interrupted_everywhere
from loops import GatedScorer, on_the_loop
from rerank_core import InferenceError, InvalidRequestError, Reranker, RerankError, call_group, many
from rerank_core.client.threads import IN_PARALLEL
from rerank_core.events import BatchScored, Failed
from rerank_core.inference.scheduler import Scheduler
from rerank_core.many import LOCAL_REQUESTS, MOST_TEXTS
from rerank_core.scoring import (
    CachedScorer,
    CalibratedScorer,
    Calibration,
    CascadeScorer,
    FakeScorer,
    FallbackScorer,
    LocalScorer,
    Scores,
)
from waiting import BOUND, async_wait_for, wait_for

WORDS = ("a", "b", "c", "d e", "a b", "a b c d")
REQUESTS = [(f"a{i % 5} b", [f"a{j} b" for j in range(i % 7)]) for i in range(50)]


def call(reranker, requests, mode, **options):
    """The same call, sync or async."""
    if mode == "sync":
        return reranker.rerank_many(requests, **options)
    return asyncio.run(reranker.arerank_many(requests, **options))


def details(response):
    """All of a response but its id and its times."""
    return response.model, response.results, response.usage, response.query_truncated, response.degraded


both = pytest.mark.parametrize("mode", ["sync", "async"])


class OwnScorer:
    """Somebody else's: the protocol and nothing more."""

    model = identity = "own"
    pointwise = True

    def score(self, query, texts):
        return FakeScorer("own").score(query, texts)

    async def ascore(self, query, texts):
        return self.score(query, texts)

    def warm_up(self): ...

    def close(self): ...

    async def aclose(self): ...


class Slow(FakeScorer):
    """The query "slow" is done only when ``others`` queries are."""

    def __init__(self, others):
        super().__init__()
        self.others = others

    def done(self):
        return len(self.calls) >= self.others

    def score(self, query, texts):
        if query == "slow":
            wait_for(self.done)
        return super().score(query, texts)

    async def ascore(self, query, texts):
        if query == "slow":
            await async_wait_for(self.done)
        return await super().ascore(query, texts)


class Counting(FakeScorer):
    """Counts what is at work at once, requests and texts; nobody is done until ``expected`` are there."""

    def __init__(self, expected):
        super().__init__()
        self.expected = expected
        self.inside = self.most = self.texts = self.most_texts = 0
        self.changed = threading.Condition()

    def enter(self, texts):
        with self.changed:
            self.inside += 1
            self.texts += len(texts)
            self.most, self.most_texts = max(self.most, self.inside), max(self.most_texts, self.texts)

    def leave(self, texts):
        with self.changed:
            self.inside -= 1
            self.texts -= len(texts)

    def score(self, query, texts):
        self.enter(texts)
        wait_for(lambda: self.most >= self.expected)
        self.leave(texts)
        return super().score(query, texts)

    async def ascore(self, query, texts):
        self.enter(texts)
        await async_wait_for(lambda: self.most >= self.expected)
        self.leave(texts)
        return await super().ascore(query, texts)


# The answers of a loop


@given(
    st.lists(st.tuples(st.sampled_from(WORDS), st.lists(st.sampled_from(WORDS), max_size=5)), max_size=25),
    st.none() | st.integers(1, 4),
    st.none() | st.sampled_from([0.0, 0.5, 0.9]),
)
def test_the_answers_are_a_loops(requests, top_n, threshold):
    reranker = Reranker(scorer=FakeScorer())
    expected = [details(reranker.rerank(*each, top_n=top_n, score_threshold=threshold)) for each in requests]
    for mode in ("sync", "async"):
        answers = call(reranker, iter(requests), mode, top_n=top_n, score_threshold=threshold)
        assert [details(each) for each in answers] == expected
    assert len({each.id for each in answers}) == len(requests)


@both
@pytest.mark.parametrize(
    "make",
    [
        OwnScorer,
        lambda: CachedScorer(FakeScorer()),
        lambda: FallbackScorer([FakeScorer(error=InferenceError("down")), FakeScorer("spare")], hooks=()),
        lambda: CascadeScorer(FakeScorer("cheap"), FakeScorer("expensive"), keep=2),
        lambda: CalibratedScorer(FakeScorer(), Calibration("fake", "logistic", (2.0, 0.5))),
        lambda: CachedScorer(FallbackScorer([CalibratedScorer(OwnScorer(), Calibration("own", "logistic", (2.0, 0.5))),
                                             OwnScorer()])),
    ],
    ids=["own", "cache", "fallback", "cascade", "calibration", "several"],
)  # fmt: skip
def test_scorers_around_scorers_do_for_many_what_they_do_for_one(make, mode):
    distinct = [(f"a{i} b", texts) for i, (_, texts) in enumerate(REQUESTS)]  # so that no cache is asked twice
    loop = Reranker(scorer=make())
    expected = [details(loop.rerank(*each)) for each in distinct]
    assert [details(each) for each in call(Reranker(scorer=make()), distinct, mode)] == expected


@both
def test_a_cache_knows_the_next_time(mode):
    fake = FakeScorer()
    reranker = Reranker(scorer=CachedScorer(fake))
    first = call(reranker, REQUESTS, mode)
    calls = len(fake.calls)
    again = call(reranker, REQUESTS, mode)
    assert len(fake.calls) == calls
    assert all(result.cached for response in again for result in response)
    assert [[r.index for r in each] for each in again] == [[r.index for r in each] for each in first]


@both
def test_the_bundled_models_answers_are_a_loops(bundled, mode):
    requests = [(f"what is {word}", [f"{word} is {i}" for i in range(4)]) for word in ("cats", "rust", "Paris") * 4]
    for ours, one in zip(call(bundled, requests, mode), [bundled.rerank(*each) for each in requests], strict=True):
        assert [result.index for result in ours] == [result.index for result in one]
        assert [result.logit for result in ours] == pytest.approx([result.logit for result in one], abs=1e-3)


@both
def test_a_query_that_fails_in_passing_keeps_its_own_order_only(mode):
    class Moody(FakeScorer):
        def _answer(self, query, texts):
            if query == "a1 b":
                raise InferenceError("broken")
            return super()._answer(query, texts)

    answers = call(Reranker(scorer=Moody(), on_failure="keep_order", hooks=None), REQUESTS, mode)
    assert [each.degraded for each in answers] == [q == "a1 b" and bool(texts) for q, texts in REQUESTS]


@both
@pytest.mark.parametrize("requests", [[], iter(()), [("a", [])]])
def test_without_texts_no_scorer_is_asked(requests, mode):
    fake = FakeScorer(error=InferenceError("asked"))
    assert all(len(each) == 0 for each in call(Reranker(scorer=fake), requests, mode))
    assert fake.calls == []


def test_an_asynchronous_iterable_is_read_as_the_work_proceeds():
    async def requests():
        for each in REQUESTS:
            await asyncio.sleep(0)
            yield each

    reranker = Reranker(scorer=FakeScorer())
    answers = asyncio.run(reranker.arerank_many(requests()))
    assert [details(each) for each in answers] == [details(reranker.rerank(*each)) for each in REQUESTS]


# One schedule


@both
def test_nobody_waits_for_the_slowest_query(mode):
    requests = [("slow", ["a"]), *[("a", ["a"])] * 3 * LOCAL_REQUESTS]
    scorer = Slow(len(requests) - 1)
    assert len(call(Reranker(scorer=scorer), requests, mode)) == len(requests)
    assert scorer.calls[-1][0] == "slow"


@both
def test_requests_are_read_as_the_work_proceeds(mode):
    scorer, read, ahead = Counting(LOCAL_REQUESTS), itertools.count(1), []

    def requests():
        for _ in range(5 * LOCAL_REQUESTS):
            ahead.append(next(read) - len(scorer.calls))
            yield "a", ["a", "b"]

    call(Reranker(scorer=scorer), requests(), mode)
    assert scorer.most == LOCAL_REQUESTS
    assert max(ahead) <= LOCAL_REQUESTS + 1  # and the one that waits for room


@both
def test_large_requests_are_fewer_at_a_time(mode):
    third = [str(i) for i in range(MOST_TEXTS // 3)]
    large = [str(i) for i in range(MOST_TEXTS + 1)]
    scorer = Counting(2)
    answers = call(Reranker(scorer=scorer), [("0", third)] * 7 + [("0", large)] * 2, mode)
    assert [len(each) for each in answers] == [len(third)] * 7 + [len(large)] * 2
    assert scorer.most <= 3
    assert scorer.most_texts <= len(large)


@both
def test_short_queries_share_batches(mode, monkeypatch):
    """What waits for the model together leaves in fewer batches than there are queries, with little padding."""
    batches = []
    scorer = LocalScorer(hooks=[lambda event: batches.append(event) if isinstance(event, BatchScored) else None])
    reranker = Reranker(scorer=scorer)
    reranker.warm_up()
    requests = [(f"query {i}", ["one text", f"text {'word ' * (i % 3)}"]) for i in range(LOCAL_REQUESTS)]
    batches.clear()
    looped = [reranker.rerank(*each) for each in requests]
    apart = len(batches)
    assert apart >= len(requests)
    batches.clear()
    submit_steps, begun = Scheduler._submit_steps, []

    def once_all_are_there(self, most):
        if begun or len(self._arrived) == len(requests):
            begun.append(most)
            submit_steps(self, most)

    monkeypatch.setattr(Scheduler, "_submit_steps", once_all_are_there)
    together = call(reranker, requests, mode)
    assert [[r.index for r in each] for each in together] == [[r.index for r in each] for each in looped]
    assert len(batches) < apart / 2
    assert sum(batch.inputs for batch in batches) == 2 * len(requests)
    assert all(batch.padding <= 16 * batch.inputs for batch in batches)


@both
def test_a_server_gets_a_few_requests_at_once_and_each_query_its_own_deadline(mode):
    server = ApiServer()
    try:
        gate = threading.Event()

        def together(request, connection):
            if server.most_busy >= IN_PARALLEL:
                gate.set()
            assert gate.wait(BOUND)
            return rank(request, connection)

        server.default = together
        reranker = Reranker("m", base_url=server.url, timeout=BOUND)
        answers = call(reranker, [("q", [f"{i} text", "7 text"]) for i in range(5 * IN_PARALLEL)], mode)
        assert [each[0].relevance_score for each in answers] == [max(i, 7) / 1e6 for i in range(5 * IN_PARALLEL)]
        assert server.most_busy == IN_PARALLEL
        reranker.close()
    finally:
        server.stop()


# Failures


@both
def test_the_first_failure_is_raised_and_what_waits_never_starts(mode):
    class Third(FakeScorer):
        def _answer(self, query, texts):
            if query == "third":
                self.calls.append((query, texts))
                raise InferenceError("broken")
            return super()._answer(query, texts)

    scorer = Third()
    requests = [("a", ["a"])] * 2 + [("third", ["a"])] + [("a", ["a"])] * 40 * LOCAL_REQUESTS
    with pytest.raises(InferenceError, match="broken") as seen:
        call(Reranker(scorer=scorer), requests, mode)
    assert seen.value.__notes__ == ["The query that failed is requests[2]."]
    assert len(scorer.calls) < len(requests)


def test_one_error_object_of_many_queries_gets_one_note():
    error = InferenceError("broken")

    class Same(FakeScorer):
        def _answer(self, query, texts):  # noqa: ARG002  (the base class has them)
            raise error

    for _ in range(2):
        with pytest.raises(InferenceError) as seen:
            Reranker(scorer=Same()).rerank_many([("a", ["a"])])
        assert len(seen.value.__notes__) == 1
    assert not hasattr(error, "__notes__")


def test_a_failure_cancels_the_tasks_of_the_others():
    gated = GatedScorer()

    class Failing(FakeScorer):
        async def ascore(self, query, texts):
            if query == "fails":
                await async_wait_for(lambda: gated.waiting == 5)
                raise InferenceError("broken")
            return await gated.ascore(query, texts)

    async def main():
        with pytest.raises(InferenceError):
            await Reranker(scorer=Failing()).arerank_many([*[("a", ["a"])] * 5, ("fails", ["a"])])
        assert (gated.waiting, gated.cancelled) == (0, 5)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_cancelling_cancels_all_of_it():
    gated = GatedScorer()

    async def main():
        task = asyncio.create_task(Reranker(scorer=gated).arerank_many([("a", ["a"])] * 5))
        await async_wait_for(lambda: gated.waiting == 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gated.cancelled == 5

    asyncio.run(main())


def held_local(monkeypatch):
    """A local scorer whose model waits, with what it has scored."""
    events, released, batches = [], threading.Event(), []
    scorer = LocalScorer(hooks=[events.append])
    scorer.warm_up()
    backend, run = scorer._loaded.shared.backend, scorer._loaded.shared.backend.run

    def held(*arguments):
        batches.append(arguments)
        assert released.wait(BOUND)
        return run(*arguments)

    monkeypatch.setattr(backend, "run", held)
    return scorer, released, batches, events


@both
def test_a_failure_drops_what_a_local_model_has_not_begun(mode, monkeypatch):
    scorer, released, batches, events = held_local(monkeypatch)

    good = [(f"query {i}", [f"a text {'word ' * 40 * j}" for j in range(20)]) for i in range(LOCAL_REQUESTS - 1)]

    def requests():
        yield from good
        wait_for(lambda: batches)
        yield "", ["a query that is blank"]

    async def read():
        for each in good:
            yield each
        await async_wait_for(lambda: batches)
        yield "", ["a query that is blank"]

    reranker = Reranker(scorer=scorer)
    with pytest.raises(InvalidRequestError, match=r"requests\[15\]: Query cannot be empty"):
        reranker.rerank_many(requests()) if mode == "sync" else asyncio.run(reranker.arerank_many(read()))
    begun = len(batches)
    released.set()
    wait_for(lambda: not scorer._loaded.scheduler._running)
    assert len(batches) <= begun + scorer._loaded.backend.workers.size
    assert not any(isinstance(event, Failed) for event in events)
    assert scorer.score("q", ["a"]).tokens > 0  # and all goes on


@both
def test_a_failure_ends_the_requests_to_a_server(mode):
    server = ApiServer()
    try:
        server.default = hang
        events = []
        reranker = Reranker("m", base_url=server.url, timeout=BOUND, hooks=[events.append])

        def requests():
            yield from [("q", ["1 text"])] * (IN_PARALLEL - 1)
            if mode == "sync":
                wait_for(lambda: server.busy == IN_PARALLEL - 1)
            yield "q", 7

        async def read():
            for each in requests():
                if each[1] == 7:
                    await async_wait_for(lambda: server.busy == IN_PARALLEL - 1)
                yield each

        with pytest.raises(InvalidRequestError, match=r"requests\[3\]: documents must be"):
            reranker.rerank_many(requests()) if mode == "sync" else asyncio.run(reranker.arerank_many(read()))
        wait_for(lambda: server.busy == 0)  # its peer has gone: hang() ends only then
        wait_for(lambda: not threads())
        assert not any(isinstance(event, Failed) for event in events)
        reranker.close()
    finally:
        server.stop()


@both
def test_one_refused_query_is_named(mode):
    server = ApiServer()
    try:
        server.then(rank, reply({"error": {"message": "no"}}, 400))
        reranker = Reranker("m", base_url=server.url, timeout=BOUND, max_retries=0)
        with pytest.raises(RerankError) as seen:
            call(reranker, [("q", ["1 text"])] * 2, mode)
        assert seen.value.__notes__[0].startswith("The query that failed is requests[")
        reranker.close()
    finally:
        server.stop()


@both
@pytest.mark.parametrize(
    ("requests", "message", "param"),
    [
        ("ab", "requests must be pairs", "requests"),
        ({"a": ["b"]}, "requests must be pairs", "requests"),
        (7, "requests must be pairs", "requests"),
        (["ab"], r"requests\[0\] is str", "requests[0]"),
        ([("a", ["b"]), ("a",)], r"requests\[1\] is 1 values", "requests[1]"),
        ([("a", ["b"]), (7, ["b"])], r"requests\[1\]: query must be a string", "requests[1].query"),
        ([("a", [7])], r"requests\[0\]: documents\[0\] is int", "requests[0].documents[0]"),
    ],
)
def test_what_is_no_request_is_refused_by_its_position(requests, message, param, mode):
    with pytest.raises(InvalidRequestError, match=message) as seen:
        call(Reranker(scorer=FakeScorer()), requests, mode)
    assert seen.value.param == param


@both
@pytest.mark.parametrize("limits", [{"top_n": 0}, {"score_threshold": 2}])
def test_wrong_limits_are_refused_before_anything_is_read(limits, mode):
    read = iter([("a", ["a"])])
    with pytest.raises(InvalidRequestError) as seen:
        call(Reranker(scorer=FakeScorer()), read, mode, **limits)
    assert seen.value.param == next(iter(limits))
    assert next(read)


@both
def test_what_the_iterable_raises_is_raised(mode):
    def requests():
        yield "a", ["a"]
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        call(Reranker(scorer=FakeScorer()), requests(), mode)


# Threads, loops and interrupts


def threads():
    return [each for each in threading.enumerate() if each.name.startswith("rerank-many")]


def test_it_works_within_a_running_loop_and_leaves_no_thread():
    class Elsewhere(FakeScorer):
        def score(self, query, texts):
            assert not on_the_loop()
            return super().score(query, texts)

    async def main():
        return Reranker(scorer=Elsewhere()).rerank_many(REQUESTS)

    assert len(asyncio.run(main())) == len(REQUESTS)
    wait_for(lambda: not threads())


def test_calls_within_calls_do_not_wait_for_each_other():
    inner = Reranker(scorer=FakeScorer())

    class Nesting(FakeScorer):
        def score(self, query, texts):
            inner.rerank_many([(query, texts)] * 5)
            return super().score(query, texts)

    assert len(Reranker(scorer=Nesting()).rerank_many([("a", ["a"])] * 3 * LOCAL_REQUESTS)) == 3 * LOCAL_REQUESTS


def test_calls_within_calls_end_together(monkeypatch):
    scorer, released, batches, _ = held_local(monkeypatch)
    inner, ended = Reranker(scorer=scorer), []

    class Nesting(FakeScorer):
        def score(self, query, texts) -> Scores:
            try:
                inner.rerank_many([(query, texts)] * 3)
            except CancelledError:
                ended.append(query)
                raise
            return super().score(query, texts)

    def requests():
        yield "a", ["a"]
        wait_for(lambda: batches)
        yield "", ["a"]

    with pytest.raises(InvalidRequestError):
        Reranker(scorer=Nesting()).rerank_many(requests())
    wait_for(lambda: ended == ["a"])
    released.set()


def test_an_interrupt_anywhere_leaves_nothing_at_work():
    scorer = FakeScorer()
    reranker = Reranker(scorer=scorer)
    requests = [("a", ["a", "b"])] * 3
    interrupted = 0
    for _ in interrupted_everywhere(lambda: reranker.rerank_many(requests), many, call_group):
        interrupted += 1
        wait_for(lambda: not threads())
    assert interrupted > 200
    assert [len(each) for each in reranker.rerank_many(requests)] == [2] * 3


# Numbers only


@both
def test_score_gives_a_number_per_text_in_order(mode):
    texts = ["x", "a b", "a", "a b", ""]
    reranker = Reranker(scorer=(fake := FakeScorer()))
    scores = reranker.score("a b", texts) if mode == "sync" else asyncio.run(reranker.ascore("a b", iter(texts)))
    ranked = {result.index: result.relevance_score for result in reranker.rerank("a b", texts)}
    assert scores == [ranked[i] for i in range(len(texts))]
    assert all(type(score) is float for score in scores)
    assert fake.calls[0][1] == ("x", "a b", "a", "")  # each text once
    assert (reranker.score("a", []), asyncio.run(reranker.ascore("a", []))) == ([], [])


@pytest.mark.parametrize(("arguments", "param"), [((" ", ["a"]), "query"), (("a", "text"), "documents")])
def test_score_refuses_what_rerank_refuses(arguments, param):
    with pytest.raises(InvalidRequestError) as seen:
        Reranker(scorer=FakeScorer()).score(*arguments)
    assert seen.value.param == param
