"""API keys: kept as digests, compared in constant time, each with its own rate limit."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from rerank_core.errors import AuthenticationError, InvalidRequestError, RateLimitError
from rerank_core.files import accessing

_COMMENT = re.compile(r"(?:^|\s)#")
_KEY = re.compile(r"[!-~]+")  # what every client sends in a header, and in the same bytes
_LIMIT = re.compile(r"[1-9][0-9]{0,8}")


class TokenBucket:
    """Lets ``per_minute`` requests per minute through, at most that many at once.

    Args:
        per_minute: how many tokens flow per minute, and how many the bucket holds.
        clock: seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._size = float(per_minute)
        self._clock = clock
        self._tokens = self._size
        self._filled = clock()

    def take(self) -> float:
        """Take a token: 0.0, or the seconds until there is one."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


class RateLimits(Protocol):
    """Where the requests of each key are counted: in this process, or in one place for several."""

    async def take(self, key: bytes, per_minute: int) -> float:
        """Count a request of the key with this digest: 0.0, or the seconds until it may make one."""


class LocalLimits:
    """Requests counted in this process.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[bytes, int], TokenBucket] = {}

    async def take(self, key: bytes, per_minute: int) -> float:
        """Count a request of the key with this digest: 0.0, or the seconds until it may make one."""
        bucket = self._buckets.get((key, per_minute))
        if bucket is None:  # another limit of the same key begins anew
            bucket = self._buckets[key, per_minute] = TokenBucket(per_minute, self._clock)
        return bucket.take()


class KeyRing:
    """The keys that are let in. An empty ring lets everybody in.

    Only SHA-256 digests are kept: keys are long random strings, which need no slow hash.

    Args:
        rate_limit: requests per minute of a key that has no limit of its own; None for no limit.
        limits: where requests are counted; None for this process.
    """

    def __init__(self, *, rate_limit: int | None = None, limits: RateLimits | None = None) -> None:
        self._rate_limit = rate_limit
        self._limits = LocalLimits() if limits is None else limits
        self._limit_of: dict[bytes, int | None] = {}

    def __len__(self) -> int:
        return len(self._limit_of)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} keys)"

    def add(self, key: str, rate_limit: int | None = None) -> None:
        """Let ``key`` in, ``rate_limit`` times per minute (None: as often as any key).

        Raises:
            InvalidRequestError: when no client could send it in a header.
        """
        if not _KEY.fullmatch(key):
            raise InvalidRequestError(
                "an API key must be of printable ASCII characters, without spaces.", param="api_keys"
            )
        self._limit_of[_digest(key)] = self._rate_limit if rate_limit is None else rate_limit

    def add_file(self, file: Path) -> None:
        """Let the keys of a file in: one per line, optionally followed by its requests per minute.

        A # at the beginning of a word begins a comment; keys may hold one elsewhere.

        Raises:
            InvalidRequestError: when the file cannot be read, has no keys, or a line is neither.
        """
        with accessing(f"the API keys in {file}", param="api_keys_file"):
            content = file.read_bytes()
        try:
            lines = content.decode("utf-8-sig").splitlines()  # some editors put a mark before the first key
        except UnicodeError:  # not chained: it holds the keys
            raise InvalidRequestError(
                f"cannot read the API keys in {file}: it is not UTF-8.", param="api_keys_file"
            ) from None
        before = len(self)
        for number, line in enumerate(lines, 1):
            words = _COMMENT.split(line, maxsplit=1)[0].split()
            if not words:
                continue
            key, *limit = words
            if len(limit) > 1 or not all(map(_LIMIT.fullmatch, limit)) or not _KEY.fullmatch(key):
                raise InvalidRequestError(
                    f"line {number} of {file} is not a key of printable ASCII characters, optionally followed by its "
                    "requests per minute (1 to 999999999).",
                    param="api_keys_file",
                )
            self.add(key, int(limit[0]) if limit else None)
        if len(self) == before:  # an empty file must not let everybody in
            raise InvalidRequestError(f"{file} holds no API keys.", param="api_keys_file")

    async def admit(self, headers: Mapping[str, str]) -> None:
        """Let a request with these headers in, or say why not.

        Raises:
            AuthenticationError: when it has no key, or none of ours.
            RateLimitError: when its key has been used too often; ``retry_after`` says for how long.
        """
        if not self:
            return
        key = presented_key(headers)
        if not key:
            raise AuthenticationError("No API key. Send it as 'Authorization: Bearer KEY'.")
        digest = _digest(key)
        # Every key is compared, so that the time taken says nothing about which one came close.
        found = [known for known in self._limit_of if hmac.compare_digest(known, digest)]
        if not found:
            raise AuthenticationError("The API key is not valid.")
        limit = self._limit_of[found[0]]
        wait = 0.0 if limit is None else await self._limits.take(digest, limit)
        if wait:
            raise RateLimitError("Too many requests with this API key.", retry_after=wait)


def presented_key(headers: Mapping[str, str]) -> str:
    """The key of a request: ``Authorization: Bearer KEY`` or ``KEY`` alone, ``Api-Key`` or ``X-Api-Key``."""
    authorization = headers.get("authorization", "").strip()
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    return authorization or headers.get("api-key", "").strip() or headers.get("x-api-key", "").strip()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
