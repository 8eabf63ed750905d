from __future__ import annotations

import asyncio
import copy
import inspect
import json
import pickle
import threading
from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fresh import fresh
from loops import held_model, while_held
from rerank_core import ClosedError, Document, InvalidRequestError, ProtocolError, Reranker
from rerank_core.events import BatchScored
from rerank_core.inference.cpus import available_cpus
from rerank_core.models import DEFAULT_MODEL
from rerank_core.ranking import sigmoid
from rerank_core.scoring import ApiOptions, CachedScorer, FakeScorer, LocalOptions, Score, Scores
from waiting import async_wait_for, join

QUERY = "What is machine learning?"
DOCUMENTS = [
    "Machine learning is a subset of artificial intelligence.",
    "The weather today is sunny and warm.",
    "Deep learning uses neural networks.",
    "Cats are popular pets worldwide.",
]
UNTOUCHED = LocalOptions()


def test_the_specifications_example(bundled):
    response = bundled.rerank(QUERY, DOCUMENTS)
    assert [result.index for result in response][:2] == [0, 2]
    assert response.id.startswith("rerank-")
    assert response.model == DEFAULT_MODEL
    assert response.usage.prompt_tokens == response.usage.total_tokens > 40


def test_the_faster_bundled_model_ranks_the_specifications_example_alike():
    with Reranker("rerank-tiny-en-v1") as tiny:
        response = tiny.rerank(QUERY, DOCUMENTS)
    assert [result.index for result in response][:2] == [0, 2]
    assert response.model == "rerank-tiny-en-v1"


def test_scores_are_python_floats_and_the_sigmoid_of_the_logit(bundled):
    for result in bundled.rerank(QUERY, DOCUMENTS):
        assert type(result.relevance_score) is float
        assert type(result.logit) is float
        assert result.relevance_score == sigmoid(result.logit)


def test_top_n_and_threshold(bundled):
    whole = bundled.rerank(QUERY, DOCUMENTS)
    assert bundled.rerank(QUERY, DOCUMENTS, top_n=2).results == whole.results[:2]
    assert bundled.rerank(QUERY, DOCUMENTS, top_n=99).results == whole.results
    threshold = whole[1].relevance_score
    assert bundled.rerank(QUERY, DOCUMENTS, score_threshold=threshold).results == whole.results[:2]
    assert bundled.rerank(QUERY, DOCUMENTS, score_threshold=threshold, top_n=1).results == whole.results[:1]
    assert len(bundled.rerank(QUERY, DOCUMENTS, score_threshold=0.0)) == 4


def test_an_empty_list_gives_an_empty_response_and_loads_nothing():
    reranker = Reranker("no-such-model")
    response = reranker.rerank(QUERY, [])
    assert response.results == ()
    assert response.usage.prompt_tokens == 0
    assert response.id.startswith("rerank-")
    assert reranker.loaded is None
    assert asyncio.run(reranker.arerank(QUERY, iter([]))).results == ()


def test_a_blank_query_is_refused_even_without_documents():
    with pytest.raises(InvalidRequestError, match="Query cannot be empty"):
        Reranker().rerank(" ", [])


def test_empty_texts_are_scored_like_any_other(bundled):
    response = bundled.rerank(QUERY, ["", *DOCUMENTS, "   "])
    assert sorted(result.index for result in response) == list(range(6))


def test_mappings_and_documents_come_back_untouched(bundled):
    mapping = {"text": DOCUMENTS[0], "id": 7, "nested": {"a": [1, 2]}}
    document = Document(DOCUMENTS[2], {"source": "b"})
    before = copy.deepcopy((mapping, document))
    response = bundled.rerank(QUERY, [mapping, document])
    assert (mapping, document) == before
    assert response[0].document.metadata == {"id": 7, "nested": {"a": [1, 2]}}
    assert response[0].document.metadata["nested"] is mapping["nested"]
    assert response[1].document is document


def test_equal_texts_are_scored_once_and_share_the_score():
    scorer = FakeScorer()
    response = Reranker(scorer=scorer).rerank("a b", ["a", "x", "a", {"text": "a", "id": 1}])
    assert scorer.calls == [("a b", ("a", "x"))]
    assert [result.index for result in response] == [0, 2, 3, 1]
    assert len({result.relevance_score for result in response if result.text == "a"}) == 1


def test_lone_surrogates_do_not_crash_and_the_document_comes_back_as_it_was(bundled):
    response = bundled.rerank("machine \ud800 learning", ["broken \udfff text", "\ud83d"])
    assert {result.text for result in response} == {"broken \udfff text", "\ud83d"}
    json.loads(response.to_json())


def test_rank_and_previous_rank_say_how_a_document_moved():
    response = Reranker(scorer=FakeScorer()).rerank("a b", ["x", "a b", "a"])
    assert [(r.index, r.rank, r.previous_rank) for r in response] == [(1, 1, 2), (2, 2, 3), (0, 3, 1)]


def test_a_real_response_survives_json_and_pickle(bundled):
    response = bundled.rerank(QUERY, DOCUMENTS)
    assert pickle.loads(pickle.dumps(response)) == response
    assert type(response).from_dict(json.loads(response.to_json())) == response


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"query": 3, "documents": []}, "invalid_query"),
        ({"query": "q", "documents": "one"}, "invalid_documents"),
        ({"query": "q", "documents": [None]}, "invalid_document"),
        ({"query": "q", "documents": ["a"], "top_n": 0}, "invalid_top_n"),
        ({"query": "q", "documents": ["a"], "score_threshold": 2}, "invalid_score_threshold"),
    ],
)
def test_wrong_arguments_are_found_before_anything_is_scored(arguments, code):
    scorer = FakeScorer()
    with pytest.raises(InvalidRequestError) as caught:
        Reranker(scorer=scorer).rerank(**arguments)
    assert caught.value.code == code
    assert scorer.calls == []


@pytest.mark.parametrize(
    "options",
    [
        {"long_documents": "cut"},
        {"backend": "tensorflow"},
        {"when_cold": "panic"},
        {"dtype": "int4"},
        {"max_tokens": 0},
        {"batch_tokens": -1},
        {"threads": 1.5},
        {"threads": False},
        {"provider": "somewhere"},
        {"trust_remote_code": "no"},
        {"local_files_only": None},
        {"prompt": 3},
        {"device": 0},
        {"model": ["a"]},
    ],
)
def test_wrong_options_are_found_at_construction_and_named(options):
    (name,) = options
    with pytest.raises(InvalidRequestError, match=name) as caught:
        Reranker(**options)
    assert caught.value.param == name


def test_unknown_options_are_errors_that_name_the_one_that_was_meant():
    with pytest.raises(TypeError, match="topn"):
        Reranker(topn=3)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'devise'\. Did you mean 'device'\?$"):
        Reranker(devise="cpu")
    with pytest.raises(TypeError, match=r"'Model'\. Did you mean 'model'\?$"):
        Reranker(Model="m")


def test_every_option_reaches_the_scorer():
    """The arguments and the options of both worlds are one list; nothing gets lost between them."""
    options = {field.name for field in fields(LocalOptions)}
    api = {field.name for field in fields(ApiOptions)}
    arguments = set(inspect.signature(Reranker).parameters) - {
        "model", "provider", "scorer", "hooks", "on_failure", "calibration", "fusion",
        "max_latency", "diversify", "highlights", "max_per_source", "source_field",
        "price_per_million_tokens", "check_first",
    }  # fmt: skip
    assert arguments == options | api
    assert options & api == {"prompt"}
    changed = {
        "long_documents": "windows", "max_tokens": 9, "batch_tokens": 9, "threads": 9, "backend": "torch",
        "when_cold": "keep_order", "device": "cpu", "dtype": "int8", "device_map": "cpu", "prompt": "", "revision": "x",
        "trust_remote_code": True, "local_files_only": True,
    }  # fmt: skip
    assert set(changed) == options
    assert Reranker(**changed).scorer.options == LocalOptions(**changed)
    defaults = {name: parameter.default for name, parameter in inspect.signature(Reranker).parameters.items()}
    assert {name: defaults[name] for name in options} == {name: getattr(UNTOUCHED, name) for name in options}


def test_other_rules_leave_the_rest_as_it_is():
    texts = ["cats", "cats and dogs", "cats purr", "rust"]
    reranker = Reranker(scorer=FakeScorer(), diversify=0.5)
    assert reranker.with_rules() is reranker
    for rules in ({"fusion": 1}, {"highlights": 1}, {"fusion": "rrf", "highlights": 2}):
        given = reranker.with_rules(**rules).rerank("cats", texts)
        made = Reranker(scorer=FakeScorer(), diversify=0.5, **rules).rerank("cats", texts)
        assert [(each.index, each.fused, each.highlights) for each in given] == [
            (each.index, each.fused, each.highlights) for each in made
        ]
    assert [each.fused for each in reranker.rerank("cats", texts)] == [None] * 4
    with pytest.raises(InvalidRequestError, match="calibrated"):
        reranker.with_rules(fusion="calibrated")


def test_a_scorer_does_not_go_with_model_options():
    for options in ({"model": "m"}, {"max_tokens": 5}, {"hooks": [print]}):
        with pytest.raises(InvalidRequestError, match="either a scorer"):
            Reranker(scorer=FakeScorer(), **options)


@pytest.mark.parametrize(
    "scores",
    [
        (),
        (Score(0.5),),
        (Score(0.5), Score(0.5), Score(0.5)),
        (Score(0.5), Score(float("nan"))),
        (Score(0.5), Score(0.5, logit=float("inf"))),
    ],
)
def test_a_scorer_that_answers_wrongly_is_an_error_not_a_shorter_ranking(scores):
    class Broken(FakeScorer):
        def score(self, _query, _texts):
            return Scores(scores, "broken")

    with pytest.raises(ProtocolError, match="the scorer for 'broken' gave"):
        Reranker(scorer=Broken("broken")).rerank("q", ["a", "b"])


def test_scores_without_logits_are_ordered_by_probability():
    class Probabilities(FakeScorer):
        def score(self, _query, texts):
            return Scores(tuple(Score(float(text)) for text in texts), "p")

    response = Reranker(scorer=Probabilities()).rerank("q", ["0.1", "0.9", "0.5"])
    assert [result.index for result in response] == [1, 2, 0]
    assert response[0].logit is None


def test_order_is_by_logit_where_probabilities_look_equal():
    class Sure(FakeScorer):
        def score(self, _query, texts):
            return Scores(tuple(Score.from_logit(float(text)) for text in texts), "sure")

    response = Reranker(scorer=Sure()).rerank("q", ["41", "43", "42"])
    assert {result.relevance_score for result in response} == {1.0}
    assert [result.index for result in response] == [1, 2, 0]


@given(st.lists(st.sampled_from(["a", "a b", "", "x", "c a b"])), st.none() | st.integers(1, 4))
def test_every_document_is_accounted_for_in_stable_order(texts, top_n):
    response = Reranker(scorer=FakeScorer()).rerank("a b", texts, top_n=top_n)
    everything = Reranker(scorer=FakeScorer()).rerank("a b", texts)
    assert sorted(result.index for result in everything) == list(range(len(texts)))
    assert response.results == everything.results[:top_n]
    for one, two in pairwise(everything):
        assert (-one.logit, one.index) < (-two.logit, two.index)


def test_async_gives_the_same_and_leaves_the_event_loop_free(bundled, monkeypatch):
    texts = [f"{text} {i}" for i in range(60) for text in DOCUMENTS]
    expected = bundled.rerank(QUERY, texts)
    held = held_model(monkeypatch, bundled)
    response = asyncio.run(while_held(bundled.arerank(QUERY, texts), held))
    assert response.results == expected.results


def test_one_reranker_serves_several_event_loops_in_turn(bundled):
    first, *others = [asyncio.run(bundled.arerank(QUERY, DOCUMENTS)).results for _ in range(3)]
    assert others == [first, first]


def test_cancelling_an_async_call_drops_its_batches(monkeypatch):
    texts = [f"{text} {i} " * 40 for i in range(100) for text in DOCUMENTS]
    seen = []
    reranker = Reranker(batch_tokens=64, hooks=[seen.append])
    held = held_model(monkeypatch, reranker)
    seen.clear()  # it has been warmed up

    async def main():
        task = asyncio.create_task(reranker.arerank(QUERY, texts))
        await async_wait_for(held.entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    held.released.set()
    reranker.rerank(QUERY, ["a later one"])  # behind whatever is left of the cancelled one
    assert 1 <= sum(isinstance(event, BatchScored) for event in seen) <= available_cpus() + 1


def test_threads_may_call_one_reranker_at_once(bundled):
    def ranking():
        return list(bundled.rerank(QUERY, DOCUMENTS))

    def agree(one, other):
        """Which batches an input shares is chance, so logits may differ by float noise."""
        return [r.index for r in one] == [r.index for r in other] and all(
            abs(a.logit - b.logit) < 1e-4 for a, b in zip(one, other, strict=True)
        )

    expected = ranking()
    answers, errors = [], []

    def call():
        try:
            answers.extend(agree(ranking(), expected) for _ in range(5))
        except Exception as error:  # noqa: BLE001  (shown by the assertion)
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert errors == []
    assert answers == [True] * 40


def test_a_closed_reranker_says_so_and_closing_twice_is_fine():
    with Reranker() as reranker:
        reranker.warm_up()
        assert reranker.loaded.backend == "onnx"
    reranker.close()
    with pytest.raises(ClosedError, match="make a new one"):
        reranker.rerank(QUERY, DOCUMENTS)
    with pytest.raises(ClosedError):
        asyncio.run(reranker.arerank(QUERY, DOCUMENTS))


def test_the_async_context_manager_closes():
    async def main():
        async with Reranker(scorer=FakeScorer()) as reranker:
            return await reranker.arerank("a", ["a"])

    assert len(asyncio.run(main())) == 1


def test_the_repr_says_what_is_loaded():
    reranker = Reranker()
    assert repr(reranker) == f"Reranker(model={DEFAULT_MODEL!r}, provider='local')"
    reranker.warm_up()
    assert "backend='onnx', dtype='int8', device='cpu'" in repr(reranker)
    assert repr(reranker.scorer) == f"LocalScorer({DEFAULT_MODEL!r}, loaded)"


def test_timings_add_up(bundled):
    timings = bundled.rerank(QUERY, DOCUMENTS).timings
    assert timings.encode > 0
    assert timings.inference > 0
    assert timings.encode + timings.inference <= timings.total


def test_usage_counts_what_was_fed_and_duplicates_cost_nothing(bundled):
    once = bundled.rerank(QUERY, DOCUMENTS).usage
    assert bundled.rerank(QUERY, DOCUMENTS * 3).usage == once


def test_a_pickled_reranker_loads_its_own_model(bundled):
    expected = bundled.rerank(QUERY, DOCUMENTS).results
    for reranker in (bundled, Reranker(scorer=CachedScorer(bundled.scorer))):
        twin = pickle.loads(pickle.dumps(reranker))
        assert twin.loaded is None
        assert twin.rerank(QUERY, DOCUMENTS).results == expected
    assert copy.deepcopy(bundled).rerank(QUERY, DOCUMENTS).results == expected


def test_ctrl_c_while_waiting_leaves_the_reranker_usable():
    code = """
import os, signal
from rerank_core import Reranker
from rerank_core.events import BatchScored
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's parent may ignore it
once = iter([signal.SIGINT])
def interrupt(event):
    if isinstance(event, BatchScored) and (number := next(once, None)):
        os.kill(os.getpid(), number)
reranker = Reranker(hooks=[interrupt])
try:
    reranker.rerank("q", [f"text {i} " * 200 for i in range(300)])
except KeyboardInterrupt:
    print(len(reranker.rerank("q", ["a", "b"])))
"""
    assert fresh(code) == "2\n"


def test_threads_and_event_loops_share_batches():
    batches = []
    hook = [lambda event: batches.append(event) if isinstance(event, BatchScored) else None]
    one, other = Reranker(hooks=hook, threads=1), Reranker(hooks=hook)
    one.warm_up()
    batches.clear()

    async def asking():
        await asyncio.gather(*(other.arerank(f"query {i}", ["a short text"]) for i in range(60)))

    threads = [threading.Thread(target=one.rerank, args=(f"query {i}", ["a short text"])) for i in range(20)]
    for thread in threads:
        thread.start()
    asyncio.run(asking())
    join(*threads)
    assert sum(event.inputs for event in batches) == 80
    assert any(event.inputs > 1 for event in batches)
