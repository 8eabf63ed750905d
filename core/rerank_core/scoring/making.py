"""From a model, a provider and options to the scorer they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from rerank_core.errors import InvalidRequestError
from rerank_core.events import Hook
from rerank_core.models.registry import DEFAULT_MODEL
from rerank_core.scoring.api import ApiScorer
from rerank_core.scoring.base import Scorer
from rerank_core.scoring.local import LocalScorer
from rerank_core.scoring.options import ApiOptions, LocalOptions


def make_scorer(
    model: str | Path | None, provider: str, local: LocalOptions, api: ApiOptions, hooks: Sequence[Hook]
) -> Scorer:
    """The scorer that ``provider`` stands for.

    Raises:
        InvalidRequestError: when an option of the other kind of scorer is not at its default, or the model is a path
            where a service is meant.
        AuthenticationError: when a hosted service's API key is missing.
    """
    if provider == "local":
        for name in changed(api):
            raise InvalidRequestError(
                f"{name} is for models reached over HTTP; give provider= or base_url= as well, or leave it out.",
                param=name,
            )
        return LocalScorer(DEFAULT_MODEL if model is None else model, local, hooks=hooks)
    for name in changed(local):
        raise InvalidRequestError(
            f"{name} is for models in this process; provider={provider!r} decides it by itself. Leave it out.",
            param=name,
        )
    if isinstance(model, Path):
        raise InvalidRequestError(f"model must be a name that {provider!r} knows, not a path.", param="model")
    return ApiScorer(model, provider, api, hooks=hooks)


def changed(options: LocalOptions | ApiOptions) -> list[str]:
    """The names of the options that are not at their defaults."""
    return [field.name for field in fields(options) if getattr(options, field.name) != field.default]
