"""docs/how-to/migrate.md names only what exists, on both sides of its tables; test_docs.py runs what it shows."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from rerank_core import MissingDependencyError

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "how-to" / "migrate.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
# Where what stands in a row is defined: on the left other people's, on the right ours.
LEFT = {
    "CrossEncoder": "sentence_transformers",
    "model.predict": "sentence_transformers.CrossEncoder",
    "model.rank": "sentence_transformers.CrossEncoder",
    "SentenceTransformerRerank": "llama_index.postprocessor.sbert_rerank",
    "CrossEncoderReranker": "langchain_classic.retrievers.document_compressors",
    "ContextualCompressionRetriever": "langchain_classic.retrievers",
    "SentenceTransformersSimilarityRanker": "haystack_integrations.components.rankers.sentence_transformers",
}
RIGHT = {
    "Reranker": "rerank_core",
    "reranker.rerank": "rerank_core.Reranker",
    "reranker.arerank": "rerank_core.Reranker",
    "reranker.score": "rerank_core.Reranker",
    "CrossEncoderPostprocessor": "rerank_plugins.llama_index",
    "CrossEncoderCompressor": "rerank_plugins.langchain",
    "CrossEncoderScorer": "rerank_plugins.langchain",
    "RerankRetriever": "rerank_plugins.langchain",
    "CrossEncoderRanker": "rerank_plugins.haystack",
}


def calls(side: int, known: dict[str, str]) -> list[tuple[str, frozenset[str]]]:
    """The calls in one column's code, of names that are known: name and keywords."""
    found = {}
    for row in ROWS:
        for code in re.findall(r"`([^`]+)`", row[side]):
            try:
                tree = ast.parse(code)
            except SyntaxError:  # a part of a call, such as one keyword
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in known:
                    found[name, frozenset(keyword.arg for keyword in node.keywords if keyword.arg)] = None
    return list(found)


def defined(name: str, place: str):
    """The class or method, or None where its library is not installed."""
    module, _, attribute = place.rpartition(".")
    where, inside = (module, attribute) if attribute[:1].isupper() else (place, "")
    try:
        if find_spec(where) is None:
            return None
        owner = import_module(where)
        return getattr(getattr(owner, inside) if inside else owner, name.rpartition(".")[2])
    except (ModuleNotFoundError, MissingDependencyError):
        return None


@pytest.mark.parametrize(
    ("name", "keywords", "place"),
    [
        pytest.param(name, keywords, known[name], id=f"{name}({', '.join(sorted(keywords))})")
        for side, known in enumerate((LEFT, RIGHT))
        for name, keywords in calls(side, known)
    ],
)
def test_what_a_row_calls_takes_these_keywords(name, keywords, place):
    called = defined(name, place)
    if called is None:
        pytest.skip(f"{place} is not installed")
    # Pydantic states a class's keywords on the class, Haystack hides those of __init__ behind a metaclass.
    signatures = [inspect.signature(each) for each in (called, called.__init__)]
    assert keywords <= {name for signature in signatures for name in signature.parameters}


@pytest.mark.parametrize(("side", "known"), [(0, LEFT), (1, RIGHT)])
def test_every_name_that_is_checked_is_on_the_page(side, known):
    assert set(known) == {name for name, _ in calls(side, known)}
