"""Where the models of an evaluation run, and which of them an address and a key belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.language import LOCAL, NamedModel
from rerank_core.options import effective_provider
from rerank_core.wire.registry import dialect


@dataclass(frozen=True, slots=True)
class Access:
    """How models are reached that do not say so themselves, and to whom address and key belong.

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

    def provider_of(self, model: NamedModel) -> str:
        """The provider that a model comes from."""
        named = effective_provider(model.provider or self.provider, self.base_url)
        return named if named == LOCAL else dialect(named).name

    def owner(self, models: Sequence[NamedModel]) -> str | None:
        """The provider that address and key belong to: the one named apart from the models, or the only one."""
        reached = {self.provider_of(model) for model in models} - {LOCAL}
        if self.provider not in {None, LOCAL}:
            named = self.provider_of(NamedModel(""))
            return named if named in reached else None
        return reached.pop() if len(reached) == 1 else None

    def options(self, model: NamedModel, owner: str | None) -> dict[str, Any]:
        """The engine's options for a model."""
        provider = self.provider_of(model)
        windows = "windows" if self.windows or model.windows else "truncate"
        options: dict[str, Any] = {"provider": model.provider or self.provider, "long_documents": windows}
        needed = provider != LOCAL and (provider == owner or dialect(provider).base_url is None)
        if model.provider is None or needed:
            options["base_url"] = self.base_url
        if provider == owner:
            options["api_key"] = self.api_key
        return options

    def check_use(self, models: Sequence[NamedModel], owner: str | None) -> None:
        """An address or a key that nobody would use is a mistake.

        Raises:
            InvalidRequestError: when there is one.
        """
        if self.api_key is not None and owner is None:
            raise InvalidRequestError(
                "--api-key-env holds the key of one provider: say with --provider which one. "
                "The others' keys come from their own environment variables.",
                param="api_key",
            )
        if self.base_url is not None and all(self.options(model, owner).get("base_url") is None for model in models):
            raise InvalidRequestError(
                "--base-url is the address of one provider: say with --provider which one.", param="base_url"
            )

    def check_different(self, systems: Mapping[str, Sequence[NamedModel]], owner: str | None) -> None:
        """One system under two names would look like two that agree.

        Raises:
            InvalidRequestError: when there is one.
        """
        seen: dict[tuple[object, ...], str] = {}
        for text, models in systems.items():
            options = [self.options(model, owner) for model in models]
            key = tuple(
                (self.provider_of(model), model.name, each["long_documents"], each.get("base_url"), model.fusion)
                for model, each in zip(models, options, strict=True)
            )
            other = seen.setdefault(key, text)
            if other != text:
                raise InvalidRequestError(f"--model: {other!r} and {text!r} are one model given twice.", param="model")
