"""The server on Ray Serve as a process, and requests that stay under way for as long as a test wants."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx

from own_ray import LONG, MARK, marked
from server_process import running
from serving import SPEC_BODY
from waiting import join, wait_for

MODEL = "rerank-mini-en-v1"
RIGHT = {0, 2}  # the documents of SPEC_BODY that are about the query


@contextmanager
def ready(environment, *arguments):
    """``rerank serve --ray``, and a client of it, once it is ready; it must end with 0 when it is asked to."""
    with running("--ray", *arguments, environment=environment) as process:
        wait_for(lambda: " INFO ready" in process.log or process.process.poll() is not None, bound=LONG)
        with client(process.url()) as http:
            yield process, http
        process.process.send_signal(signal.SIGTERM)
        assert process.ended() == 0, process.log


def client(url):
    """A client that opens as many connections as there are requests."""
    return httpx.Client(base_url=url, timeout=LONG, trust_env=False, limits=httpx.Limits(max_connections=None))


def body(**changes):
    return {**SPEC_BODY, "model": MODEL, **changes}


def rerank(http, **changes):
    return http.post("/v1/rerank", json=body(**changes))


def is_right(answer):
    """Whether it is an answer to ``SPEC_BODY``, and the right one."""
    return answer.status_code == 200 and {each["index"] for each in answer.json()["results"][:2]} == RIGHT


def replicas(environment, name="ServeReplica:rerank:rerank"):
    """The numbers of the processes that are replicas of this deployment of this Ray."""
    return [number for number, command in marked(environment[MARK]).items() if name.encode() in command]


@contextmanager
def stopped(number):
    """A process that does nothing meanwhile."""
    os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(number, signal.SIGCONT)


class Held:
    """A request whose body has begun to arrive, and goes on when :meth:`finish` is called; a context that closes it.

    Args:
        url: of the server.
        headers: more of them.
    """

    def __init__(self, url, **headers):
        address = urlsplit(url)
        content = json.dumps(body()).encode()
        lines = {
            "host": address.netloc,
            "content-type": "application/json",
            "content-length": str(len(content)),
            "connection": "close",
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._socket = socket.create_connection((address.hostname, address.port), timeout=LONG)
        self._socket.sendall(f"POST /v1/rerank HTTP/1.1\r\n{head}\r\n".encode() + content[:10])
        self._rest = content[10:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def finish(self):
        """Send the rest, and return the answer."""
        self._socket.sendall(self._rest)
        with self._socket.makefile("rb") as stream:
            head, _, content = stream.read().partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = [tuple(line.split(": ", 1)) for line in lines if not line.lower().startswith("transfer-encoding")]
        if b"transfer-encoding: chunked" in head.lower():
            content = unchunked(content)
        return httpx.Response(int(status.split()[1]), headers=headers, content=content)


def unchunked(content):
    """The bytes of a chunked body."""
    whole = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        length = int(size, 16)
        whole, content = whole + content[:length], content[length + 2 :]
    return whole


class Crowd:
    """So many requests at once, each on a thread and a connection of its own.

    Attributes:
        answers: those that have come.
    """

    def __init__(self, http, count):
        self.answers = []
        self._http = http
        self._threads = [threading.Thread(target=self._one) for _ in range(count)]
        for each in self._threads:
            each.start()

    def _one(self):
        self.answers.append(rerank(self._http))

    def all(self):
        """Every answer, once all have come."""
        join(*self._threads)
        assert len(self.answers) == len(self._threads)
        return self.answers


class Traffic:
    """Requests one after the other on so many threads, as a context that is left once all have worked.

    Args:
        http: the client.
        threads: how many at once.
        changes: to the body.
    """

    def __init__(self, http, threads, **changes):
        self.statuses = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(http, changes)) for _ in range(threads)]

    def _run(self, http, changes):
        while not self._stop.is_set():
            self.statuses.append(rerank(http, **changes).status_code)

    def __enter__(self):
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        join(*self._threads)
        assert set(self.statuses) == {200}, self.statuses
