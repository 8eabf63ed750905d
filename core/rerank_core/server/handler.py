"""The one handler behind every rerank path: bytes in, a ranking or an error out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.errors import TimeoutError as DeadlineError
from rerank_core.inference.workers import Workers
from rerank_core.server.answers import error_response, json_bytes
from rerank_core.server.body import ClientDisconnect, check_body_headers, read_body
from rerank_core.server.exchange import CLIENT_GONE, Exchange, log_failure
from rerank_core.server.lifecycle import Lifecycle, stopping
from rerank_core.server.metrics import Metrics
from rerank_core.server.ranking import Outcome, rank
from rerank_core.server.request_checks import check_after, check_before
from rerank_core.server.served import ServedModels
from rerank_core.server.settings import ServerSettings
from rerank_core.server.tracing import span
from rerank_core.wire.dialect import Dialect
from rerank_core.wire.fields import Limits, read_json
from rerank_core.wire.messages import WireRequest
from rerank_core.wire.routes import Route, dialect_for

_OUR_FAULT = 500
_CLEAN_UP_SECONDS = 1.0
_INLINE_BYTES = 32_000  # more than this is read and written on a thread, so that the event loop goes on
# Few and of their own: work that nobody waits for any longer cannot pile up, nor take the place of anything else.
_BODIES = Workers(4, "rerank-bodies", slow=True)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """What all handlers of an application share."""

    settings: ServerSettings
    served: ServedModels
    metrics: Metrics
    lifecycle: Lifecycle

    @property
    def shelf(self) -> ServedModels:
        """``served`` by the name it had at first."""
        return self.served


def rerank_endpoint(server: Server, route: Route) -> Callable[[Request], Awaitable[Response]]:
    """The ASGI endpoint of one path."""

    async def endpoint(request: Request) -> Response:
        call = _Call(server, route, request)
        try:
            with server.lifecycle.call():
                return await call.answer()
        except ClientDisconnect:
            call.exchange.code = "client_closed_request"
            return Response(status_code=CLIENT_GONE)
        except RerankError as error:
            call.exchange.code = error.code
            if error.status == _OUR_FAULT:
                log_failure(error, call.exchange.id)
            return error_response(error, call.dialect.write_error(error))

    return endpoint


class _Call:
    """One request on its way through."""

    def __init__(self, server: Server, route: Route, request: Request) -> None:
        self.exchange = Exchange.of(request.scope)
        self.dialect: Dialect = route.dialect  # until the body says otherwise
        self._server = server
        self._route = route
        self._request = request

    async def answer(self) -> Response:
        seconds = self._server.settings.request_timeout
        check_body_headers(self._request)
        body = read_body(self._request, limit=self._server.settings.max_body_bytes)
        late = f"The body did not arrive within {seconds:g} seconds."
        data = await self._in_time(body, InvalidRequestError(late, code="request_timeout", status=408))
        late = f"No answer within {seconds:g} seconds."
        return await self._in_time(self._process(data), DeadlineError(late), gone=_client_gone(self._request))

    async def _process(self, data: bytes) -> Response:
        server = self._server
        request = await _off_the_loop(len(data), lambda: self._read(data))
        model = server.served.find(request.model)
        self.exchange.model, self.exchange.documents = model.name, len(request.texts)
        server.served.start()
        model.check_ready()
        await _off_the_loop(len(data), lambda: check_before(request, model.loaded))
        with span(self._request.headers, model.name, len(request.texts)) as note:
            with model.admission.admitted(len(request.texts)):
                outcome = await rank(model.reranker, request, model.name)
            check_after(request, outcome.response.truncated, self.dialect, model.loaded)
            note(outcome.response)
        self.exchange.tokens = outcome.response.tokens
        if outcome.cost is not None:
            server.metrics.cost.labels(model.name).inc(outcome.cost)
        if outcome.unscored:
            server.metrics.unscored.labels(model.name).inc(outcome.unscored)
        server.metrics.documents.labels(model.name).inc(len(request.texts))
        body = await _off_the_loop(
            len(data), lambda: json_bytes(self.dialect.write_response(outcome.response, request))
        )
        return Response(body, 200, _headers_of(outcome), media_type="application/json")

    def _read(self, data: bytes) -> WireRequest:
        body = read_json(data)
        self.dialect = dialect_for(self._route, body)
        request = self.dialect.read_request(body, Limits(documents=self._server.settings.max_documents))
        named = self._request.path_params.get("model")
        return replace(request, model=named) if named else request

    async def _in_time(
        self, work: Awaitable[T], late: RerankError, *, gone: Coroutine[Any, Any, None] | None = None
    ) -> T:
        """What ``work`` gives, unless the deadline passes, the client leaves or the server stops first.

        Raises:
            ClientDisconnect: when ``gone`` returns first.
            RerankError: ``late`` when the deadline passes first; one of status 503 when the server stops.
        """
        task = asyncio.ensure_future(work)
        watched = [task, *([] if gone is None else [asyncio.ensure_future(gone)])]
        try:
            self._server.lifecycle.track(task)
            left = self.exchange.started + self._server.settings.request_timeout - time.perf_counter()
            await asyncio.wait(watched, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                if task.cancelled():
                    raise stopping()
                return task.result()
            if any(each.done() for each in watched):
                raise ClientDisconnect
            raise late
        finally:
            for each in watched:
                each.cancel()
            # Long enough to clean up after itself; whoever does not stop is not waited for.
            await asyncio.wait(watched, timeout=_CLEAN_UP_SECONDS)


async def _client_gone(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _off_the_loop(size: int, work: Callable[[], T]) -> T:
    return work() if size <= _INLINE_BYTES else await _BODIES.run(work)


def _headers_of(outcome: Outcome) -> dict[str, str]:
    """Headers that tell what the body has no place for."""
    timings = outcome.timings
    parts = {"encode": timings.encode, "inference": timings.inference, "total": timings.total}
    return {
        "x-truncated-documents": str(len(outcome.response.truncated)),
        "x-degraded": str(outcome.degraded).lower(),
        "x-unscored-documents": str(outcome.unscored),
        "server-timing": ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in parts.items()),
    }
