"""Requests as no library writes them: none makes the server fail, none gets past the keys."""

from __future__ import annotations

import json
import re
import socket

import pytest

from server_process import running
from serving import SPEC_BODY
from waiting import BOUND

BODY = json.dumps({**SPEC_BODY, "model": "rerank-mini-en-v1"}).encode()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /v1/rerank HTTP/1.1"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
KEY = b"Authorization: Bearer sesame-4711\r\n"


IMPATIENT = "from rerank_core.server import run\nrun._KEEP_ALIVE_SECONDS = 1"


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("sesame-4711\n")
    arguments = ("--api-keys-file", str(file), "--header-timeout", "1", "--request-timeout", "10")
    with running(*arguments, before=IMPATIENT) as process:
        process.url()
        yield process


def statuses(process, sent):
    """The statuses of all answers to what is sent, until the server closes the connection."""
    host, port = process.url().removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=BOUND) as connection:
        connection.sendall(sent)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:
            pass
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received) if status != b"100"]


def request(line, *headers, body=b""):
    return line + b"\r\nHost: localhost\r\nConnection: close\r\n" + b"".join(headers) + b"\r\n" + body


def test_the_usual_request_is_answered(locked):
    assert statuses(locked, request(POST, JSON, LENGTH, KEY, body=BODY)) == [200]
    chunked = request(POST, JSON, KEY, b"Transfer-Encoding: chunked\r\n", body=CHUNKS)
    assert statuses(locked, chunked) == [200]


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/rerank", b"//v1/rerank", b"/v1//rerank", b"/./v1/rerank", b"/v1/../v1/rerank", b"/V1/RERANK",
        b"/%761/rerank", b"/v1%2Frerank", b"/v1/rerank/", b"/v1/rerank?a=b", b"/v1/rerank#x", b"/v1/rerank%00",
        b"/v1/rerank;x", b"/docs/../v1/rerank", b"/health/../v1/rerank", b"/docs/%2e%2e/v1/rerank",
        b"http://localhost/v1/rerank", b"http://other/v1/rerank", b"/v1/models/%2e%2e/rerank", b"*", b"/score",
        b"/v1/retrieval/a/../b/reranking", b"/v1/retrieval//reranking", b"/" + b"x" * 20_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", [b"POST", b"GET", b"HEAD", b"PUT", b"OPTIONS", b"TRACE", b"X"])
def test_no_spelling_of_a_path_gets_past_the_keys(locked, method, path):
    (status,) = statuses(locked, request(method + b" " + path + b" HTTP/1.1", JSON, LENGTH, body=BODY))
    assert status in {400, 401, 404, 405}


@pytest.mark.parametrize(
    "headers",
    [
        b"X-HTTP-Method-Override: GET\r\n", b"X-Forwarded-For: 127.0.0.1\r\n", b"X-Original-URL: /health\r\n",
        b"Authorization: \r\n", b"Authorization: Bearer\r\n", b"Authorization: Bearer \x00\r\n",
        b"Authorization: Bearer \xff\xfe\r\n", b"Authorization: Bearer x\r\nAuthorization: Bearer y\r\n",
        b"Authorization: " + b"x" * 20_000 + b"\r\n", b"Api-Key: \r\n", b"X-Api-Key: sesame\r\n",
        b"Cookie: key=sesame-4711\r\n", b"Authorization:\r\n Bearer sesame-4711\r\n",
    ],
)  # fmt: skip
def test_no_other_header_is_a_key(locked, headers):
    sent = request(POST, JSON, LENGTH, headers, body=BODY)
    (status,) = statuses(locked, sent)
    assert status in {400, 401} or (status == 200 and b"Bearer sesame-4711" in headers)  # folded, it is one


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_what_follows_a_request_of_two_lengths_is_not_read(locked, order):
    """A proxy before us may have gone by the other one, and taken what follows for somebody else's."""
    lengths = b"".join([b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"][order])
    kept = POST + b"\r\nHost: localhost\r\n" + JSON + KEY + lengths + b"\r\n" + CHUNKS
    assert statuses(locked, kept + request(b"GET /health HTTP/1.1")) == [200]


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        request(POST, JSON, KEY, b"Content-Length: -1\r\n", body=BODY),
        request(POST, JSON, KEY, b"Content-Length: 1e3\r\n", body=BODY),
        request(POST, JSON, KEY, b"Content-Length: " + b"9" * 5000 + b"\r\n", body=BODY),
        request(POST, JSON, KEY, b"Content-Length: 99999999999999999999\r\n", body=BODY),
        request(POST, JSON, KEY, LENGTH, b"Content-Length: 5\r\n", body=BODY),
        request(POST, JSON, KEY, LENGTH, b"Transfer-Encoding: chunked\r\n", body=CHUNKS),
        request(POST, JSON, KEY, b"Transfer-Encoding: gzip, chunked\r\n", body=CHUNKS),
        request(POST, JSON, KEY, b"Transfer-Encoding: chunked\r\n", body=b"ffffffffffffffff\r\n{"),
        request(POST, JSON, KEY, b"Transfer-Encoding: chunked\r\n", body=b"zz\r\n{"),
        request(POST, JSON, KEY, b"Expect: nothing\r\n", LENGTH, body=BODY),
        request(POST, JSON, KEY, b"Upgrade: websocket\r\n", LENGTH, body=BODY),
        request(POST, b"Content-Type: \xff\r\n", KEY, LENGTH, body=BODY),
        request(POST, JSON, KEY, b"Content-Encoding: gzip, gzip\r\n", LENGTH, body=BODY),
        request(POST, JSON, KEY, b"traceparent: 00-zz\r\nbaggage: ;;;=\r\n", LENGTH, body=BODY),
        request(POST, JSON, KEY, b"Origin: \xff\r\n", LENGTH, body=BODY),
        request(POST, JSON, KEY, b"Origin: http://[\r\n", LENGTH, body=BODY),
        request(POST, JSON, KEY, b"X-Request-Id: a\x0bb\r\n", LENGTH, body=BODY),
        POST + b"\r\n" + JSON + KEY + LENGTH + b"\r\n" + BODY,
        POST + b"\r\nHost: a\r\nHost: b\r\n" + JSON + KEY + LENGTH + b"\r\n" + BODY,
        b"POST /v1/rerank HTTP/1.0\r\n" + JSON + KEY + LENGTH + b"\r\n" + BODY,
        POST + b"\nHost: a\n" + JSON + KEY + LENGTH + b"\n" + BODY,
        request(b"GET /health HTTP/1.1", LENGTH, body=BODY) * 3,
    ],
)  # fmt: skip
def test_nothing_makes_the_server_fail(locked, sent):
    assert all(status < 500 for status in statuses(locked, sent))
    assert statuses(locked, request(b"GET /health HTTP/1.1")) == [200]
    assert "Traceback" not in locked.log
