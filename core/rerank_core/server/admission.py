"""Which requests are let into the queue of a model, and how long the queue is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rerank_core.errors import OverloadedError

_FIRST_GUESS = 0.01  # seconds a pair, until there is a measurement
_MEMORY_SECONDS = 20.0  # work older than about this counts half


class Admission:
    """Counts what a model has accepted and not yet answered; whole requests come in, or nothing of them.

    Args:
        max_pairs: most query-document pairs at once.
        max_requests: most requests at once.
        clock: seconds that never go back.
    """

    def __init__(self, max_pairs: int, max_requests: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_pairs = max_pairs
        self._max_requests = max_requests
        self._clock = clock
        self._seen = clock()
        self._busy_seconds = 0.0
        self._done_pairs = 0.0
        self.pairs = 0
        self.requests = 0

    @contextmanager
    def admitted(self, pairs: int) -> Iterator[None]:
        """Hold the place of a request of ``pairs`` pairs while it is worked on.

        Raises:
            OverloadedError: when there is no room; ``retry_after`` is when there should be.
        """
        room = self.pairs + pairs <= self._max_pairs and self.requests < self._max_requests
        # A request larger than the whole queue would otherwise never get in.
        if not room and self.requests:
            wait = max(1.0, math.ceil(self.estimated_wait()))
            raise OverloadedError("The server is full; try again later.", retry_after=wait)
        self._tick()
        self.pairs += pairs
        self.requests += 1
        done = 0
        try:
            yield
            done = pairs
        finally:
            self._tick(done)
            self.pairs -= pairs
            self.requests -= 1

    def estimated_wait(self) -> float:
        """Seconds until what is accepted should be answered, at the pace of the recent past."""
        self._tick()
        pace = self._busy_seconds / self._done_pairs if self._done_pairs >= 1 else _FIRST_GUESS
        return self.pairs * pace

    def _tick(self, done: int = 0) -> None:
        """Account for the time since the last look, if there was work in it, and for pairs that are done."""
        now = self._clock()
        if self.requests:
            self._busy_seconds += now - self._seen
        self._seen = now
        self._done_pairs += done
        if self._busy_seconds > _MEMORY_SECONDS:
            self._busy_seconds /= 2
            self._done_pairs /= 2
