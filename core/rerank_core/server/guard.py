"""Web pages and a server without keys: whose requests it answers.

A browser sends what any page tells it to, also to this machine. Two headers, which no page can set, give it away:
``Host`` is the name the browser went by, which is not ours when a page's own name was made to point here (DNS
rebinding); ``Origin`` is the page's address.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rerank_core.errors import InvalidRequestError
from rerank_core.server.answers import error_response
from rerank_core.server.exchange import Exchange

# Names that mean this machine wherever they are looked up (RFC 6761, 6.3).
LOOPBACK_HOSTS = ("localhost", "*.localhost", "127.0.0.1", "::1")


class GuardMiddleware:
    """Refuses requests for other hosts, and requests of web pages from elsewhere.

    A request without a Host header passes: no browser sends one (health checks in HTTP/1.0 do).

    Args:
        app: the application.
        hosts: the names that requests may name; ``*.example.com`` for all below a name, ``*`` for all.
        origins: origins whose pages may call; ``*`` for all.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._app = app
        self._hosts = [host.lower().strip("[]") for host in hosts]
        self._origins = {origin.lower() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with status 403."""
        error = self._objection(Headers(scope=scope)) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
            return
        Exchange.of(scope).code = error.code
        await error_response(error)(scope, receive, send)

    def _objection(self, headers: Headers) -> InvalidRequestError | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if not all(self._is_ours(host_name(host)) for host in hosts):
            return InvalidRequestError(
                "This server does not answer requests for that host name. Whoever runs it can allow the name "
                "(--allowed-host, RERANK_ALLOWED_HOSTS), or let only those in who have a key (--api-keys-file).",
                code="host_not_allowed",
                status=403,
            )
        if not all(self._may_call(origin.lower(), hosts) for origin in origins):
            return InvalidRequestError(
                "This server does not answer web pages of that origin. Whoever runs it can allow the origin "
                "(--cors-origin, RERANK_CORS_ORIGINS).",
                code="origin_not_allowed",
                status=403,
            )
        return None

    def _is_ours(self, name: str) -> bool:
        return any(
            host in ("*", name) or (host.startswith("*.") and name.endswith(host.removeprefix("*")))
            for host in self._hosts
        )

    def _may_call(self, origin: str, hosts: Sequence[str]) -> bool:
        if "*" in self._origins or origin in self._origins:
            return True
        # The origin of a page is a scheme, a host and a port, and nothing else (RFC 6454, 7).
        scheme, separator, host = origin.partition("://")
        return bool(scheme and separator) and host in {each.lower() for each in hosts}


def host_name(host: str) -> str:
    """The name in a Host header, without the port and without the brackets of an IPv6 address."""
    name, colon, port = host.strip().lower().rpartition(":")
    if not colon or (port and not port.isdigit()) or port.endswith("]"):
        name = host.strip().lower()
    return name.removesuffix(".").strip("[]")
