"""Connections that never become a request, or never end: a few descriptors are all they get."""

from __future__ import annotations

import json
import select
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from server_process import running
from serving import SPEC_BODY
from waiting import BOUND, wait_for

MODEL = "rerank-mini-en-v1"
HEAD = b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def hasty():
    """A server that waits half a second for headers, and has eight connections."""
    with running("--header-timeout", "0.5", "--max-connections", "8") as process:
        process.url()
        yield process


def connect(process):
    host, port = process.url().removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=BOUND)
    connection.settimeout(BOUND)
    return connection


def all_of(connection):
    """Everything until the other side closes; a reset is a close."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionError:
        pass
    return received


def is_served(process):
    return httpx.post(f"{process.url()}/v1/rerank", json={**SPEC_BODY, "model": MODEL}, timeout=BOUND, trust_env=False)


@pytest.mark.parametrize("sent", [b"G", b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nX-Header: half of"])
def test_half_a_header_is_answered_when_its_time_is_over(hasty, sent):
    with connect(hasty) as connection:
        connection.sendall(sent)
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed(hasty):
    with connect(hasty) as connection:
        assert all_of(connection) == b""


def test_a_header_that_trickles_in_gets_no_more_time_for_it(hasty):
    with connect(hasty) as connection:
        sent, closed = 0, False
        connection.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        while not closed:
            closed = bool(select.select([connection], [], [], 0.05)[0])
            sent += 0 if closed else connection.send(b"x")
            assert sent < 1000
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")


def test_so_does_the_next_request_of_a_connection(hasty):
    with connect(hasty) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
        received = all_of(connection)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in received


def test_a_body_that_nobody_reads_does_not_hold_the_connection(hasty):
    with connect(hasty) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        assert all_of(connection).startswith(b"HTTP/1.1 404 ")


def test_headers_without_an_end_are_refused(hasty):
    with connect(hasty) as connection:
        sent = 0
        try:
            connection.sendall(b"GET /health HTTP/1.1\r\n")
            while sent < 50_000_000:
                sent += connection.send(b"X-Many: " + b"x" * 8000 + b"\r\n")
        except ConnectionError:
            pass
        assert sent < 50_000_000


def test_half_headers_do_not_keep_others_out(hasty):
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(hasty)).sendall(b"POST /v1/rerank HTTP/1.1\r\nHost:")
        assert is_served(hasty).status_code == 200


def test_requests_under_way_are_kept_and_what_is_too_much_is_refused(hasty):
    body = json.dumps({**SPEC_BODY, "model": MODEL}).encode()
    with ExitStack() as stack:
        begun = [stack.enter_context(connect(hasty)) for _ in range(8)]
        for connection in begun:
            connection.sendall(
                HEAD + b"Connection: close\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body)
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # it waits for the body
        with connect(hasty) as another:
            assert all_of(another).startswith(b"HTTP/1.1 503 ")
        for connection in begun:
            connection.sendall(body)
            assert all_of(connection).startswith(b"HTTP/1.1 200 ")


FEW_FILES = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))"


def test_file_descriptors_are_never_used_up():
    with running("--header-timeout", "60", before=FEW_FILES) as process:
        process.url()
        assert "ulimit" in process.log
        with ExitStack() as stack:
            for _ in range(600):
                stack.enter_context(connect(process)).sendall(b"POST /v1/rerank HTTP/1.1\r\nHost:")
            assert is_served(process).status_code == 200
    assert "Too many open files" not in process.log


IMPATIENT = """
from rerank_core.server import protocol, run
run._KEEP_ALIVE_SECONDS = protocol._CLOSE_SECONDS = 0.5
"""


def sockets(process):
    folder = Path(f"/proc/{process.process.pid}/fd")
    return sum(link.is_socket() for link in folder.iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_an_answer_that_nobody_fetches_is_let_go():
    body = json.dumps({"model": MODEL, "query": "q", "documents": ["x " * 3_900_000]}).encode()
    with running(before=IMPATIENT) as process:
        process.url()
        before = sockets(process)
        with connect(process) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            wait_for(lambda: "documents=1" in process.log)
            wait_for(lambda: sockets(process) == before)
            assert connection.recv(10) == b"HTTP/1.1 2"  # some of it was on its way


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_answers_that_nobody_fetches_do_not_keep_the_next_request_waiting_for_ever():
    with running("--request-timeout", "0.5") as process:
        process.url()
        before = sockets(process)
        with connect(process) as connection:
            connection.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 16)
            wait_for(lambda: sockets(process) > before)
            wait_for(lambda: sockets(process) == before)
        assert is_served(process).status_code in {200, 504}
