"""From what a user writes after ``--model`` to scorers, and to where their scores are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.language import LOCAL, read_model, read_models
from rerank_core.evaluation.ownership import Access
from rerank_core.evaluation.scored import TIMED_SERVICE, System
from rerank_core.evaluation.store import ScoreStore
from rerank_core.models import digests
from rerank_core.reranker import Reranker
from rerank_core.scoring.cached import CachedScorer
from rerank_core.scoring.cascade import KEEP, stacked

FUSION = 0.5
"""The first stage's share in a system that is written with ``+fusion``."""


class Stores:
    """Where scores are kept.

    A local model's identity has everything that decides its scores, so they may be kept for ever, in a file of the
    machine. What stands behind an API can change without a sign: its scores are kept only where the user says so.

    Args:
        file: where to keep all scores; None for the machine's file, and memory for those of APIs.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._given = file
        self._kept: ScoreStore | None = None
        self._passing: ScoreStore | None = None

    @property
    def file(self) -> Path:
        """The file."""
        return default_file() if self._given is None else self._given

    @property
    def reused(self) -> int | None:
        """How often a score of an earlier run was taken; None where no file was used."""
        return None if self._kept is None else self._kept.reused

    @property
    def failed(self) -> bool:
        """Whether a score could not be written to the file."""
        return self._kept is not None and self._kept.failed

    def store(self, *, local: bool) -> ScoreStore:
        """The store for a local model's scores, or for an API's."""
        if local or self._given is not None:
            if self._kept is None:  # not "or": a store without scores is false
                self._kept = ScoreStore(self.file, ours=self._given is None)
            return self._kept
        if self._passing is None:
            self._passing = ScoreStore()
        return self._passing

    def close(self) -> None:
        """Close the file."""
        for store in (self._kept, self._passing):
            if store is not None:
                store.close()


def read_systems(texts: Sequence[str], access: Access, stores: Stores, *, keep: int = KEEP) -> list[System]:
    """The systems that users write as ``[PROVIDER:]NAME[+windows]``, or ``CHEAP>EXPENSIVE`` of two such; ``+fusion``.

    Args:
        texts: what users write.
        access: how models are reached that do not say so.
        stores: where scores are kept.
        keep: how many documents a cascade's second model scores.

    Raises:
        InvalidRequestError: when a model has no name or is given twice, or address or key belong to none of the models.
        AuthenticationError: when a hosted service's key is missing.
    """
    models = {text.strip(): read_models(text) for text in texts}
    if len(models) < len(texts):
        raise InvalidRequestError("--model: the same model is given twice.", param="model")
    everything = [model for each in models.values() for model in each]
    owner = access.owner(everything)
    access.check_use(everything, owner)
    access.check_different(models, owner)
    systems = []
    for text, each in models.items():
        scorers = [Reranker(model.name or None, **access.options(model, owner)).scorer for model in each]
        local = [access.provider_of(model) == LOCAL for model in each]
        fusion = FUSION if each[-1].fusion else None
        # Services are not asked twice: that may cost money.
        uncached = stacked(scorers, keep=keep) if all(local) else None
        timed = None if all(local) else TIMED_SERVICE
        stores_of = [stores.store(local=here) for here in local]
        # A cascade's caches are inside: what a part scores depends on the rest of a request.
        parts = scorers if len(scorers) == 1 else list(map(CachedScorer, scorers, stores_of))
        store = stores.store(local=all(local))
        systems.append(System(text, stacked(parts, keep=keep), store, fusion, uncached, timed))
    return systems


def read_system(text: str, access: Access, stores: Stores) -> System:
    """The one system that is not a cascade.

    Raises:
        InvalidRequestError: when it is one: its scores are those of two models, which cannot be compared.
    """
    read_model(text)
    (system,) = read_systems([text], access, stores)
    return system


def default_file() -> Path:
    """The machine's file of local models' scores.

    Raises:
        InvalidRequestError: when there is no place for it: the user has no home.
    """
    folder = digests.cache_folder()
    if folder is None:
        raise InvalidRequestError(
            "there is no home folder to keep scores in: name a file with --cache, or set XDG_CACHE_HOME to an absolute "
            "path.",
            param="cache",
        )
    return folder / "evaluation.db"
