"""Coming and going: what still runs when the server is told to stop."""

from __future__ import annotations

import asyncio
from typing import Any

from rerank_core.errors import OverloadedError


class Lifecycle:
    """Knows whether requests are still taken, and which are being worked on."""

    def __init__(self) -> None:
        self.draining = False
        self.expired = False
        self._work: set[asyncio.Future[Any]] = set()

    def check_open(self) -> None:
        """Whether a new request may come in.

        Raises:
            OverloadedError: with status 503, when the server is stopping.
        """
        if self.draining:
            raise stopping()

    def track(self, work: asyncio.Future[Any]) -> None:
        """Remember work until it is done."""
        self._work.add(work)
        work.add_done_callback(self._work.discard)

    async def drain(self, seconds: float) -> None:
        """Take nothing new; give what runs ``seconds`` to finish, then end it."""
        self.draining = True
        if self._work:
            await asyncio.wait(tuple(self._work), timeout=seconds)
        self.expired = True
        for work in tuple(self._work):
            work.cancel()


def stopping() -> OverloadedError:
    """The error for requests that come too late."""
    return OverloadedError("The server is stopping.", code="shutting_down", status=503, retry_after=1.0)
