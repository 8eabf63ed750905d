"""For pytest: the fixture ``fake_reranker``, a reranker without a model.

pytest finds it by itself where the package is installed; ``-p no:rerank_plugins.pytest`` leaves it out. It imports
nothing of the engine until a test asks for the fixture, and a fixture of the same name of your own takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rerank_core import Reranker


@pytest.fixture
def fake_reranker() -> Iterator[Reranker]:
    """A reranker that scores by shared words, deterministic and instant; its ``scorer.calls`` holds what was asked.

    Example::

        def test_the_best_document_comes_first(fake_reranker):
            assert my_pipeline(fake_reranker).answer("a b") == "a b"
            assert fake_reranker.scorer.calls == [("a b", ("c", "a b"))]
    """
    from rerank_core import Reranker
    from rerank_core.scoring import FakeScorer

    with Reranker(scorer=FakeScorer()) as reranker:
        yield reranker
