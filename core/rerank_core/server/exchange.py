"""What is known of one HTTP exchange, and the middleware around all of them: id, log line, metrics, last resort."""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rerank_core.errors import RerankError
from rerank_core.server.answers import error_response
from rerank_core.server.metrics import Metrics
from rerank_core.shown import zoned_time

logger = logging.getLogger("rerank_core.server")

_KEY = "rerank_core.exchange"
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_FAILED = (500, 504)
_REFUSED = 400
CLIENT_GONE = 499  # nginx's status for a client that closed the connection; nobody receives it


@dataclass(slots=True)
class Exchange:
    """What of one exchange a log line and the metrics show. Never keys, queries or documents."""

    id: str
    method: str = ""
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    code: str = ""
    model: str = ""
    documents: int = 0
    tokens: int = 0

    @classmethod
    def of(cls, scope: Scope) -> Exchange:
        """The exchange that ``scope`` belongs to."""
        exchange: Exchange = scope[_KEY]
        return exchange


class ExchangeMiddleware:
    """Gives every exchange an id, and accounts for how it ended.

    Args:
        app: the application.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one exchange on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        exchange = Exchange(given if _ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex, scope["method"])
        only_head = scope["method"] == "HEAD"
        # Whoever passed this on may have gone by the other length: what follows is not to be read (RFC 9112, 6.1).
        two_lengths = "content-length" in headers and "transfer-encoding" in headers
        # HEAD is answered wherever GET is, with the same headers (RFC 9110, 9.3.2).
        scope = {**scope, _KEY: exchange, "method": "GET" if only_head else scope["method"]}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                answer = MutableHeaders(scope=message)
                answer["x-request-id"] = exchange.id
                if two_lengths:
                    answer["connection"] = "close"
            elif only_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            log_failure(error, exchange.id)
            if exchange.status:
                raise
            exchange.code = "internal_error"
            response = error_response(RerankError("The server failed; its log has the reason under this request's id."))
            await response(scope, receive, send_with_id)
        finally:
            self._account(scope, exchange)

    def _account(self, scope: Scope, exchange: Exchange) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")  # never the path itself, which may hold anything
        seconds = time.perf_counter() - exchange.started
        self._metrics.requests.labels(route, str(exchange.status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if exchange.code:
            self._metrics.errors.labels(exchange.code).inc()
        quiet = route in ("/health", "/ready", "/ping", "/metrics")
        fields = {
            "request_id": exchange.id,
            "method": exchange.method,
            "route": route,
            "status": exchange.status,
            "code": exchange.code,
            "model": exchange.model,
            "documents": exchange.documents,
            "tokens": exchange.tokens,
            "seconds": round(seconds, 4),
        }
        shown = " ".join(
            f"{name}={value}" for name, value in fields.items() if value not in ("", 0) or name == "status"
        )
        logger.log(_level(exchange.status, quiet=quiet), "%s", shown, extra={"exchange": fields})


def _level(status: int, *, quiet: bool) -> int:
    """How loud an answer is in the log: what the server failed at, what was refused, what worked."""
    if status in _FAILED:
        return logging.ERROR
    if status >= _REFUSED:
        return logging.WARNING
    return logging.DEBUG if quiet else logging.INFO


class TextFormatter(logging.Formatter):
    """One line for people."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802  (logging's)
        """The time with its zone."""
        return zoned_time(record.created)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; what is known of an exchange becomes fields of its own."""
        fields: dict[str, Any] = getattr(record, "exchange", None) or {"message": record.getMessage()}
        line = {"time": zoned_time(record.created), "level": record.levelname.lower(), "logger": record.name, **fields}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_failure(error: BaseException, request_id: str) -> None:
    """Where it happened, and what kinds of errors led to it; no foreign message, which may hold what a client sent."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = found.__cause__ or found.__context__
    kinds = " from ".join(type(each).__name__ for each in chain)
    frames = "".join(traceback.format_tb(chain[-1].__traceback__))
    logger.error("request_id=%s failed: %s\n%s", request_id, kinds, frames)
