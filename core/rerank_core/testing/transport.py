"""The rerank API in memory: an httpx transport that answers like a server, without a socket."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Protocol

import httpx

from rerank_core import forks
from rerank_core.errors import InvalidRequestError, MissingDependencyError, ModelNotFoundError, RerankError
from rerank_core.inference.workers import Workers
from rerank_core.optional import optional
from rerank_core.reranker import Reranker
from rerank_core.results import RerankResponse
from rerank_core.scoring.base import Scorer
from rerank_core.wire.fields import Limits, read_json
from rerank_core.wire.messages import WireRequest, WireResponse, WireResult
from rerank_core.wire.native import Native

_MOST_DOCUMENTS = 100


def api_transport(engine: Scorer | Reranker, *, model: str | None = None) -> ApiTransport:
    """A transport for ``httpx.Client`` and ``httpx.AsyncClient`` behind which ``engine`` is served.

    With the extra ``server`` it is the server of ``rerank serve``, with all its paths and dialects, and the client's
    read timeout applies. Without it, only ``POST /v1/rerank`` is there. Both check requests and report errors alike.

    Args:
        engine: a scorer or a reranker; it is not closed here.
        model: the name it is served under; None for its own.

    Example:
        >>> import httpx
        >>> from rerank_core import Reranker
        >>> from rerank_core.testing import FakeScorer, api_transport
        >>> with httpx.Client(transport=api_transport(FakeScorer("m"))) as client:
        ...     over_http = Reranker("m", base_url="http://rerank.test", http_client=client)
        ...     over_http.rerank("a b", ["c", "a b"])[0].text
        'a b'
    """
    reranker = engine if isinstance(engine, Reranker) else Reranker(scorer=engine)
    name = reranker.model if model is None else model
    try:
        return ApiTransport(_ServerService(reranker, name))
    except MissingDependencyError:
        return ApiTransport(_NativeService(reranker, name))


class _Service(Protocol):
    """What answers requests whose body has been read."""

    def answer(self, request: httpx.Request) -> httpx.Response: ...
    async def aanswer(self, request: httpx.Request) -> httpx.Response: ...
    def close(self) -> None: ...


class ApiTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Made by :func:`api_transport`. One may be used by several clients at once, of both kinds.

    ``httpx.ReadTimeout`` is raised where the client's read timeout passes before the answer is there.
    """

    def __init__(self, service: _Service) -> None:
        self._service = service

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a synchronous client."""
        request.read()
        return self._service.answer(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer an asynchronous client."""
        await request.aread()
        return await self._service.aanswer(request)

    def close(self) -> None:
        """Stop what runs in the background; another request starts it again."""
        self._service.close()

    async def aclose(self) -> None:
        """:meth:`close` for asynchronous clients."""
        self._service.close()


class _ServerService:
    """The server's application, on an event loop in a thread of its own.

    Raises:
        MissingDependencyError: when the extra ``server`` is not installed.
    """

    def __init__(self, reranker: Reranker, name: str) -> None:
        with optional("the server", extra="server"):
            from rerank_core.server import ServerSettings, create_app
        # Constructed without validation, which would read the machine's environment variables.
        self._app: Any = create_app(ServerSettings.model_construct(models=()), {name: reranker})
        self._transport = httpx.ASGITransport(app=self._app)
        self._lock = forks.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: weakref.finalize[[asyncio.AbstractEventLoop, Workers], _ServerService] | None = None
        forks.in_child(self._forget)

    def answer(self, request: httpx.Request) -> httpx.Response:
        future = self._submit(self._answer(request))
        try:
            return future.result(_read_timeout(request))
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise _late(request) from None

    async def aanswer(self, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(_read_timeout(request)):
                return await asyncio.wrap_future(self._submit(self._answer(request)))
        except TimeoutError:
            raise _late(request) from None

    def close(self) -> None:
        with self._lock:
            stopping, self._stopping, self._loop = self._stopping, None, None
        if stopping is not None:
            stopping()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

    def _submit(self, work: Coroutine[Any, Any, httpx.Response]) -> Future[httpx.Response]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                workers = Workers(1, "rerank-transport", slow=True)
                workers.submit(_LoopThread(self._loop, self._app.state.server.served.models).run)
                self._stopping = weakref.finalize(self, _stop, self._loop, workers)
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _forget(self) -> None:
        """In a forked child: the thread is gone, and its loop with it."""
        if self._stopping is not None:
            self._stopping.detach()
        self._loop = self._stopping = None


class _LoopThread:
    """What the thread of an event loop runs. It does not reference the service, so that the service can be freed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, models: Any) -> None:
        self._loop = loop
        self._models = models

    def run(self) -> None:
        for model in self._models:
            model.load()  # otherwise the first request would get 503
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


def _stop(loop: asyncio.AbstractEventLoop, workers: Workers) -> None:
    loop.call_soon_threadsafe(loop.stop)
    workers.close()


class _NativeService:
    """``POST /v1/rerank`` alone, where the server's extra is not installed."""

    def __init__(self, reranker: Reranker, name: str) -> None:
        self._reranker = reranker
        self._name = name
        self._dialect = Native()

    def answer(self, request: httpx.Request) -> httpx.Response:
        try:
            asked = self._read(request)
            return self._written(asked, self._reranker.rerank(asked.query, asked.texts, top_n=asked.top_n))
        except RerankError as error:
            return self._refused(error)

    async def aanswer(self, request: httpx.Request) -> httpx.Response:
        try:
            asked = self._read(request)
            return self._written(asked, await self._reranker.arerank(asked.query, asked.texts, top_n=asked.top_n))
        except RerankError as error:
            return self._refused(error)

    def close(self) -> None:
        """Nothing runs in the background."""

    def _read(self, request: httpx.Request) -> WireRequest:
        if request.url.path != self._dialect.path:
            raise InvalidRequestError(
                f"There is nothing at this path but POST {self._dialect.path}. The extra 'server' has the other ones.",
                code="not_found",
                status=404,
            )
        if request.method != "POST":
            raise InvalidRequestError("This path takes POST.", code="method_not_allowed", status=405)
        asked = self._dialect.read_request(read_json(request.content), Limits(documents=_MOST_DOCUMENTS))
        if asked.model != self._name:
            raise ModelNotFoundError(f"This server has no model of that name. It serves: {self._name}.", param="model")
        return asked

    def _written(self, asked: WireRequest, response: RerankResponse) -> httpx.Response:
        answer = WireResponse(
            results=tuple(WireResult(each.index, each.relevance_score, each.logit) for each in response),
            id=response.id,
            model=self._name,
            tokens=response.usage.total_tokens,
            truncated=tuple(sorted(each.index for each in response if each.truncated)),
        )
        marks = {"x-degraded": str(response.degraded).lower(), "x-unscored-documents": str(response.unscored)}
        return httpx.Response(200, json=self._dialect.write_response(answer, asked), headers=marks)

    def _refused(self, error: RerankError) -> httpx.Response:
        status, body = self._dialect.write_error(error)
        again = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        return httpx.Response(status, json=body, headers=again)


def _read_timeout(request: httpx.Request) -> float | None:
    """Seconds that the client waits for an answer; None for as long as it takes."""
    seconds: float | None = request.extensions.get("timeout", {}).get("read")
    return seconds


def _late(request: httpx.Request) -> httpx.ReadTimeout:
    return httpx.ReadTimeout("The answer did not come within the read timeout.", request=request)
