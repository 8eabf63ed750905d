"""When a failed request is sent again, and after how long; the deadline of the whole call."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

from rerank_core.errors import RerankError, TimeoutError  # noqa: A004  (ours; builtins' is its base)

if TYPE_CHECKING:
    from tenacity import RetryCallState

Retry = Literal["no", "once", "yes"]

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
_LONGEST_SECONDS = 1_000_000.0  # eleven days; the system's clocks take no number of seconds, however large


class AttemptError(Exception):
    """One attempt failed.

    Attributes:
        error: what the caller gets if this was the last attempt.
        retry: whether another attempt may succeed; ``"once"`` allows one for all failures with the same code.
    """

    def __init__(self, error: RerankError, retry: Retry = "no") -> None:
        super().__init__(error.code)
        self.error = error
        self.retry = retry


class _Call:
    """Whether the caller still waits for the answer, and what to stop when it does not."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._endings: dict[object, Callable[[], None]] = {}  # changed and copied in single steps: no lock is needed

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        key = object()
        self._endings[key] = end
        try:
            if self.over.is_set():  # too late to be called by end()
                end()
            yield
        finally:
            del self._endings[key]

    def end(self) -> None:
        self.over.set()
        for end in self._endings.copy().values():
            end()


class Deadline:
    """The moment by which a call must be answered, retries included.

    Args:
        seconds: from now; more than eleven days count as eleven.
        address: the server's address, for the message.
        call: the call that it belongs to; None begins a new one.
    """

    def __init__(self, seconds: float, address: str, call: _Call | None = None) -> None:
        self.seconds = min(seconds, _LONGEST_SECONDS)
        self._address = address
        self._end = time.monotonic() + self.seconds
        self._call = _Call() if call is None else call

    @property
    def left(self) -> float:
        """Seconds left; 0 when there are none."""
        return 0.0 if self._call.over.is_set() else max(0.0, self._end - time.monotonic())

    def sooner(self, seconds: float) -> Deadline:
        """This deadline, or one ``seconds`` from now if that is sooner; of the same call."""
        return Deadline(min(self.left, seconds), self._address, self._call)

    def expire(self) -> None:
        """End the call: whatever still runs for it stops now, or at its next step."""
        self._call.end()

    def ending(self, end: Callable[[], None]) -> AbstractContextManager[None]:
        """A context in which :meth:`expire` calls ``end``, which must stop whatever is being waited for."""
        return self._call.ending(end)

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until :meth:`expire` is called."""
        self._call.over.wait(seconds)

    def error(self) -> TimeoutError:
        """What to raise when it has passed."""
        return TimeoutError(
            f"{self._address} did not answer within {self.seconds:g} s, the time allowed for the whole call with its "
            "retries. Raise timeout=, or send fewer documents."
        )


def full_jitter(retry: int) -> float:
    """Seconds before retry number ``retry`` (from 1): anything up to a ceiling that doubles."""
    return random.uniform(0.0, min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** (retry - 1)))  # noqa: S311  (no secret)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait from ``retry-after-ms`` or ``Retry-After`` (seconds or a date); None where there is neither."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


@dataclass
class RetryPolicy:
    """Decides after each failed attempt of one request whether and when to try again; tenacity calls it.

    Where the server says how long to wait, that is the wait; if it goes past the deadline, there is no other attempt.

    Attributes:
        max_retries: most attempts after the first.
        deadline: no wait goes past it.
        on_retry: called with the number of the retry, the wait in seconds and the error's code.
    """

    max_retries: int
    deadline: Deadline
    on_retry: Callable[[int, float, str], None]
    _retries: int = 0
    _wait: float = 0.0
    _once: set[str] = field(default_factory=set)

    def again(self, state: RetryCallState) -> bool:
        """Whether there is another attempt after this one."""
        failure = state.outcome.exception() if state.outcome else None
        wait = self.decide(failure) if isinstance(failure, AttemptError) else None
        if wait is None:
            return False
        self._wait = wait
        return True

    def wait(self, _state: RetryCallState) -> float:
        """Seconds before the next attempt."""
        return self._wait

    def decide(self, failure: AttemptError) -> float | None:
        """Seconds to wait before the next attempt; None for no other attempt."""
        error = failure.error
        used_up = failure.retry == "once" and error.code in self._once
        if failure.retry == "no" or used_up or self._retries >= self.max_retries:
            return None
        demanded = error.retry_after
        # Never sooner than the server demands: it would refuse again.
        wait = full_jitter(self._retries + 1) if demanded is None else demanded
        if wait >= self.deadline.left:
            return None
        self._once.add(error.code)
        self._retries += 1
        self.on_retry(self._retries, wait, error.code)
        return wait
