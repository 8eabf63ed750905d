"""From what HTTP and httpx report to our errors, and whether another attempt is worthwhile.

A server's error text may repeat documents or keys, so it is read but not passed on. Shown are: the status, the code
where it is one of the rerank API's own or looks like an identifier, the shape of the body, and a hint where the text is
understood. The one exception is the rerank API's own messages about an invalid request, which name the limit that was
exceeded.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import httpx

from rerank_core.client.exchange import Reply, Service
from rerank_core.client.retry import AttemptError, Deadline, Retry, retry_after
from rerank_core.client.urls import shown
from rerank_core.errors import (
    AuthenticationError,
    ClosedError,
    ConnectionError,  # noqa: A004  (ours; builtins' is its base)
    InferenceError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    RerankError,
    TimeoutError,  # noqa: A004  (as above)
)
from rerank_core.wire.dialect import nested, shape
from rerank_core.wire.native import Native

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,47}")
_OWN_CODES = frozenset(
    [
        *("empty_query", "invalid_query", "empty_documents", "invalid_documents", "invalid_document", "invalid_top_n"),
        *("missing_model", "invalid_model", "invalid_flag", "invalid_json", "invalid_request", "too_many_documents"),
        *("query_too_long", "document_too_long", "payload_too_large", "overloaded", "rate_limit_exceeded"),
    ]
)
_MESSAGE_LENGTH = 300
_READ_LENGTH = 2000  # most characters of a text that are read
# Not llama.cpp's "increase the physical batch size (current batch size: 512)": its batches are of tokens.
_TOO_MANY = re.compile(
    r"(?<!physical )(?<!current )batch size|too many (documents|texts|inputs|passages|items)|max_client_batch_size"
    r"|list should have at most \d+ items?",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context length|too (long|large)|(maximum|max|limit|less than|exceeds?)\b.{0,40}\btokens?|tokens?\b.{0,40}\blimit",
    re.IGNORECASE | re.DOTALL,
)
_NO_MODEL = re.compile(
    r"\bmodel\b.{0,200}(not (found|exist|available|supported)|unknown|does ?n.t exist|does not exist|no such)"
    r"|(unknown|no such|unsupported|invalid)\W{0,4}model\b",
    re.IGNORECASE | re.DOTALL,
)

_KEY_REFUSED = (401, 403, 498)
_NOTHING_THERE = (404, 405, 501)
# Class and code of the error, and whether to try again: temporary failures (408, 425, 429, 502 to 504) are sent again,
# 500 once.
_BY_STATUS: dict[int, tuple[type[RerankError], str | None, Retry]] = {
    400: (InvalidRequestError, None, "no"),
    402: (RateLimitError, "quota_exceeded", "no"),
    408: (TimeoutError, "server_timeout", "yes"),
    413: (InvalidRequestError, "payload_too_large", "no"),
    422: (InvalidRequestError, None, "no"),
    424: (InferenceError, "server_error", "no"),
    425: (OverloadedError, None, "yes"),
    429: (RateLimitError, None, "yes"),
    500: (InferenceError, "server_error", "once"),
    502: (ConnectionError, "bad_gateway", "yes"),
    503: (OverloadedError, None, "yes"),
    504: (TimeoutError, "server_timeout", "yes"),
}
_OTHER: tuple[type[RerankError], str | None, Retry] = (ProtocolError, None, "no")
_OTHER_FAILURE: tuple[type[RerankError], str | None, Retry] = (InferenceError, "server_error", "no")


@dataclass(frozen=True, slots=True, repr=False)
class _ErrorBody:
    """An error body: a code, and a text that is not passed on. Either may be empty."""

    code: str
    text: str
    body: Any


def says_too_many(reply: Reply) -> bool:
    """Whether a server refused a request for the number or size of its documents, not for what they are."""
    if reply.status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        return True
    if reply.status not in (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY):
        return False
    details = _read(reply)
    return details.code == "too_many_documents" or bool(_TOO_MANY.search(details.text))


def failed(reply: Reply, service: Service) -> AttemptError:
    """The error of a reply whose status is not a success."""
    details = _read(reply)
    error, retry = _classify(reply, details, service)
    error.retry_after = retry_after(reply.headers)
    return AttemptError(error, retry)


def _classify(reply: Reply, details: _ErrorBody, service: Service) -> tuple[RerankError, Retry]:
    status = reply.status
    if details.code == "model_not_found" or (status == httpx.codes.NOT_FOUND and _NO_MODEL.search(details.text)):
        message = f"{service.shown} does not serve the model {service.model!r}."
        return ModelNotFoundError(message, param="model", status=status), "no"
    if status in _KEY_REFUSED:
        return _refused_key(status, service), "no"
    if status in _NOTHING_THERE:
        return _no_api(status, service), "no"
    if 300 <= status < 400:  # noqa: PLR2004  (HTTP)
        return _redirected(reply, service), "no"
    kind, code, retry = _BY_STATUS.get(status, _OTHER_FAILURE if status >= 500 else _OTHER)  # noqa: PLR2004  (HTTP)
    words = (details.code.lower(), nested(details.body, "error", "type"))
    if kind is RateLimitError and any(str(word).startswith("overloaded") for word in words):
        kind, code = OverloadedError, "overloaded"
    if kind is InvalidRequestError and details.code in _OWN_CODES:
        code = details.code
    return kind(_message(reply, details, service), code=code, status=status), retry


def _refused_key(status: int, service: Service) -> AuthenticationError:
    variable = service.dialect.key_variable
    place = "api_key=" + (f" or {variable}" if variable else "")
    what = "refused the API key" if service.api_key else "wants an API key, and none was sent"
    code = "permission_denied" if status == httpx.codes.FORBIDDEN else None
    return AuthenticationError(f"{service.shown} {what} (status {status}). Check {place}.", code=code, status=status)


def _no_api(status: int, service: Service) -> ProtocolError:
    return ProtocolError(
        f"there is no rerank API of the {service.dialect.name!r} kind at {service.shown} (status {status}). "
        "Check base_url= and provider=; base_url may be the root of the API or the whole endpoint.",
        code="no_such_endpoint",
        transient=False,
    )


def _redirected(reply: Reply, service: Service) -> ProtocolError:
    target = "nowhere"
    try:
        if "location" in reply.headers:
            target = shown(urljoin(service.shown, reply.headers["location"]))[:_MESSAGE_LENGTH]
    except ValueError:
        target = "an address that cannot be read"
    secret = service.key_text
    return ProtocolError(
        f"{service.shown} redirects (status {reply.status}) to {_printable(target, secret)}. Redirects are not "
        "followed, because the API key would go along. Give the right address as base_url=.",
        code="redirected",
        transient=False,
    )


def _message(reply: Reply, details: _ErrorBody, service: Service) -> str:
    """The message: what may be repeated of the reply."""
    if details.code in _OWN_CODES and isinstance(service.dialect, Native) and details.text:
        detail = _printable(details.text, service.key_text)
    elif details.body is None:
        detail = f"the body: {reply.described}"
    else:
        detail = f"the body's shape: {shape(details.body)}"
    secret = service.key_text
    hidden = secret is not None and (secret in details.code or details.code in secret)
    code = f", {details.code}" if details.code and not hidden else ""
    hint = _hint(details.text)
    request = f" [request {reply.request_id}]" if reply.request_id else ""
    return f"{service.shown} answered with status {reply.status}{code}; {detail}{hint}{request}"


def _hint(text: str) -> str:
    if _TOO_MANY.search(text):
        return " It seems to mean: too many documents in one request."
    if _TOO_LONG.search(text):
        return " It seems to mean: a text is longer than the model, or the server, reads."
    if _NO_MODEL.search(text):
        return " It seems to mean: the model is not known there."
    return ""


def _printable(text: str, secret: str | None) -> str:
    """One line of bounded length, without the key."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (line.replace(secret, "[key]") if secret else line)[:_MESSAGE_LENGTH]


def _read(reply: Reply) -> _ErrorBody:
    """Code and text, from all the places where servers in use put them."""
    try:
        body = json.loads(reply.content)
    except (ValueError, RecursionError):
        return _ErrorBody("", reply.content[:_READ_LENGTH].decode("utf-8", "replace"), None)
    error = nested(body, "error")
    source = error if isinstance(error, dict) else body
    codes = [nested(source, name) for name in ("code", "error_type", "type", "status")]
    texts = [error, *(nested(source, name) for name in ("message", "detail", "msg"))]
    detail = nested(body, "detail")
    if isinstance(detail, list):  # FastAPI's list of what is wrong
        texts += [nested(item, "msg") for item in detail[:8]]
    code = next((c for c in codes if isinstance(c, str) and _IDENTIFIER.fullmatch(c)), "")
    return _ErrorBody(code, " ".join(t[:_READ_LENGTH] for t in texts if isinstance(t, str))[:_READ_LENGTH], body)


@contextmanager
def translated(service: Service, deadline: Deadline) -> Iterator[None]:
    """Turn what httpx raises into AttemptError, with the cause chained."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise _timed_out(error, service, deadline) from error
    except httpx.TransportError as error:
        raise _disconnected(error, service) from error
    except httpx.InvalidURL as error:
        raise AttemptError(
            InvalidRequestError("base_url is not usable: httpx cannot read it.", param="base_url")
        ) from error
    except httpx.HTTPError as error:
        raise AttemptError(ProtocolError(f"{service.shown}: {type(error).__name__}.")) from error
    except RerankError:
        raise
    except (OSError, UnicodeError) as error:  # a host's name that the resolver cannot spell; a transport of the user's
        message = f"{service.shown} cannot be reached ({_reason(error)})."
        raise AttemptError(ConnectionError(message), "no") from error
    except RuntimeError as error:  # httpx raises it for a client that was closed
        if "closed" not in str(error):
            raise
        raise AttemptError(ClosedError("the HTTP client was closed while it was in use.")) from error


def _timed_out(error: httpx.TimeoutException, service: Service, deadline: Deadline) -> AttemptError:
    if deadline.left < 0.01:  # noqa: PLR2004  (timers fire a little early)
        return AttemptError(deadline.error())
    kinds: tuple[tuple[type[Exception], str, Retry], ...] = (
        (httpx.ConnectTimeout, "connect_timeout", "yes"),
        (httpx.PoolTimeout, "pool_timeout", "yes"),
        (httpx.WriteTimeout, "write_timeout", "once"),
        # Servers go on working after a read timeout: sending everything again and again only adds to their load.
        (httpx.ReadTimeout, "read_timeout", "once"),
    )
    code, retry = next(((code, retry) for kind, code, retry in kinds if isinstance(error, kind)), ("timeout", "no"))
    return AttemptError(TimeoutError(f"{service.shown}: {code.replace('_', ' ')}.", code=code), retry)


def _disconnected(error: Exception, service: Service) -> AttemptError:
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return AttemptError(ProtocolError(f"{service.shown}: the request cannot be written ({type(error).__name__})."))
    if isinstance(error, httpx.RemoteProtocolError) and not re.search("disconnected|closed", str(error)):
        return AttemptError(ProtocolError(f"{service.shown} does not answer in HTTP."))
    if _chain_has(error, ssl.SSLCertVerificationError):
        message = f"{service.shown} shows a certificate that is not trusted. For a CA of your own set SSL_CERT_FILE."
        return AttemptError(ConnectionError(message, code="certificate_refused"))
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return AttemptError(ConnectionError(f"{service.shown} cannot be reached ({_reason(error)})."), "yes")
    message = f"the connection to {service.shown} broke before the answer was complete ({_reason(error)})."
    return AttemptError(ConnectionError(message, code="connection_lost"), "yes")


def _reason(error: BaseException) -> str:
    """The operating system's description, or the kind of error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, socket.gaierror | UnicodeError):
            return "no address for this host"
        if isinstance(seen, OSError) and seen.errno:
            return os.strerror(seen.errno)
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__


def _chain_has(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None
