"""Writes docs/rerank.1, the manual page, from the command line's own help: python docs/make_man.py."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from rerank_core.cli import with_all_commands
from rerank_core.cli.examples import EXAMPLES

PAGE = Path(__file__).parent / "rerank.1"
_MARKUP = re.compile(r"\\(?=\[)")
_KINDS = {int: "N", float: "NUMBER", Path: "FILE"}
EXIT_CODES = (
    ("0", "Done; for a query: something was found."),
    ("1", "Nothing was found, or a condition that was asked for does not hold."),
    ("2", "Wrong usage, or input that cannot be read."),
    ("3", "A model, a server or the disk failed."),
    ("130", "Interrupted."),
)


def page() -> str:
    """The whole page, in the language of man."""
    group: Any = typer.main.get_command(with_all_commands())
    commands = [(name, group.get_command(None, name)) for name in sorted(group.commands)]
    lines = [
        '.TH RERANK 1 "" "rerank-plugins" "User Commands"',
        ".SH NAME",
        f"rerank \\- {_text(group.help).rstrip('.').lower()}",
        ".SH SYNOPSIS",
        *(line for name, command in commands for line in _synopsis(name, command)),
        ".SH COMMANDS",
    ]
    for name, command in commands:
        lines += [f".SS rerank {_text(name)}", *_description(command), *_options(command), *_examples(name)]
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES:
        lines += [".TP", f".B {code}", meaning]
    return "\n".join(lines) + "\n"


def _synopsis(name: str, command: Any) -> Iterator[str]:
    arguments = (each for each in command.params if each.param_type_name == "argument")
    shown = " ".join(f"[{metavar(each)}]" if not each.required else metavar(each) for each in arguments)
    yield f".B rerank {_text(name)}"
    yield f"[OPTIONS] {_text(shown)}".rstrip()
    yield ".br"


def _description(command: Any) -> Iterator[str]:
    for block in inspect.cleandoc(command.help or "").split("\n\n"):
        if block.startswith("    "):
            yield from (".PP", ".RS 4", ".nf", *(_text(line[4:]) for line in block.split("\n")), ".fi", ".RE")
        else:
            yield from (".PP", _text(" ".join(block.split())))


def _options(command: Any) -> Iterator[str]:
    for each in command.params:
        help_text = getattr(each, "help", None)
        if each.param_type_name == "argument":
            yield from (".TP", f"\\fI{_text(metavar(each))}\\fR", _text(help_text or ""))
            continue
        names = ", ".join(f"\\fB{_text(name)}\\fR" for name in [*each.opts, *each.secondary_opts])
        value = "" if each.is_flag or each.count else f" \\fI{_text(metavar(each))}\\fR"
        default = each.default
        shown = default.value if hasattr(default, "value") else default
        named = isinstance(shown, str | int | float) and not (
            each.is_flag or each.count or "Default" in (help_text or "")
        )
        yield from (".TP", names + value, _text((help_text or "") + (f" Default: {shown}." if named else "")))


def metavar(parameter: Any) -> str:
    """What stands for a value: its choices, or a word for its kind."""
    if parameter.metavar:
        return str(parameter.metavar)
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    kind = parameter.type_descriptor.annotation
    while inner := [each for each in get_args(kind) if each is not type(None)]:
        if get_origin(kind) is Literal:
            return "|".join(map(str, inner))
        kind = inner[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(each.value) for each in kind)
    return _KINDS.get(kind, "TEXT")


def _examples(name: str) -> Iterator[str]:
    if lines := EXAMPLES.get(name):
        yield from (".PP", "Examples:", ".PP", ".RS 4", ".nf", *map(_text, lines), ".fi", ".RE")


def _text(text: str) -> str:
    """Text in which nothing means something to man."""
    safe = _MARKUP.sub("", text).replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return re.sub(r"^\.", r"\\&.", safe, flags=re.MULTILINE)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
