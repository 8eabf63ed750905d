"""No thread of a test is lost because another one is being traced, too."""

from __future__ import annotations

import subprocess
import sys

from fresh import environment
from waiting import BOUND

STARTS = """
import sys, threading
from tracing import install_patiently

install_patiently()
sys.addaudithook(lambda event, given: sum(range(2000)) if event == "sys.settrace" else None)
sys.setswitchinterval(1e-6)
threading.settrace(lambda *of_a_call: None)
for _ in range(10):
    threads = [threading.Thread(target=print, args=("ran",)) for _ in range(50)]
    for thread in threads:
        thread._started.wait = lambda: None  # so that they start at once
        thread.start()
    while threading.active_count() > 1:
        pass
"""


def test_threads_that_are_traced_at_the_same_moment_all_run():
    ran = subprocess.run(
        [sys.executable, "-c", STARTS], env=environment(), capture_output=True, text=True, timeout=BOUND, check=True
    )
    assert (ran.stdout.count("ran"), ran.stderr) == (500, "")
