"""From what a user writes after ``--model`` to scorers, and to where their scores are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.store import ScoreStore
from rerank_core.models import digests
from rerank_core.options import effective_provider
from rerank_core.reranker import Reranker
from rerank_core.scoring.base import Scorer
from rerank_core.scoring.cached import CachedScorer
from rerank_core.scoring.cascade import CascadeScorer
from rerank_core.wire.registry import CLIENT_DIALECTS, dialect

_ABOVE = ">"
_LOCAL = "local"
_WINDOWS = "+windows"


@dataclass(frozen=True, slots=True)
class NamedModel:
    """One model as a user writes it: ``[PROVIDER:]NAME[+windows]``.

    Attributes:
        name: what its provider calls it.
        provider: where it runs; None where that is not said.
        windows: whether it reads long documents to the end.
    """

    name: str
    provider: str | None = None
    windows: bool = False

    @classmethod
    def read(cls, text: str) -> NamedModel:
        """The inverse of writing it."""
        text = text.strip()
        name = text.removesuffix(_WINDOWS)
        prefix, colon, rest = name.partition(":")
        if colon and (prefix == _LOCAL or prefix in CLIENT_DIALECTS):
            return cls(rest.strip(), prefix, name != text)
        return cls(name, None, name != text)


@dataclass(frozen=True, slots=True)
class Where:
    """Where models run, and how, unless they say so themselves.

    Attributes:
        provider: of the models that name none; None for this process, or for the rerank API at ``base_url``.
        base_url: the address of that provider, and of every one that has none of its own.
        api_key: that provider's key; it is never sent to another.
        windows: whether all models read long documents to the end.
    """

    provider: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    windows: bool = False

    def of(self, spec: NamedModel) -> str:
        """The provider that a model comes from."""
        named = effective_provider(spec.provider or self.provider, self.base_url)
        return named if named == _LOCAL else dialect(named).name

    def owner(self, specs: Sequence[NamedModel]) -> str | None:
        """The provider that address and key belong to: the one named apart from the models, or the only one."""
        reached = {self.of(spec) for spec in specs} - {_LOCAL}
        if self.provider not in {None, _LOCAL}:
            named = self.of(NamedModel(""))
            return named if named in reached else None
        return reached.pop() if len(reached) == 1 else None

    def options(self, spec: NamedModel, owner: str | None) -> dict[str, Any]:
        """The engine's options for a model."""
        provider = self.of(spec)
        windows = "windows" if self.windows or spec.windows else "truncate"
        options: dict[str, Any] = {"provider": spec.provider or self.provider, "long_documents": windows}
        needed = provider != _LOCAL and (provider == owner or dialect(provider).base_url is None)
        if spec.provider is None or needed:
            options["base_url"] = self.base_url
        if provider == owner:
            options["api_key"] = self.api_key
        return options


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


@dataclass(frozen=True, slots=True, repr=False)
class System:
    """A scorer, and where its scores are kept."""

    scorer: Scorer
    store: ScoreStore


def read_systems(texts: Sequence[str], where: Where, stores: Stores, *, keep: int = 20) -> dict[str, System]:
    """The systems that users write as ``[PROVIDER:]NAME[+windows]``, or as ``CHEAP>EXPENSIVE`` of two such.

    Args:
        texts: what users write.
        where: where the models run that do not say so.
        stores: where scores are kept.
        keep: how many documents a cascade's second model scores.

    Raises:
        InvalidRequestError: when a model has no name or is given twice, or address or key belong to none of the models.
        AuthenticationError: when a hosted service's key is missing.
    """
    parts = {text.strip(): _read_parts(text) for text in texts}
    if len(parts) < len(texts):
        raise InvalidRequestError("--model: the same model is given twice.", param="model")
    specs = [spec for each in parts.values() for spec in each]
    owner = where.owner(specs)
    _check_use(where, specs, owner)
    _check_different(where, parts, owner)
    systems = {}
    for text, each in parts.items():
        made = [(Reranker(spec.name or None, **where.options(spec, owner)).scorer, where.of(spec)) for spec in each]
        store = stores.store(local=all(provider == _LOCAL for _, provider in made))
        caches = [(scorer, stores.store(local=provider == _LOCAL)) for scorer, provider in made]
        systems[text] = System(_stacked(caches, keep), store)
    return systems


def read_system(text: str, where: Where, stores: Stores) -> System:
    """The one system that is not a cascade.

    Raises:
        InvalidRequestError: when it is one: its scores are those of two models, which cannot be compared.
    """
    if _ABOVE in text:
        raise InvalidRequestError(
            f"{text!r} is a cascade, whose scores are those of two models; give one of them.", param="model"
        )
    return read_systems([text], where, stores)[text.strip()]


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


def _read_parts(text: str) -> list[NamedModel]:
    """The one model, or those of a cascade. Only a server's model may have no name: many serve a single one."""
    specs = [NamedModel.read(part) for part in text.split(_ABOVE)]
    if any(not spec.name and spec.provider in {None, _LOCAL} for spec in specs):
        raise InvalidRequestError(
            f"--model {text!r}: a name is missing; expected [PROVIDER:]NAME[+windows], or CHEAP>EXPENSIVE of two such.",
            param="model",
        )
    return specs


def _check_different(where: Where, parts: Mapping[str, Sequence[NamedModel]], owner: str | None) -> None:
    """One system under two names would look like two that agree."""
    seen: dict[tuple[object, ...], str] = {}
    for text, specs in parts.items():
        options = [where.options(spec, owner) for spec in specs]
        key = tuple(
            (where.of(spec), spec.name, each["long_documents"], each.get("base_url"))
            for spec, each in zip(specs, options, strict=True)
        )
        other = seen.setdefault(key, text)
        if other != text:
            raise InvalidRequestError(f"--model: {other!r} and {text!r} are one model given twice.", param="model")


def _stacked(parts: Sequence[tuple[Scorer, ScoreStore]], keep: int) -> Scorer:
    """One scorer, or cascades of them. Caches are inside: what a part scores depends on the rest of a request."""
    (first, store), *rest = parts
    if not rest:
        return first
    expensive = CachedScorer(*rest[0]) if len(rest) == 1 else _stacked(rest, keep)
    return CascadeScorer(CachedScorer(first, store), expensive, keep=keep)


def _check_use(where: Where, specs: Sequence[NamedModel], owner: str | None) -> None:
    """An address or a key that nobody would use is a mistake."""
    if where.api_key is not None and owner is None:
        raise InvalidRequestError(
            "--api-key-env holds the key of one provider: say with --provider which one. "
            "The others' keys come from their own environment variables.",
            param="api_key",
        )
    if where.base_url is not None and all(where.options(spec, owner).get("base_url") is None for spec in specs):
        raise InvalidRequestError(
            "--base-url is the address of one provider: say with --provider which one.", param="base_url"
        )
