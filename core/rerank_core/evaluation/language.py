"""The small language for systems: ``[PROVIDER:]NAME[+windows]``, or ``CHEAP>EXPENSIVE`` of two such; ``+fusion``."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_core.errors import InvalidRequestError
from rerank_core.scoring.cascade import ABOVE
from rerank_core.wire.registry import CLIENT_DIALECTS

LOCAL = "local"
_WINDOWS, _FUSION = "+windows", "+fusion"


@dataclass(frozen=True, slots=True)
class NamedModel:
    """One model as a user writes it: ``[PROVIDER:]NAME[+windows][+fusion]``.

    Attributes:
        name: what its provider calls it.
        provider: where it runs; None where that is not said.
        windows: whether it reads long documents to the end.
        fusion: whether the system that it is, or is the last model of, is fused with the first stage.
    """

    name: str
    provider: str | None = None
    windows: bool = False
    fusion: bool = False

    @classmethod
    def read(cls, text: str) -> NamedModel:
        """The inverse of writing it."""
        name, fusion = _without(text.strip(), _FUSION)
        name, windows = _without(name, _WINDOWS)
        prefix, colon, rest = name.partition(":")
        if colon and (prefix == LOCAL or prefix in CLIENT_DIALECTS):
            return cls(rest.strip(), prefix, windows, fusion)
        return cls(name, None, windows, fusion)


def read_models(text: str) -> list[NamedModel]:
    """The model that a system is, or those of a cascade, the cheap one first.

    Raises:
        InvalidRequestError: when a model of this process, or of no provider in particular, has no name (a server's
            model may have none: many serve a single one), or ``+fusion`` is not at the end.
    """
    specs = [NamedModel.read(part) for part in text.split(ABOVE)]
    if any(spec.fusion for spec in specs[:-1]):
        raise InvalidRequestError(
            f"--model {text!r}: {_FUSION} is of the whole cascade; write it at the end.", param="model"
        )
    if any(not spec.name and spec.provider in {None, LOCAL} for spec in specs):
        raise InvalidRequestError(
            f"--model {text!r}: a name is missing; expected [PROVIDER:]NAME[+windows][+fusion], or CHEAP>EXPENSIVE of "
            "two such.",
            param="model",
        )
    return specs


def _without(text: str, ending: str) -> tuple[str, bool]:
    """``text`` without its ending, and whether it had it."""
    return text.removesuffix(ending), text.endswith(ending)


def read_model(text: str) -> NamedModel:
    """The model of a system that is no cascade and not fused.

    Raises:
        InvalidRequestError: when it is: scores of two models cannot be compared, and fused ones have no unit.
    """
    models = read_models(text)
    if models[-1].fusion:
        raise InvalidRequestError(f"{text!r} is fused, and a calibration is of a model's scores; leave {_FUSION} out.")
    if len(models) > 1:
        raise InvalidRequestError(
            f"{text!r} is a cascade, whose scores are those of two models; give one of them.", param="model"
        )
    return models[0]
