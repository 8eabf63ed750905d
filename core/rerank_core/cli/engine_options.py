"""The engine's options on the command line, made of their declaration: parameters, help, and words of messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter, signature
from typing import Annotated, Any, TypeVar, get_args

import typer

from rerank_core.cli.completions import model_names, providers
from rerank_core.options import MODEL, OPTIONS, Declared

F = TypeVar("F", bound=Callable[..., Any])

# What the command line calls by another name than Python does.
_FLAGS = {"api_key": "--api-key-env", "score_threshold": "--threshold", "top_n": "--top-n"}


def takes(options: Mapping[str, Declared], panels: Mapping[str, str], *, unset: bool = False) -> Callable[[F], F]:
    """A command that takes ``**options`` takes these ones, each as an option of its own.

    Those that are objects, or secret, have no place on a command line.

    Args:
        options: which ones, by name.
        panels: the headings of the help, by the world an option belongs to.
        unset: whether an option that is not given is None, because its default stands elsewhere.
    """

    def decorate(function: F) -> F:
        plain = signature(function, eval_str=True)
        own = [each for each in plain.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        taken = [each for each in options.values() if each.option.field is not False and not each.option.secret]
        made = [
            _parameter(each, panels[each.option.world], unset=unset)
            for each in taken
            if each.name not in plain.parameters
        ]
        function.__signature__ = plain.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
        return function

    return decorate


def _fits(declared: Declared) -> bool:
    return declared.option.field is not False and not declared.option.secret


def _parameter(declared: Declared, panel: str, *, unset: bool) -> Parameter:
    kind = declared.type if declared.option.field is None else declared.option.field
    if {str, float} <= set(get_args(kind)):  # text on a command line; the option's check reads it
        kind = str | None
    default = None if unset else declared.option.default
    text = described(declared) if default is None else declared.option.help  # a default is shown by itself
    switch = [_flag(declared.name)] if kind is bool else []  # without a --no-...
    completed = providers if declared.name == "provider" else None
    info = typer.Option(*switch, help=text, autocompletion=completed, rich_help_panel=panel)
    kind = kind | None if unset else kind
    return Parameter(declared.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def described(declared: Declared) -> str:
    """What an option means, with its default."""
    option = declared.option
    default = option.unset if option.default is None else option.default
    return f"{option.help} Default: {default}." if default not in {"", False} else option.help


PANELS = {"both": "Model", "http": "Models reached over HTTP", "local": "Models in this process"}
"""The headings of the help of a command that takes all options of an engine, by the world an option belongs to."""

ModelName = Annotated[
    str | None,
    typer.Option("--model", "-m", help=described(MODEL), autocompletion=model_names, rich_help_panel=PANELS["both"]),
]
"""The model of such a command; None is the default one."""

KeyVariable = Annotated[
    str | None,
    typer.Option(
        metavar="VAR",
        help="The environment variable that holds the API key, if not the provider's own.",
        rich_help_panel=PANELS["http"],
    ),
]
"""Where such a command finds the key: never on the command line."""


def _flag(name: str) -> str:
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


_NAMES = (
    *(each.name for each in (MODEL, *OPTIONS.values()) if each.option.field is not False),
    "top_n",
    "score_threshold",
)
_SPELLED = re.compile(rf"(?<![\w.-])({'|'.join(_NAMES)})=(?:'([^']*)'|(\w+))?")


def in_flags(message: str, param: str | None, flags: Collection[str]) -> str:
    """A message of the engine in the command line's words: ``give --model`` where it says ``give model=``.

    Args:
        message: what the engine says.
        param: the argument it is about, if it is about one.
        flags: those that the command has; other arguments are left as they are.
    """
    if param in _NAMES and message.startswith(f"{param} ") and _flag(param) in flags:
        message = _flag(param) + message.removeprefix(param)

    def spelled(found: re.Match[str]) -> str:
        name, quoted, plain = found.groups(default="")
        value = quoted or plain.removesuffix("True")  # a switch takes no value
        return f"{_flag(name)} {value}".rstrip() if _flag(name) in flags else found[0]

    return _SPELLED.sub(spelled, message)
