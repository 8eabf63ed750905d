"""What options mean, in words for docstrings, fields, command lines and pages."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

from rerank_core.options import Declared

_WIDTH = 120
_INDENT = 8


def described(declared: Declared) -> str:
    """What an option means, and what None stands for, on one line."""
    option = declared.option
    return f"{option.help} None: {option.unset}." if option.unset else option.help


def with_arguments(doc: str | None, options: Iterable[Declared]) -> str | None:
    """A docstring whose ``Args:`` say what each option means, in place of the lines from ``model:`` on."""
    if doc is None:  # python -OO
        return None
    before, _, rest = doc.partition(" " * _INDENT + "model: ")
    _, blank_line, after = rest.partition("\n\n")
    return before + "\n".join(_argument(each) for each in options) + blank_line + after


def _argument(declared: Declared) -> str:
    where = {"http": "over HTTP only: ", "local": "in this process only: ", "both": ""}[declared.option.world]
    text = f"{declared.name}: {where}{described(declared)} {declared.option.more}".rstrip()
    lines = wrap(text, _WIDTH, initial_indent=" " * _INDENT, subsequent_indent=" " * (_INDENT + 4))
    return "\n".join(lines)
