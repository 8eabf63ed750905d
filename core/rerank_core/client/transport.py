"""Sending: bounded parallelism, retries and one deadline, in threads or on the running event loop.

Both transports take a list of :class:`Ask` and give the list of what their ``read`` made of the replies, or raise the
first error; what is still on its way is then given up. Everything but the sending itself is shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import tenacity

from rerank_core import forks
from rerank_core.client.attempt import Clock, Opened, body_of, request_of
from rerank_core.client.errors import translated
from rerank_core.client.exchange import Ask, Reply, Service
from rerank_core.client.making import Certificates, Making
from rerank_core.client.network import until
from rerank_core.client.retry import AttemptError, Deadline, RetryPolicy
from rerank_core.client.threads import IN_PARALLEL, in_threads
from rerank_core.errors import ClosedError, InvalidRequestError, RerankError
from rerank_core.inference.workers import ASIDE


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """How to send.

    Attributes:
        service: who is asked.
        max_retries: most attempts of a request after the first.
        http_client: the user's own client, which is never closed here; None to make one.
        on_retry: told the number of the retry, the wait and the error's code.
    """

    service: Service
    max_retries: int
    http_client: httpx.Client | httpx.AsyncClient | None
    on_retry: Callable[[int, float, str], None]

    def retrying(self, ask: Ask, deadline: Deadline) -> dict[str, Any]:
        """What tenacity needs to know to send one request."""
        policy = RetryPolicy(self.max_retries if ask.optional_within is None else 0, deadline, self.on_retry)
        return {"retry": policy.again, "wait": policy.wait, "reraise": True}

    def making(self, certificates: Certificates) -> Making:
        """How to make a client of our own."""
        return Making(self.service.url, certificates)


class SyncTransport:
    """Sends from threads: a few a call, so that the deadline holds whatever a server does.

    When a call is given up, its connections are shut, so that its threads end; only a look-up of a host's address
    cannot be ended from here. A user's own client does not tell which of its kept connections it takes: there a server
    that trickles its headers on such a one keeps the thread.
    """

    def __init__(self, settings: Settings, certificates: Certificates) -> None:
        self._settings = settings
        self._making = settings.making(certificates)
        self._lock = forks.SlowLock()
        self._client: httpx.Client | None = None
        self._closing: weakref.finalize[..., SyncTransport] | None = None
        self._closed = False
        forks.in_child(self._forget)

    @property
    def usable(self) -> bool:
        """Whether there is, or can be, a synchronous client."""
        return not isinstance(self._settings.http_client, httpx.AsyncClient)

    def client(self) -> httpx.Client:
        """The client; made on first use, in each process anew.

        Raises:
            InvalidRequestError: when the user's own client is an asynchronous one.
            ConnectionError: when the environment's proxies or certificates cannot be used.
            ClosedError: after :meth:`close`.
        """
        own = self._settings.http_client
        with self._lock:
            if self._closed:
                raise ClosedError("this reranker is closed; make a new one.")
            if isinstance(own, httpx.Client):
                return own
            if own is not None:
                raise _wrong_client("httpx.AsyncClient", "arerank()", "httpx.Client")
            if self._client is None:
                self._client = self._making.client()
                self._closing = weakref.finalize(self, self._client.close)
            return self._client

    def send_all(self, asks: Sequence[Ask], deadline: Deadline) -> list[Any]:
        """What ``read`` made of each reply, in order.

        Raises:
            RerankError: the first failure.
        """
        client = self.client()
        return in_threads([partial(self._send, client, ask, deadline) for ask in asks], deadline)

    def close(self) -> None:
        """Close the client, unless it is the user's."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _forget(self) -> None:
        """In a forked child: the connections are the parent's. Not closed: its threads may have been in the pool."""
        self._client = None
        if self._closing is not None:
            self._closing.detach()

    def _send(self, client: httpx.Client, ask: Ask, deadline: Deadline) -> Any:
        deadline = deadline if ask.optional_within is None else deadline.sooner(ask.optional_within)
        try:
            for attempt in tenacity.Retrying(sleep=deadline.pause, **self._settings.retrying(ask, deadline)):
                with attempt:
                    return ask.read(self._attempt(client, ask, deadline))
        except AttemptError as failure:
            return _give_up(failure, ask)

    def _attempt(self, client: httpx.Client, ask: Ask, deadline: Deadline) -> Reply:
        clock = Clock(client.timeout, deadline)
        with translated(self._settings.service, deadline), until(deadline), Opened(deadline) as opened:
            trace = partial(opened.tick, clock)
            request = client.build_request(**request_of(ask, {"timeout": clock.limits, "trace": trace}))
            response = client.send(request, stream=True, follow_redirects=False)
            try:
                opened.add(response.extensions.get("network_stream"))
                body = body_of(response, ask, deadline)
                for piece in [response.content] if response.is_stream_consumed else response.iter_raw():
                    body.add(piece)
            finally:
                response.close()
            return body.reply()


class AsyncTransport:
    """Sends from the running event loop; each loop has its own client, because connections belong to a loop.

    A client lives in an asynchronous generator: event loops finish these when they end (``asyncio.run`` does), so
    that connections are closed even if nobody closes the reranker.
    """

    def __init__(self, settings: Settings, certificates: Certificates) -> None:
        self._settings = settings
        self._certificates = certificates
        self._making = settings.making(certificates)
        self._lock = forks.Lock()
        self._clients: dict[asyncio.AbstractEventLoop, _Living] = {}
        self._closed = False
        weakref.finalize(self, _close_soon, self._clients).atexit = False
        forks.in_child(self._forget)

    async def client(self) -> httpx.AsyncClient:
        """The running loop's client.

        Raises:
            InvalidRequestError: when the user's own client is not an asynchronous one.
            ConnectionError: when the environment's proxies or certificates cannot be used.
            ClosedError: after :meth:`close`.
        """
        own = self._settings.http_client
        if self._closed:
            raise ClosedError("this reranker is closed; make a new one.")
        if isinstance(own, httpx.AsyncClient):
            return own
        if own is not None:
            raise _wrong_client("httpx.Client", "rerank()", "httpx.AsyncClient")
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            if self._making.reads_files:
                await ASIDE.run(self._certificates.context)
            if loop not in self._clients:  # another task of this loop may have been faster; from here on none can
                living = _Living(self._making.async_client())
                await living.start()
                with self._lock:
                    for gone in [one for one in self._clients if one.is_closed()]:
                        del self._clients[gone]
                    self._clients[loop] = living
        return self._clients[loop].client

    async def send_all(self, asks: Sequence[Ask], deadline: Deadline) -> list[Any]:
        """What ``read`` made of each reply, in order. Cancelling closes the connections in use.

        Raises:
            RerankError: the first failure.
        """
        places = asyncio.Semaphore(IN_PARALLEL)

        async def send(client: httpx.AsyncClient, ask: Ask) -> Any:
            async with places:
                return await self._send(client, ask, deadline)

        try:
            async with asyncio.timeout(deadline.left):
                client = await self.client()
                if len(asks) == 1:
                    return [await send(client, asks[0])]
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(send(client, ask)) for ask in asks]
        except TimeoutError as error:
            if isinstance(error, RerankError):  # ours is one of these, too
                raise
            raise deadline.error() from error
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures.exceptions[0].__cause__
        return [task.result() for task in tasks]

    def close(self) -> None:
        """Have every loop close its client."""
        self._closed = True
        with self._lock:
            _close_soon(self._clients)

    async def aclose(self) -> None:
        """Close the running loop's client now, and have other loops close theirs."""
        self._closed = True
        with self._lock:
            own = self._clients.pop(asyncio.get_running_loop(), None)
            _close_soon(self._clients)
        if own is not None:
            await own.close()

    def _forget(self) -> None:
        """In a forked child: no event loop survives a fork, and the connections are the parent's."""
        self._clients.clear()

    async def _send(self, client: httpx.AsyncClient, ask: Ask, deadline: Deadline) -> Any:
        deadline = deadline if ask.optional_within is None else deadline.sooner(ask.optional_within)
        try:
            async for attempt in tenacity.AsyncRetrying(**self._settings.retrying(ask, deadline)):
                with attempt:
                    return ask.read(await self._attempt(client, ask, deadline))
        except AttemptError as failure:
            return _give_up(failure, ask)

    async def _attempt(self, client: httpx.AsyncClient, ask: Ask, deadline: Deadline) -> Reply:
        clock = Clock(client.timeout, deadline)
        with translated(self._settings.service, deadline):
            request = client.build_request(**request_of(ask, {"timeout": clock.limits, "trace": clock.atick}))
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                body = body_of(response, ask, deadline)
                if response.is_stream_consumed:
                    body.add(response.content)
                else:
                    async for piece in response.aiter_raw():
                        body.add(piece)
            finally:
                await response.aclose()
            return body.reply()


class _Living:
    """A client whose event loop closes it when the loop itself ends, if nobody has done so before."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self._life = self._live()
        self._closing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        with _LIVING_LOCK:
            for gone in [living for living, home in _LIVING.items() if home.is_closed()]:
                del _LIVING[gone]
            _LIVING[self] = loop
        await anext(self._life)

    async def close(self) -> None:
        await self._close_client()
        with contextlib.suppress(RuntimeError):  # the loop is ending, and at this very moment closes it, too
            await self._life.aclose()

    async def _live(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            with _LIVING_LOCK:
                _LIVING.pop(self, None)
            await self._close_client()

    async def _close_client(self) -> None:
        """Once, whoever asks for it first; everybody waits until it is done."""
        if self._closing is None or self._closing.cancelled():
            self._closing = asyncio.get_running_loop().create_task(self.client.aclose())
        await asyncio.shield(self._closing)


# Held here, because a loop only finishes the generators that somebody still holds.
_LIVING: dict[_Living, asyncio.AbstractEventLoop] = {}
_LIVING_LOCK = forks.Lock()
_CLOSING: set[asyncio.Task[None]] = set()


def _close_soon(clients: dict[asyncio.AbstractEventLoop, _Living]) -> None:
    """Each client is closed by its own loop, now if it runs, else when it ends."""

    def start(loop: asyncio.AbstractEventLoop, living: _Living) -> None:
        task = loop.create_task(living.close())
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)

    while clients:
        loop, living = clients.popitem()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(start, loop, living)


def _give_up(failure: AttemptError, ask: Ask) -> None:
    """Raise what the caller gets; None for an answer that can be done without."""
    if ask.optional_within is None:
        raise failure.error from failure.__cause__


def _wrong_client(kind: str, call: str, other: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"http_client is an {kind}, which works with {call} only; give an {other} for the other.", param="http_client"
    )
