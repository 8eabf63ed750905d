"""The threads of a synchronous call."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import TypeVar

from rerank_core.client.retry import Deadline
from rerank_core.errors import OverloadedError

T = TypeVar("T")

IN_PARALLEL = 4


def in_threads(jobs: Sequence[Callable[[], T]], deadline: Deadline) -> list[T]:
    """The results in order, or the first error; then the other threads are made to stop."""
    futures: list[Future[T]] = [Future() for _ in jobs]
    waiting = deque(zip(futures, jobs, strict=True))

    def work() -> None:
        while waiting:
            try:
                future, job = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001  (raised where it is waited for)
                future.set_exception(error)

    try:
        for _ in range(min(IN_PARALLEL, len(jobs))):
            thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name="rerank")
            _start(thread)
        done, late = wait(futures, timeout=deadline.left, return_when=FIRST_EXCEPTION)
        results = [future.result() for future in futures if future in done]  # raises the first error
        if not late:
            return results
    except BaseException:
        waiting.clear()
        deadline.expire()
        raise
    waiting.clear()
    deadline.expire()
    raise deadline.error()


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:  # the system has none left, or the interpreter is ending
        raise OverloadedError("this process cannot start another thread.", code="no_threads") from error
