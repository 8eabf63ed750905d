"""What one attempt of a request is made of: the request, the time limits of its steps, the reply's body."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import httpx

from rerank_core.client.body import Body
from rerank_core.client.exchange import Request
from rerank_core.client.network import shut_down
from rerank_core.client.retry import Deadline


def httpx_request(request: Request, extensions: dict[str, Any]) -> dict[str, Any]:
    """What httpx takes to build a request."""
    return {
        "method": request.method,
        "url": request.url,
        "headers": request.headers,
        "content": request.body() if request.body else None,
        "extensions": extensions,
    }


class TimeLimits:
    """httpx's time limits of one attempt, in seconds, updated before each step: none goes past the deadline."""

    def __init__(self, own: httpx.Timeout, deadline: Deadline) -> None:
        self._own = own.as_dict()
        self._deadline = deadline
        self.seconds: dict[str, float] = {}
        self._update()

    def update(self, name: str, _info: Mapping[str, Any]) -> None:
        """Before each step; what httpcore takes as its ``trace`` extension."""
        if name.endswith(".started"):
            self._update()

    async def aupdate(self, name: str, info: Mapping[str, Any]) -> None:
        """The same for the asynchronous client."""
        self.update(name, info)

    def _update(self) -> None:
        left = max(0.001, self._deadline.left)  # 0 would mean non-blocking sockets
        self.seconds.update({step: left if limit is None else min(left, limit) for step, limit in self._own.items()})


class OpenConnections:
    """The connections that one attempt is known to use; they are shut down when the call is given up."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._until = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._until.close()

    def add(self, stream: object) -> None:
        """Note one more connection."""
        self._until.enter_context(self._deadline.ending(partial(shut_down, stream)))

    def note(self, limits: TimeLimits, name: str, info: Mapping[str, Any]) -> None:
        """Before and after each step; what httpcore takes as its ``trace`` extension."""
        limits.update(name, info)
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self.add(info.get("return_value"))


def body_of(response: httpx.Response, request: Request, deadline: Deadline) -> Body:
    """What collects a reply's body."""
    # A response is consumed already where a transport or hook of the user's own has read it.
    return Body(response.status_code, response.headers, request, deadline, decoded=response.is_stream_consumed)
