"""What the tests of the Haystack ranker share: texts, and rankers that need no model."""

from __future__ import annotations

from haystack import Document

from rerank_core import Reranker
from rerank_core.scoring import FakeScorer
from rerank_plugins.haystack import CrossEncoderRanker

QUERY = "What is machine learning?"
TEXTS = [
    "Cats are popular pets worldwide.",
    "Machine learning is a subset of artificial intelligence.",
    "The weather today is sunny and warm.",
    "Deep learning uses neural networks.",
]


def documents(*texts):
    return [Document(content=text) for text in texts or TEXTS]


def lexical(**options):
    """A ranker that counts the query's words, and the scorer behind it."""
    scorer = FakeScorer()
    return CrossEncoderRanker(reranker=Reranker(scorer=scorer), **options), scorer


def contents(output):
    return [document.content for document in output["documents"]]
