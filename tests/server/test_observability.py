"""What a person who runs the server can see, and what nobody may see."""

from __future__ import annotations

import json
import logging

import pytest
from opentelemetry import trace

from rerank_core import InferenceError, ModelLoadError, Reranker
from rerank_core.scoring import FakeScorer
from rerank_core.server.exchange import JsonFormatter, TextFormatter
from serving import SPEC_BODY, serving
from waiting import wait_for

MODEL = "bge-reranker-v2"


@pytest.fixture(scope="module")
def spans():
    """Everything traced in this process from now on; a provider can be set only once."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    in_memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = in_memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def test_the_id_of_a_request_comes_back(api):
    assert api.http.get("/health", headers={"x-request-id": "abc-1.2:3"}).headers["x-request-id"] == "abc-1.2:3"


@pytest.mark.parametrize("given", ["", "a b", "x" * 200, "é".encode(), "<script>"])
def test_an_id_that_is_none_is_replaced(api, given):
    assert len(api.http.get("/health", headers={"x-request-id": given}).headers["x-request-id"]) == 32


def test_truncation_is_reported(api):
    response = api.rerank(documents=["word " * 2000, "short"])
    assert response.headers["x-truncated-documents"] == "1"
    assert response.json()["meta"]["truncated_documents"] == [0]
    assert "server-timing" in response.headers


def test_metrics_tell_of_the_work():
    with serving(models=(f"{MODEL}=rerank-mini-en-v1",), cache_entries=100) as served:
        for _ in range(2):
            served.rerank(documents=["word " * 2000, "short", "another one"])
        served.rerank(query="")
        wait_for(lambda: served.metric("rerank_errors_total", code="empty_query") == 1)
        text = served.http.get("/metrics").text
        assert served.metric("rerank_documents_total", model=MODEL) == 6
        assert served.metric("rerank_truncated_documents_total", model=MODEL) == 1
        assert served.metric("rerank_cache_total", model=MODEL, outcome="hit") == 3
        assert served.metric("rerank_tokens_total", model=MODEL) > 512
    for name in (
        "rerank_requests_total", "rerank_request_seconds_bucket", "rerank_errors_total", "rerank_queue_pairs",
        "rerank_queue_seconds_bucket", "rerank_batch_size_bucket", "rerank_batch_tokens_bucket",
        "rerank_padding_tokens_total", "rerank_inference_seconds_bucket", "rerank_cache_total",
    ):  # fmt: skip
        assert f"\n{name}" in text


def test_a_span_tells_of_the_ranking_in_the_callers_trace(api, spans):
    spans.clear()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    api.http.post("/v1/rerank", json=SPEC_BODY, headers={"traceparent": parent})
    (span,) = (span for span in spans.get_finished_spans() if span.name.startswith("rerank"))
    assert span.name == f"rerank {MODEL}"
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert span.attributes["rerank.documents"] == 4
    assert span.attributes["rerank.tokens"] > 0
    assert "machine" not in span.to_json()


def test_a_failure_leaves_its_kind_in_the_trace_and_the_log_and_no_words(spans, caplog):
    class Broken(FakeScorer):
        async def ascore(self, query, _texts):
            raise InferenceError("the model failed.") from MemoryError(f"while scoring {query}")

    spans.clear()
    with serving(rerankers={"broken": Reranker(scorer=Broken("broken"))}) as served:
        body = {**SPEC_BODY, "model": "broken", "query": "sesame-4711"}
        reply = served.http.post("/v1/rerank", json=body, headers={"x-request-id": "request-9"})
    assert reply.json()["error"]["code"] == "inference_failed"
    (span,) = (span for span in spans.get_finished_spans() if span.name.startswith("rerank"))
    assert (span.status.is_ok, span.status.description) == (False, "InferenceError")
    assert "request_id=request-9 failed: InferenceError from MemoryError" in caplog.text
    assert "sesame" not in caplog.text + span.to_json()


def test_a_model_that_cannot_be_loaded_is_in_the_log(caplog):
    class Missing(FakeScorer):
        def warm_up(self):
            raise ModelLoadError("there are no weights")

    with serving(rerankers={"missing": Reranker(scorer=Missing("missing"))}, wait=False):
        wait_for(lambda: "the model missing could not be loaded: there are no weights" in caplog.text)


def test_a_log_line_says_what_happened_and_not_what_was_asked(api, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "sesame-4711"  # noqa: S105  (not a password)
    headers = {"authorization": f"Bearer {secret}", "x-request-id": "request-1"}
    api.http.post(f"/v1/rerank?q={secret}", json={**SPEC_BODY, "query": secret, "documents": [secret]}, headers=headers)
    api.http.post("/v1/rerank", json={**SPEC_BODY, "query": secret, "documents": [{secret: 1}]}, headers=headers)
    api.http.post(f"/{secret}", json={}, headers=headers)

    def lines():
        return [record for record in caplog.records if getattr(record, "exchange", {}).get("request_id") == "request-1"]

    wait_for(lambda: len(lines()) == 3)
    assert lines()[0].exchange["status"] == 200
    assert lines()[0].exchange["documents"] == 1
    assert lines()[1].exchange["code"] == "invalid_document"
    ours = [record for record in caplog.records if record.name.startswith("rerank_core")]
    assert not any(secret in record.getMessage() for record in ours)


def test_what_is_refused_or_fails_is_louder_than_what_works(api, caplog):
    caplog.set_level(logging.DEBUG)
    expected = {"/v1/rerank": logging.INFO, "/nothing": logging.WARNING, "/health": logging.DEBUG}
    api.http.post("/v1/rerank", json=SPEC_BODY, headers={"x-request-id": "loud"})
    api.http.post("/nothing", headers={"x-request-id": "loud"})
    api.http.get("/health", headers={"x-request-id": "loud"})

    def lines():
        return [record for record in caplog.records if getattr(record, "exchange", {}).get("request_id") == "loud"]

    wait_for(lambda: len(lines()) == 3)
    assert [record.levelno for record in lines()] == list(expected.values())
    assert [record.exchange["route"] for record in lines()] == ["/v1/rerank", "unmatched", "/health"]


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter("%(asctime)s %(message)s")])
def test_times_say_their_zone(formatter):
    record = logging.LogRecord("x", logging.INFO, "", 0, "hello", (), None)
    record.created = 1795657858.25
    assert "2026-11-26T01:50:58.250Z" in formatter.format(record)


def test_json_logs_are_json_with_the_details_as_fields():
    record = logging.LogRecord("rerank_core.server", logging.INFO, "", 0, "shown", (), None)
    record.exchange = {"status": 200, "route": "/v1/rerank"}
    line = json.loads(JsonFormatter().format(record))
    assert line["status"] == 200
    assert line["level"] == "info"
    plain = logging.LogRecord("x", logging.ERROR, "", 0, "hello %s", ("there",), None)
    assert json.loads(JsonFormatter().format(plain))["message"] == "hello there"


def test_other_pages_may_not_call_unless_they_are_let(api):
    origin = {"origin": "https://example.com", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in api.http.options("/v1/rerank", headers=origin).headers
    with serving(cors_origins=("https://example.com",)) as served:
        preflight = served.http.options("/v1/rerank", headers=origin)
        assert preflight.headers["access-control-allow-origin"] == "https://example.com"
        assert served.rerank(model="rerank-mini-en-v1").status_code == 200
        other = served.http.get("/health", headers={"origin": "https://other.com"})
        assert "access-control-allow-origin" not in other.headers
