"""What a reply may cost: bytes, time, threads, connections, whatever a server sends, and however slowly."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import subprocess
import threading
import tracemalloc
import zlib

import httpx
import pytest

from apiserver import answering, body_of, hang, message, rank, reply
from rerank_core import (
    ConnectionError,  # noqa: A004  (ours)
    InferenceError,
    OverloadedError,
    ProtocolError,
    Reranker,
    RerankError,
    TimeoutError,  # noqa: A004  (ours)
)
from waiting import BOUND, wait_for

DOCUMENTS = ["private document one", "private document two", "private three"]
DRIP = 0.02  # seconds from one piece to the next
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GZIP_NAME = b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03"  # a header that says a file's name follows, up to a zero byte


def coded(data, coding, status=200):
    """Answer with these bytes under this Content-Encoding."""

    def act(request, connection):
        content = data(json.dumps(body_of(request)).encode()) if callable(data) else data
        connection.sendall(message(status, content, {"Content-Encoding": coding}))
        return True

    return act


def drips(first, piece, *, after=()):
    """These bytes, then ``piece`` for ever, now and then, until the client goes away; ``after`` is done first."""
    before = list(after)

    def act(request, connection):
        if before:
            return before.pop(0)(request, connection)
        connection.sendall(first)
        while not request.stopping.wait(DRIP):
            connection.sendall(piece)
        return False

    return act


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name == "rerank"]


# Bytes.


@pytest.mark.parametrize(
    ("data", "coding"),
    [
        (lambda data: data, "identity"),
        (gzip.compress, "gzip"),
        (gzip.compress, "GZip"),
        (gzip.compress, "x-gzip"),
        (gzip.compress, "identity, gzip"),
        (lambda data: gzip.compress(data + b" " * 200_000, 9), "gzip"),
    ],
)
def test_one_gzip_or_nothing_is_read(ask, server, data, coding):
    server.default = coded(data, coding)
    assert len(ask(DOCUMENTS)) == 3
    assert server.requests[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("data", "coding"),
    [
        (lambda data: gzip.compress(gzip.compress(data)), "gzip, gzip"),
        (zlib.compress, "deflate"),
        (lambda data: data, "br"),
        (lambda data: data, "zstd"),
        (gzip.compress, "gzip, br"),
        (lambda data: data, "compress"),
        (lambda data: data, "made-up"),
        (lambda data: gzip.compress(data)[:-9], "gzip"),
        (lambda data: gzip.compress(data) + b"more", "gzip"),
        (lambda data: gzip.compress(data) * 2, "gzip"),
        (lambda data: data, "gzip"),
    ],
)
def test_any_other_coding_is_refused_and_not_asked_for_again(ask, server, data, coding):
    server.default = coded(data, coding)
    with pytest.raises(ProtocolError, match=r"/v1/rerank sent a body (in a content coding|that cannot be decomp)"):
        ask(DOCUMENTS)
    assert len(server.requests) == 1


@pytest.mark.parametrize("coding", ["br", "gzip", "gzip, gzip"])
def test_the_status_of_a_failure_counts_whatever_its_body_is_in(ask, server, coding):
    server.default = coded(b"not in this coding", coding, 503)
    with pytest.raises(OverloadedError):
        ask(DOCUMENTS)
    assert len(server.requests) == 3


@pytest.mark.parametrize("layers", [1, 2])
def test_what_comes_out_of_decompression_is_bounded(ask, server, layers):
    size = 256_000_000
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(bomb.compress(b" " * 1_000_000) for _ in range(size // 1_000_000)) + bomb.flush()
    server.default = coded(gzip.compress(data) if layers == 2 else data, ", ".join(["gzip"] * layers))
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            ask(DOCUMENTS)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16_000_000


@pytest.mark.parametrize("piece", [b"name" * 20_000, b"\x00\x00\x00\xff\xff" * 20_000])
def test_bytes_that_decompress_to_nothing_are_counted_too(ask, server, piece):
    start = GZIP_NAME if piece.startswith(b"name") else b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    sent = []

    def endless(_request, connection):
        connection.sendall(HEAD + b"Content-Encoding: gzip\r\n\r\n" + start)
        while len(sent) < 5_000:  # 400 MB, if somebody wants them
            connection.sendall(piece)
            sent.append(len(piece))
        return False

    server.default = endless
    with pytest.raises(ProtocolError) as caught:
        ask(DOCUMENTS)
    assert caught.value.code == "reply_too_long"
    wait_for(lambda: server.closed or len(sent) == 5_000)
    assert sum(sent) < 50_000_000


@pytest.mark.parametrize("own", [False, True])
def test_a_servers_cookies_are_not_kept(server, own):
    server.default = lambda request, connection: reply(body_of(request), Set_Cookie="a=" + "x" * 4000)(
        request, connection
    )
    with Reranker("m", base_url=server.url) as reranker:
        for number in range(3):
            if own:
                asyncio.run(reranker.arerank("q", [f"{number}"]))
            else:
                reranker.rerank("q", [f"{number}"])
    assert [request.headers.get("cookie") for request in server.requests] == [None] * 3


# Threads and connections.

TIMEOUTS = (0.3, 3, 30)  # one after the other: on a busy machine the first may pass before anything is sent

DRIPS = {
    "status line": drips(b"HTTP/1.1 200 O", b"K"),
    "headers": drips(b"HTTP/1.1 200 OK\r\n", b"X-Header: drip\r\n"),
    "interim replies": drips(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "body": drips(HEAD + b"\r\n", b" "),
    "chunks": drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "chunk extension": drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a"),
    "trailers": drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Header: drip\r\n"),
    "gzip name": drips(HEAD + b"Content-Encoding: gzip\r\n\r\n" + GZIP_NAME, b"name"),
    "a failure's body": drips(b"HTTP/1.1 503 No\r\n\r\n", b" "),
    "nothing at all": hang,
}


@pytest.mark.parametrize("client", ["ours", "the user's"])
@pytest.mark.parametrize("what", DRIPS)
def test_no_thread_and_no_connection_outlives_its_call(ask, server, what, client):
    server.default = DRIPS[what]
    if client == "ours":
        _gives_up(ask, server)
    elif ask.mode == "sync":
        with httpx.Client(timeout=BOUND) as own:
            _gives_up(ask, server, http_client=own)
    else:
        _gives_up(ask, server, http_client=httpx.AsyncClient(timeout=BOUND))


def _gives_up(ask, server, **options):
    for timeout in TIMEOUTS:
        with pytest.raises(TimeoutError):
            ask(DOCUMENTS, timeout=timeout, **options)
        if server.requests:
            break
    wait_for(lambda: not our_threads())
    wait_for(lambda: len(server.closed) >= len({request.connection for request in server.requests}) > 0)


@pytest.mark.parametrize("what", ["status line", "headers", "body", "gzip name"])
def test_nor_does_one_that_was_kept_from_an_earlier_call(server, what):
    with Reranker("m", base_url=server.url, timeout=BOUND) as reranker:
        assert len(reranker.rerank("q", DOCUMENTS)) == 3
    with Reranker("m", base_url=server.url, timeout=3) as reranker:
        assert len(reranker.rerank("q", DOCUMENTS)) == 3
        server.default = DRIPS[what]
        with pytest.raises(TimeoutError):
            reranker.rerank("q", DOCUMENTS)
        wait_for(lambda: not our_threads())
        wait_for(lambda: set(server.closed) == {1, 2})
    assert [request.connection for request in server.requests] == [1, 2, 2]


def test_a_proxy_that_drips_is_given_up_too(server, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, server.url)
    server.default = DRIPS["headers"]
    for timeout in TIMEOUTS:
        with (
            Reranker("m", provider="cohere", api_key="k", timeout=timeout) as reranker,
            pytest.raises(TimeoutError, match=rf"within {timeout:g} s"),
        ):
            reranker.rerank("q", DOCUMENTS)
        if server.requests:
            break
    assert server.requests[0].method == "CONNECT"
    wait_for(lambda: not our_threads() and len(server.closed) == server.connections)


def test_a_handshake_that_never_ends_is_given_up(server, monkeypatch):
    """The other side takes the connection and says nothing of TLS: it is no HTTP that it waits for."""
    for timeout in TIMEOUTS:
        with Reranker("m", base_url=server.url.replace("http:", "https:"), timeout=timeout) as reranker:
            with pytest.raises(RerankError):
                reranker.rerank("q", DOCUMENTS)
            wait_for(lambda: not our_threads() and len(server.closed) == server.connections)
        if server.connections:
            break
    assert server.connections


@pytest.fixture
def tls(server, tmp_path, monkeypatch):
    """The server behind TLS, trusted by way of SSL_CERT_FILE."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.wrap = lambda connection: context.wrap_socket(connection, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return server.url.replace("http:", "https:")


def test_certificates_of_ones_own_are_trusted_by_the_environment(ask, tls):
    assert len(ask(DOCUMENTS, base_url=tls)) == 3


@pytest.mark.parametrize("what", ["headers", "body"])
def test_over_tls_no_thread_outlives_its_call_either(ask, server, tls, what):
    server.default = drips(*((HEAD, b"X-Header: drip\r\n") if what == "headers" else (HEAD + b"\r\n", b" ")))
    _gives_up(ask, server, base_url=tls)


def test_one_failure_of_many_ends_the_threads_of_the_others(server):
    """They would wait for minutes: one for its turn to try again, two for bytes."""
    server.default = DRIPS["headers"]
    server.then(reply({}, 429, Retry_After="300"))
    with Reranker("m", base_url=server.url, timeout=600) as reranker:
        failing = threading.Event()

        def fail(_request, connection):
            assert failing.wait(BOUND)
            return reply({}, 401)(_request, connection)

        server.then(fail)
        threading.Thread(target=lambda: (wait_for(lambda: len(server.requests) == 4), failing.set())).start()
        with pytest.raises(RerankError, match="401"):
            reranker.rerank("q", [f"{i} text" for i in range(400)])
        wait_for(lambda: not our_threads())


# What the machine has no more of.


def test_memory_that_runs_out_is_an_error_of_ours(ask):
    class Full(httpx.BaseTransport, httpx.AsyncBaseTransport):
        def handle_request(self, _request):
            raise MemoryError

        async def handle_async_request(self, _request):
            raise MemoryError

    own = httpx.Client(transport=Full()) if ask.mode == "sync" else httpx.AsyncClient(transport=Full())
    with pytest.raises(InferenceError) as caught:
        ask(DOCUMENTS, base_url="http://rerank.example", http_client=own)
    assert caught.value.code == "out_of_memory"
    assert isinstance(caught.value.__cause__, MemoryError)
    kept = ask(DOCUMENTS, base_url="http://rerank.example", http_client=own, on_failure="keep_order")
    assert [result.index for result in kept] == [0, 1, 2]


def test_threads_that_run_out_are_an_error_of_ours(server):
    with Reranker("m", base_url=server.url) as reranker:
        usual = threading.stack_size(1 << 46)  # more than there are addresses for
        try:
            with pytest.raises(OverloadedError, match="cannot start another thread") as caught:
                reranker.rerank("q", DOCUMENTS)
        finally:
            threading.stack_size(usual)
        assert isinstance(caught.value.__cause__, RuntimeError)
        server.default = answering()
        assert len(reranker.rerank("q", DOCUMENTS)) == 3


@pytest.mark.parametrize("host", ["a..example", "a" * 64 + ".example"])
def test_a_host_no_resolver_can_spell_cannot_be_reached(ask, host):
    with pytest.raises(ConnectionError, match="no address for this host") as caught:
        ask(DOCUMENTS, base_url=f"http://{host}")
    assert caught.value.__cause__ is not None


def test_a_transport_of_the_users_that_fails_in_its_own_way_cannot_be_reached(server):
    def handle(_request):
        raise PermissionError(13, "no")

    with (
        httpx.Client(transport=httpx.MockTransport(handle)) as own,
        pytest.raises(ConnectionError, match="Permission denied") as caught,
    ):
        Reranker("m", base_url=server.url, http_client=own).rerank("q", DOCUMENTS)
    assert isinstance(caught.value.__cause__, PermissionError)


def test_a_response_that_the_user_has_read_is_taken_as_it_is(server):
    server.default = coded(gzip.compress, "gzip")
    with httpx.Client(timeout=BOUND, event_hooks={"response": [lambda response: response.read()]}) as own:
        assert len(Reranker("m", base_url=server.url, http_client=own).rerank("q", DOCUMENTS)) == 3
    assert server.default is not rank
