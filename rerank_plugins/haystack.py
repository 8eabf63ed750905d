"""The Haystack ranker.

It is defined in :mod:`haystack_integrations`, a namespace that Haystack loads saved pipelines from without an explicit
permission.
"""

from __future__ import annotations

from rerank_core.optional import optional

with optional("CrossEncoderRanker", extra="haystack"):
    import haystack  # noqa: F401  (to tell its absence from a fault in the ranker)

from haystack_integrations.components.rankers.rerank_plugins.ranker import CrossEncoderRanker

__all__ = ["CrossEncoderRanker"]
