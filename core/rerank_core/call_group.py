"""Calls that can be ended from another thread.

A thread cannot be interrupted from outside. Whoever waits in one says here how its waiting is ended; whoever gives up
a group of calls then ends them all. Nothing here takes a lock: an interrupt (Ctrl-C) may come between any two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import TypeVar

R = TypeVar("R")


class CallGroup:
    """Calls that are ended together; a group made within a call of another group ends with that one."""

    def __init__(self) -> None:
        self.ended = False
        self._endings: dict[object, Callable[[], None]] = {}  # changed and copied in single steps

    def bind(self, call: Callable[[], R]) -> Callable[[], R]:
        """``call`` as one of the group's, in a copy of the caller's context; for any thread.

        Calling it raises ``concurrent.futures.CancelledError`` when the group has ended before.
        """
        context: Context = copy_context()
        context.run(_group.set, self)

        def run() -> R:
            if self.ended:
                raise CancelledError
            return context.run(call)

        return run

    def end(self) -> None:
        """End all calls: those that wait now, and those that begin to wait later."""
        self.ended = True
        for end in self._endings.copy().values():
            end()

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Within it, :meth:`end` calls ``end``; at once, when the group has ended already."""
        key = object()
        self._endings[key] = end
        try:
            if self.ended:  # too late to be called by end()
                end()
            yield
        finally:
            del self._endings[key]


_group: ContextVar[CallGroup | None] = ContextVar("rerank_call_group", default=None)


@contextmanager
def ending(end: Callable[[], None]) -> Iterator[CallGroup | None]:
    """Within it, the end of the group that the running call is one of calls ``end``, from any thread.

    Yields the group; None where the call is of no group.
    """
    group = _group.get()
    if group is None:
        yield None
        return
    with group.ending(end):
        yield group
