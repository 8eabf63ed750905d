"""The options of single models among those a server serves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, model_validator

from rerank_core.option_fields import ServedOptionFields
from rerank_core.spelling import did_you_mean


def read_options(value: Any) -> Any:
    """Options by the names of models, from ``NAME.OPTION=VALUE`` texts, or from the text of a JSON object.

    Raises:
        ValueError: when it is neither; other values are left to pydantic.
    """
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError('expected JSON such as {"NAME": {"dtype": "int8"}}') from None
    if not isinstance(value, list | tuple):
        return value
    options: dict[str, dict[str, str]] = {}
    for text in value:
        left, equals, given = str(text).partition("=")
        name, dot, option = left.rpartition(".")
        if not equals or not dot:
            raise ValueError(f"{text} is not NAME.OPTION=VALUE")
        options.setdefault(name, {})[option] = given
    return options


class ModelOptions(ServedOptionFields):
    """The options of one served model; what is not given is as for all models."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _suggest(cls, values: Any) -> Any:
        for name in values if isinstance(values, Mapping) else ():
            if name not in cls.model_fields:
                raise ValueError(f"there is no option {name!r}.{did_you_mean(str(name), cls.model_fields)}")
        return values
