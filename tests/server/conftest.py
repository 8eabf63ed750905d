from __future__ import annotations

import pytest

from loops import GatedScorer
from serving import serving


@pytest.fixture(scope="session")
def api():
    """A server of the bundled model, also under the specification's name."""
    with serving(models=("bge-reranker-v2=rerank-mini-en-v1", "rerank-mini-en-v1")) as served:
        yield served


@pytest.fixture
def gated():
    """A scorer that waits, and how to serve it."""
    scorer = GatedScorer()
    yield scorer
    scorer.open.set()
