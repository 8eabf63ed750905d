"""The end of the process, whatever still runs in it."""

from __future__ import annotations

import os
import threading
from queue import Empty, SimpleQueue


class Watchdog:
    """A thread that ends the process when a time has passed that somebody set.

    Threads that compute cannot be stopped, and Python waits for most of them when it exits.
    """

    def __init__(self) -> None:
        # Safe to put to from a signal handler, which no lock or event is.
        self._orders: SimpleQueue[tuple[float, int] | None] = SimpleQueue()
        threading.Thread(target=self._watch, name="rerank-watchdog", daemon=True).start()

    def end_within(self, seconds: float, code: int) -> None:
        """End the process with exit code ``code`` after ``seconds``, in place of any earlier order."""
        self._orders.put((seconds, code))

    def stand_down(self) -> None:
        """End nothing."""
        self._orders.put(None)

    def _watch(self) -> None:
        order: tuple[float, int] | None = self._orders.get()
        while order is not None:
            seconds, code = order
            try:
                order = self._orders.get(timeout=seconds)
            except Empty:
                os._exit(code)
