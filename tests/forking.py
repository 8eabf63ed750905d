"""Forks in a loop while other threads work; imported by processes of their own, where nothing is loaded yet."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from waiting import child_status, join


def fork_while(work: Callable[[], object], child: Callable[[], object], *, times: int, threads: int = 2) -> int:
    """Fork ``times`` times while threads do ``work`` again and again; each child must do ``child`` and end.

    Returns:
        How often the work was done.

    Raises:
        AssertionError: when the work or a child fails, or a child hangs.
    """
    stop, failures, done = threading.Event(), [], []

    def repeat() -> None:
        while not stop.is_set():
            try:
                work()
            except BaseException as error:  # noqa: BLE001  (raised in the main thread)
                failures.append(error)
                return
            done.append(1)

    workers = [threading.Thread(target=repeat) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        for number in range(times):
            status = in_child(child)
            assert status == 0, f"child {number} of {times} ended with {status}"
            assert not failures, failures
    finally:
        stop.set()
        join(*workers)
    assert not failures, failures
    return len(done)


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
        except BaseException:  # noqa: BLE001  (shown, and told by the status)
            import traceback

            traceback.print_exc()
        os._exit(code)
    return child_status(pid)
