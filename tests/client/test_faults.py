"""What servers do wrong, over real sockets: nothing is lost, nothing invented, and the right error says so."""

from __future__ import annotations

import asyncio
import builtins
import gc
import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from apiserver import ApiServer, answering, body_of, dripping, hang, message, rank, raw, reply, reset
from rerank_core import (
    AuthenticationError,
    ConnectionError,  # noqa: A004  (ours)
    InferenceError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    Reranker,
    RerankError,
    TimeoutError,  # noqa: A004  (ours)
)
from rerank_core.events import Failed, Retried
from waiting import BOUND, async_wait_for, join, wait_for

SECRET = "sk-live-0123456789abcdef"  # noqa: S105  (of nobody)
DOCUMENTS = ["private document one", "private document two", "private three"]
GOOD = {"results": [{"index": i, "relevance_score": 0.5} for i in range(3)]}
FULL = message(200, json.dumps(GOOD).encode())
LOGITS = answering(lambda body: {"results": [{**each, "relevance_score": 4.2} for each in body["results"]]})


def fails(ask, kind, *, match=None, **options):
    """The error of a call, which must be of this class and keep everybody's secrets."""
    with pytest.raises(RerankError, match=match) as caught:
        ask(DOCUMENTS, query="private question", api_key=SECRET, **options)
    error = caught.value
    assert type(error) is kind
    seen = f"{error!r} {error} {error.__notes__ if hasattr(error, '__notes__') else ''} {error.__cause__!r}"
    for secret in (SECRET, "private"):
        assert secret not in seen
    return error


@pytest.mark.parametrize(
    "stumble",
    [
        reply({"error": {"message": "m", "code": "c"}}, 503),
        reply(b"", 502, kind="text/html"),
        reply({}, 504),
        reply({}, 408),
        reply({}, 425),
        reply({}, 429),
        reply({}, 429, Retry_After="0.01"),
        reply({}, 429, retry_after_ms="5"),
        reply({}, 503, Retry_After=format_datetime(datetime.now(UTC) - timedelta(seconds=5), usegmt=True)),
        reply({}, 500),
        reset,
        raw(b""),
        raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
        raw(FULL[:-10]),
        raw(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"res\r\n'),
    ],
)  # fmt: skip
def test_what_passes_is_tried_again(ask, server, stumble):
    events = []
    server.then(stumble)
    response = ask(DOCUMENTS, hooks=[events.append])
    assert [result.relevance_score for result in response] == [20e-6, 20e-6, 13e-6]
    assert len(server.requests) == 2
    assert server.requests[0].body == server.requests[1].body
    assert server.requests[0].headers["x-request-id"] == server.requests[1].headers["x-request-id"]
    assert [(type(event), event.retry) for event in events if isinstance(event, Retried)] == [(Retried, 1)]
    assert not response.degraded


@pytest.mark.parametrize(
    ("trouble", "kind", "code", "status", "requests"),
    [
        (reply({}, 503), OverloadedError, "overloaded", 503, 3),
        (reply({}, 429), RateLimitError, "rate_limit_exceeded", 429, 3),
        (reply({"error": {"type": "overloaded_error"}}, 429), OverloadedError, "overloaded", 429, 3),
        (reply({"error": "x", "error_type": "Overloaded"}, 429), OverloadedError, "overloaded", 429, 3),
        (reply({}, 502), ConnectionError, "bad_gateway", 502, 3),
        (reply({}, 504), TimeoutError, "server_timeout", 504, 3),
        (reply({}, 500), InferenceError, "server_error", 500, 2),
        (reply({"error": f"score is NaN for {DOCUMENTS[0]}"}, 424), InferenceError, "server_error", 424, 1),
        (reply({}, 507), InferenceError, "server_error", 507, 1),
        (reset, ConnectionError, "connection_lost", 502, 3),
        (raw(FULL[:-10]), ConnectionError, "connection_lost", 502, 3),
        (reply({"detail": SECRET}, 401), AuthenticationError, "invalid_api_key", 401, 1),
        (reply(b"", 401), AuthenticationError, "invalid_api_key", 401, 1),
        (reply({}, 403), AuthenticationError, "permission_denied", 403, 1),
        (reply({}, 402), RateLimitError, "quota_exceeded", 402, 1),
        (reply({"detail": "Not Found"}, 404), ProtocolError, "no_such_endpoint", 502, 1),
        (reply({}, 405), ProtocolError, "no_such_endpoint", 502, 1),
        (reply({"error": {"message": "The model `m` does not exist.", "code": 404}}, 404),
         ModelNotFoundError, "model_not_found", 404, 1),
        (reply({"error": {"message": "m", "code": "model_not_found"}}, 400),
         ModelNotFoundError, "model_not_found", 400, 1),
        (reply({"error": {"message": "private"}}, 400), InvalidRequestError, "invalid_request", 400, 1),
        (reply({"detail": [{"input": DOCUMENTS, "msg": "private"}]}, 422),
         InvalidRequestError, "invalid_request", 422, 1),
        (reply({"message": "private"}, 418), ProtocolError, "protocol_error", 418, 1),
        (raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), ProtocolError, "protocol_error", 502, 1),
    ],
)  # fmt: skip
def test_what_does_not_pass_is_the_right_error(ask, server, trouble, kind, code, status, requests):
    server.default = trouble
    events = []
    error = fails(ask, kind, hooks=[events.append])
    assert (error.code, error.status) == (code, status)
    assert len(server.requests) == requests
    assert events[-1] == Failed("m", code)
    if status != 400 or kind is not ModelNotFoundError:
        assert "/v1/rerank" in str(error)


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (reply({"detail": "Not Found"}, 404), "no_such_endpoint"),
        (reply({}, 405), "no_such_endpoint"),
        (reply({}, 308, Location="http://elsewhere.example"), "redirected"),
        (LOGITS, "score_out_of_range"),
    ],
)
def test_a_wrong_address_or_provider_is_raised_where_failures_in_passing_are_not(ask, server, trouble, code):
    server.default = trouble
    assert fails(ask, ProtocolError, on_failure="keep_order").code == code
    server.default = reply({}, 503)
    assert ask(DOCUMENTS, on_failure="keep_order", max_retries=0).degraded


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"message": "Query cannot be empty", "type": "invalid_request_error", "code": "empty_query"}}, 400),
        ({"error": {"message": "Maximum is\n 8 MB", "type": "t", "code": "payload_too_large"}}, 400),
    ],
)
def test_the_rerank_apis_own_words_are_passed_on(ask, server, body, status):
    server.default = reply(body, status)
    error = fails(ask, InvalidRequestError, match="Query cannot be empty|Maximum is 8 MB")
    assert error.code == body["error"]["code"]
    server.default = reply({**body, "error": {**body["error"], "message": f"x {SECRET} " + "y" * 999}}, status)
    assert len(str(fails(ask, InvalidRequestError))) < 600


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("This model's maximum context length is 512 tokens", "longer than the model"),
        ("input (608 tokens) is too large to process", "longer than the model"),
        ("`inputs` must have less than 512 tokens. Given: 534", "longer than the model"),
        ("unknown model: private", "not known there"),
    ],
)
def test_what_a_foreign_error_means_is_said_without_repeating_it(ask, server, text, hint):
    server.default = reply({"error": {"message": f"{text} private"}}, 400)
    fails(ask, InvalidRequestError, match=hint, provider="vllm")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"", kind="application/json"), "not_json"),
        (reply(b"", 204), "not_json"),
        (reply(b'{"results": [{"index"', kind="application/json"), "not_json"),
        (reply(b"<html>private</html>", kind="text/html"), "not_json"),
        (reply(b"private", kind="text/plain"), "not_json"),
        (reply(b"\xff\xfe\x00"), "not_json"),
        (reply(b"[" * 100_000), "not_json"),
        (reply({"other": 1}), "protocol_error"),
        (reply([]), "wrong_score_count"),
        (reply({"results": {}}), "protocol_error"),
        (reply("private"), "protocol_error"),
        (reply(None), "protocol_error"),
        (reply({"results": GOOD["results"][:2]}), "wrong_score_count"),
        (reply({"results": [*GOOD["results"], GOOD["results"][0]]}), "duplicate_index"),
        (reply({"results": [GOOD["results"][0]] * 3}), "duplicate_index"),
        (reply({"results": [{"index": i, "relevance_score": 0.5} for i in (0, 1, 3)]}), "bad_index"),
        (reply({"results": [{"index": i, "relevance_score": 0.5} for i in (0, 1, -1)]}), "bad_index"),
        (reply({"results": [{"index": str(i), "relevance_score": 0.5} for i in range(3)]}), "protocol_error"),
        (reply({"results": [{"index": True, "relevance_score": 0.5}]}), "protocol_error"),
        (reply({"results": [{"index": 0.0, "relevance_score": 0.5}]}), "protocol_error"),
        (reply({"results": [{"relevance_score": 0.5}]}), "protocol_error"),
        (reply({"results": ["private"]}), "protocol_error"),
        (reply({"results": [{"index": i, "relevance_score": float("nan")} for i in range(3)]}), "non_finite_score"),
        (reply({"results": [{"index": i, "relevance_score": float("-inf")} for i in range(3)]}), "non_finite_score"),
        (reply({"results": [{"index": i, "relevance_score": None} for i in range(3)]}), "non_finite_score"),
        (reply({"results": [{"index": i, "relevance_score": "0.5"} for i in range(3)]}), "non_finite_score"),
        (reply({"results": [{"index": i, "relevance_score": -3.1} for i in range(3)]}), "score_out_of_range"),
        (raw(message(200, b"not gzip", {"Content-Encoding": "gzip"})), "protocol_error"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_an_error_and_not_tried_again(ask, server, answer, code):
    server.default = answer
    error = fails(ask, ProtocolError)
    assert error.code == code
    assert "/v1/rerank" in str(error)
    assert len(server.requests) == 1


def test_a_huge_integer_is_no_score(ask, server):
    server.default = reply(b'{"results": [{"index": 0, "relevance_score": 1' + b"0" * 400 + b"}]}")
    fails(ask, ProtocolError)


def test_what_is_not_json_is_named_by_status_type_and_size(ask, server):
    server.default = reply(b"<html>private</html>", kind="text/html; charset=utf-8")
    fails(ask, ProtocolError, match=r"status 200, text/html, 20 bytes")


def test_logits_where_probabilities_belong_name_the_providers_that_have_them(ask, server):
    server.default = LOGITS
    fails(ask, ProtocolError, match=r"seems to return logits: use .*provider='llamacpp'.*'nim'")


def test_a_reply_without_end_is_cut_off(ask, server):
    endless = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b" " * 3_000_000
    server.default = raw(endless)
    assert fails(ask, ProtocolError).code == "reply_too_long"


def test_redirects_are_not_followed_and_the_key_stays_here(ask, server):
    other = ApiServer()
    try:
        server.default = reply({}, 307, Location=f"{other.url}/elsewhere?token={SECRET}")
        error = fails(ask, ProtocolError, match=f"redirects .* to {other.url}/elsewhere")
        assert error.code == "redirected"
        assert other.requests == []
        server.default = reply({}, 308)
        fails(ask, ProtocolError, match="nowhere")
    finally:
        other.stop()


def test_a_clients_own_wish_to_follow_redirects_does_not_count(server):
    import httpx

    server.default = reply({}, 307, Location=f"{server.url}/elsewhere")
    with httpx.Client(timeout=BOUND, follow_redirects=True) as client, pytest.raises(ProtocolError, match="redirects"):
        Reranker("m", base_url=server.url, http_client=client).rerank("q", ["a"])
    assert len(server.requests) == 1


@pytest.mark.parametrize("seconds", [1e10, 1e300, 10**400], ids=["1e10", "1e300", "10**400"])
def test_a_deadline_beyond_what_clocks_hold_is_a_very_late_one(ask, seconds):
    assert len(ask(DOCUMENTS, timeout=seconds)) == len(DOCUMENTS)


# Deadlines. These servers never finish by themselves: whatever comes back did not wait for them.


@pytest.mark.parametrize(
    "stall",
    [
        hang,
        dripping(b"HTTP/1.1 200 O", b"O"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b" "),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X-Header: drip\r\n"),
    ],
    ids=["hangs", "drips", "drips its body", "drips its headers"],
)
def test_the_deadline_holds_whatever_a_server_does(ask, server, stall):
    server.default = stall
    error = fails(ask, TimeoutError, match=r"within 0\.3 s", timeout=0.3)
    assert error.code == "deadline_exceeded"
    server.stopping.set()


def test_the_deadline_is_one_over_all_retries(ask, server):
    server.default = hang
    server.script.extend([reply({}, 503)] * 2)
    fails(ask, TimeoutError, timeout=0.1)


@pytest.mark.parametrize(
    "wait",
    [
        {"Retry_After": "30"},
        {"retry_after_ms": "30000"},
        {"Retry_After": format_datetime(datetime.now(UTC) + timedelta(seconds=900), usegmt=True)},
    ],
)
@pytest.mark.parametrize(("status", "kind"), [(429, RateLimitError), (503, OverloadedError)])
def test_a_wait_that_goes_past_the_deadline_fails_at_once(ask, server, wait, status, kind):
    server.default = reply({}, status, **wait)
    events = []
    error = fails(ask, kind, timeout=10, hooks=[events.append])
    assert events == [Failed("m", error.code)]  # and no Retried, which comes before every wait
    assert error.retry_after > 20
    assert len(server.requests) == 1


def test_a_short_wait_is_waited(ask, server):
    events = []
    server.then(reply({}, 429, Retry_After="0.2"))
    ask(DOCUMENTS, hooks=[events.append])
    assert [event.wait for event in events if isinstance(event, Retried)] == [pytest.approx(0.2, abs=0.01)]
    assert len(server.requests) == 2


def test_a_storm_is_ridden_out_by_as_many_retries_as_allowed(ask, server):
    server.then(*[reply({}, 429, retry_after_ms="1")] * 5)
    assert len(ask(DOCUMENTS, max_retries=5)) == 3
    server.then(*[reply({}, 429, retry_after_ms="1")] * 5)
    fails(ask, RateLimitError, max_retries=4)
    server.script.clear()
    server.then(reset)
    fails(ask, ConnectionError, max_retries=0)


def test_nobody_listens(ask, server):
    server.stop()
    error = fails(ask, ConnectionError, match="cannot be reached .Connection refused.")
    assert error.__cause__ is not None
    assert isinstance(error, OSError)


def test_a_server_that_dies_and_comes_back(ask, server):
    """A kept connection that breaks between two requests is no failure."""
    server.then(raw(message(200, json.dumps(GOOD).encode())))
    with Reranker("m", base_url=server.url) as reranker:
        reranker.rerank("q", DOCUMENTS)
        assert len(reranker.rerank("q", DOCUMENTS)) == 3
    assert server.requests[0].connection != server.requests[1].connection


# Many requests at once.


def test_ten_thousand_documents_in_order(ask, server):
    documents = [f"{(i * 7919) % 10_000} text" for i in range(10_000)]
    four = threading.Barrier(4, timeout=BOUND)

    def four_at_once(request, connection):
        four.wait()
        return rank(request, connection)

    server.default = four_at_once
    response = ask(documents)
    assert [result.text for result in response] == [f"{9999 - i} text" for i in range(10_000)]
    assert all(documents[result.index] == result.text for result in response)
    assert [len(request.documents) for request in server.requests] == [100] * 100
    assert sorted(text for request in server.requests for text in request.documents) == sorted(documents)
    assert response.usage.total_tokens == 20_000
    assert server.most_busy == 4


@pytest.mark.parametrize("trouble", [reset, reply({}, 503), reply({}, 500), reply({}, 429, retry_after_ms="2")])
def test_one_request_of_many_that_stumbles_changes_nothing(ask, server, trouble):
    documents = [f"{i} text" for i in range(1000)]
    server.then(rank, rank, trouble)
    assert [result.index for result in ask(documents)] == list(range(999, -1, -1))


@pytest.mark.parametrize(
    ("trouble", "kind"), [(reply({}, 401), AuthenticationError), (reply(b"<p>", kind="text/html"), ProtocolError)]
)
def test_one_request_of_many_that_fails_fails_all_and_the_rest_is_not_sent(ask, server, trouble, kind):
    server.default = hang
    server.then(rank, trouble)
    with pytest.raises(kind):
        ask([f"{i} text" for i in range(5000)])
    assert len(server.requests) <= 6


def test_many_requests_share_the_deadline(ask, server):
    server.default = answering(delay=0.1)
    with pytest.raises(TimeoutError):
        ask([f"{i} text" for i in range(5000)], timeout=0.4)
    assert len(server.requests) < 45


# Connections.


def test_connections_are_kept_and_closed(server):
    with Reranker("m", base_url=server.url) as reranker:
        for _ in range(5):
            reranker.rerank("q", DOCUMENTS)
    assert {request.connection for request in server.requests} == {1}
    wait_for(lambda: server.closed == [1])


def test_cancelling_closes_the_connection(server):
    server.default = hang

    async def main():
        async with Reranker("m", base_url=server.url) as reranker:
            task = asyncio.create_task(reranker.arerank("q", DOCUMENTS))
            await async_wait_for(lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await async_wait_for(lambda: server.closed)
            server.default = rank
            return await reranker.arerank("q", DOCUMENTS)

    assert len(asyncio.run(main())) == 3


def test_cancelling_many_closes_all(server):
    server.default = hang

    async def main():
        async with Reranker("m", base_url=server.url) as reranker:
            with pytest.raises(builtins.TimeoutError):
                async with asyncio.timeout(0.3):
                    await reranker.arerank("q", [f"{i} text" for i in range(1000)])

    asyncio.run(main())
    wait_for(lambda: len(server.closed) == len(server.requests))
    assert len(server.requests) <= 4


def test_the_event_loop_goes_on(server):
    """The server answers once the loop has done something else; one that is blocked never does."""
    meanwhile = threading.Event()

    def wait(request, connection):
        assert meanwhile.wait(BOUND)
        return rank(request, connection)

    async def main():
        async with Reranker("m", base_url=server.url, timeout=BOUND) as reranker:
            asking = asyncio.create_task(reranker.arerank("q", DOCUMENTS))
            await async_wait_for(lambda: server.requests)
            meanwhile.set()
            return await asking

    server.default = wait
    assert len(asyncio.run(main())) == 3


def test_one_reranker_in_one_loop_after_another(server):
    reranker = Reranker("m", base_url=server.url)
    for _ in range(3):
        assert len(asyncio.run(reranker.arerank("q", DOCUMENTS))) == 3
        wait_for(lambda: len(server.closed) == len({request.connection for request in server.requests}))
    reranker.close()


@pytest.mark.parametrize("how", ["close", "aclose", "forgotten"])
def test_however_it_ends_no_connection_is_left_open(server, how):
    async def main():
        reranker = Reranker("m", base_url=server.url)
        await reranker.arerank("q", [f"{i} text" for i in range(400)])
        if how == "close":
            reranker.close()
        elif how == "aclose":
            await reranker.aclose()

    server.default = answering(delay=0.01)
    asyncio.run(main())
    gc.collect()
    wait_for(lambda: len(server.closed) == len({request.connection for request in server.requests}))


@pytest.mark.parametrize("documents", [3, 400])
def test_closing_while_the_loop_rests(server, documents):
    server.default = answering(delay=0.01)
    loop = asyncio.new_event_loop()
    reranker = Reranker("m", base_url=server.url)
    loop.run_until_complete(reranker.arerank("q", [f"{i} text" for i in range(documents)]))
    reranker.close()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    gc.collect()
    wait_for(lambda: len(server.closed) == len({request.connection for request in server.requests}))


def test_a_forgotten_reranker_in_a_loop_that_goes_on(server):
    async def main():
        await Reranker("m", base_url=server.url).arerank("q", DOCUMENTS)
        gc.collect()
        await async_wait_for(lambda: server.closed)

    asyncio.run(main())


def test_two_loops_in_two_threads_at_once(server):
    server.default = answering(delay=0.02)
    reranker = Reranker("m", base_url=server.url)
    seen, errors = [], []

    async def many():
        return await asyncio.gather(*(reranker.arerank(f"q {i}", DOCUMENTS) for i in range(10)))

    def run():
        try:
            seen.extend(asyncio.run(many()))
        except BaseException as error:  # noqa: BLE001  (shown by the assertion)
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    join(*threads)
    reranker.close()
    assert errors == []
    assert [len(response) for response in seen] == [3] * 20


def test_closing_from_another_thread_closes_the_running_loops_connection(server):
    async def main():
        reranker = Reranker("m", base_url=server.url)
        await reranker.arerank("q", DOCUMENTS)
        await asyncio.to_thread(reranker.close)
        await async_wait_for(lambda: server.closed)

    asyncio.run(main())


def test_many_threads_share_one_reranker(server):
    reranker, seen = Reranker("m", base_url=server.url), []

    def run(number):
        documents = [f"{number + i} text" for i in range(150)]
        seen.append([result.index for result in reranker.rerank("q", documents)] == list(range(149, -1, -1)))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    join(*threads)
    reranker.close()
    assert seen == [True] * 12


def test_gzip_is_fine(ask, server):
    server.default = answering(compress=True)
    assert len(ask(DOCUMENTS)) == 3
    assert "gzip" in server.requests[0].headers["accept-encoding"]


def test_a_bare_list_and_other_orders_are_understood(ask, server):
    server.default = answering(lambda body: body["results"][::-1])
    assert [result.index for result in ask(["5 a", "7 b", "6 c"])] == [1, 2, 0]
    assert body_of(server.requests[0])["results"][0]["index"] == 1
