"""What a shell offers for the values of options: ``rerank --install-completion``."""

from __future__ import annotations


def model_names(incomplete: str) -> list[tuple[str, str]]:
    """The models known by name that begin like this, with what they are."""
    from rerank_core.models import REGISTRY

    return [(spec.name, spec.description) for spec in REGISTRY.values() if spec.name.startswith(incomplete)]


def providers(incomplete: str) -> list[str]:
    """Where models run, of what begins like this."""
    from rerank_core.wire.registry import CLIENT_DIALECTS

    return [name for name in ("local", *CLIENT_DIALECTS) if name.startswith(incomplete)]
