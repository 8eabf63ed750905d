from __future__ import annotations

import subprocess
import sys

import pytest

import rerank_core
from rerank_core import scoring, testing

HEAVY = ("torch", "transformers", "sentence_transformers", "onnxruntime", "numpy", "tokenizers", "huggingface_hub")
HTTP = ("httpx", "httpcore", "pydantic", "tenacity")
FRAMEWORKS = ("llama_index", "langchain_core", "haystack", "fastapi", "typer", "rich")


def test_the_public_names_are_these():
    assert sorted(rerank_core.__all__) == [
        "AuthenticationError", "ClosedError", "ConnectionError", "Document", "InferenceError", "InvalidRequestError",
        "MissingDependencyError", "ModelLoadError", "ModelNotFoundError", "OverloadedError", "ProtocolError",
        "RateLimitError", "RerankError", "RerankResponse", "RerankResult", "Reranker", "Span", "TimeoutError",
        "Timings", "Usage", "__version__",
    ]  # fmt: skip
    for name in rerank_core.__all__:
        assert getattr(rerank_core, name)


def test_what_users_test_with_is_this():
    assert testing.__all__ == ["ApiTransport", "FakeScorer", "api_transport", "assert_scorer_contract"]
    assert testing.FakeScorer is scoring.FakeScorer  # the name it had before goes on working


def test_version_is_the_installed_one():
    assert rerank_core.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rerank_core.nothing


@pytest.mark.parametrize("statement", ["import rerank_core", "import rerank_core; rerank_core.Reranker()"])
def test_importing_and_making_a_reranker_loads_nothing_heavy(statement):
    code = f"{statement}; import sys; print(*(m for m in {HEAVY + HTTP + FRAMEWORKS} if m in sys.modules))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == []


def test_the_engine_can_be_imported_from_the_adapters_package():
    import rerank_plugins

    assert rerank_plugins.Reranker is rerank_core.Reranker
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rerank_plugins.nothing


def test_importing_the_adapters_package_loads_nothing_heavy():
    heavy = ("rerank_core", *HEAVY, *HTTP, *FRAMEWORKS)
    code = f"import rerank_plugins.command, sys; print(*(m for m in {heavy} if m in sys.modules))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == []
