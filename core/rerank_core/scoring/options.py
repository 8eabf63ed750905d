"""The options of a local model and of an API as frozen dataclasses, made of their declaration.

Type checkers read ``options.pyi``, which is made of the same declaration.
"""

from __future__ import annotations

from dataclasses import field, fields, make_dataclass
from typing import Any

from rerank_core.options import OPTIONS, World, of_world

POSITIONAL = ("base_url", "api_key")
"""Options that may be given by position."""


def _check(self: Any) -> None:
    for each in fields(self):
        object.__setattr__(self, each.name, OPTIONS[each.name].check(getattr(self, each.name)))


def _options(name: str, doc: str, world: World) -> type:
    """A dataclass of the options that apply in one world only, checked when it is made."""
    made = make_dataclass(
        name,
        [
            (
                each.name,
                each.type,
                field(
                    default=each.option.default,
                    repr=not each.option.secret and each.option.field is not False,
                    kw_only=each.name not in POSITIONAL,
                ),
            )
            for each in sorted(of_world(world).values(), key=lambda each: each.name not in POSITIONAL)
        ],
        namespace={"__post_init__": _check, "__doc__": doc},
        frozen=True,
        slots=True,
    )
    made.__module__ = __name__
    return made


_DOC = """{}. See :class:`~rerank_core.options.RerankerOptions` for each option.

    Raises:
        InvalidRequestError: when a value is not one of those allowed.
    """

LocalOptions = _options("LocalOptions", _DOC.format("How a model is loaded and run in this process"), "local")
ApiOptions = _options("ApiOptions", _DOC.format("How an API is called"), "http")
