"""Forks in a loop while other threads work; imported by processes of their own, where nothing is loaded yet."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

from waiting import BOUND, child_status, join


def fork_while(work: Callable[[], object], child: Callable[[], object], *, times: int, threads: int = 2) -> None:
    """Fork ``times`` times, each time while threads do ``work``; each child must do ``child`` and end.

    The forks come at moments that nobody chooses. While a child is at work, the threads come to the end of theirs and
    wait for the next fork, so that hundreds take seconds.

    Raises:
        AssertionError: when the work or a child fails, or a child hangs.
    """
    asked, begun, failures = threading.Semaphore(0), threading.Semaphore(0), []
    stop = threading.Event()

    def work_when_asked() -> None:
        while asked.acquire() and not stop.is_set():
            begun.release()
            try:
                work()
            except BaseException as error:  # noqa: BLE001  (raised in the main thread)
                failures.append(error)

    workers = [threading.Thread(target=work_when_asked) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        for number in range(times):
            asked.release(threads)
            assert begun.acquire(timeout=BOUND)
            for _ in range(random.randrange(20)):
                time.sleep(0)  # the others go on
            status = in_child(child)
            assert status == 0, f"child {number} of {times} ended with {status}"
            for _ in range(threads - 1):
                assert begun.acquire(timeout=BOUND)
            assert not failures, failures
    finally:
        stop.set()
        asked.release(threads)
        join(*workers)
    assert not failures, failures


def in_child(child: Callable[[], object]) -> int:
    """The exit status of a forked child that does ``child``.

    Raises:
        AssertionError: when it hangs.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        except BaseException:  # noqa: BLE001  (shown, and seen in the status)
            import traceback

            traceback.print_exc()
        os._exit(code)
    return child_status(pid)
