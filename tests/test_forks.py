"""What a fork does with our locks, and what it leaves to the child."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

from fresh import fresh
from rerank_core import forks
from waiting import BOUND, child_status, join, linger

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
KINDS = [forks.Lock, forks.OuterLock, forks.SlowLock]


def forked(check):
    """Whether ``check`` is true in a forked child."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return child_status(child) == 0


class Other:
    """A thread that does something and then waits to be let go."""

    def __init__(self, begin, end=None):
        self.inside = threading.Event()
        self.leave = threading.Event()
        self._begin, self._end = begin, end
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.inside.wait(BOUND)

    def _run(self):
        self._begin()
        self.inside.set()
        assert self.leave.wait(BOUND)
        if self._end is not None:
            self._end()

    def close(self):
        self.leave.set()
        join(self._thread)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_is_free_on_both_sides_of_a_fork(kind):
    lock = kind()
    assert forked(lambda: not lock._is_owned() and lock.acquire(blocking=False))
    other = Other(lambda: lock.acquire(timeout=BOUND), lock.release)
    other.close()
    with lock:
        assert lock._is_owned()


@pytest.mark.parametrize("kind", [forks.Lock, forks.OuterLock])
def test_a_fork_waits_for_a_change_under_way_to_be_complete(kind):
    lock, halves = kind(), []
    lock_taken = threading.Event()

    def change():
        with lock:
            halves.append(1)
            lock_taken.set()
            linger()
            halves.append(2)

    thread = threading.Thread(target=change)
    thread.start()
    assert lock_taken.wait(BOUND)
    assert forked(lambda: halves == [1, 2] and lock.acquire(blocking=False))
    join(thread)


def test_a_fork_does_not_wait_for_slow_work():
    lock = forks.SlowLock()
    other = Other(lambda: lock.acquire(timeout=BOUND), lock.release)
    try:
        assert forked(lambda: lock.acquire(blocking=False))
        assert not lock.acquire(blocking=False)
    finally:
        other.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_thread_that_forks_may_hold_a_lock_itself_and_goes_on_holding_it(kind):
    lock = kind()

    def held_and_released():
        held = lock._is_owned()
        lock.release()
        return held and not lock._is_owned()

    with lock:
        assert forked(held_and_released)
        assert lock._is_owned()
    assert not lock._is_owned()


def test_nested_locks_in_any_order_do_not_block_a_fork():
    first, second = forks.Lock(), forks.Lock()
    stop = threading.Event()

    def nest(outer, inner):
        while not stop.is_set():
            with outer:
                linger()
                if inner.acquire(timeout=0.001):
                    inner.release()

    threads = [threading.Thread(target=nest, args=pair) for pair in ((first, second), (second, first))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert forked(lambda: first.acquire(blocking=False) and second.acquire(blocking=False))
    finally:
        stop.set()
        join(*threads)


def test_threads_that_fork_at_once_do_not_block_each_other():
    """In a process of its own: other libraries do not allow that, once they are imported."""
    code = """
import os, threading
from rerank_core import forks
locks, codes = [forks.Lock() for _ in range(20)], []
def fork_often():
    for _ in range(10):
        if (child := os.fork()) == 0:
            os._exit(0 if all(lock.acquire(blocking=False) for lock in locks) else 1)
        codes.append(os.waitpid(child, 0)[1])
threads = [threading.Thread(target=fork_often) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(codes == [0] * 40)
"""
    assert fresh(code) == "True\n"


def test_a_signal_handler_may_fork_in_the_middle_of_a_fork():
    code = """
import os, signal, threading
from rerank_core import forks
locks, codes, pending = [kind() for kind in (forks.Lock, forks.OuterLock, forks.SlowLock)], [], [1]
def free(): return all([lock.acquire(timeout=10) for lock in locks])
def fork():
    if (child := os.fork()) == 0:
        found = []
        thread = threading.Thread(target=lambda: found.append(free()))
        thread.start(); thread.join()
        os._exit(0 if found == [True] else 1)
    codes.append(os.waitpid(child, 0)[1])
def in_between():  # all locks are held
    if pending:
        pending.clear()
        signal.raise_signal(signal.SIGUSR1)
forks.before_fork(in_between)
signal.signal(signal.SIGUSR1, lambda *_: codes.append(os.waitpid(os.fork() or os._exit(0), 0)[1]))
fork(); fork()
thread = threading.Thread(target=lambda: print(codes, free()))
thread.start(); thread.join()
"""
    assert fresh(code) == "[0, 0, 0] True\n"


def test_what_is_never_let_go_delays_one_fork_and_no_other(monkeypatch, caplog):
    monkeypatch.setattr(forks, "_FIRST_TIMEOUT", 0.001)
    monkeypatch.setattr(forks, "_LONGEST_TIMEOUT", 0.01)
    lock, other_lock = forks.Lock(), forks.Lock()
    other = Other(lambda: lock.acquire(timeout=BOUND), lock.release)
    try:
        assert forked(lambda: lock.acquire(blocking=False) and other_lock.acquire(blocking=False))
        assert "may hang" in caplog.text
        caplog.clear()
        assert forked(lambda: True)
        assert not caplog.text
    finally:
        other.close()
    assert forked(lambda: lock not in forks._stuck)


def test_owners_are_called_before_the_fork_and_in_the_child_while_they_live():
    class Owner:
        def __init__(self):
            self.calls = []
            forks.before_fork(self.prepare)
            forks.in_child(self.renew)

        def prepare(self):
            self.calls.append(("before", os.getpid()))

        def renew(self):
            self.calls.append(("child", os.getpid()))

    owners, parent = [Owner()], os.getpid()
    assert forked(lambda: owners[0].calls == [("before", parent), ("child", os.getpid())])
    assert owners[0].calls == [("before", parent)]
    before, renewals, gone = len(forks._before), len(forks._renewals), weakref.ref(owners[0])
    owners.clear()
    assert gone() is None
    assert (len(forks._before), len(forks._renewals)) == (before - 1, renewals - 1)


def test_an_owner_that_fails_does_not_keep_the_others_from_being_renewed():
    class Owner:
        def __init__(self, fails):
            self.fails, self.renewed = fails, False
            forks.in_child(self.renew)

        def renew(self):
            if self.fails:
                raise ValueError
            self.renewed = True

    broken, other = Owner(fails=True), Owner(fails=False)
    assert forked(lambda: other.renewed and not broken.renewed)


def test_a_fork_waits_for_imports_of_other_threads_and_the_child_can_import_them(tmp_path):
    """In a process of its own: the modules must be new to it."""
    (tmp_path / "slow_module.py").write_text("import time, flags\nflags.begun.set()\ntime.sleep(0.3)\nVALUE = 7\n")
    (tmp_path / "flags.py").write_text("import threading\nbegun = threading.Event()\n")
    code = textwrap.dedent("""
        import os, sys, threading
        from rerank_core import forks
        import flags
        def slow(): import slow_module
        threading.Thread(target=slow).start()
        flags.begun.wait()
        child = os.fork()
        import slow_module
        if child == 0: os._exit(0 if slow_module.VALUE == 7 else 1)
        sys.exit(os.waitpid(child, 0)[1])
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=BOUND).returncode == 0


def test_a_fork_in_the_middle_of_an_import_leaves_the_import_to_both(tmp_path):
    (tmp_path / "forking_module.py").write_text("import os\nCHILD = os.fork()\nimport colorsys\n")
    code = (
        "import os, sys; from rerank_core import forks; import forking_module, _imp\n"
        "assert not _imp.lock_held()\n"
        "if forking_module.CHILD == 0: os._exit(0)\n"
        "sys.exit(os.waitpid(forking_module.CHILD, 0)[1])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=BOUND).returncode == 0


def test_locks_are_registered_for_as_long_as_they_live():
    lock = forks.Lock()
    assert forks.is_registered(lock)
    assert not forks.is_registered(threading.RLock())
    before = len(forks._inner)
    del lock
    assert len(forks._inner) == before - 1
