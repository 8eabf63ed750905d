"""The options of a local model and of an API as frozen dataclasses, made of their declaration.

Type checkers read ``options.pyi``, which is made of the same declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, fields, make_dataclass
from functools import wraps
from typing import Any

from rerank_core.options import OPTIONS, Declared, check_names, of_scorer

POSITIONAL = ("base_url", "api_key")
"""Options that may be given by position."""


def _check(self: Any) -> None:
    for each in fields(self):
        object.__setattr__(self, each.name, OPTIONS[each.name].check(getattr(self, each.name)))


def _options(name: str, doc: str, options: Mapping[str, Declared]) -> type:
    """A dataclass of these options, checked when it is made."""
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
            for each in sorted(options.values(), key=lambda each: each.name not in POSITIONAL)
        ],
        namespace={"__post_init__": _check, "__doc__": doc},
        frozen=True,
        slots=True,
    )
    made.__module__ = __name__
    _refuse_unknown_names(made)
    return made


def _refuse_unknown_names(made: type) -> None:
    """Have the error of an unknown option name the one that was probably meant."""
    plain: Callable[..., None] = made.__init__  # type: ignore[misc]  # a dataclass's, of a class made here
    names = {each.name for each in fields(made)}

    @wraps(plain)
    def init(self: Any, *args: Any, **given: Any) -> None:
        check_names(given, names, plain)
        plain(self, *args, **given)

    made.__init__ = init  # type: ignore[misc]


_DOC = """{}. See :class:`~rerank_core.options.RerankerOptions` for each option.

    Raises:
        InvalidRequestError: when a value is not one of those allowed.
        TypeError: when there is no option of a name; the message has the one that was probably meant.
    """

LocalOptions = _options(
    "LocalOptions", _DOC.format("How a model is loaded and run in this process"), of_scorer("local")
)
ApiOptions = _options("ApiOptions", _DOC.format("How an API is called"), of_scorer("http"))
