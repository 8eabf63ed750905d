"""What is written from the declaration of options: a page for people, and stubs for type checkers and editors.

``python -m rerank_core.option_pages`` writes all three, from the project's folder; a test says when one is out of date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from rerank_core.options import MODEL, OPTIONS, PLAIN, Declared, World, of_scorer, of_server, of_world
from rerank_core.scoring.options import POSITIONAL

_MADE = "# Made of the declaration in rerank_core/options.py: python -m rerank_core.option_pages\n"

_TOP = """# Options

Every option of the engine. The same names hold everywhere:

- in Python, as keywords of `Reranker` and of the LlamaIndex, LangChain and Haystack adapters; those that are objects
  (*Python only*) are keywords of `Reranker` alone;
- on the command line of `rerank query`, as `--like-this`; an API key comes from an environment variable
  (`--api-key-env`), never from the command line itself;
- for `rerank serve`, those of models in this process, `max_latency`, `check_first`, `price_per_million_tokens` and
  `prompt`: for all models served, as `--like-this`, as `RERANK_LIKE_THIS` in
  the environment, or as `like_this` in the TOML file of `--config`; for the model served as NAME, with
  `--option NAME.like_this=VALUE`, in a table `[options.NAME]` of that file, or in `RERANK_OPTIONS`, as
  `{"NAME": {"like_this": VALUE}}`.

An option that belongs to the other kind of model is an error that names it.

This page is made from the code: `python -m rerank_core.option_pages`.
"""
_SECTIONS: Mapping[World, str] = {
    "both": "All models",
    "http": "Models reached over HTTP",
    "local": "Models in this process",
}


def page() -> str:
    """The page, in Markdown."""
    return "\n".join([_TOP, *("\n".join(_section(world)) for world in _SECTIONS)])


def _section(world: World) -> Iterator[str]:
    yield f"## {_SECTIONS[world]}\n"
    yield "| option | values | default | what it means |"
    yield "| --- | --- | --- | --- |"
    yield from map(_row, [*([MODEL] if world == "both" else []), *of_world(world).values()])
    yield ""


def _row(declared: Declared) -> str:
    option = declared.option
    kind = declared.type if option.field in {None, False} else option.field
    values = ", ".join(f"`{choice}`" for choice in declared.choices) or f"`{_text(kind)}`".replace("|", "\\|")
    only = " *Python only.*" if option.field is False else ""
    default = f"`{option.default}`" + (f": {option.unset}" if option.unset else "")
    return f"| `{declared.name}` | {values} | {default} | {f'{option.help} {option.more}'.rstrip()}{only} |"


def scorers_stub() -> str:
    """``scoring/options.pyi``."""
    lines = [
        _MADE,
        "from dataclasses import KW_ONLY, dataclass",
        "from typing import Literal\n",
        "import httpx",
        "from pydantic import SecretStr\n",
        "POSITIONAL: tuple[str, ...]\n",
    ]
    classes = {"LocalOptions": of_scorer("local"), "ApiOptions": of_scorer("http")}
    for name, options in classes.items():
        first = [options[each] for each in POSITIONAL if each in options]
        rest = [each for each in options.values() if each not in first]
        lines += ["@dataclass(frozen=True, slots=True)", f"class {name}:"]
        lines += [*_attributes(first, " = ..."), "    _: KW_ONLY", *_attributes(rest, " = ..."), ""]
    return "\n".join(lines)


def fields_stub() -> str:
    """``option_fields.pyi``."""
    saved = [each for each in (MODEL, *OPTIONS.values()) if each.option.field is not False]
    lines = [_MADE, "from typing import Literal\n", "from pydantic import BaseModel, SecretStr\n"]
    lines += ["class OptionFields(BaseModel):", *_attributes(saved, " = ..."), ""]
    lines += ["class ServedOptionFields(BaseModel):", *_attributes(of_server().values(), " = ..."), ""]
    lines += ["class PlainAttributes:", *_attributes(PLAIN.values()), ""]
    return "\n".join(lines)


def _attributes(options: Iterable[Declared], default: str = "") -> Iterator[str]:
    for each in options:
        kind = each.type if each.option.field in {None, False} else each.option.field
        yield f"    {each.name}: {_text(kind)}{default}"


def _text(kind: Any) -> str:
    """A type as it is written."""
    if isinstance(kind, str):
        return kind
    if get_origin(kind) is Literal:
        return "Literal[" + ", ".join(f'"{each}"' for each in get_args(kind)) + "]"
    if get_args(kind) and type(None) in get_args(kind):
        return " | ".join(_text(each) for each in get_args(kind))
    if get_origin(kind) is not None:
        return f"{get_origin(kind).__name__}[...]"
    return "None" if kind is type(None) else str(kind.__name__)


WRITTEN: Mapping[str, Callable[[], str]] = {
    "docs/options.md": page,
    "core/rerank_core/option_fields.pyi": fields_stub,
    "core/rerank_core/scoring/options.pyi": scorers_stub,
}
"""The files, from the project's folder, and what they must hold."""


if __name__ == "__main__":
    for file, text in WRITTEN.items():
        Path(file).write_text(text(), encoding="utf-8")
