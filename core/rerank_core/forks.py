"""What a forked child must not inherit: held locks, unfinished changes, threads, connections, imports in progress.

A fork copies the memory of a process, but only the thread that forks. Everything with such state registers here; a test
fails when something does not.

==================  ==================================================================================================
``Lock``            guards a structure for a moment, and no other lock of ours is taken inside. A fork waits for it and
                    holds it, so a child never sees an unfinished change.
``OuterLock``       the same, but other locks are taken inside, or native code runs that has locks of its own. A fork
                    takes these first.
``SlowLock``        held through slow work, such as a download. No fork waits for it: the child finds it free, so what
                    it guards must be consistent at any moment, or be renewed with :func:`in_child`.
``before_fork``     calls a function before each fork, with all locks held.
``in_child``        calls a function in each child.
==================  ==================================================================================================

Imports need no registration: a fork waits until no other thread is in the middle of one. Python does not renew the
locks of modules that are being imported, so a child would wait for ever for a module that its parent was importing.

All locks are reentrant: a fork, a signal handler and a finalizer may come at a moment when their own thread holds one.
They are Python's own objects: only these are neither lost nor left held when Ctrl-C interrupts an acquire or release.
"""

from __future__ import annotations

import _imp
import itertools
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import MethodType
from typing import Protocol, cast

logger = logging.getLogger("rerank_core")

_FIRST_TIMEOUT = 0.5
_LONGEST_TIMEOUT = 30.0
_POLL_SECONDS = 0.001


class _ForkLock(Protocol):
    """The methods of a lock that a fork needs; the private ones are those that Python's own modules use for this."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def _is_owned(self) -> bool: ...
    def _at_fork_reinit(self) -> None: ...


class _Imports:
    """All modules that are being imported, as one lock: taken means that no other thread is importing any."""

    def __init__(self) -> None:
        self._owner: int | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: ARG002  (a lock's signature)
        deadline = time.monotonic() + timeout
        while True:
            _imp.acquire_lock()  # nobody begins an import while this is held
            if not _imported_elsewhere():
                self._owner = threading.get_ident()
                return True
            _imp.release_lock()
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)

    def release(self) -> None:
        self._owner = None
        _imp.release_lock()

    def _is_owned(self) -> bool:
        return self._owner == threading.get_ident()

    def _at_fork_reinit(self) -> None:
        if self._is_owned():
            self.release()
        self._owner = None


class _Fork:
    """The locks that one fork has taken, and whether it gave one up."""

    def __init__(self) -> None:
        self.taken: list[_ForkLock] = []
        self.given_up = False

    def release(self) -> None:
        while self.taken:
            if self.taken[-1]._is_owned():  # noqa: SLF001  (see _ForkLock)
                self.taken[-1].release()
            self.taken.pop()


class _Forking(threading.local):
    """The forks that one thread is about to make: several where a signal handler forks in the middle of a fork."""

    def __init__(self) -> None:
        self.forks: list[_Fork] = []

    def end(self) -> _Fork:
        """The innermost fork, which is over."""
        return self.forks.pop() if self.forks else _Fork()


_Locks = weakref.WeakValueDictionary[int, _ForkLock]
_Reference = Callable[[], Callable[[], None] | None]
_Calls = dict[int, _Reference]

_gate = cast("_ForkLock", threading.RLock())  # held from the beginning of a fork: no new task begins
_registry = cast("_ForkLock", threading.RLock())  # held at the end: nothing is registered
_outer: _Locks = weakref.WeakValueDictionary()
_inner: _Locks = weakref.WeakValueDictionary()
_slow: _Locks = weakref.WeakValueDictionary()
_imports: _ForkLock = _Imports()
_stuck: weakref.WeakSet[_ForkLock] = weakref.WeakSet()  # a fork has waited too long for these: the next does not wait
_forking = _Forking()
_before: _Calls = {}
_renewals: _Calls = {}
_number = itertools.count()


def Lock() -> threading.RLock:  # noqa: N802  (stands where threading.Lock does)
    """A lock that is held for a moment, with no other lock of ours taken inside."""
    return _registered(_inner)


def OuterLock() -> threading.RLock:  # noqa: N802  (as above)
    """A lock inside which others are taken, or native code runs; a fork waits for it, so never hold it for long."""
    return _registered(_outer)


def SlowLock() -> threading.RLock:  # noqa: N802  (as above)
    """A lock that may be held for long; free in a child, whatever its parent was doing."""
    return _registered(_slow)


def before_fork(function: Callable[[], None]) -> None:
    """Call a function before every fork, with all locks held; a bound method for as long as its object lives."""
    _register(_before, function)


def in_child(function: Callable[[], None]) -> None:
    """Call a function in every forked child; a bound method for as long as its object lives.

    All locks are free by then but those that the forking thread itself holds. Only one thread runs.
    """
    _register(_renewals, function)


def wait_for_forks() -> None:
    """Wait while another thread forks; for threads that would otherwise take a lock again before the fork can."""
    with cast("threading.RLock", _gate):
        pass


def hold_until_exit(seconds: float) -> None:
    """At exit: wait at most ``seconds`` for native code to return, and let none begin."""
    end = time.monotonic() + seconds
    for lock in (*_living(_outer), _gate):
        lock.acquire(timeout=max(0.0, end - time.monotonic()))


def is_registered(lock: object) -> bool:
    """Whether a lock comes from here."""
    return any(locks.get(id(lock)) is lock for locks in (_outer, _inner, _slow))


def _registered(locks: _Locks) -> threading.RLock:
    lock = threading.RLock()
    with cast("threading.RLock", _registry):
        locks[id(lock)] = cast("_ForkLock", lock)
    return lock


def _register(calls: _Calls, function: Callable[[], None]) -> None:
    number = next(_number)
    reference: _Reference = lambda: function  # noqa: E731  (what a weak reference to it would be)
    if isinstance(function, MethodType):
        reference = weakref.WeakMethod(function, lambda _: calls.pop(number, None))
    with cast("threading.RLock", _registry):
        calls[number] = reference


def _imported_elsewhere() -> bool:
    """Whether another thread is in the middle of an import; to be asked with the import lock held."""
    own = threading.get_ident()
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    owners = [getattr(reference(), "owner", None) for reference in list(locks.values())]
    return any(owner not in (None, own) for owner in owners)


def _before_fork() -> None:
    """Take every lock.

    The holder of one may wait for another that is taken here already: then all are released, and the missing one is
    taken first the next time. One that cannot be had for half a minute is left: waiting for ever is worse.
    """
    fork = _Fork()
    _forking.forks.append(fork)
    first: list[_ForkLock] = []
    timeout, end = _FIRST_TIMEOUT, time.monotonic() + _LONGEST_TIMEOUT
    while (missing := _take(fork, _in_order(first), timeout)) is not None:
        fork.release()
        first = [missing, *(lock for lock in first if lock is not missing)]
        left = end - time.monotonic()
        timeout = max(_FIRST_TIMEOUT, min(2 * timeout, left))
        if left <= 0:
            _stuck.add(missing)
            fork.given_up = True
    _call(_before)


def _in_order(first: Iterable[_ForkLock]) -> Iterator[_ForkLock]:
    yield from first
    yield _gate
    yield from _living(_outer)
    yield from _living(_inner)
    yield _imports
    yield _registry
    yield from _living(_outer)  # those made meanwhile; from here on there are no new ones
    yield from _living(_inner)


def _take(fork: _Fork, locks: Iterable[_ForkLock], timeout: float) -> _ForkLock | None:
    """Take all that the thread does not hold itself; returns the first that cannot be had in time, or None."""
    for lock in locks:
        if lock._is_owned():  # noqa: SLF001  (see _ForkLock)
            continue
        fork.taken.append(lock)  # noted first: an interrupt in between must leave no lock held
        if lock.acquire(timeout=0 if lock in _stuck else timeout):
            _stuck.discard(lock)
            continue
        fork.taken.pop()
        if lock not in _stuck:
            return lock
    return None


def _after_in_parent() -> None:
    fork = _forking.end()
    fork.release()
    if fork.given_up:
        logger.warning(
            "the process was forked while another thread had been loading, scoring or importing for more than %d "
            "seconds; a child that uses the same model or module may hang.",
            _LONGEST_TIMEOUT,
        )


def _after_in_child() -> None:
    taken = {id(lock) for lock in _forking.end().taken}
    for lock in (_gate, _registry, *_living(_outer), *_living(_inner), *_living(_slow), _imports):
        if id(lock) in taken or not lock._is_owned():  # noqa: SLF001  (the forking thread's own stay as they are)
            lock._at_fork_reinit()  # noqa: SLF001  (see _ForkLock)
    _call(_renewals)


def _living(locks: _Locks) -> list[_ForkLock]:
    return [lock for reference in locks.valuerefs() if (lock := reference()) is not None]


def _call(calls: _Calls) -> None:
    for reference in list(calls.values()):
        function = reference()
        try:
            if function is not None:
                function()
        except Exception:  # the others must still be called
            logger.exception("%r failed around a fork", function)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
