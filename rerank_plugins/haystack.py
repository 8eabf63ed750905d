"""The Haystack ranker.

It is defined in :mod:`haystack_integrations`, the namespace that Haystack loads saved pipelines from without being
told to trust it.
"""

from __future__ import annotations

from rerank_core.errors import missing_dependency

try:
    import haystack  # noqa: F401  (to tell its absence from a fault in the ranker)
except ImportError as error:
    raise missing_dependency("haystack-ai", extra="haystack", what="CrossEncoderRanker") from error

from haystack_integrations.components.rankers.rerank_plugins.ranker import CrossEncoderRanker

__all__ = ["CrossEncoderRanker"]
