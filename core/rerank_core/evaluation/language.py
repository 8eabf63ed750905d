"""The small language for systems: ``[PROVIDER:]NAME[+windows]``, or ``CHEAP>EXPENSIVE`` of two such."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_core.errors import InvalidRequestError
from rerank_core.wire.registry import CLIENT_DIALECTS

LOCAL = "local"
_ABOVE = ">"
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
        if colon and (prefix == LOCAL or prefix in CLIENT_DIALECTS):
            return cls(rest.strip(), prefix, name != text)
        return cls(name, None, name != text)


def read_models(text: str) -> list[NamedModel]:
    """The model that a system is, or those of a cascade, the cheap one first.

    Raises:
        InvalidRequestError: when a model of this process, or of no provider in particular, has no name. A server's
            model may have none: many serve a single one.
    """
    specs = [NamedModel.read(part) for part in text.split(_ABOVE)]
    if any(not spec.name and spec.provider in {None, LOCAL} for spec in specs):
        raise InvalidRequestError(
            f"--model {text!r}: a name is missing; expected [PROVIDER:]NAME[+windows], or CHEAP>EXPENSIVE of two such.",
            param="model",
        )
    return specs


def read_model(text: str) -> NamedModel:
    """The model of a system that is not a cascade.

    Raises:
        InvalidRequestError: when it is one: its scores are those of two models, which cannot be compared.
    """
    models = read_models(text)
    if len(models) > 1:
        raise InvalidRequestError(
            f"{text!r} is a cascade, whose scores are those of two models; give one of them.", param="model"
        )
    return models[0]
