"""Sending: bounded parallelism, retries and one deadline, in threads or on the running event loop.

Both transports take a list of :class:`Request` and return what each ``read`` made of its reply, or raise the first
error; requests that are still under way are then given up. Everything but the sending itself is shared.
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
from rerank_core.client.attempt import OpenConnections, TimeLimits, body_of, httpx_request
from rerank_core.client.errors import translated
from rerank_core.client.exchange import Reply, Request, Service
from rerank_core.client.factory import Certificates, ClientFactory
from rerank_core.client.network import until
from rerank_core.client.retry import AttemptError, Deadline, RetryPolicy
from rerank_core.client.threads import IN_PARALLEL, in_threads
from rerank_core.errors import ClosedError, InvalidRequestError, RerankError
from rerank_core.inference.workers import SLOW_CALLS


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """How to send.

    Attributes:
        service: who is asked.
        max_retries: most attempts of a request after the first.
        http_client: the user's own client, which is never closed here; None to make one.
        on_retry: called with the number of the retry, the wait in seconds and the error's code.
    """

    service: Service
    max_retries: int
    http_client: httpx.Client | httpx.AsyncClient | None
    on_retry: Callable[[int, float, str], None]

    def retrying(self, request: Request, deadline: Deadline) -> dict[str, Any]:
        """The arguments of tenacity's ``Retrying`` for one request."""
        policy = RetryPolicy(self.max_retries if request.optional_within is None else 0, deadline, self.on_retry)
        return {"retry": policy.again, "wait": policy.wait, "reraise": True}

    def factory(self, certificates: Certificates) -> ClientFactory:
        """What makes clients of our own."""
        return ClientFactory(self.service.url, certificates)


class SyncTransport:
    """Sends from threads, a few per call, so that the deadline holds whatever a server does.

    When a call is given up, its connections are shut down, so that its threads end; only a DNS look-up cannot be ended
    from here. A user's own client does not say which of its pooled connections it takes: a server that sends its
    headers byte by byte on one of these keeps the thread.
    """

    def __init__(self, settings: Settings, certificates: Certificates) -> None:
        self._settings = settings
        self._factory = settings.factory(certificates)
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
        """The client; made on first use, once per process.

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
                self._client = self._factory.client()
                self._closing = weakref.finalize(self, self._client.close)
            return self._client

    def send_all(self, requests: Sequence[Request], deadline: Deadline) -> list[Any]:
        """What ``read`` made of each reply, in order.

        Raises:
            RerankError: the first failure.
        """
        client = self.client()
        return in_threads([partial(self._send, client, request, deadline) for request in requests], deadline)

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

    def _send(self, client: httpx.Client, request: Request, deadline: Deadline) -> Any:
        deadline = deadline if request.optional_within is None else deadline.sooner(request.optional_within)
        try:
            for attempt in tenacity.Retrying(sleep=deadline.pause, **self._settings.retrying(request, deadline)):
                with attempt:
                    return request.read(self._attempt(client, request, deadline))
        except AttemptError as failure:
            return _give_up(failure, request)

    def _attempt(self, client: httpx.Client, request: Request, deadline: Deadline) -> Reply:
        limits = TimeLimits(client.timeout, deadline)
        with translated(self._settings.service, deadline), until(deadline), OpenConnections(deadline) as connections:
            trace = partial(connections.note, limits)
            sent = client.build_request(**httpx_request(request, {"timeout": limits.seconds, "trace": trace}))
            response = client.send(sent, stream=True, follow_redirects=False)
            try:
                connections.add(response.extensions.get("network_stream"))
                body = body_of(response, request, deadline)
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
        self._factory = settings.factory(certificates)
        self._lock = forks.Lock()
        self._clients: dict[asyncio.AbstractEventLoop, _LoopClient] = {}
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
            if self._factory.reads_files:
                await SLOW_CALLS.run(self._certificates.context)
            if loop not in self._clients:  # another task of this loop may have been faster
                loop_client = _LoopClient(self._factory.async_client())
                await loop_client.start()
                with self._lock:
                    for closed in [one for one in self._clients if one.is_closed()]:
                        del self._clients[closed]
                    self._clients[loop] = loop_client
        return self._clients[loop].client

    async def send_all(self, requests: Sequence[Request], deadline: Deadline) -> list[Any]:
        """What ``read`` made of each reply, in order. Cancelling closes the connections in use.

        Raises:
            RerankError: the first failure.
        """
        parallel = asyncio.Semaphore(IN_PARALLEL)

        async def send(client: httpx.AsyncClient, request: Request) -> Any:
            async with parallel:
                return await self._send(client, request, deadline)

        try:
            async with asyncio.timeout(deadline.left):
                client = await self.client()
                if len(requests) == 1:
                    return [await send(client, requests[0])]
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(send(client, request)) for request in requests]
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

    async def _send(self, client: httpx.AsyncClient, request: Request, deadline: Deadline) -> Any:
        deadline = deadline if request.optional_within is None else deadline.sooner(request.optional_within)
        try:
            async for attempt in tenacity.AsyncRetrying(**self._settings.retrying(request, deadline)):
                with attempt:
                    return request.read(await self._attempt(client, request, deadline))
        except AttemptError as failure:
            return _give_up(failure, request)

    async def _attempt(self, client: httpx.AsyncClient, request: Request, deadline: Deadline) -> Reply:
        limits = TimeLimits(client.timeout, deadline)
        with translated(self._settings.service, deadline):
            sent = client.build_request(**httpx_request(request, {"timeout": limits.seconds, "trace": limits.aupdate}))
            response = await client.send(sent, stream=True, follow_redirects=False)
            try:
                body = body_of(response, request, deadline)
                if response.is_stream_consumed:
                    body.add(response.content)
                else:
                    async for piece in response.aiter_raw():
                        body.add(piece)
            finally:
                await response.aclose()
            return body.reply()


class _LoopClient:
    """A client that its event loop closes when the loop itself ends, if nobody has closed it before."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self._generator = self._until_the_loop_ends()
        self._closing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        with _LOOP_CLIENTS_LOCK:
            for closed in [loop_client for loop_client, loop_of_it in _LOOP_CLIENTS.items() if loop_of_it.is_closed()]:
                del _LOOP_CLIENTS[closed]
            _LOOP_CLIENTS[self] = loop
        await anext(self._generator)

    async def close(self) -> None:
        await self._close_client()
        with contextlib.suppress(RuntimeError):  # the loop is ending, and at this very moment closes it, too
            await self._generator.aclose()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            with _LOOP_CLIENTS_LOCK:
                _LOOP_CLIENTS.pop(self, None)
            await self._close_client()

    async def _close_client(self) -> None:
        """Close it once, on the first call; every call waits until it is closed."""
        if self._closing is None or self._closing.cancelled():
            self._closing = asyncio.get_running_loop().create_task(self.client.aclose())
        await asyncio.shield(self._closing)


# Held here, because a loop only finishes the generators that somebody still holds.
_LOOP_CLIENTS: dict[_LoopClient, asyncio.AbstractEventLoop] = {}
_LOOP_CLIENTS_LOCK = forks.Lock()
_CLOSING: set[asyncio.Task[None]] = set()


def _close_soon(clients: dict[asyncio.AbstractEventLoop, _LoopClient]) -> None:
    """Each client is closed by its own loop, now if it runs, else when it ends."""

    def start(loop: asyncio.AbstractEventLoop, loop_client: _LoopClient) -> None:
        task = loop.create_task(loop_client.close())
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)

    while clients:
        loop, loop_client = clients.popitem()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(start, loop, loop_client)


def _give_up(failure: AttemptError, request: Request) -> None:
    """Raise what the caller gets; an optional request fails silently."""
    if request.optional_within is None:
        raise failure.error from failure.__cause__


def _wrong_client(kind: str, call: str, other: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"http_client is an {kind}, which works with {call} only; give an {other} for the other.", param="http_client"
    )
