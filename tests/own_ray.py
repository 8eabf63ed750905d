"""A Ray of a test's own, none of whose processes may outlive the test."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waiting import BOUND, wait_for

MARK = "TEST_OF_RAY"  # in the environment of every process that a test starts
LONG = 4 * BOUND  # Ray starts nine processes, each of which imports Ray


def marked(mark: str) -> dict[int, bytes]:
    """Processes with this mark in their environment: number and command line."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended, or is somebody else's
    return found


@contextmanager
def own_ray() -> Iterator[dict[str, str]]:
    """What a process needs in its environment to start a Ray of its own; afterwards none of its processes is left.

    Raises:
        AssertionError: when one had not ended by itself.
    """
    folder, mark = tempfile.mkdtemp(prefix="ray-"), uuid.uuid4().hex
    yield {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "RAY_AUTH_MODE": "disabled",  # it would leave a token in the user's home
        "RAY_TMPDIR": folder,  # its sockets need a short path
        "RERANK_AUTOTUNE": "0",
        MARK: mark,
    }
    try:
        wait_for(lambda: not marked(mark))
    finally:
        end(mark)
        shutil.rmtree(folder, ignore_errors=True)


def end(mark: str) -> None:
    """Kill what is left."""
    for number in marked(mark):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
