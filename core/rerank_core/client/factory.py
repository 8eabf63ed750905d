"""Makes HTTP clients, with the proxies and certificates that the environment names, read only where needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.cookiejar import CookieJar
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from rerank_core import forks
from rerank_core.client.network import with_deadlines
from rerank_core.client.urls import host_of, is_loopback
from rerank_core.errors import ConnectionError  # noqa: A004  (ours; builtins' is its base)

_CONNECT_SECONDS = 5.0
_LAST_PORT = 65_535
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)

# Held while OpenSSL makes a context, which takes locks of its own: a fork waits, or they would stay held in the child.
_openssl = forks.OuterLock()


class Certificates:
    """The trusted certificates, read once: that takes longer than making a client."""

    def __init__(self) -> None:
        self._context: SSLContext | None = None
        forks.in_child(self._forget)  # a handshake in progress in the parent would leave it locked

    def _forget(self) -> None:
        self._context = None

    def context(self) -> SSLContext:
        """For all clients of one scorer.

        Raises:
            ConnectionError: when they cannot be read (code ``bad_certificates``).
        """
        with _openssl:
            if self._context is None:
                with _environment(
                    "the trusted certificates cannot be read. Check SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE",
                    code="bad_certificates",
                ):
                    self._context = httpx.create_ssl_context()
            return self._context


class ClientFactory:
    """Makes the clients for one address.

    Plain http reads no certificates, and this machine (loopback) is reached without a proxy.

    Args:
        url: the address they will send to.
        certificates: shared by all clients.

    Raises:
        ConnectionError: from its methods, when the environment names a proxy that cannot be used (code ``bad_proxy``)
            or certificates that cannot be read.
    """

    def __init__(self, url: str, certificates: Certificates) -> None:
        self._url = url
        self._certificates = certificates

    def client(self) -> httpx.Client:
        """A synchronous client whose connections keep to deadlines."""
        options = self._options()
        with _proxy_problem():
            return httpx.Client(transport=with_deadlines(httpx.HTTPTransport(**options)), **_client_options())

    def async_client(self) -> httpx.AsyncClient:
        """An asynchronous client."""
        options = self._options()
        with _proxy_problem():
            return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(**options), **_client_options())

    @property
    def reads_files(self) -> bool:
        """Whether making a client is slow, because certificates are read."""
        return self._secure(self._proxy())

    def _options(self) -> dict[str, Any]:
        proxy = self._proxy()
        context = self._certificates.context() if self._secure(proxy) else _context_without_certificates()
        if proxy is not None and proxy.url.scheme == "https":
            proxy.ssl_context = context
        return {"verify": context, "trust_env": False, "limits": _LIMITS, "proxy": proxy}

    def _secure(self, proxy: httpx.Proxy | None) -> bool:
        return urlsplit(self._url).scheme == "https" or (proxy is not None and proxy.url.scheme == "https")

    def _proxy(self) -> httpx.Proxy | None:
        found = None if is_loopback(self._url) else _proxy_of_environment(self._url)
        if not found:
            return None
        with _proxy_problem():
            proxy = httpx.Proxy(found if "://" in found else f"http://{found}")
            if not proxy.url.host or not (proxy.url.port is None or 0 < proxy.url.port <= _LAST_PORT):
                raise ValueError("no host, or no such port")
            return proxy


@cache
def _context_without_certificates() -> SSLContext:
    """A context without trusted certificates, for clients that need none: httpx would read them from files."""
    with _openssl:
        return SSLContext(PROTOCOL_TLS_CLIENT)


def _proxy_of_environment(url: str) -> str | None:
    """The proxy that the environment, or the system, names for ``url``."""
    parts, host = urlsplit(url), host_of(url)
    proxies = getproxies()
    names = (host, f"{host}:{parts.port}", f"[{host}]")
    found = proxies.get(parts.scheme) or proxies.get("all")
    return None if not found or any(proxy_bypass(name) for name in names) else found


def _client_options() -> dict[str, Any]:
    timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
    return {"timeout": timeout, "cookies": _NoCookies(), "trust_env": False}


class _NoCookies(CookieJar):
    """Keeps no cookies: whatever a server set would be sent with every later request."""

    def __init__(self) -> None:
        super().__init__()
        self._cookies_lock = forks.Lock()  # in place of the standard library's, which stays held in a forked child

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Take nothing."""


@contextmanager
def _environment(what: str, *, code: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, httpx.InvalidURL) as error:
        raise ConnectionError(f"{what}: {type(error).__name__}.", code=code) from error


def _proxy_problem() -> Any:
    return _environment(
        "the proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) cannot be used. Expected "
        "http://host:port or https://host:port; socks5://host:port needs the package 'socksio'. NO_PROXY=host goes "
        "without",
        code="bad_proxy",
    )
