"""For users' tests: a scorer without a model, the scorer contract as checks, the API without a socket.

pytest users have the fixture ``fake_reranker`` as soon as the package is installed (:mod:`rerank_plugins.pytest`).

Example:
    >>> from rerank_core import Reranker
    >>> from rerank_core.testing import FakeScorer, assert_scorer_contract
    >>> assert_scorer_contract(FakeScorer())
    >>> Reranker(scorer=FakeScorer()).rerank("a b", ["c", "a b"])[0].text
    'a b'
"""

from rerank_core.scoring.fake import FakeScorer
from rerank_core.testing.contract import assert_scorer_contract
from rerank_core.testing.transport import ApiTransport, api_transport

__all__ = ["ApiTransport", "FakeScorer", "api_transport", "assert_scorer_contract"]
