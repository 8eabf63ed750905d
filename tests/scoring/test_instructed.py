"""An instruction reaches the model, decides the identity, and is refused where nothing follows it."""

from __future__ import annotations

import asyncio

import pytest

from checkpoints import QUERY, TEXTS
from rerank_core import ConnectionError as NoConnection
from rerank_core import InvalidRequestError, Reranker
from rerank_core.events import Failed
from rerank_core.scoring import (
    ApiOptions,
    ApiScorer,
    CachedScorer,
    CascadeScorer,
    FakeScorer,
    FallbackScorer,
    KeepOrderScorer,
    LocalOptions,
    LocalScorer,
)
from rerank_core.scoring.instructed import instructed

OTHER = "prefer texts about weather"
DOCUMENTS = ["sunny weather", "a rainy day"]


class Following(FakeScorer):
    """Looks for the words of the instruction as well."""

    def identity_with(self, instruction):
        return f"{self.identity} {instruction}"

    def score(self, query, texts, *, instruction=None):
        return super().score(f"{query} {instruction or ''}", texts)

    async def ascore(self, query, texts, *, instruction=None):
        return await super().ascore(f"{query} {instruction or ''}", texts)


def scores(scorer, instruction):
    with Reranker(scorer=scorer) as reranker:
        one = reranker.score("rainy", DOCUMENTS, instruction=instruction)
        assert asyncio.run(reranker.ascore("rainy", DOCUMENTS, instruction=instruction)) == one
        by_index = {
            result.index: result.relevance_score
            for result in reranker.rerank("rainy", DOCUMENTS, instruction=instruction)
        }
        assert [by_index[0], by_index[1]] == one
        (many,) = reranker.rerank_many([("rainy", DOCUMENTS)], instruction=instruction)
        assert {result.index: result.relevance_score for result in many} == by_index
        return one


@pytest.mark.parametrize(
    "wrap",
    [
        lambda scorer: scorer,
        CachedScorer,
        lambda scorer: FallbackScorer([scorer, KeepOrderScorer()]),
        lambda scorer: CascadeScorer(FakeScorer("cheap"), scorer, keep=2),
        lambda scorer: CachedScorer(FallbackScorer([scorer, FakeScorer("second")])),
    ],
)
def test_it_reaches_the_model_through_whatever_is_around_it(wrap):
    plain, asked = scores(wrap(Following()), None), scores(wrap(Following()), OTHER)
    assert plain[0] < plain[1]
    assert asked[0] > plain[0]


def test_a_cache_keeps_scores_of_instructions_apart():
    scorer = CachedScorer(Following())
    with Reranker(scorer=scorer) as reranker:
        answers = [reranker.rerank("rainy", DOCUMENTS, instruction=given) for given in (None, OTHER, None, OTHER)]
    assert [answer[0].cached for answer in answers] == [False, False, True, True]
    assert answers[0][0].relevance_score == answers[2][0].relevance_score
    assert answers[0][0].relevance_score != answers[1][0].relevance_score


def test_a_fallback_and_a_first_stage_follow_it_where_they_can():
    gone = Following(error=NoConnection("gone"))
    asked = scores(FallbackScorer([gone, CachedScorer(Following("second"))]), OTHER)
    assert asked == scores(Following(), OTHER) != scores(Following(), None)
    asked, plain = (scores(CascadeScorer(Following("cheap"), Following(), keep=1), given) for given in (OTHER, None))
    assert asked[0] > plain[0]


@pytest.mark.parametrize("around", [lambda scorer: scorer, CachedScorer])
def test_a_model_that_takes_none_scores_without_it_as_a_fallback(around):
    events = []
    gone, mini = Following(error=NoConnection("gone")), LocalScorer(hooks=[events.append])
    reranker = Reranker(scorer=FallbackScorer([gone, around(mini)]))
    expected = Reranker().score("rainy", DOCUMENTS)
    assert mini.takes_instruction is None
    assert reranker.score("rainy", DOCUMENTS, instruction=OTHER) == expected
    assert mini.takes_instruction is False
    events.clear()
    assert reranker.score("rainy", DOCUMENTS, instruction=OTHER) == expected
    assert asyncio.run(reranker.ascore("rainy", DOCUMENTS, instruction=OTHER)) == expected
    assert not [event for event in events if isinstance(event, Failed)]


def test_the_first_stage_of_a_cascade_may_have_no_use_for_it():
    with Reranker(scorer=CascadeScorer(LocalScorer(), Following(), keep=1)) as reranker:
        (first, _) = reranker.rerank("rainy", DOCUMENTS, instruction=OTHER)
        assert first.text == "a rainy day"
        with pytest.raises(InvalidRequestError, match="takes no instruction"):
            Reranker(scorer=CascadeScorer(Following(), LocalScorer())).rerank("rainy", DOCUMENTS, instruction=OTHER)


def test_a_fallback_without_instructions_answers():
    failing = Following(error=NoConnection("gone"))
    response = Reranker(scorer=FallbackScorer([failing, FakeScorer("second")])).rerank(
        "rainy", DOCUMENTS, instruction=OTHER
    )
    assert response.model == "second"
    assert response.degraded


@pytest.mark.parametrize("scorer", [FakeScorer(), CachedScorer(FakeScorer())])
def test_a_scorer_that_takes_none_refuses_it(scorer):
    with pytest.raises(InvalidRequestError, match="takes no instruction") as caught:
        Reranker(scorer=scorer).rerank("rainy", DOCUMENTS, instruction=OTHER)
    assert caught.value.param == "instruction"
    assert OTHER not in str(caught.value)


def test_it_is_a_string():
    with pytest.raises(InvalidRequestError, match="instruction must be a string, got int"):
        Reranker(scorer=Following()).rerank("rainy", DOCUMENTS, instruction=1)
    assert instructed(scorer := FakeScorer(), None) is scorer


def test_a_bundled_model_takes_none_but_an_empty_one():
    with Reranker() as reranker:
        with pytest.raises(InvalidRequestError, match="'rerank-mini-en-v1' takes no instruction") as caught:
            reranker.rerank("rainy", DOCUMENTS, instruction=OTHER)
        assert caught.value.code == "unsupported_parameter"
        assert reranker.score("rainy", DOCUMENTS, instruction="") == reranker.score("rainy", DOCUMENTS)
    with pytest.raises(InvalidRequestError, match="leave prompt= out"):
        Reranker(prompt=OTHER).rerank("rainy", DOCUMENTS)


@pytest.mark.torch
def test_a_language_model_is_told_it_as_by_the_option(checkpoint):
    folder = checkpoint("qwen3")

    def asked(**options):
        return LocalScorer(folder, LocalOptions(device="cpu", **options))

    with Reranker(folder, device="cpu") as reranker, Reranker(folder, device="cpu", prompt=OTHER) as by_option:
        expected = by_option.score(QUERY, TEXTS)
        assert reranker.score(QUERY, TEXTS, instruction=OTHER) == pytest.approx(expected, abs=1e-6)
        assert asyncio.run(reranker.ascore(QUERY, TEXTS, instruction=OTHER)) == pytest.approx(expected, abs=1e-6)
        assert reranker.score(QUERY, TEXTS) != pytest.approx(expected, abs=1e-6)
        assert by_option.score(QUERY, TEXTS, instruction="") == pytest.approx(reranker.score(QUERY, TEXTS), abs=1e-6)
    assert asked().identity_with(OTHER) == asked(prompt=OTHER).identity != asked().identity


@pytest.mark.parametrize("provider", ["cohere", "tei", "voyage"])
def test_an_api_without_a_field_for_it_refuses_before_anything_is_sent(provider):
    scorer = ApiScorer("m", provider, ApiOptions("http://127.0.0.1:9", "k"))
    with pytest.raises(InvalidRequestError, match=f"provider='{provider}' has no field for an instruction"):
        scorer.score("q", ["a"], instruction=OTHER)
    assert scorer.identity_with(OTHER) != scorer.identity


def test_an_option_gives_it_with_every_call_of_an_api():
    def asked(prompt):
        return ApiScorer("m", "native", ApiOptions("http://127.0.0.1:9", "k", prompt=prompt))

    assert asked(OTHER).identity == asked(None).identity_with(OTHER) != asked(None).identity
    assert asked(OTHER).identity_with("") == asked(None).identity_with("")
    with pytest.raises(InvalidRequestError, match=r"provider='cohere' has no field .* leave prompt= out") as caught:
        Reranker("m", provider="cohere", api_key="k", prompt=OTHER)
    assert caught.value.param == "prompt"
    assert OTHER not in str(caught.value)
    assert Reranker("m", provider="cohere", api_key="k", prompt="").provider == "cohere"
