"""A rerank server on loopback that does what a test tells it to, good or bad, over real sockets."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, cycle

from waiting import join

# What is done with a connection: True keeps it open for the next request.
Action = Callable[["Request", socket.socket], bool]

_DRIP = 0.01  # seconds from one byte to the next


@dataclass
class Request:
    """One request as it arrived; ``stopping`` is set when the server ends."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    stopping: threading.Event

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def documents(self):
        body = self.json
        return body.get("documents") or body["texts"]


class ApiServer:
    """``script`` holds what to do with the next requests; afterwards ``default`` is done.

    Attributes:
        requests: what has arrived.
        closed: connections that the client closed, by number.
        wrap: what is done with every new connection first (TLS).
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: deque[Action] = deque()
        self.default: Action = rank
        self.closed: list[int] = []
        self.wrap: Callable[[socket.socket], socket.socket] = lambda connection: connection
        self.busy = 0
        self.most_busy = 0
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def connections(self) -> int:
        """How many have been accepted."""
        return len(self._connections)

    def then(self, *actions: Action) -> ApiServer:
        self.script.extend(actions)
        return self

    def stop(self) -> None:
        """Refuse connections from now on, and close those that are open."""
        self.stopping.set()
        # A thread may stand in accept() or recv(): shutdown wakes it, close alone does not. Nothing is accepted any
        # more once the first thread has ended, so that no connection is missed.
        _shut(self._socket)
        join(self._threads[0])
        _shut(*self._connections)
        join(*self._threads)
        for each in (self._socket, *self._connections):
            each.close()

    def _start(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, connection, len(self._connections))

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            connection = self._connections[number - 1] = self.wrap(connection)
            while (request := _read(connection, number, self.stopping)) is not None:
                with self._lock:
                    self.requests.append(request)
                    action = self.script.popleft() if self.script else self.default
                    self.busy += 1
                    self.most_busy = max(self.busy, self.most_busy)
                try:
                    keep = action(request, connection)
                finally:
                    with self._lock:
                        self.busy -= 1
                if not keep:
                    break
            else:
                self.closed.append(number)
        except OSError:
            self.closed.append(number)
        connection.close()


def _shut(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _read(connection: socket.socket, number: int, stopping: threading.Event) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        piece = connection.recv(1 << 20)
        if not piece:  # the client has left
            return None
        body += piece
    method, target, _ = first.split(" ")
    return Request(method, target, headers, body, number, stopping)


def message(status: int, body: bytes, headers: dict[str, str] | None = None, kind: str = "application/json") -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def reply(content: object = None, status: int = 200, *, kind: str = "application/json", **headers: str) -> Action:
    """Answer with JSON (or bytes as they are); header names are written with underscores."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    data = message(status, body, {name.replace("_", "-"): value for name, value in headers.items()}, kind)
    return raw(data, keep=True)


def raw(data: bytes, *, keep: bool = False) -> Action:
    """Exactly these bytes; then the connection is closed, unless it is kept."""

    def act(_request: Request, connection: socket.socket) -> bool:
        connection.sendall(data)
        return keep

    return act


def dripping(data: bytes, again: bytes) -> Action:
    """These bytes one at a time, then ``again`` for ever, until the client goes away or the server ends."""

    def act(request: Request, connection: socket.socket) -> bool:
        for byte in chain(data, cycle(again)):
            connection.sendall(bytes([byte]))
            if request.stopping.wait(_DRIP):
                break
        return False

    return act


def reset(_request: Request, connection: socket.socket) -> bool:
    """Break the connection with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang(_request: Request, connection: socket.socket) -> bool:
    """No answer, until the client goes away."""
    while connection.recv(4096):
        pass
    raise OSError


def score_of(text: str) -> float:
    """The score of a text that begins with a number: that many millionths; of others, their length's."""
    word = text.partition(" ")[0]
    return (int(word) if word.isdigit() else len(text)) / 1_000_000


def ranking(documents: list[str], score=score_of) -> list[dict]:
    results = [{"index": i, "relevance_score": score(text)} for i, text in enumerate(documents)]
    return sorted(results, key=lambda each: -each["relevance_score"])


def body_of(request: Request) -> dict:
    """The native API's answer."""
    documents = request.documents
    tokens = sum(len(text.split()) for text in documents)
    return {
        "id": "rerank-1",
        "model": request.json.get("model") or "served",
        "results": ranking(documents),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def rank(request: Request, connection: socket.socket) -> bool:
    """The right answer."""
    return answering()(request, connection)


def answering(
    change: Callable[[dict], object] = lambda body: body, *, delay: float = 0.0, compress: bool = False
) -> Action:
    """The right answer, changed."""

    def act(request: Request, connection: socket.socket) -> bool:
        request.stopping.wait(delay)
        data = json.dumps(change(body_of(request))).encode()
        headers = {"Content-Encoding": "gzip"} if compress else {}
        connection.sendall(message(200, gzip.compress(data) if compress else data, headers))
        return True

    return act


def tei(limit: int, *, tell: bool = True, refusal: int = 422) -> Action:
    """A TEI server that takes ``limit`` texts at once."""

    def act(request: Request, connection: socket.socket) -> bool:
        if request.method == "GET":
            info = {"model_id": "m", "max_client_batch_size": limit}
            return (reply(info) if tell else reply({"error": "no"}, 404))(request, connection)
        texts = request.json["texts"]
        if len(texts) > limit:
            error = {
                "error": f"batch size {len(texts)} > maximum allowed batch size {limit}",
                "error_type": "Validation",
            }
            return reply(error, refusal)(request, connection)
        results = [{"index": each["index"], "score": each["relevance_score"]} for each in ranking(texts)]
        return reply(results)(request, connection)

    return act
