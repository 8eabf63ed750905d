"""Adapters that put the engine, :mod:`rerank_core`, into RAG frameworks: one module per framework.

:class:`~rerank_core.Reranker`, the engine itself, can be imported from here as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_core import Reranker

__all__ = ["Reranker"]


def __getattr__(name: str) -> Any:
    """The engine when it is asked for: importing this package imports nothing else."""
    if name == "Reranker":
        from rerank_core import Reranker

        return Reranker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
