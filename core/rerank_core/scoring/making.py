"""From a model, a provider and options to the scorer they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from rerank_core.errors import InvalidRequestError
from rerank_core.events import Hook
from rerank_core.models.registry import DEFAULT_MODEL, known
from rerank_core.models.source import local_path
from rerank_core.scoring.api import ApiScorer
from rerank_core.scoring.base import Scorer
from rerank_core.scoring.cascade import ABOVE, stacked
from rerank_core.scoring.listwise import ListwiseScorer
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
        for name in _foreign(api, local):
            raise InvalidRequestError(
                f"{name} is for models reached over HTTP; give provider= or base_url= as well, or leave it out.",
                param=name,
            )
        return local_scorer(DEFAULT_MODEL if model is None else model, local, hooks)
    for name in _foreign(local, api):
        raise InvalidRequestError(
            f"{name} is for models in this process; provider={provider!r} decides it by itself. Leave it out.",
            param=name,
        )
    if isinstance(model, Path):
        raise InvalidRequestError(f"model must be a name that {provider!r} knows, not a path.", param="model")
    return ApiScorer(model, provider, api, hooks=hooks)


def local_scorer(
    model: str | Path,
    options: LocalOptions,
    hooks: Sequence[Hook],
    around: Callable[[Scorer], Scorer] = lambda scorer: scorer,
) -> Scorer:
    """The scorer of a model in this process, or of ``CHEAP>EXPENSIVE``, a cascade of such.

    Args:
        model: a name, a path or a Hub id, or several names with ``>`` between them, the cheapest first.
        options: how to load and run each of them.
        hooks: called with each event.
        around: wraps the scorer of each model, in a cache for example; a cascade itself cannot be cached per text.

    Raises:
        InvalidRequestError: when a name is blank, or a revision is given for several models.
    """
    names = model_names(model)
    if len(names) > 1 and options.revision is not None:
        raise InvalidRequestError(
            f"revision= is of one model, and {model!r} is a cascade of {len(names)}. Leave it out, or make the cascade "
            "with CascadeScorer.",
            param="revision",
        )
    return stacked([around(_of_one(name, options, hooks)) for name in names])


def _of_one(model: str | Path, options: LocalOptions, hooks: Sequence[Hook]) -> Scorer:
    spec = known(model) if isinstance(model, str) else None
    if spec is not None and spec.listwise is not None:
        return ListwiseScorer(str(model), options, hooks=hooks)
    return LocalScorer(model, options, hooks=hooks)


def model_names(model: str | Path) -> list[str | Path]:
    """The models of a cascade that is written as ``CHEAP>EXPENSIVE``, or the only one; a path may have a ``>``."""
    if isinstance(model, str) and ABOVE in model and local_path(model) is None:
        return [name.strip() for name in model.split(ABOVE)]
    return [model]


def _foreign(given: LocalOptions | ApiOptions, own: LocalOptions | ApiOptions) -> list[str]:
    """The names of the options that are not at their defaults, and that the other kind of scorer does not have."""
    known = {field.name for field in fields(own)}
    return [name for name in changed(given) if name not in known]


def changed(options: LocalOptions | ApiOptions) -> list[str]:
    """The names of the options that are not at their defaults."""
    return [field.name for field in fields(options) if getattr(options, field.name) != field.default]
