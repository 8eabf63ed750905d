"""``rerank serve`` as a process, for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

from waiting import ended, join, wait_for

# A parent may ignore Ctrl-C, and children inherit that.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
{before}
from rerank_core.cli import main
main()
"""


class Process:
    def __init__(self, *arguments, before="", environment=None):
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND.format(before=before), "serve", "--port", "0", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})},
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with self.process.stderr as stream:
            self.lines.extend(stream)

    @property
    def log(self):
        return "".join(self.lines)

    def url(self):
        wait_for(lambda: self.process.poll() is not None or "ready" in self.log)
        return re.search(r"http://[\w.:]+", self.log)[0]

    def ended(self):
        """Its status, once it has ended and the log is complete."""
        status = ended(self.process)
        join(self._reader)
        return status

    def close(self):
        self.process.kill()
        self.ended()


@contextmanager
def running(*arguments, **options):
    """A server of its own; ``before`` is code that runs first in it, ``environment`` more variables."""
    process = Process(*arguments, **options)
    try:
        yield process
    finally:
        process.close()
