"""Every path: answered in its dialect, with the native scores, behind the same checks."""

from __future__ import annotations

import json

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from rerank_core.scoring import CascadeScorer
from rerank_core.server.discovery import base_paths
from rerank_core.wire.messages import WireRequest
from rerank_core.wire.routes import ROUTES
from serving import SPEC_BODY, serving
from waiting import wait_for

SCRIPTS = ("calls", "documents", "dom", "lines", "marks", "page", "results")
PAGE = {"/", "/page/page.css", *(f"/page/{name}.js" for name in SCRIPTS)}
DOCS = {"/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/openapi.json"}
TEI = {"/", "/invocations", "/tei/rerank"}
OPEN = {"/health", "/ping", "/ready", "/metrics"} | DOCS | PAGE
MODELS = {f"{base}/models" for base in base_paths()} | {f"{base}/models/{{model:path}}" for base in base_paths()}
SPOKEN = [
    pytest.param(route, dialect, id=f"{route.path} {dialect.name}") for route in ROUTES for dialect in route.dialects
]


def address(route):
    return route.path.replace("{model}", "bge-reranker-v2")


def ask(api, route, dialect, **changes):
    request = WireRequest(SPEC_BODY["query"], SPEC_BODY["documents"], model="bge-reranker-v2", **changes)
    return api.http.post(address(route), json=dialect.write_request(request))


def all_routes(app):
    """(path, method) of everything the application answers."""
    found, routers = [], [app]
    while routers:
        for route in routers.pop().routes:
            if hasattr(route, "original_router"):  # FastAPI keeps included routers whole
                routers.append(route.original_router)
            else:
                found.extend((route.path, method) for method in route.methods if method != "HEAD")
    return found


@pytest.mark.parametrize(("route", "dialect"), SPOKEN)
def test_every_path_gives_the_native_scores_in_its_own_shape(api, route, dialect):
    native = {item["index"]: item["relevance_score"] for item in api.rerank().json()["results"]}
    response = ask(api, route, dialect)
    assert response.status_code == 200, response.text
    TypeAdapter(dialect.reply).validate_python(response.json())
    read = dialect.read_response(response.json())
    assert sorted(item.index for item in read.results) == [0, 1, 2, 3]
    if dialect.scores == "probability":
        assert {item.index: item.score for item in read.results} == pytest.approx(native, abs=1e-5)
    assert [item.index for item in read.results] in ([0, 2, 1, 3], [0, 1, 2, 3])


@pytest.mark.parametrize(("route", "dialect"), SPOKEN)
def test_every_path_refuses_what_is_wrong_without_repeating_it(api, route, dialect):
    secret = "sesame-4711"  # noqa: S105  (not a password)
    body = dialect.write_request(WireRequest(secret, ["x"], model="bge-reranker-v2"))
    broken = json.loads(json.dumps(body).replace('"x"', "[7]"))
    response = api.http.post(address(route), json=broken)
    assert response.status_code in (400, 422), response.text
    assert secret not in response.text


@pytest.mark.parametrize(("route", "dialect"), SPOKEN)
def test_every_path_limits_the_documents(api, route, dialect):
    body = dialect.write_request(WireRequest("q", ["x"] * 101, model="bge-reranker-v2"))
    response = api.http.post(address(route), json=body)
    assert response.status_code in (400, 413, 422), response.text
    assert "Maximum is 100" in response.text


@pytest.mark.parametrize("path", [address(route) for route in ROUTES if route.path != "/"])  # there GET shows the page
def test_only_post_is_taken(api, path):
    response = api.http.get(path)
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/v1/v1/rerank", "/v1/v2/rerank", "/nothing", "/v1/rerank/"])
def test_unknown_paths_have_the_same_body(api, path):
    response = api.http.post(path, json=SPEC_BODY)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert "/v1/rerank" in response.json()["detail"]


@pytest.fixture(scope="module")
def locked():
    with serving(api_keys=("key-one", "key-two"), models=("bge-reranker-v2=rerank-mini-en-v1",)) as served:
        yield served


def test_no_route_is_reachable_without_a_key_but_those_meant_to_be(locked):
    seen = set()
    for path, method in all_routes(locked.app):
        response = locked.http.request(method, path.replace("{model:path}", "x"), json={})
        seen.add(path)
        if path in OPEN and method == "GET":
            assert response.status_code == 200, path
            continue
        assert response.status_code == 401, path
        if path in TEI:  # an error there is a text, as its clients expect
            assert isinstance(response.json()["error"], str)
        else:
            assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"].startswith("Bearer")
    posts = {route.path.replace("{model}", "{model:path}") for route in ROUTES}
    assert posts | OPEN | MODELS | {"/info", "/tei/info"} == seen


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer key-one"},
        {"authorization": "bearer key-two"},
        {"authorization": "key-one"},  # llama-index's TEI client sends the token as it is
        {"api-key": "key-two"},
        {"x-api-key": "key-one"},
    ],
)
def test_every_way_of_sending_a_key(locked, headers):
    assert locked.http.post("/v1/rerank", json=SPEC_BODY, headers=headers).status_code == 200


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer key-on", "Bearer key-one2", "Basic a2V5LW9uZQ=="])
def test_wrong_keys(locked, value):
    assert locked.http.post("/v1/rerank", json=SPEC_BODY, headers={"authorization": value}).status_code == 401


def test_every_route_is_counted(api):
    for route in ROUTES:
        path = route.path.replace("{model}", "{model:path}")
        before = api.metric("rerank_requests_total", route=path, status="200")
        ask(api, route, route.dialect)
        wait_for(lambda: api.metric("rerank_requests_total", route=path, status="200") == before + 1)  # noqa: B023  (called at once)


def test_models(api):
    listed = api.http.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["bge-reranker-v2", "rerank-mini-en-v1"]
    one = api.http.get("/v1/models/rerank-mini-en-v1").json()
    assert one == listed["data"][1]
    assert (one["object"], one["max_tokens"], one["state"]) == ("model", 512, "ready")
    missing = api.http.get("/v1/models/owner/name")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "base", ["", "/v1", "/v2", "/infinity", "/voyage/v1", "/cohere/v1", "/cohere/v2", "/nim/v1", "/pinecone", "/tei"]
)
def test_the_models_are_below_every_base_url(api, base):
    assert api.http.get(f"{base}/models").json() == api.http.get("/v1/models").json()
    assert api.http.get(f"{base}/models/rerank-mini-en-v1").json()["id"] == "rerank-mini-en-v1"


def test_every_rerank_path_is_below_a_base_url_that_has_the_models():
    for route in ROUTES:
        assert any(route.path.startswith(f"{base}/") for base in base_paths()), route.path
    assert {"/compatible-api/v1", "/api/v1", "/api", "/inference/v1"} <= set(base_paths())


def test_cohere_lists_the_models(api):
    cohere = pytest.importorskip("cohere")
    for base in ("", "/cohere"):
        with cohere.Client("key", base_url=f"{api.url}{base}") as client:
            assert [model.name for model in client.models.list().models] == ["bge-reranker-v2", "rerank-mini-en-v1"]
            assert client.models.get("rerank-mini-en-v1").endpoints == ["rerank"]


@pytest.mark.parametrize(
    "path", ["/health", "/ping", "/ready", "/metrics", "/v1/models", "/info", "/docs", "/openapi.json"]
)
def test_head_is_answered_wherever_get_is(api, path):
    head, get = api.http.head(path), api.http.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # whose numbers have changed by then
        assert head.headers["content-length"] == get.headers["content-length"]


def test_head_needs_a_key_where_get_does(locked):
    assert locked.http.head("/v1/models").status_code == 401
    assert locked.http.head("/v1/rerank").status_code == 405
    assert locked.http.post("/health").headers["allow"] == "GET, HEAD"


def test_the_settings_own_limit_is_reported_with_a_cache_too():
    with serving(models=("rerank-mini-en-v1",), cache_entries=10, max_tokens=64) as served:
        assert served.http.get("/v1/models/rerank-mini-en-v1").json()["max_tokens"] == 64
        assert served.http.get("/info").json()["max_input_length"] == 64


def test_a_cascade_is_served_under_a_name_with_a_cache_for_each_model():
    asked = {"query": "a refund", "documents": [f"Refund {number}, a parcel." for number in range(25)]}
    with serving(models=("two=rerank-tiny-en-v1>rerank-mini-en-v1",), cache_entries=100) as served:
        first, again = (served.http.post("/v1/rerank", json=asked | {"model": "two"}).json() for _ in range(2))
        (model,) = served.server.served.models
    assert first["results"] == again["results"]
    assert len(first["results"]) == 25
    assert isinstance(model.reranker.scorer, CascadeScorer)


def test_info_says_what_a_tei_client_wants_to_know(api):
    info = api.http.get("/info").json()
    assert info["max_client_batch_size"] == 100
    assert info["max_input_length"] == 512
    assert "reranker" in info["model_type"]
    assert info["served_model_name"] == info["model_id"] == "bge-reranker-v2"
    assert api.server.shelf is api.server.served  # the name it had before goes on working
    loaded = api.server.served.models[0].loaded
    assert info["max_batch_tokens"] == loaded.batch_tokens > 0
    assert info["tokenization_workers"] == loaded.workers > 0


def test_info_tells_the_settings_own_budget():
    with serving(batch_tokens=999) as served:
        assert served.http.get("/info").json()["max_batch_tokens"] == 999


def test_a_model_in_the_path_may_hold_a_slash(api):
    body = {"query": {"text": "q"}, "passages": [{"text": "x"}]}
    response = api.http.post("/v1/retrieval/nvidia/some-model/reranking", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_the_aliases_let_the_server_choose_the_model(api):
    body = {"query": "q", "documents": ["x"]}
    assert api.http.post("/rerank", json=body).json()["model"] == "bge-reranker-v2"
    assert api.http.post("/v1/rerank", json=body).json()["error"]["code"] == "missing_model"


def test_all_rerank_routes_are_posts():
    with serving(wait=False) as served:
        posts = {route.path for route in served.app.routes if isinstance(route, APIRoute) and "POST" in route.methods}
    assert posts == {route.path.replace("{model}", "{model:path}") for route in ROUTES}


def test_a_request_never_downloads_a_model(api, hub):
    for model in ("owner/name", "cross-encoder/ms-marco-MiniLM-L6-v2", "ms-marco-MiniLM-L6-v2", "/etc", "../models"):
        assert api.rerank(model=model).status_code == 404
        assert api.http.post("/rerank", json={**SPEC_BODY, "model": model}).status_code == 404
    assert hub.requests == []
