"""What the server does when there is too much of anything, and when somebody leaves."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from loops import held_model, on_the_loop
from rerank_core import ModelLoadError, Reranker
from rerank_core.scoring import FakeScorer, LocalScorer
from serving import SPEC_BODY, serving
from waiting import BOUND, wait_for


def post(served, body=None, **options):
    return httpx.post(f"{served.url}/v1/rerank", json=body or gated_body(), timeout=BOUND, trust_env=False, **options)


def gated_body(documents=2):
    return {"model": "gated", "query": "q", "documents": [f"text {i}" for i in range(documents)]}


def admission(served):
    return served.server.served.models[0].admission


@pytest.fixture
def small():
    with serving(max_body_bytes=2000) as served:
        yield served


def test_a_body_that_is_too_large_is_refused(small):
    response = small.http.post("/v1/rerank", json={**SPEC_BODY, "query": "x" * 3000})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "payload_too_large")


def test_a_chunked_body_is_measured_while_it_arrives(small):
    sent = 0

    def endless():
        nonlocal sent
        while sent < 50_000_000:
            sent += 1000
            yield b" " * 1000

    try:
        response = small.http.post("/v1/rerank", content=endless(), headers={"content-type": "application/json"})
    except httpx.TransportError:  # it hung up while we were still sending
        pass
    else:
        assert (response.status_code, response.json()["error"]["code"]) == (413, "payload_too_large")
    assert sent < 50_000_000


def test_a_content_length_that_is_too_large_is_refused_before_the_body(small):
    host, port = small.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=BOUND)
    connection.putrequest("POST", "/v1/rerank")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "999999999")
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    connection.close()


def test_a_body_that_never_arrives_does_not_wait_for_ever():
    with serving(request_timeout=0.5) as served:
        host, port = served.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=BOUND)
        connection.putrequest("POST", "/v1/rerank")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b'{"model"')
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (408, "request_timeout")
        connection.close()


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_only_json_is_taken(api, kind):
    headers = {} if kind is None else {"content-type": kind}
    response = api.http.post("/v1/rerank", content=json.dumps(SPEC_BODY), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_compressed_body_is_refused_by_its_name(api):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = api.http.post("/v1/rerank", content=gzip.compress(json.dumps(SPEC_BODY).encode()), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert "Content-Encoding" in response.json()["detail"]
    assert response.headers["accept-encoding"] == "identity"
    plain = {**headers, "content-encoding": "identity"}
    assert api.http.post("/v1/rerank", content=json.dumps(SPEC_BODY), headers=plain).status_code == 200


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/vnd.api+json", "APPLICATION/JSON"])
def test_json_by_any_of_its_names(api, kind):
    response = api.http.post("/v1/rerank", content=json.dumps(SPEC_BODY), headers={"content-type": kind})
    assert response.status_code == 200


def test_a_full_queue_says_when_to_come_back(gated):
    with (
        serving(rerankers={"gated": Reranker(scorer=gated)}, max_queued_pairs=10) as served,
        ThreadPoolExecutor(8) as pool,
    ):
        accepted = [pool.submit(post, served, gated_body(5)) for _ in range(2)]
        wait_for(lambda: gated.waiting == 2)
        refused = post(served, gated_body(1))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        gated.open.set()
        assert [response.result().status_code for response in accepted] == [200, 200]
        assert post(served, gated_body(1)).status_code == 200


def test_admission_is_all_or_nothing(gated):
    with (
        serving(rerankers={"gated": Reranker(scorer=gated)}, max_queued_pairs=10) as served,
        ThreadPoolExecutor(8) as pool,
    ):
        first = pool.submit(post, served, gated_body(6))
        wait_for(lambda: gated.waiting == 1)
        assert post(served, gated_body(5)).status_code == 429
        assert admission(served).pairs == 6
        second = pool.submit(post, served, gated_body(4))
        wait_for(lambda: gated.waiting == 2)
        gated.open.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]
        wait_for(lambda: admission(served).pairs == 0)


def test_a_request_larger_than_the_queue_is_served_when_nobody_else_waits():
    with serving(rerankers={"gated": Reranker(scorer=FakeScorer("gated"))}, max_queued_pairs=3) as served:
        assert post(served, gated_body(50)).status_code == 200


def test_the_number_of_requests_is_bounded_as_well(gated):
    with (
        serving(rerankers={"gated": Reranker(scorer=gated)}, max_in_flight_requests=1) as served,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(post, served)
        wait_for(lambda: gated.waiting == 1)
        assert post(served).status_code == 429
        gated.open.set()
        assert first.result().status_code == 200


def test_bodies_that_are_still_arriving_count_as_well():
    with serving(max_in_flight_requests=1) as served:
        host, port = served.url.removeprefix("http://").split(":")
        begun = []
        for _ in range(2):
            connection = http.client.HTTPConnection(host, int(port), timeout=BOUND)
            connection.putrequest("POST", "/v1/rerank")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", "1000")
            connection.endheaders(b"{")
            begun.append(connection)
        wait_for(lambda: served.server.lifecycle._calls == 2)
        response = served.rerank(model="rerank-mini-en-v1")
        assert (response.status_code, response.json()["error"]["code"]) == (429, "overloaded")
        for connection in begun:
            connection.close()
        wait_for(lambda: served.rerank(model="rerank-mini-en-v1").status_code == 200)


def test_a_deadline_ends_the_work(gated):
    with serving(rerankers={"gated": Reranker(scorer=gated)}, request_timeout=2) as served:
        response = post(served)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
        wait_for(lambda: gated.cancelled == 1 and admission(served).pairs == 0)


def test_the_work_of_a_client_that_leaves_is_dropped(gated):
    with serving(rerankers={"gated": Reranker(scorer=gated)}) as served:
        host, port = served.url.removeprefix("http://").split(":")
        content = json.dumps(gated_body()).encode()
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
            )
            wait_for(lambda: gated.waiting == 1)
        wait_for(lambda: gated.cancelled == 1)
        wait_for(lambda: admission(served).requests == 0)
        wait_for(lambda: served.metric("rerank_errors_total", code="client_closed_request") == 1)


def test_a_client_that_leaves_frees_the_models_queue(monkeypatch):
    """The same with the real engine: pairs that no batch has taken yet are never computed."""
    with serving(max_documents=5000) as served:
        model = served.server.served.models[0]
        held = held_model(monkeypatch, model.reranker)
        host, port = served.url.removeprefix("http://").split(":")
        content = json.dumps(
            {"model": model.name, "query": "q", "documents": [f"{i} " + "many words here " * 60 for i in range(2000)]}
        ).encode()
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
            )
            wait_for(held.entered.is_set)
        wait_for(lambda: model.admission.requests == 0)
        held.released.set()
        assert served.rerank(model=model.name).status_code == 200  # behind whatever is left of the first
        assert served.metric("rerank_batch_size_sum", model=model.name) < 500


class SlowToLoad(FakeScorer):
    def __init__(self, error=None):
        super().__init__("slow")
        self.loaded = threading.Event()
        self.failure = error

    def warm_up(self):
        self.loaded.wait()
        if self.failure:
            raise self.failure


def test_a_model_that_is_loading_is_visible_and_refuses_politely():
    scorer = SlowToLoad()
    with serving(rerankers={"slow": Reranker(scorer=scorer)}, wait=False) as served:
        wait_for(lambda: served.http.get("/ready").json()["models"] == {"slow": "loading"})
        assert served.http.get("/ready").status_code == 503
        assert served.http.get("/health").status_code == 200
        response = served.rerank(model="slow")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "model_loading")
        assert int(response.headers["retry-after"]) >= 1
        scorer.loaded.set()
        wait_for(lambda: served.http.get("/ready").status_code == 200)
        assert served.rerank(model="slow").status_code == 200


def test_a_model_that_cannot_be_loaded_says_so_without_details():
    scorer = SlowToLoad(ModelLoadError("/secret/path is broken"))
    scorer.loaded.set()
    with serving(rerankers={"slow": Reranker(scorer=scorer)}, wait=False) as served:
        wait_for(lambda: served.http.get("/ready").json()["status"] == "failed")
        response = served.rerank(model="slow")
        assert (response.status_code, response.json()["error"]["code"]) == (500, "model_load_failed")
        assert "secret" not in response.text


def test_a_bug_is_a_500_with_the_same_body_and_no_details(caplog):
    class Broken(FakeScorer):
        async def ascore(self, query, _texts):
            raise ZeroDivisionError(f"failed on {query}")

    with serving(rerankers={"broken": Reranker(scorer=Broken("broken"))}) as served:
        response = served.rerank(model="broken", query="sesame-4711")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert response.headers["x-request-id"]
    assert "sesame" not in response.text + caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_rate_limits_are_each_keys_own(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# who\nslow 2\nfast\n")
    with serving(api_keys_file=keys, models=("bge-reranker-v2=rerank-mini-en-v1",)) as served:

        def call(key):
            return served.http.post("/v1/rerank", json=SPEC_BODY, headers={"authorization": f"Bearer {key}"})

        assert [call("slow").status_code for _ in range(3)] == [200, 200, 429]
        refused = call("slow")
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert [call("fast").status_code for _ in range(5)] == [200] * 5


def test_the_event_loop_runs_neither_the_tokenizer_nor_the_model(api, monkeypatch):
    threads = set()
    shared = api.server.served.models[0].reranker.scorer._loaded.shared
    for owner, name in ((type(shared.encoder), "start"), (type(shared.encoder), "pad"), (type(shared.backend), "run")):
        original = getattr(owner, name)

        def spy(*arguments, _original=original, **options):
            threads.add(threading.current_thread().name.rstrip("0123456789_"))
            return _original(*arguments, **options)

        monkeypatch.setattr(owner, name, spy)
    for count in (1, 40):
        assert api.rerank(documents=[f"document {i}" for i in range(count)]).status_code == 200
    assert threads == {"rerank-worker"}


def test_the_event_loop_answers_while_the_model_works(api, monkeypatch):
    held = held_model(monkeypatch, api.server.served.models[0].reranker)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, api, SPEC_BODY)
        wait_for(held.entered.is_set)
        assert api.http.get("/health").status_code == 200
        held.released.set()
        assert asked.result(BOUND).status_code == 200


def test_the_event_loop_neither_reads_nor_writes_large_bodies(api, monkeypatch):
    sizes = {True: [0], False: [0]}
    for name in ("loads", "dumps"):
        original = getattr(json, name)

        def spy(value, *arguments, _original=original, **options):
            result = _original(value, *arguments, **options)
            sizes[on_the_loop()].append(max(len(each) for each in (value, result) if isinstance(each, str | bytes)))
            return result

        monkeypatch.setattr(json, name, spy)
    body = {**SPEC_BODY, "documents": [f"{i}, a long document of many words " * 400 for i in range(10)]}
    assert post(api, {**body, "return_documents": True}).status_code == 200
    assert max(sizes[False]) > 100_000
    assert max(sizes[True]) < 50_000


def test_requests_share_batches(api):
    name = "rerank-mini-en-v1"
    before = api.metric("rerank_batch_size_count", model=name), api.metric("rerank_batch_size_sum", model=name)
    body = {**SPEC_BODY, "model": name, "documents": ["one short text"]}
    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(lambda i: post(api, {**body, "query": f"q {i}"}).status_code == 200, range(64)))
    wait_for(lambda: api.metric("rerank_batch_size_sum", model=name) - before[1] == 64)
    assert api.metric("rerank_batch_size_count", model=name) - before[0] < 64


def test_a_ready_engine_is_left_open():
    engine = Reranker(scorer=LocalScorer())
    with serving(rerankers={"mine": engine}) as served:
        assert served.rerank(model="mine").status_code == 200
    assert len(engine.rerank("q", ["x"])) == 1
