from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rerank_core
from rerank_core import scoring, testing

HEAVY = ("torch", "transformers", "sentence_transformers", "onnxruntime", "numpy", "tokenizers", "huggingface_hub")
HTTP = ("httpx", "httpcore", "pydantic", "tenacity")
FRAMEWORKS = ("llama_index", "langchain_core", "haystack", "fastapi", "typer", "rich")

ROOT = Path(__file__).parents[1]
PUBLIC_MODULES = ("", ".errors", ".evaluation", ".events", ".models", ".scoring", ".server", ".testing")
# What the adapters use of the engine that users cannot rely on: they are released together.
SHARED_WITH_ADAPTERS = {
    "rerank_core": {"forks"},
    "rerank_core.cli": {"main"},
    "rerank_core.client.urls": {"check_base_url"},
    "rerank_core.documents": {"DocumentLike", "check_documents", "check_query"},
    "rerank_core.inference.workers": {"SLOW_CALLS"},
    "rerank_core.option_fields": {"OptionFields", "PlainAttributes"},
    "rerank_core.option_text": {"with_arguments"},
    "rerank_core.optional": {"optional"},
    "rerank_core.options": {"MODEL", "PLAIN", "PlainOptions", "completed", "effective_provider", "with_options"},
    "rerank_core.ranking": {"check_threshold"},
    "rerank_core.results": {"raw_scores"},
    "rerank_core.spelling": {"did_you_mean"},
    "rerank_core.wire.registry": {"dialect"},
}


def test_the_public_names_are_these():
    assert sorted(rerank_core.__all__) == [
        "AuthenticationError", "CheckReport", "ClosedError", "ConnectionError", "Document", "Finding", "Highlight",
        "InferenceError", "InvalidRequestError",
        "MissingDependencyError", "ModelLoadError", "ModelNotFoundError", "OverloadedError", "Packed", "Piece",
        "ProtocolError", "RateLimitError", "RerankError", "RerankResponse", "RerankResult", "Reranker", "Span",
        "TimeoutError", "Timings", "Usage", "__version__", "fuse_lists", "pack",
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


def test_the_adapters_use_public_names_and_the_listed_ones():
    seen: dict[str, set[str]] = {}
    for file in (*(ROOT / "rerank_plugins").rglob("*.py"), *(ROOT / "haystack_integrations").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "rerank_core":
                    seen.setdefault(module, set()).update(name.name for name in names)
                case ast.Import(names=names):
                    assert not [name for name in names if name.name.split(".")[0] == "rerank_core"], file
    for module in seen:
        if module.removeprefix("rerank_core") in PUBLIC_MODULES:
            # From the sources, as the server's and the evaluation's libraries may not be installed.
            seen[module] -= exported(module)
    assert {module: names for module, names in seen.items() if names} == SHARED_WITH_ADAPTERS


def exported(module: str) -> set[str]:
    folder = ROOT / "core" / module.replace(".", "/")
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name("__all__")], value=value):
                return set(ast.literal_eval(value))
    raise AssertionError(f"{module} has no __all__")


@pytest.mark.parametrize("module", [f"rerank_core{name}" for name in PUBLIC_MODULES])
def test_what_is_public_is_listed_in_the_module_and_has_a_page(module):
    page = (ROOT / "docs" / "reference" / f"{module}.md").read_text(encoding="utf-8")
    for name in exported(module):
        assert f"\n## `{name}`\n" in page
