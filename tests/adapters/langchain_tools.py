"""What the tests of the LangChain adapter share."""

from __future__ import annotations

from langchain_core.documents import Document
from langchain_core.tracers.base import BaseTracer

from rerank_core import Reranker
from rerank_core.scoring import FakeScorer
from rerank_plugins.langchain import CrossEncoderCompressor

QUERY = "What is machine learning?"
TEXTS = (
    "The weather today is sunny and warm.",
    "Machine learning is a subset of artificial intelligence.",
    "Cats are popular pets worldwide.",
    "Deep learning uses neural networks.",
)


class Runs(BaseTracer):
    """Keeps the finished root runs."""

    def __init__(self):
        super().__init__()
        self.roots = []

    def _persist_run(self, run):
        self.roots.append(run)


def documents(texts=TEXTS):
    return [Document(text, id=f"id-{i}", metadata={"n": i, "deep": {"list": [i]}}) for i, text in enumerate(texts)]


def compressor(scorer=None, **options):
    """With a scorer that counts the query's words instead of a model."""
    return CrossEncoderCompressor(reranker=Reranker(scorer=scorer or FakeScorer()), **options)


def ids(found):
    return [document.id for document in found]
