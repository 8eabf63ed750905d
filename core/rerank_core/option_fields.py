"""Options as fields of pydantic models, for the adapters and the server's settings, made of their declaration.

Type checkers read ``option_fields.pyi``, which is made of the same declaration. Nothing imports this but what needs
pydantic anyhow.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path  # noqa: F401  (types of options name it, and the next one)
from typing import Any

from pydantic import BaseModel, Field, SecretStr, create_model  # noqa: F401

from rerank_core.option_text import described
from rerank_core.options import MODEL, OPTIONS, Declared, of_server


class PlainAttributes:
    """For type checkers: the attributes of what has every option of :class:`~rerank_core.options.PlainOptions`."""


def _fields(name: str, doc: str, options: Iterable[Declared]) -> type[BaseModel]:
    """A model of these options, except those that have no form to be saved in."""
    fields: dict[str, Any] = {each.name: _field(each) for each in options if each.option.field is not False}
    return create_model(name, __module__=__name__, __doc__=doc, **fields)


def _field(declared: Declared) -> tuple[Any, Any]:
    option = declared.option
    kind = declared.type if option.field is None else option.field
    hidden = {"exclude": True, "repr": False} if option.secret else {}
    return kind, Field(default=option.default, description=described(declared), **declared.bounds, **hidden)


OptionFields = _fields("OptionFields", "The options that can be saved, and the API key.", [MODEL, *OPTIONS.values()])
ServedOptionFields = _fields("ServedOptionFields", "The options of a model that is served.", of_server().values())
