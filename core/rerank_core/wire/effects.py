"""What a field of a request does: declared once, with the field.

Each field of each request body has one of these effects. The table in ``docs/http-fields.md`` is made from them, and a
test sends every field twice: with a value that asks for what is done anyway, and with one that asks for something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import AliasChoices, BaseModel, GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema


@dataclass(frozen=True, slots=True)
class Effect:
    """What a field does.

    Attributes:
        why: how it is honoured, or why it is not.
        usual: a value that asks for what is done anyway.
        other: a value that asks for something else.
    """

    does: ClassVar[str]
    why: str
    usual: Any
    other: Any


@dataclass(frozen=True, slots=True)
class Honoured(Effect):
    """The answer is what the field asks for.

    Attributes:
        or_fails: whether ``other`` makes a request with a text that is too long fail, with an error that names the
            field.
        beside: other fields of the same body that it needs to mean anything.
    """

    does: ClassVar[str] = "honoured"
    or_fails: bool = False
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NoEffect(Effect):
    """The answer is the same whatever the field says, and right."""

    does: ClassVar[str] = "no effect on the answer"


@dataclass(frozen=True, slots=True)
class Refused(Effect):
    """What the field asks for cannot be done: any value that asks for something is an error that names the field.

    Attributes:
        nothing: the values that ask for nothing, besides null.
    """

    does: ClassVar[str] = "refused"
    nothing: Sequence[Any] = field(default=())

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """How pydantic lets an annotation check values."""
        return core_schema.with_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, _schema: core_schema.CoreSchema, _handler: Any) -> dict[str, Any]:
        """The values that are accepted, for the server's documentation."""
        return {"enum": [None, self.usual, *self.nothing]}

    def _check(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        if any(type(value) is type(each) and value == each for each in (self.usual, *self.nothing)):
            return value
        name = info.field_name or "field"
        text = f"{name} is not supported by this server: {self.why}. Leave it out."
        context = {"text": text, "code": "unsupported_parameter", "param": name}
        raise PydanticCustomError("rerank", "{text}", context)


@dataclass(frozen=True, slots=True)
class ByModel(Effect):
    """The answer is what the field asks for, where the model can do that; another model's error names the field."""

    does: ClassVar[str] = "honoured, or refused where the model cannot"


@dataclass(frozen=True, slots=True)
class Declared:
    """A field of a request body, as it is declared.

    Attributes:
        path: the names of the objects that contain it, from the top of the body.
        names: the names it may have there, the usual one first.
        effect: what it does.
    """

    path: tuple[str, ...]
    names: tuple[str, ...]
    effect: Effect


def declared(body: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Declared]:
    """Every field of a body and of the objects within it.

    Raises:
        TypeError: when a field does not declare its effect.
    """
    for name, info in body.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from declared(info.annotation, (*path, name))
            continue
        effects = [each for each in info.metadata if isinstance(each, Effect)]
        if not effects:
            raise TypeError(f"{body.__name__}.{name} does not say what it does to the answer.")
        yield Declared(path, _names(name, info), effects[-1])


def _names(name: str, info: FieldInfo) -> tuple[str, ...]:
    alias = info.validation_alias
    return tuple(map(str, alias.choices)) if isinstance(alias, AliasChoices) else (name,)
