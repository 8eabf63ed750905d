from __future__ import annotations

import os
import subprocess
import sys

CODE = "import os; from rerank_core import Reranker; Reranker().warm_up(); print(os.environ['ORT_DISABLE_TELEMETRY'])"


def run(home, **own):
    environment = {"HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **own}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


def test_onnx_runtime_reports_nothing_to_its_makers(tmp_path):
    assert run(tmp_path) == "1"
    assert not any(tmp_path.rglob("*"))


def test_whoever_decides_for_themselves_is_left_alone(tmp_path):
    assert run(tmp_path, ORT_DISABLE_TELEMETRY="0") == "0"
