"""The one handler behind every rerank path: bytes in, a ranking or an error out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.errors import TimeoutError as DeadlineError
from rerank_core.results import RerankResponse
from rerank_core.server.answers import error_response, json_bytes
from rerank_core.server.body import ClientDisconnect, check_content_type, read_body
from rerank_core.server.exchange import CLIENT_GONE, Exchange, log_failure
from rerank_core.server.lifecycle import Lifecycle, stopping
from rerank_core.server.metrics import Metrics
from rerank_core.server.settings import ServerSettings
from rerank_core.server.shelf import ServedModel, Shelf
from rerank_core.server.tracing import span
from rerank_core.wire.dialect import Dialect
from rerank_core.wire.fields import read_json
from rerank_core.wire.messages import WireRequest, WireResponse, WireResult
from rerank_core.wire.routes import Route, dialect_for

_OUR_FAULT = 500
_INLINE_BYTES = 32_000  # more than this is read and written on a thread, so that the event loop goes on

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """What all handlers of an application share."""

    settings: ServerSettings
    shelf: Shelf
    metrics: Metrics
    lifecycle: Lifecycle


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
        self._deadline = time.monotonic() + server.settings.request_timeout

    async def answer(self) -> Response:
        server, settings = self._server, self._server.settings
        check_content_type(self._request)
        data = await read_body(self._request, limit=settings.max_body_bytes, seconds=settings.request_timeout)
        asked = await _off_the_loop(len(data), lambda: self._read(data))
        model = server.shelf.find(asked.model)
        self.exchange.model, self.exchange.documents = model.name, len(asked.texts)
        if len(asked.texts) > settings.max_documents:
            raise InvalidRequestError(
                f"Too many documents. Maximum is {settings.max_documents}.",
                code="too_many_documents",
                param="documents",
            )
        server.shelf.start()
        model.check_ready()
        with span(self._request.headers, model.name, len(asked.texts)) as note:
            with model.admission.admitted(len(asked.texts)):
                ranking = await self._rank(model, asked)
            note(ranking)
        self.exchange.tokens = ranking.usage.total_tokens
        server.metrics.documents.labels(model.name).inc(len(asked.texts))
        body = await _off_the_loop(len(data), lambda: self._write(model, asked, ranking))
        return Response(body, 200, _facts(ranking), media_type="application/json")

    def _read(self, data: bytes) -> WireRequest:
        body = read_json(data)
        self.dialect = dialect_for(self._route, body)
        asked = self.dialect.read_request(body)
        named = self._request.path_params.get("model")
        return replace(asked, model=named) if named else asked

    def _write(self, model: ServedModel, asked: WireRequest, ranking: RerankResponse) -> bytes:
        answer = WireResponse(
            results=tuple(WireResult(item.index, item.relevance_score, item.logit) for item in ranking),
            id=ranking.id,
            model=model.name,
            tokens=ranking.usage.total_tokens,
            truncated=tuple(sorted(item.index for item in ranking if item.truncated)),
        )
        return json_bytes(self.dialect.write_response(answer, asked))

    async def _rank(self, model: ServedModel, asked: WireRequest) -> RerankResponse:
        """The ranking, unless the deadline passes, the client leaves or the server stops first."""
        work = asyncio.ensure_future(model.reranker.arerank(asked.query, asked.texts, top_n=asked.top_n))
        gone = asyncio.ensure_future(_client_gone(self._request))
        try:
            self._server.lifecycle.track(work)
            left = max(0.0, self._deadline - time.monotonic())
            await asyncio.wait({work, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                if work.cancelled():
                    raise stopping()
                return work.result()
            if gone.done():
                raise ClientDisconnect
            raise DeadlineError(f"No answer within {self._server.settings.request_timeout:g} seconds.")
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)


async def _client_gone(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _off_the_loop(size: int, work: Callable[[], T]) -> T:
    return work() if size <= _INLINE_BYTES else await asyncio.to_thread(work)


def _facts(ranking: RerankResponse) -> dict[str, str]:
    """Headers that tell what the body has no place for."""
    timings = ranking.timings
    parts = {"encode": timings.encode, "inference": timings.inference, "total": timings.total}
    return {
        "x-truncated-documents": str(sum(item.truncated for item in ranking)),
        "server-timing": ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in parts.items()),
    }
