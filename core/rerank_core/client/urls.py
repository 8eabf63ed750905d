"""From what users write as ``base_url`` to the address that requests are posted to. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, unquote_plus, urlsplit, urlunsplit

from rerank_core.errors import InvalidRequestError

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_VERSION = re.compile(r"v\d+")
# Names of query parameters that hold secrets, alone or behind others: Ocp-Apim-Subscription-Key, X-Amz-Signature.
_SECRET = re.compile(
    r"code|(.*[-_. ])?((api|access|subscription)?key|(access|auth)?token|sig|signature|(client)?secret|password)",
    re.IGNORECASE,
)


def endpoint(base_url: str, path: str) -> str:
    """Where to post to.

    The root of the API, the root with the beginning of ``path`` (``/v1``) and the whole endpoint all work:

    - a URL that ends in the endpoint, or in its last part, is used as it is;
    - what it shares with the beginning of ``path`` is not repeated, and a version at its end gives way to the one
      the dialect speaks;
    - otherwise ``path`` is appended. The query string is kept.

    Args:
        base_url: an http or https URL.
        path: the dialect's path below the root of the API.

    Raises:
        InvalidRequestError: when ``base_url`` is not such a URL, or holds credentials, a key or a fragment.
    """
    parts = check_base_url(base_url)
    base, wanted = _pieces(parts.path), _pieces(path)
    if base[-len(wanted) :] == wanted:
        return urlunsplit(parts)
    shared = next((n for n in range(len(wanted) - 1, 0, -1) if base[-n:] == wanted[:n]), 0)
    if not shared and base and base[-1] == wanted[-1]:
        return urlunsplit(parts)
    if not shared and base and _VERSION.fullmatch(base[-1]) and _VERSION.fullmatch(wanted[0]):
        base = base[:-1]
    return urlunsplit(parts._replace(path="/" + "/".join(base + wanted[shared:])))


def beside(url: str, path: str, other: str) -> str:
    """The address of ``other`` on the server whose endpoint, with ``path``, is ``url``."""
    parts = urlsplit(url)
    base, wanted = _pieces(parts.path), _pieces(path)
    root = base[: -len(wanted)] if base[-len(wanted) :] == wanted else base[:-1]
    return urlunsplit(parts._replace(path="/" + "/".join(root + _pieces(other))))


def shown(url: str) -> str:
    """``url`` for messages: without credentials and query string, which may hold secrets."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def host_of(url: str) -> str:
    """The host, in lower case."""
    return urlsplit(url).hostname or ""


def is_loopback(url: str) -> bool:
    """Whether the host is this machine by its name or address."""
    host = host_of(url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _pieces(path: str) -> list[str]:
    return [piece for piece in path.split("/") if piece]


def check_base_url(base_url: object) -> SplitResult:
    """The parts of an address that can be shown, logged and saved.

    Raises:
        InvalidRequestError: as :func:`endpoint`; the error does not repeat the address.
    """
    if not isinstance(base_url, str) or _FORBIDDEN.search(base_url):
        raise _wrong("it must be a string without spaces, backslashes or control characters")
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # parsed when asked for
    except ValueError:
        raise _wrong("its host or port cannot be read") from None
    if "@" in parts.netloc:
        raise _wrong("it holds credentials; give the key as api_key=, where it stays out of logs")
    if parts.scheme not in ("http", "https"):
        seen = f"it starts with {parts.scheme!r}" if parts.scheme and parts.netloc else "it has no scheme"
        raise _wrong(f"{seen}; expected http:// or https://")
    if not parts.hostname:
        raise _wrong("it names no host")
    if parts.fragment:
        raise _wrong("it has a #fragment, which no server gets to see")
    if any(_SECRET.fullmatch(unquote_plus(field.partition("=")[0]).strip()) for field in re.split("[&;]", parts.query)):
        raise _wrong("its query string holds a key; give it as api_key=, where it stays out of logs and saved forms")
    return parts


def _wrong(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"base_url is not usable: {reason}.", code="invalid_base_url", param="base_url")
