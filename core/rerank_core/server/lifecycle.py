"""Coming and going: what still runs when the server is asked to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rerank_core.errors import OverloadedError


class Lifecycle:
    """Knows whether requests are still taken, and which are under way.

    Args:
        most: most requests under way at once, those included whose body is still arriving: bodies fill memory.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.draining = False
        self._expired = False
        self._calls = 0
        self._idle = asyncio.Event()
        self._work: set[asyncio.Future[Any]] = set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around a request, from its first byte to its answer.

        Raises:
            OverloadedError: with status 503 when the server is stopping, 429 when too many are under way.
        """
        if self.draining:
            raise stopping()
        if self._calls >= self._most:
            raise OverloadedError("The server is full; try again later.", retry_after=1.0)
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    def track(self, work: asyncio.Future[Any]) -> None:
        """Work that is ended when the time to finish is over.

        Raises:
            OverloadedError: with status 503, when it is over already.
        """
        if self._expired:
            work.cancel()
            raise stopping()
        self._work.add(work)
        work.add_done_callback(self._forget)

    def _forget(self, work: asyncio.Future[Any]) -> None:
        self._work.discard(work)
        if not work.cancelled():
            work.exception()  # looked at, for work whose caller has left before it failed

    async def drain(self, seconds: float) -> None:
        """Take nothing new; give every request under way ``seconds`` to finish, then end it."""
        self.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._calls:
                    self._idle.clear()
                    await self._idle.wait()
        self._expired = True
        for work in tuple(self._work):
            work.cancel()


def stopping() -> OverloadedError:
    """The error for requests that come too late."""
    return OverloadedError("The server is stopping.", code="shutting_down", status=503, retry_after=1.0)
