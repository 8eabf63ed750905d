"""Writes docs/commands.md, all commands and options, from the command line's own help: python -m docs.make_commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from docs.make_man import EXIT_CODES, metavar
from rerank_core.cli import with_all_commands
from rerank_core.cli.examples import EXAMPLES

PAGE = Path(__file__).parent / "commands.md"


def page() -> str:
    """The whole page, as Markdown."""
    group: Any = typer.main.get_command(with_all_commands())
    lines = ["# Commands", "", "This page is made from `rerank --help`: `python -m docs.make_commands`.", ""]
    for name in sorted(group.commands):
        command = group.get_command(None, name)
        lines += [f"## `rerank {name}`", "", *_description(command), *_parameters(command), *_examples(name)]
    lines += ["## Exit status", "", *(f"- {code}: {meaning}" for code, meaning in EXIT_CODES)]
    return "\n".join(lines) + "\n"


def _description(command: Any) -> Iterator[str]:
    for block in inspect.cleandoc(command.help or "").split("\n\n"):
        code = block.startswith("    ")
        yield from (("```text", inspect.cleandoc(block), "```", "") if code else (_text(block), ""))


def _parameters(command: Any) -> Iterator[str]:
    yield from ("| option | what it does |", "| --- | --- |")
    for each in command.params:
        if each.param_type_name == "argument":
            names = f"`{metavar(each)}`"
        else:
            value = "" if each.is_flag or each.count else f" {metavar(each)}"
            names = ", ".join(f"`{name}{value}`" for name in [*each.opts, *each.secondary_opts])
        yield f"| {_cell(names)} | {_cell(_text(each.help or ''))} |"
    yield ""


def _examples(name: str) -> Iterator[str]:
    yield from ("```console", *(f"$ {line}" for line in EXAMPLES.get(name, ())), "```", "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _text(text: str) -> str:
    """One line, without the escapes of rich's markup, and with those of Markdown's."""
    return " ".join(text.replace("\\[", "[").replace("<", "\\<").split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
