"""The scorer for HTTP: its options, its secrets, and its place among the other scorers."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import pickle
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from apiserver import ApiServer, reply
from rerank_core import (
    AuthenticationError,
    ClosedError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    OverloadedError,
    Reranker,
)
from rerank_core.client import retry
from rerank_core.events import Degraded
from rerank_core.models import DEFAULT_MODEL
from rerank_core.scoring import (
    ApiOptions,
    ApiScorer,
    CachedScorer,
    CascadeScorer,
    FakeScorer,
    FallbackScorer,
    KeepOrderScorer,
    Scorer,
)
from waiting import BOUND

SECRET = "sk-live-0123456789abcdef"  # noqa: S105  (of nobody)
DOCUMENTS = ["5 five", "9 nine", "7 seven"]
both = pytest.mark.parametrize("mode", ["sync", "async"])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(retry, "full_jitter", lambda _retry: 0.001)
    server = ApiServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("ASSISTERS_API_KEY", "COHERE_API_KEY", "CO_API_KEY", "VOYAGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def rank(reranker, mode, documents=DOCUMENTS, **arguments):
    if mode == "sync":
        with reranker:
            return reranker.rerank("q", documents, **arguments)

    async def main():
        async with reranker:
            return await reranker.arerank("q", documents, **arguments)

    return asyncio.run(main())


# Where the model runs


def test_the_address_alone_means_the_rerank_api():
    reranker = Reranker("m", base_url="http://localhost:1/v1")
    assert reranker.provider == "native"
    assert repr(reranker) == "Reranker(model='m', provider='native', url='http://localhost:1/v1/rerank')"
    assert repr(reranker.scorer) == "ApiScorer('m', provider='native', url='http://localhost:1/v1/rerank')"
    assert isinstance(reranker.scorer, Scorer)
    assert reranker.loaded is None


def test_the_hosted_services_name_goes_on_meaning_the_rerank_api_at_an_address():
    old, new = (Reranker("m", provider=provider, base_url="http://localhost:1") for provider in ("assisters", "native"))
    assert old.scorer.url == new.scorer.url
    assert new.scorer.identity == Reranker("m", base_url="http://localhost:1").scorer.identity
    assert ApiScorer("m", options=ApiOptions(api_key=SECRET)).provider == "assisters"


def test_the_rerank_api_needs_an_address_and_the_hosted_service_has_one():
    with pytest.raises(InvalidRequestError, match=r"its address as base_url=.*provider='assisters'\.$"):
        Reranker("m", provider="native")
    assert ApiScorer("m", "assisters", ApiOptions(api_key=SECRET)).url == "https://api.assisters.dev/v1/rerank"


@pytest.mark.parametrize("provider", [None, "native", "assisters"])
def test_the_hosted_services_address_needs_its_key_by_whatever_name(provider):
    with pytest.raises(AuthenticationError, match="ASSISTERS_API_KEY"):
        Reranker("m", provider=provider, base_url="https://api.assisters.dev/v1")


def test_the_provider_alone_means_its_own_service():
    reranker = Reranker("bge-reranker-v2", provider="assisters", api_key=SECRET)
    assert reranker.scorer.url == "https://api.assisters.dev/v1/rerank"
    assert Reranker("m", provider="cohere", api_key=SECRET).scorer.url == "https://api.cohere.com/v2/rerank"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"provider": ""}, "provider"),
        ({"provider": 3}, "provider"),
        ({"provider": "assisters"}, "model"),
        ({"model": "", "provider": "assisters"}, "model"),
        ({"base_url": "http://localhost"}, "model"),
        ({"model": Path("m"), "base_url": "http://localhost"}, "model"),
        ({"model": ["m"], "base_url": "http://localhost"}, "model"),
        ({"provider": "tei"}, "base_url"),
        ({"provider": "native", "model": "m"}, "base_url"),
        ({"provider": "native", "model": "m", "api_key": SECRET}, "base_url"),
        ({"model": "m", "base_url": ""}, "base_url"),
        ({"model": "m", "base_url": "localhost:8000"}, "base_url"),
        ({"model": "m", "base_url": 7}, "base_url"),
        ({"model": "m", "base_url": "http://localhost", "timeout": 0}, "timeout"),
        ({"model": "m", "base_url": "http://localhost", "timeout": float("nan")}, "timeout"),
        ({"model": "m", "base_url": "http://localhost", "timeout": float("inf")}, "timeout"),
        ({"model": "m", "base_url": "http://localhost", "timeout": True}, "timeout"),
        ({"model": "m", "base_url": "http://localhost", "timeout": "5"}, "timeout"),
        ({"model": "m", "base_url": "http://localhost", "max_retries": -1}, "max_retries"),
        ({"model": "m", "base_url": "http://localhost", "max_retries": True}, "max_retries"),
        ({"model": "m", "base_url": "http://localhost", "max_retries": 1.0}, "max_retries"),
        ({"model": "m", "base_url": "http://localhost", "max_retries": 101}, "max_retries"),
        ({"model": "m", "base_url": "http://localhost", "http_client": "x"}, "http_client"),
        ({"model": "m", "base_url": "http://localhost", "api_key": ""}, "api_key"),
        ({"model": "m", "base_url": "http://localhost", "api_key": 5}, "api_key"),
        ({"model": "m", "base_url": "http://localhost", "api_key": f"{SECRET} \u00e9"}, "api_key"),
        ({"model": "m", "base_url": "http://localhost", "api_key": f"{SECRET}\nx: y"}, "api_key"),
        ({"on_failure": "shrug"}, "on_failure"),
        # of the other world
        ({"timeout": 5}, "timeout"),
        ({"max_retries": 0}, "max_retries"),
        ({"api_key": SECRET, "provider": "local"}, "api_key"),
        ({"base_url": "http://localhost", "provider": "local"}, "base_url"),
        ({"http_client": httpx.Client}, "http_client"),
        ({"model": "m", "provider": "cohere", "device": "cpu"}, "device"),
        ({"model": "m", "provider": "cohere", "dtype": "int8"}, "dtype"),
        ({"model": "m", "provider": "cohere", "max_tokens": 9}, "max_tokens"),
        ({"model": "m", "provider": "cohere", "trust_remote_code": True}, "trust_remote_code"),
        ({"model": "m", "provider": "cohere", "prompt": "x"}, "prompt"),
        ({"model": "m", "provider": "cohere", "long_documents": "windows"}, "long_documents"),
    ],
)
def test_wrong_options_are_found_at_construction_and_named(options, param):
    with pytest.raises(InvalidRequestError) as caught:
        Reranker(**options)
    assert caught.value.param == param
    assert SECRET not in str(caught.value)


def test_a_scorer_does_not_go_with_api_options():
    for options in ({"base_url": "http://localhost"}, {"api_key": "k"}, {"provider": "cohere"}, {"timeout": 3}):
        with pytest.raises(InvalidRequestError, match="either a scorer"):
            Reranker(scorer=FakeScorer(), **options)
    scorer = ApiScorer("m", options=ApiOptions(base_url="http://localhost"))
    assert Reranker(scorer=scorer).provider == "native"


# The key


def test_a_missing_key_names_the_variable(monkeypatch):
    for provider, variable in (("assisters", "ASSISTERS_API_KEY"), ("cohere", "COHERE_API_KEY")):
        for value in (None, ""):
            if value is not None:
                monkeypatch.setenv(variable, value)
            with pytest.raises(AuthenticationError, match=variable) as caught:
                Reranker("m", provider=provider)
            assert caught.value.code == "missing_api_key"
    with pytest.raises(AuthenticationError):
        Reranker("m", provider="cohere", base_url="https://api.cohere.com/v2")
    Reranker("m", provider="cohere", base_url="https://cohere.example/v2")


@both
@pytest.mark.parametrize("key", [SECRET, SecretStr(SECRET), f"{SECRET}\n", None])
def test_the_key_comes_from_the_option_or_the_environment(server, monkeypatch, mode, key):
    monkeypatch.setenv("ASSISTERS_API_KEY", SECRET if key is None else "another")
    rank(Reranker("m", base_url=server.url, api_key=key), mode)
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"


def test_without_a_key_none_is_sent(server):
    rank(Reranker("m", base_url=server.url), "sync")
    assert "authorization" not in server.requests[0].headers


def test_the_key_is_seen_nowhere(server, caplog):
    caplog.set_level(logging.DEBUG)
    reranker = Reranker("m", base_url=server.url, api_key=SECRET)
    scorer = reranker.scorer
    seen = [
        repr(reranker),
        repr(scorer),
        repr(scorer.options),
        scorer.identity,
        repr(vars(scorer)),
        repr(vars(reranker)),
    ]
    server.then(reply({"error": {"message": SECRET, "code": SECRET}}, 400))
    with pytest.raises(InvalidRequestError) as caught:
        reranker.rerank("private question", ["private document"])
    seen += [str(caught.value), repr(caught.value.__cause__), caplog.text, repr(pickle.dumps(reranker))]
    reranker.close()
    assert not [text for text in seen if SECRET in text]
    assert "private" not in caplog.text


@pytest.mark.parametrize("base_url", [f"http://localhost/v1/rerank?api-key={SECRET}", f"http://me:{SECRET}@localhost"])
@pytest.mark.parametrize("make", [Reranker, lambda _model, base_url: ApiOptions(base_url=base_url)])
def test_a_key_in_the_address_is_refused_before_anything_could_show_it(make, base_url):
    with pytest.raises(InvalidRequestError, match="api_key=") as caught:
        make("m", base_url=base_url)
    assert caught.value.param == "base_url"
    assert SECRET not in str(caught.value)


def test_a_pickled_copy_takes_the_key_from_its_own_environment(server, monkeypatch):
    twin = pickle.loads(pickle.dumps(Reranker("m", base_url=server.url, api_key=SECRET, timeout=7, max_retries=1)))
    assert (twin.scorer.options.timeout, twin.scorer.options.max_retries) == (7, 1)
    rank(twin, "sync")
    assert "authorization" not in server.requests[0].headers
    monkeypatch.setenv("ASSISTERS_API_KEY", "theirs")
    rank(pickle.loads(pickle.dumps(twin)), "sync")
    assert server.requests[1].headers["authorization"] == "Bearer theirs"
    hosted = pickle.dumps(Reranker("m", provider="cohere", api_key=SECRET))
    with pytest.raises(AuthenticationError, match="COHERE_API_KEY"):
        pickle.loads(hosted)


@pytest.mark.parametrize(
    ("provider", "variable", "other"),
    [("cohere", "COHERE_API_KEY", "CO_API_KEY"), ("litellm", "LITELLM_API_KEY", "LITELLM_PROXY_API_KEY")],
)
def test_the_variable_that_the_vendors_library_reads_is_read_too(server, monkeypatch, provider, variable, other):
    monkeypatch.setenv(other, "theirs")
    rank(Reranker("m", provider=provider, base_url=server.url), "sync")
    monkeypatch.setenv(variable, "ours")
    rank(Reranker("m", provider=provider, base_url=server.url), "sync")
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer theirs", "Bearer ours"]


@pytest.mark.parametrize("options", [{}, {"provider": "native"}])
def test_an_address_without_a_model_is_said_to_be_that(options):
    with pytest.raises(InvalidRequestError, match=r"^base_url= .* needs the name of a model: give model=") as caught:
        Reranker(base_url="http://localhost:8000", **options)
    assert (caught.value.code, caught.value.param) == ("missing_model", "model")
    assert "assisters" not in str(caught.value)


def test_a_copy_in_this_process_keeps_the_key_and_has_connections_of_its_own(server):
    original = Reranker("m", base_url=server.url, api_key=SECRET)
    twin = copy.deepcopy(original)
    rank(original, "sync")
    rank(twin, "sync")
    rank(copy.copy(Reranker(scorer=copy.copy(twin.scorer))), "async")
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {SECRET}"}


def test_a_scorer_with_a_client_of_ones_own_cannot_be_pickled():
    with httpx.Client(timeout=BOUND) as client, pytest.raises(TypeError, match="http_client"):
        pickle.dumps(Reranker("m", base_url="http://localhost", http_client=client))


# Closing


@both
def test_a_closed_reranker_says_so(server, mode):
    reranker = Reranker("m", base_url=server.url)
    rank(reranker, mode)
    reranker.close()
    asyncio.run(reranker.scorer.aclose())
    with pytest.raises(ClosedError):
        rank(reranker, mode)
    with pytest.raises(ClosedError):
        reranker.warm_up()


# Among other scorers


def test_the_identity_names_dialect_address_and_model():
    def identity(model="m", provider="assisters", url="http://localhost:1"):
        return ApiScorer(model, provider, ApiOptions(base_url=url)).identity

    assert identity() == identity() == identity(url="http://localhost:1/v1")
    others = [
        identity("n"), identity(provider="cohere"), identity(url="http://localhost:2"), identity(url="http://localhost:1?a=b"),
    ]  # fmt: skip
    assert len({identity(), *others}) == 5
    assert "hush" not in identity(url="http://localhost:1?tenant=hush")


@both
def test_inside_a_cache(server, mode):
    scorer = CachedScorer(ApiScorer("m", options=ApiOptions(base_url=server.url)))

    def score(texts):
        return scorer.score("q", texts) if mode == "sync" else asyncio.run(scorer.ascore("q", texts))

    score(DOCUMENTS[:2])
    scores = score(DOCUMENTS)
    assert [score.cached for score in scores.items] == [True, True, False]
    assert [request.documents for request in server.requests] == [DOCUMENTS[:2], DOCUMENTS[2:]]
    scorer.close()


@both
def test_when_the_api_is_down_the_fallback_answers_and_every_result_says_so(server, mode):
    server.default = reply({}, 503)
    events = []
    api = ApiScorer("m", options=ApiOptions(base_url=server.url))
    reranker = Reranker(scorer=FallbackScorer([api, FakeScorer("spare")], hooks=[events.append]))
    response = rank(reranker, mode, ["q", "x"])
    assert (response.model, [result.degraded for result in response]) == ("spare", [True, True])
    assert events == [Degraded("m", "spare", "overloaded")]
    assert len(server.requests) == 3


@both
def test_past_the_deadline_the_bundled_model_answers(server, mode):
    server.default = reply({}, 429, Retry_After="30")
    api = ApiScorer("m", options=ApiOptions(base_url=server.url, timeout=5))
    response = rank(Reranker(scorer=FallbackScorer([api, Reranker().scorer])), mode)
    assert (response.model, response.degraded) == (DEFAULT_MODEL, True)


@both
def test_in_a_cascade_the_api_sees_only_the_best(server, mode):
    api = ApiScorer("m", options=ApiOptions(base_url=server.url))
    documents = ["x 1", "q 2", "q 3", "x 4"]
    response = rank(Reranker(scorer=CascadeScorer(FakeScorer(), api, keep=2)), mode, documents)
    assert sorted(server.requests[0].documents) == ["q 2", "q 3"]
    assert {result.index for result in response[:2]} == {1, 2}


# on_failure


@both
@pytest.mark.parametrize("trouble", [reply({}, 503), reply({}, 500), reply(b"<p>", kind="text/html"), reply({}, 502)])
def test_keep_order_gives_the_callers_order_when_the_server_fails(server, mode, trouble):
    server.default = trouble
    events = []
    reranker = Reranker("m", base_url=server.url, on_failure="keep_order", hooks=[events.append])
    documents = ["b", "a", "b", {"text": "c", "id": 1}]
    response = rank(reranker, mode, documents, top_n=3, score_threshold=0.9)
    assert [result.index for result in response] == [0, 1, 2]
    assert [result.relevance_score for result in response] == [0.0] * 3
    assert all(result.degraded for result in response)
    assert response.degraded
    assert response.model == "keep_order"
    assert next(event for event in events if isinstance(event, Degraded)).used == "keep_order"


@both
def test_keep_order_does_not_hide_what_is_wrong_with_the_call(server, mode):
    server.default = reply({"error": {"message": "m", "code": "query_too_long"}}, 400)
    with pytest.raises(InvalidRequestError):
        rank(Reranker("m", base_url=server.url, on_failure="keep_order"), mode)
    with pytest.raises(InvalidRequestError):
        Reranker(scorer=FakeScorer(), on_failure="keep_order").rerank(" ", ["a"])


@both
def test_keep_order_does_not_hide_that_the_reranker_is_closed(server, mode):
    for reranker in (Reranker("m", base_url=server.url, on_failure="keep_order"), Reranker(on_failure="keep_order")):
        rank(reranker, mode)
        with pytest.raises(ClosedError):
            rank(reranker, mode)


@both
def test_keep_order_does_not_hide_a_refused_key_or_an_unknown_model(server, mode):
    for trouble, error in (
        (reply({}, 401), AuthenticationError),
        (reply({}, 403), AuthenticationError),
        (reply({"error": {"message": "m", "code": "model_not_found"}}, 404), ModelNotFoundError),
    ):
        server.default = trouble
        with pytest.raises(error):
            rank(Reranker("m", base_url=server.url, on_failure="keep_order"), mode)


@both
def test_keep_order_does_not_hide_what_never_loads(tmp_path, mode):
    for options, error in (
        ({"model": tmp_path / "no-model"}, ModelNotFoundError),
        ({"device": "cuda"}, ModelLoadError),
        ({"model": "no-such/model", "local_files_only": True}, ModelLoadError),
    ):
        with pytest.raises(error):
            rank(Reranker(**options, on_failure="keep_order"), mode)


@both
def test_keep_order_works_without_http(mode):
    broken = FakeScorer(error=OverloadedError("full"))
    assert rank(Reranker(scorer=broken, on_failure="keep_order"), mode).degraded
    assert not rank(Reranker(on_failure="keep_order"), mode).degraded


def test_keep_order_is_raise_by_default(server):
    server.default = reply({}, 503)
    with pytest.raises(OverloadedError):
        rank(Reranker("m", base_url=server.url), "sync")
    with pytest.raises(OverloadedError):
        rank(Reranker("m", base_url=server.url, on_failure="raise"), "sync")


def test_the_door_shows_what_is_behind_it():
    reranker = Reranker(on_failure="keep_order")
    reranker.warm_up()
    assert reranker.loaded is not None
    assert reranker.model == DEFAULT_MODEL
    assert "backend=" in repr(reranker)
    assert pickle.loads(pickle.dumps(reranker)).rerank("q", ["a"]).degraded is False


def test_the_scorer_that_keeps_the_order():
    scorer = KeepOrderScorer()
    assert isinstance(scorer, Scorer)
    scorer.warm_up()
    scores = asyncio.run(scorer.ascore("q", ["a", "b"]))
    assert (scores.judged, scores.degraded, scores.keys()) == (False, True, [-math.inf, -math.inf])
    assert scorer.identity == scorer.model == "keep_order"
    scorer.close()
    asyncio.run(scorer.aclose())
