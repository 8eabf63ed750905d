"""Waiting for what another thread, task or process will do: the only place where tests sleep or read a clock.

Bounds are for what never comes. They are far above what any machine needs, however busy, so that no test depends on
how fast it is; ``tests/test_habits.py`` keeps it so.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

BOUND = 240.0  # seconds; below pytest's own timeout, whose report does not say what was waited for
_PAUSE = 0.005


def wait_for(condition: Callable[[], T], *, bound: float = BOUND) -> T:
    """Poll until ``condition()`` is true, and return what it gave.

    Raises:
        AssertionError: when it is still false after ``bound`` seconds.
    """
    end = time.monotonic() + bound
    while not (seen := condition()):
        assert time.monotonic() < end, f"still {seen!r} after {bound:g} s: {_name(condition)}"
        time.sleep(_PAUSE)
    return seen


async def async_wait_for(condition: Callable[[], T], *, bound: float = BOUND) -> T:
    """The same within an event loop, which goes on meanwhile."""
    end = time.monotonic() + bound
    while not (seen := condition()):
        assert time.monotonic() < end, f"still {seen!r} after {bound:g} s: {_name(condition)}"
        await asyncio.sleep(_PAUSE)
    return seen


def join(*threads: threading.Thread) -> None:
    """Wait for threads to end; one that does not is an error, not a leak.

    Raises:
        AssertionError: when one still runs after ``BOUND`` seconds.
    """
    for thread in threads:
        thread.join(BOUND)
        assert not thread.is_alive(), f"thread {thread.name} still runs after {BOUND:g} s"


class Crowd:
    """Counts how many threads are in it at once: ``with crowd: ...``.

    Args:
        expected: how many are expected together; whoever comes waits for so many, until they have been there once.

    Attributes:
        most: most at once so far.
    """

    def __init__(self, expected: int) -> None:
        self.most = 0
        self._expected = expected
        self._inside = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.most >= self._expected, BOUND), f"at most {self.most} came"

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1


def ended(process: subprocess.Popen) -> int:
    """The exit status of a process, once it has ended.

    Raises:
        subprocess.TimeoutExpired: when it still runs after ``BOUND`` seconds.
    """
    return process.wait(BOUND)


def child_status(pid: int) -> int:
    """The exit status of a forked child, once it has ended.

    Raises:
        AssertionError: when it still runs after ``BOUND`` seconds; it is killed.
    """
    try:
        _, status = wait_for(lambda: (seen := os.waitpid(pid, os.WNOHANG))[0] and seen)
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return os.waitstatus_to_exitcode(status)


def linger() -> None:
    """A moment for something wrong to happen; a test that is right passes however long or short it is."""
    time.sleep(0.05)


def _name(condition: Callable[[], object]) -> str:
    code = getattr(condition, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(condition)
