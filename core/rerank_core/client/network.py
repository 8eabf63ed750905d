"""The deadline of a call at every read and write of its synchronous connections.

httpx's time limits apply to single reads: a server that sends a byte now and then could keep a thread and a connection
for ever. Here each read ends with the deadline of its call, and the connections in use are shut down when the call is
given up.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from rerank_core.client.retry import Deadline

_DEADLINE: ContextVar[Deadline | None] = ContextVar("rerank_core_deadline", default=None)


@contextlib.contextmanager
def until(deadline: Deadline) -> Iterator[None]:
    """A context in which every read and write of this thread ends by ``deadline``."""
    token = _DEADLINE.set(deadline)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def with_deadlines(transport: httpx.HTTPTransport) -> httpx.HTTPTransport:
    """The transport, with connections that keep to deadlines."""
    # httpx has no argument for it, and a transport of our own would have to repeat what httpx does for proxies.
    pool = transport._pool  # noqa: SLF001
    pool._network_backend = _Backend(pool._network_backend)  # noqa: SLF001
    return transport


def shut_down(stream: object) -> None:
    """Make reads and writes of a connection end. The thread that reads or writes notices it and closes it."""
    sock = stream.get_extra_info("socket") if isinstance(stream, httpcore.NetworkStream) else None
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):  # closed, or not connected any more
            # Not the method of TLS sockets, which changes state that the reading thread is using.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Backend(httpcore.NetworkBackend):
    """Opens connections that keep to deadlines."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left, local_address, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    """A connection whose every step ends with the deadline of the call that uses it."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._shut_down_with_the_call():
            return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with self._shut_down_with_the_call():
            self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with self._shut_down_with_the_call():
            left = _left(timeout, httpcore.ConnectTimeout)
            return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def _shut_down_with_the_call(self) -> contextlib.AbstractContextManager[None]:
        deadline = _DEADLINE.get()
        return contextlib.nullcontext() if deadline is None else deadline.ending(lambda: shut_down(self._inner))


def _left(timeout: float | None, late: type[httpcore.TimeoutException]) -> float | None:
    """The time limit of one step.

    Raises:
        httpcore.TimeoutException: of the class ``late``, when there is no time left.
    """
    deadline = _DEADLINE.get()
    if deadline is None:
        return timeout
    left = deadline.left
    if not left:
        raise late
    return left if timeout is None else min(left, timeout)
