"""Work of a request in steps: futures to wait for, one after the other, whose results are sent back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from rerank_core.call_group import ending

MakeFuture = Callable[[], Future[Any]]
"""Makes a future that is cancelled when the request ends."""

Steps = Generator[Future[Any], Any, Any]
"""Yields each future to wait for, is sent its result, and returns what the request wanted."""


def finish(work: Callable[[MakeFuture], Steps]) -> Any:
    """Do all steps; waits in this thread.

    Raises:
        Exception: whatever a step raises.
    """
    with droppable() as make_future:
        steps = work(make_future)
        try:
            future = next(steps)
            while True:
                future = steps.send(future.result())
        except StopIteration as done:
            return done.value


async def afinish(work: Callable[[MakeFuture], Steps]) -> Any:
    """:func:`finish` for asynchronous code.

    Raises:
        Exception: whatever a step raises.
    """
    with droppable() as make_future:
        steps = work(make_future)
        try:
            future = next(steps)
            while True:
                result = await asyncio.wrap_future(future)
                future = steps.send(result)
        except StopIteration as done:  # must not leave a coroutine
            return done.value


@contextmanager
def droppable() -> Iterator[MakeFuture]:
    """Makes futures that are cancelled when the request ends: whatever interrupts it, what has not started is dropped.

    The end of the group of calls that it belongs to interrupts it as well: it raises ``CancelledError`` then.
    """
    futures: list[Future[Any]] = []
    dropped = False

    def make() -> Future[Any]:
        future: Future[Any] = Future()
        futures.append(future)
        if dropped:  # drop() has not seen it
            future.cancel()
        return future

    def drop() -> None:
        nonlocal dropped
        dropped = True
        for future in tuple(futures):
            future.cancel()

    try:
        with ending(drop):
            yield make
    finally:
        drop()
