"""The models that are known by name, and how one is looked up."""

from __future__ import annotations

from pathlib import Path

from rerank_core.models.records import RECORDS
from rerank_core.models.spec import ModelSpec

__all__ = ["DEFAULT_MODEL", "REGISTRY", "ModelSpec", "known", "same_model", "select"]

DEFAULT_MODEL = "rerank-mini-en-v1"

REGISTRY: dict[str, ModelSpec] = {spec.name: spec for spec in RECORDS}
_BY_REPOSITORY = {spec.repository: spec for spec in REGISTRY.values() if spec.repository}


def known(name: str) -> ModelSpec | None:
    """The model with this name or Hub id; None where there is none."""
    return REGISTRY.get(name) or _BY_REPOSITORY.get(name)


def select(
    *, language: str | None = None, licence: str | None = None, max_size: float | None = None
) -> list[ModelSpec]:
    """The models that satisfy every condition given, in the order of the registry.

    Args:
        language: an ISO 639-1 code or an English name.
        licence: an SPDX identifier, in any case.
        max_size: most MB to download.
    """
    return [
        spec
        for spec in REGISTRY.values()
        if (language is None or spec.reads(language))
        and (licence is None or spec.licence.lower() == licence.strip().lower())
        and (max_size is None or spec.size_mb <= max_size)
    ]


def same_model(one: str, other: str) -> bool:
    """Whether two names mean the same model: a name here and its Hub id, or two spellings of a path."""
    return one == other or _resolved(one) == _resolved(other)


def _resolved(name: str) -> str:
    spec = known(name)
    if spec is not None:
        return spec.name
    try:
        path = Path(name).expanduser()
        return str(path.resolve()) if name and path.exists() else name
    except (OSError, RuntimeError, ValueError):  # not a path
        return name
