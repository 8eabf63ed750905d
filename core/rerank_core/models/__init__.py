"""Which models there are, and where their files come from."""

from rerank_core.models.registry import DEFAULT_MODEL, REGISTRY, ModelSpec

__all__ = ["DEFAULT_MODEL", "REGISTRY", "ModelSpec"]
