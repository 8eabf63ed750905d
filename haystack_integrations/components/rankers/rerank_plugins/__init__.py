"""A cross-encoder ranker for Haystack pipelines; also importable from :mod:`rerank_plugins.haystack`."""

from haystack_integrations.components.rankers.rerank_plugins.ranker import CrossEncoderRanker

__all__ = ["CrossEncoderRanker"]
