"""A cross-encoder reranking engine: score query-document pairs, in this process, offline if need be.

Public are the names in ``__all__`` of this package and of its ``errors``, ``evaluation``, ``events``, ``models``,
``scoring``, ``server`` and ``testing``; ``docs/reference`` lists them. Everything else is private and may change in any
release.

>>> from rerank_core import Reranker
>>> response = Reranker().rerank("capital of France", ["Berlin is in Germany.", "Paris is the capital of France."])
>>> response[0].text
'Paris is the capital of France.'
"""

from rerank_core.errors import (
    AuthenticationError,
    ClosedError,
    ConnectionError,  # noqa: A004  (the name users catch; it is builtins' ConnectionError too)
    InferenceError,
    InvalidRequestError,
    MissingDependencyError,
    ModelLoadError,
    ModelNotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    RerankError,
    TimeoutError,  # noqa: A004  (as above)
)
from rerank_core.fusion import fuse_lists
from rerank_core.packing import Packed, Piece, pack
from rerank_core.probe import CheckReport, Finding
from rerank_core.reranker import Reranker
from rerank_core.results import Document, Highlight, RerankResponse, RerankResult, Span, Timings, Usage

__all__ = [
    "AuthenticationError",
    "CheckReport",
    "ClosedError",
    "ConnectionError",
    "Document",
    "Finding",
    "Highlight",
    "InferenceError",
    "InvalidRequestError",
    "MissingDependencyError",
    "ModelLoadError",
    "ModelNotFoundError",
    "OverloadedError",
    "Packed",
    "Piece",
    "ProtocolError",
    "RateLimitError",
    "RerankError",
    "RerankResponse",
    "RerankResult",
    "Reranker",
    "Span",
    "TimeoutError",
    "Timings",
    "Usage",
    "__version__",
    "fuse_lists",
    "pack",
]


def __getattr__(name: str) -> str:
    """``__version__``, looked up when asked for: reading package metadata takes longer than importing us."""
    if name == "__version__":
        from importlib.metadata import version

        return version("rerank-plugins")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
