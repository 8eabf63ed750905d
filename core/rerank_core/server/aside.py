"""Python work of the server that takes long enough to hold up the event loop: reading and writing large bodies.

It runs on threads of its own, few in number and daemons: work that nobody waits for any longer cannot pile up, and does
not keep the process alive. The event loop's own executor does both.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from rerank_core.forks import in_child

_THREADS = 4

T = TypeVar("T")


class Aside:
    """A fixed number of daemon threads, started on first use; a forked process starts its own.

    Args:
        threads: most pieces of work at once. Work whose caller has left counts until it ends.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._started = False
        self.restart()

    def restart(self) -> None:
        """Begin without threads; for a forked child, where the parent's do not exist."""
        self._queue: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]]] = SimpleQueue()
        self._started = False

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``. Cancelled before it has started, it never runs; afterwards its result is dropped.

        Raises:
            Exception: whatever ``work`` raises.
        """
        if not self._started:
            self._start()
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((work, result))
        return await result

    def _start(self) -> None:
        self._started = True
        for number in range(self._threads):
            name = f"rerank-aside-{number}"
            threading.Thread(target=_serve, args=(self._queue,), name=name, daemon=True).start()


def _serve(queue: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]]]) -> None:
    while True:
        work, result = queue.get()
        if not result.cancelled():
            _finish(result, *_outcome(work))
        del work, result  # or the last request would stay in memory until the next one


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except BaseException as error:  # noqa: BLE001  (handed to whoever waits)
        return None, error


def _finish(result: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    def settle() -> None:
        if result.done():  # nobody waits any longer
            return
        if error is None:
            result.set_result(value)
        else:
            result.set_exception(error)

    with suppress(RuntimeError):  # the loop is closed
        result.get_loop().call_soon_threadsafe(settle)


ASIDE = Aside(_THREADS)


def _restart_in_child() -> None:
    ASIDE.restart()


in_child(_restart_in_child)
