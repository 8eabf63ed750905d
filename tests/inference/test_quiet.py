from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from rerank_core.inference.quiet import quiet_loggers
from waiting import child_status

CODE = "import os; from rerank_core import Reranker; Reranker().warm_up(); print(os.environ['ORT_DISABLE_TELEMETRY'])"


def run(home, **own):
    environment = {"HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **own}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


def test_onnx_runtime_reports_nothing_to_its_makers(tmp_path):
    assert run(tmp_path) == "1"
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parts[:2] == (".cache", "rerank-plugins") for path in written), written  # our own digests


def test_whoever_decides_for_themselves_is_left_alone(tmp_path):
    assert run(tmp_path, ORT_DISABLE_TELEMETRY="0") == "0"


def test_two_threads_that_want_a_logger_quiet_leave_it_as_it_was(caplog):
    logger = logging.getLogger("a library that talks")
    caplog.set_level(logging.INFO, logger.name)
    first, second = quiet_loggers(logger.name), quiet_loggers(logger.name)
    with first:
        second.__enter__()
    assert logger.level == logging.ERROR
    second.__exit__(None, None, None)
    assert logger.level == logging.INFO


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_logger_is_not_quiet_in_a_child_because_of_its_parents_threads():
    logger = logging.getLogger("a third one")
    with quiet_loggers(logger.name):
        child = os.fork()
        if child == 0:
            os._exit(logger.level)
        assert child_status(child) == logging.NOTSET
        assert logger.level == logging.ERROR
