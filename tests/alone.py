"""Runs every test module by itself, each in a process of its own: ``python tests/alone.py [-j N] [FILE ...]``.

A test that passes only because another module ran before it fails here. Ends with a table and status 1 on a failure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent
_NO_TESTS = 5  # pytest's status when every test was left out


@dataclass(frozen=True)
class Ran:
    """One module's run."""

    file: Path
    status: int
    seconds: float
    output: str

    @property
    def passed(self) -> bool:
        return self.status in (0, _NO_TESTS)

    @property
    def row(self) -> str:
        summary = self.output.rstrip().rpartition("\n")[2].strip("= ")
        return f"{'ok' if self.passed else 'FAILED':6}  {self.seconds:6.1f} s  {self.file}  {summary}"


def run(file: Path) -> Ran:
    """Run one module; what it prints is kept."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return Ran(file, done.returncode, time.monotonic() - started, done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count(), help="how many modules at a time")
    parser.add_argument("files", nargs="*", type=Path, help="test modules; all when none is named")
    options = parser.parse_args()
    files = options.files or [file.relative_to(Path.cwd()) for file in sorted(TESTS.rglob("test_*.py"))]
    rows = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for ran in (done.result() for done in as_completed([pool.submit(run, file) for file in files])):
            print(ran.row if ran.passed else f"{ran.output}\n{ran.row}", flush=True)  # noqa: T201  (a script)
            rows.append(ran)
    failed = [ran for ran in rows if not ran.passed]
    print(f"\n{len(rows)} modules, {len(failed)} failed", *(ran.row for ran in failed), sep="\n")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
