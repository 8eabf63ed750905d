"""What one attempt of a request is made of: the request, the time limits of its steps, the reply's body."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import httpx

from rerank_core.client.body import Body
from rerank_core.client.exchange import Ask
from rerank_core.client.network import shut
from rerank_core.client.retry import Deadline


def request_of(ask: Ask, extensions: dict[str, Any]) -> dict[str, Any]:
    """What httpx takes to build a request."""
    return {
        "method": ask.method,
        "url": ask.url,
        "headers": ask.headers,
        "content": ask.body() if ask.body else None,
        "extensions": extensions,
    }


class Clock:
    """httpx's time limits of one attempt, brought up to date before each step: none goes past the deadline."""

    def __init__(self, own: httpx.Timeout, deadline: Deadline) -> None:
        self._own = own.as_dict()
        self._deadline = deadline
        self.limits: dict[str, float] = {}
        self._update()

    def tick(self, name: str, _info: Mapping[str, Any]) -> None:
        """Before each step; what httpcore takes as its ``trace`` extension."""
        if name.endswith(".started"):
            self._update()

    async def atick(self, name: str, info: Mapping[str, Any]) -> None:
        """The same for the asynchronous client."""
        self.tick(name, info)

    def _update(self) -> None:
        left = max(0.001, self._deadline.left)  # 0 would mean non-blocking sockets
        self.limits.update({step: left if limit is None else min(left, limit) for step, limit in self._own.items()})


class Opened:
    """The connections that one attempt is known to use, to be shut when the call is given up."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._until = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._until.close()

    def add(self, stream: object) -> None:
        """Another one."""
        self._until.enter_context(self._deadline.ending(partial(shut, stream)))

    def tick(self, clock: Clock, name: str, info: Mapping[str, Any]) -> None:
        """Before and after each step; what httpcore takes as its ``trace`` extension."""
        clock.tick(name, info)
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self.add(info.get("return_value"))


def body_of(response: httpx.Response, ask: Ask, deadline: Deadline) -> Body:
    """What collects a reply's body."""
    # A response is consumed already where a transport or hook of the user's own has read it.
    return Body(response.status_code, response.headers, ask, deadline, decoded=response.is_stream_consumed)
