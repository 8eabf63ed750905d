"""Facts of the dialects: names, keys, limits, what keeps a long document from failing a request, errors."""

from __future__ import annotations

import pytest

from rerank_core import InvalidRequestError
from rerank_core import errors as e
from rerank_core.wire.messages import WireRequest, WireResponse, WireResult
from rerank_core.wire.registry import CLIENT_DIALECTS, dialect
from rerank_core.wire.routes import ROUTES, dialect_for
from rerank_core.wire.tei import TeiError

ROUTE = {route.path: route for route in ROUTES}
BY_NAME = [pytest.param(spoken, id=name) for name, spoken in CLIENT_DIALECTS.items()]


def test_names_and_aliases():
    assert (dialect("native").base_url, dialect("assisters").base_url) == (None, "https://api.assisters.dev")
    assert {dialect(name).path for name in ("native", "assisters")} == {"/v1/rerank"}
    assert dialect("cohere-v2") is dialect("cohere")
    assert dialect("cohere").path == "/v2/rerank"
    assert dialect("cohere-v1").path == "/v1/rerank"


def test_an_unknown_provider_is_answered_with_the_known_ones():
    with pytest.raises(InvalidRequestError, match=r"'coheer'.*cohere, .*voyage") as caught:
        dialect("coheer")
    assert (caught.value.code, caught.value.param) == ("unknown_provider", "provider")


@pytest.mark.parametrize(
    ("name", "documents"),
    [
        ("native", 100),
        ("tei", 32),
        ("voyage", 1000),
        ("cohere", 1000),
        ("cohere-v1", 1000),
        ("dashscope", 500),
        ("dashscope-compat", 500),
        ("nim", 512),
        ("infinity", 2048),
        ("pinecone", 100),
        ("vllm", None),
        ("llamacpp", None),
    ],
)
def test_how_many_documents_fit(name, documents):
    assert dialect(name).max_documents == documents


@pytest.mark.parametrize("spoken", BY_NAME)
def test_hosted_services_use_https_and_everyone_has_a_variable_for_the_key(spoken):
    assert spoken.base_url is None or spoken.base_url.startswith("https://")
    assert spoken.key_variable.endswith("_API_KEY")
    assert spoken.path.startswith("/")


def test_keys_go_where_the_service_looks():
    assert dialect("cohere").headers("k") == {"Authorization": "Bearer k"}
    assert dialect("tei").headers(None) == dialect("tei").headers("") == {}
    headers = dialect("pinecone").headers("k")
    assert headers["Api-Key"] == "k"
    assert set(headers) == {"Api-Key", "X-Pinecone-API-Version"}
    assert set(dialect("pinecone").headers(None)) == {"X-Pinecone-API-Version"}


def test_the_model_is_part_of_some_paths():
    assert dialect("nvidia").path_for("nvidia/llama-3.2-x") == "/v1/retrieval/nvidia/llama-3_2-x/reranking"
    assert dialect("deepinfra").path_for("Qwen/a b?") == "/v1/inference/Qwen/a%20b%3F"
    assert dialect("native").path_for("m") == "/v1/rerank"


def test_an_empty_text_fails_the_request_only_where_it_does():
    refusing = {name for name, spoken in CLIENT_DIALECTS.items() if spoken.refuses_empty_text}
    assert refusing == {"voyage", "dashscope", "dashscope-compat"}


def test_listwise_models_are_known():
    assert "jina-reranker-v3".startswith(dialect("jina").listwise)
    assert not "jina-reranker-v2-base-multilingual".startswith(dialect("jina").listwise)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("tei", "truncate", True),
        ("vllm", "truncate_prompt_tokens", -1),
        ("vllm-score", "truncate_prompt_tokens", -1),
        ("nim", "truncate", "END"),
        ("nvidia", "truncate", "END"),
        ("voyage", "truncation", True),
        ("pinecone", "parameters", {"truncate": "END"}),
    ],
)
def test_a_long_document_is_cut_and_does_not_fail_the_request(name, field, value):
    assert dialect(name).write_request(WireRequest("q", ["a"], model="m"))[field] == value


def test_infinity_gets_no_text_it_refuses():
    body = dialect("infinity").write_request(WireRequest("q" * 200_000, ["d" * 200_000, "short"], model="m"))
    assert [len(body["query"]), *map(len, body["documents"])] == [122_880, 122_880, 5]


def test_mixedbread_is_always_asked_for_how_many_results_are_wanted():
    assert dialect("mixedbread").write_request(WireRequest("q", ["a", "b", "c"], model="m"))["top_k"] == 3


def test_documents_go_as_strings_where_objects_are_refused():
    assert dialect("vllm").write_request(WireRequest("q", ["a"]))["documents"] == ["a"]
    assert dialect("infinity").write_request(WireRequest("q", ["a"]))["documents"] == ["a"]


@pytest.mark.parametrize("spoken", BY_NAME)
def test_a_request_asks_for_no_documents_and_for_no_model_it_was_not_given(spoken):
    body = spoken.write_request(WireRequest("q", ["a", "b"]))
    assert "model" not in body
    assert True not in [body.get("return_documents"), body.get("return_text"), body.get("return_input")]


@pytest.mark.parametrize(
    ("info", "limit"),
    [
        ({"model_id": "m", "max_client_batch_size": 64}, 64),
        ({"max_client_batch_size": 0}, None),
        ({"max_client_batch_size": True}, None),
        ({"max_client_batch_size": "64"}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_tei_tells_its_limit(info, limit):
    assert dialect("tei").info_path == "/info"
    assert dialect("tei").read_info(info) == limit


def test_nobody_else_tells_a_limit():
    assert dialect("native").info_path is None
    assert dialect("native").read_info({"max_client_batch_size": 64}) is None


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (e.InvalidRequestError("x", code="empty_documents"), 400, "Empty"),
        (e.InvalidRequestError("x", code="too_many_documents"), 422, "Validation"),
        (e.InvalidRequestError("x", code="payload_too_large", status=413), 413, "Validation"),
        (e.ModelNotFoundError("x"), 404, "Validation"),
        (e.AuthenticationError("x"), 401, "Validation"),
        (e.RateLimitError("x"), 429, "Overloaded"),
        (e.OverloadedError("x"), 429, "Overloaded"),
        (e.OverloadedError("x", status=503), 503, "Unhealthy"),
        (e.ClosedError("x"), 503, "Unhealthy"),
        (e.InferenceError("x"), 424, "Backend"),
        (e.TimeoutError("x"), 504, "Backend"),
    ],
)
def test_tei_has_errors_of_its_own(error, status, kind):
    written, body = dialect("tei").write_error(error)
    assert (written, body) == (status, {"error": "x", "error_type": kind})
    TeiError.model_validate(body)


def test_errors_have_what_each_product_s_clients_read():
    error = e.InvalidRequestError("Documents cannot be empty", code="empty_documents", param="documents")
    ours = {"message": error.message, "type": "invalid_request_error", "code": "empty_documents", "param": "documents"}
    for name in ("native", "cohere", "voyage", "infinity", "mixedbread", "nim", "pinecone", "dashscope", "vllm-score"):
        status, body = dialect(name).write_error(error)
        assert (status, body["error"], body["detail"]) == (400, ours, error.message)
    assert dialect("cohere").write_error(error)[1]["message"] == error.message
    assert dialect("dashscope").write_error(error)[1]["code"] == "empty_documents"
    assert dialect("pinecone").write_error(error)[1]["status"] == 400


def test_raw_scores_without_logits_are_an_error_not_probabilities():
    spoken = dialect("nim")
    request = spoken.read_request({"query": {"text": "q"}, "passages": [{"text": "a"}]})
    with pytest.raises(e.ProtocolError, match="no logit"):
        spoken.write_response(WireResponse((WireResult(0, 0.5),), id="rerank-1", model="m"), request)


@pytest.mark.parametrize(
    "body",
    [
        {"text_1": ["q", "q"], "text_2": ["a", "b", "c"]},
        {"text_1": ["q", "r"], "text_2": "a"},
        {"text_1": [], "text_2": ["a"]},
    ],
)
def test_queries_that_do_not_fit_the_documents_are_refused(body):
    with pytest.raises(InvalidRequestError) as caught:
        dialect("vllm-score").read_request(body)
    assert caught.value.param == "text_1"


def test_every_document_may_have_a_query_of_its_own():
    asked = dialect("vllm-score").read_request({"text_1": ["q", "r"], "text_2": ["a", "b"]})
    assert (list(asked.queries), list(asked.texts)) == (["q", "r"], ["a", "b"])
    assert not dialect("vllm-score").read_request({"text_1": ["q"], "text_2": ["a", "b"]}).queries


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/rerank", {"texts": ["a"]}, "tei"),
        ("/rerank", {"documents": ["a"]}, "native-alias"),
        ("/rerank", {"documents": ["a"], "texts": ["a"]}, "native-alias"),
        ("/rerank", {"documents": None, "texts": ["a"]}, "tei"),
        ("/rerank", {"input": ["a"]}, "native-alias"),
        ("/rerank", {}, "native-alias"),
        ("/rerank", None, "native-alias"),
        ("/rerank", ["texts"], "native-alias"),
        ("/v1/reranking", {"input": ["a"]}, "mixedbread"),
        ("/v1/reranking", {"documents": ["a"]}, "native-alias"),
        ("/v1/reranking", {"passages": []}, "nim"),
        ("/reranking", {"texts": ["a"]}, "tei"),
        ("/v1/rerank", {"texts": ["a"]}, "native"),
    ],
)
def test_the_body_tells_the_dialect_where_products_share_a_path(path, body, name):
    route = ROUTE[path]
    assert dialect_for(route, body).name == name
    assert dialect_for(route, body) in route.dialects


def test_every_path_is_there_once_and_answers():
    assert len(ROUTE) == len(ROUTES)
    assert {
        "/v1/rerank", "/v2/rerank", "/rerank", "/v1/reranking", "/v1/ranking", "/v1/retrieval/{model}/reranking",
        "/score", "/v1/score", "/reranks", "/compatible-api/v1/reranks",
        "/api/v1/services/rerank/text-rerank/text-rerank",
        "/voyage/v1/rerank", "/infinity/rerank", "/pinecone/rerank",
    } <= set(ROUTE)  # fmt: skip


@pytest.mark.parametrize("path", [path for path in ROUTE if path != "/v1/rerank"])
def test_only_the_native_path_insists_on_a_model(path):
    bodies = {
        "documents": {"query": "q", "documents": ["a"]},
        "input": {"input": {"query": "q", "documents": ["a"]}},
        "passages": {"query": {"text": "q"}, "passages": [{"text": "a"}]},
        "texts": {"query": "q", "texts": ["a"]},
        "text_2": {"text_1": "q", "text_2": ["a"]},
    }
    spoken = ROUTE[path].dialect
    body = next(body for name, body in bodies.items() if name in spoken.body.model_fields)
    assert spoken.read_request(body).model is None
