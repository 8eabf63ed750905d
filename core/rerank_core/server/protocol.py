"""HTTP connections within limits: how many there are, how long and how large a request's headers may be.

uvicorn bounds none of them: a connection that sends half a header, or nothing, or does not fetch its answer, would hold
its file descriptor for ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEADER_BYTES = 64 * 1024
_CLOSE_SECONDS = 5.0  # for what is still to be sent when a connection is closed
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may take.

    Attributes:
        connections: most at once.
        header_seconds: how long a request may take from its first byte to the end of its headers, and a new
            connection until its first request is there.
        answer_seconds: how long an answer may take to be fetched, once it is more than the connection can hold.
        stop_seconds: how long it may take once the server stops.
    """

    connections: int
    header_seconds: float
    answer_seconds: float
    stop_seconds: float


def bounded_protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """A protocol class for uvicorn that keeps within ``limits``."""
    return type("BoundedProtocol", (_BoundedProtocol,), {"limits": limits})


class _BoundedProtocol(H11Protocol):
    """A connection that is closed when its next request does not arrive in time.

    A request under way is not its business: that one has its own deadline, up to its answer. An answer that is not
    fetched holds up the next request's, and is given up.
    """

    limits: ConnectionLimits
    connections: set[_BoundedProtocol]  # type: ignore[assignment]  # all are of this class
    _timer: asyncio.TimerHandle | None = None
    _fetching: asyncio.TimerHandle | None = None
    _since = 0.0  # when it began to be without a request

    @property
    def working(self) -> bool:
        """Whether a request is under way: its headers are there, and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take the connection if there is room, or room can be made by closing one that is not at work."""
        full = len(self.connections) >= self.limits.connections
        super().connection_made(transport)
        self._since = self.loop.time()
        if full and not self._make_room():
            transport.write(_FULL)
            self._close()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._unwatch()
        self._fetched()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and see to it that there is an end."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        """Give the other side so long to fetch what is written."""
        super().pause_writing()
        if self._fetching is None:
            self._fetching = self.loop.call_later(self.limits.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has fetched it."""
        super().resume_writing()
        self._fetched()

    def on_response_complete(self) -> None:
        """Wait for the next request; for one that has begun, or the rest of this one's body, only so long."""
        self._since = self.loop.time()
        super().on_response_complete()
        if self.conn.their_state is not h11.IDLE or self.conn.trailing_data[0]:
            self._watch()

    def shutdown(self) -> None:
        """Finish what is under way; an answer that is not fetched soon is given up, before uvicorn cancels its task."""
        super().shutdown()
        self.loop.call_later(self.limits.stop_seconds, self._stop)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that nothing has come over, even if its last answer was never fetched."""
        super().timeout_keep_alive_handler()
        self._close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        super().send_400_response(msg)
        self._close()

    def _make_room(self) -> bool:
        """Close the connection that has been without a request for longest; False when all are at work."""
        idle = [each for each in self.connections if each is not self and not each.working]
        if not idle:
            return False
        oldest = min(idle, key=lambda each: each._since)  # noqa: SLF001  (same class)
        oldest.transport.abort()
        self.connections.discard(oldest)
        return True

    def _watch(self) -> None:
        """Give the next request its time, unless one is under way or is being waited for already."""
        if self.working or self.transport.is_closing():
            self._unwatch()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.limits.header_seconds, self._out_of_time)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fetched(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None

    def _out_of_time(self) -> None:
        self._timer = None
        begun, _ = self.conn.trailing_data
        if begun and self.conn.our_state is h11.IDLE:
            self.transport.write(_TIMED_OUT)
        self._close()

    def _stop(self) -> None:
        if self._fetching is not None:
            self.transport.abort()

    def _close(self) -> None:
        """Close when all is sent, and soon even if the other side takes nothing."""
        self.transport.close()
        self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)
