"""Writes ``docs/reference`` from signatures and docstrings: ``python docs/make_reference.py``.

One page per public module. Everything is read from the sources, so no framework has to be installed. A name that two
modules list is described on the page of the first, and linked from the other.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
# Where a name is described first; the index lists them by name.
MODULES = (
    "rerank_core.errors",
    "rerank_core.events",
    "rerank_core.models",
    "rerank_core.scoring",
    "rerank_core.bulk",
    "rerank_core.testing",
    "rerank_core.evaluation",
    "rerank_core.server",
    "rerank_core",
    "rerank_plugins",
    "rerank_plugins.chroma",
    "rerank_plugins.haystack",
    "rerank_plugins.lancedb",
    "rerank_plugins.langchain",
    "rerank_plugins.llama_index",
    "rerank_plugins.pytest",
    "rerank_plugins.qdrant",
)
NOTE = "Made from the docstrings: `python docs/make_reference.py`.\n"
ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?([\w.]+)`")
LABELS = {"parameters": "Parameters", "raises": "Raises"}
NOT_OURS = {"model_config"}  # pydantic's


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    sources = griffe.GriffeLoader(search_paths=[ROOT / "core", ROOT], docstring_parser=griffe.Parser.google)
    for package in ("rerank_core", "rerank_plugins", "haystack_integrations"):
        sources.load(package)
    sources.resolve_aliases(implicit=False)
    written: dict[str, str] = {}
    described: dict[str, str] = {}
    for name in MODULES:
        module = sources.modules_collection[name]
        written[f"{name}.md"] = "\n".join(_page(module, described)).rstrip() + "\n"
    lines = ["# Reference", "", "What is not listed here is private, and may change in any release.", ""]
    for name in sorted(MODULES):
        summary = _plain(_docstring(sources.modules_collection[name])).split("\n\n")[0].replace("\n", " ")
        lines.append(f"- [`{name}`]({name}.md): {summary}")
    written["README.md"] = "\n".join([*lines, "", NOTE])
    return written


def public_names(module: griffe.Module) -> list[str]:
    """What ``__all__`` lists; for pytest plugins, which have none, the fixtures."""
    if module.exports is not None:
        return [str(name) for name in module.exports]
    return [name for name, member in module.functions.items() if not name.startswith("_") and member.decorators]


def _page(module: griffe.Module, described: dict[str, str]) -> Iterator[str]:
    yield from (f"# `{module.path}`", "", *_sections(module), NOTE)
    for name in public_names(module):
        if name == "__version__":
            yield from ("## `__version__`", "", "The installed version, a string.", "")
            continue
        member = module[name]
        target = member.final_target if member.is_alias else member
        if target.path in described:
            yield from (
                f"## `{name}`",
                "",
                f"See [`{described[target.path]}.{name}`]({described[target.path]}.md).",
                "",
            )
            continue
        described[target.path] = module.path
        yield from _described(target, name, level=2)


def _described(thing: griffe.Object, name: str, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} `{name}`", "", "```python", _signature(thing), "```", "")
    yield from _sections(thing)
    if isinstance(thing, griffe.Class):
        own = [member for key, member in thing.members.items() if not key.startswith("_") and not member.is_alias]
        yield from _attributes(thing, [member for member in own if isinstance(member, griffe.Attribute)])
        for member in own:
            if isinstance(member, griffe.Function):
                yield from _described(member, f"{name}.{member.name}", level + 1)


def _signature(thing: griffe.Object) -> str:
    if isinstance(thing, griffe.Class):
        bases = f"({', '.join(str(base) for base in thing.bases)})" if thing.bases else ""
        own = thing.members.get("__init__")
        dataclass = "dataclass" in thing.labels
        made = "\n\n" + _call(thing.name, thing.parameters) if own or dataclass else ""
        return f"class {thing.name}{bases}{made}"
    if isinstance(thing, griffe.Function):
        before = "async " if "async" in thing.labels else ""
        returns = f" -> {thing.returns}" if thing.returns else ""
        return f"{before}def {_call(thing.name, thing.parameters)}{returns}"
    assert isinstance(thing, griffe.Attribute)  # noqa: S101  (nothing else is public)
    return f"{thing.name}: {thing.annotation}" if thing.annotation else f"{thing.name} = {thing.value}"


def _call(name: str, parameters: griffe.Parameters) -> str:
    shown: list[str] = []
    kind = griffe.ParameterKind
    stars = {kind.var_positional: "*", kind.var_keyword: "**"}
    for parameter in parameters:
        if parameter.name in {"self", "cls"}:
            continue
        if parameter.kind is kind.keyword_only and not any(part.startswith("*") for part in shown):
            shown.append("*")
        text = stars.get(parameter.kind or kind.positional_or_keyword, "") + parameter.name
        text += f": {parameter.annotation}" if parameter.annotation else ""
        default = parameter.default if not parameter.kind or parameter.kind not in stars else None
        shown.append(text + (f" = {default}" if default is not None else ""))
    if len(f"{name}({', '.join(shown)})") <= 100:  # noqa: PLR2004  (a line)
        return f"{name}({', '.join(shown)})"
    return f"{name}(\n" + "".join(f"    {part},\n" for part in shown) + ")"


def _attributes(owner: griffe.Class, attributes: list[griffe.Attribute]) -> Iterator[str]:
    """Each attribute once, with what the class or its own docstring says of it."""
    said = {item.name: item.description for section in _parsed(owner, "attributes") for item in section.value}
    lines = []
    for attribute in attributes:
        if attribute.name in NOT_OURS:
            continue
        about = " ".join(_plain(said.get(attribute.name) or _docstring(attribute)).split())
        kind = f": {attribute.annotation}" if attribute.annotation else f" = {attribute.value}"
        lines.append(f"- `{attribute.name}{kind}`" + (f" - {about}" if about else ""))
    if lines:
        yield from ("Attributes:", "", *lines, "")


def _parsed(thing: griffe.Object, *kinds: str) -> list[griffe.DocstringSection]:
    """The sections of a docstring: those of some kinds, or all but a class's attributes."""
    if thing.docstring is None:
        return []
    sections = thing.docstring.parse(griffe.Parser.google)
    return [each for each in sections if (each.kind.value in kinds if kinds else each.kind.value != "attributes")]


def _sections(thing: griffe.Object) -> Iterator[str]:
    """The docstring, with its lists of parameters and errors as lists."""
    for section in _parsed(thing):
        if section.kind.value in LABELS:
            yield from (f"{LABELS[section.kind.value]}:", "")
            for item in section.value:
                name = str(getattr(item, "name", None) or item.annotation)
                words = f"`{name}`: {item.description}"
                if not re.fullmatch(r"[\w.*]+", name):  # "The same as :meth:`x`.", taken apart at its colon
                    words = f"{name}:{item.description}"
                yield "- " + " ".join(_plain(words).split())
            yield ""
        elif section.kind.value == "returns":
            yield from ("Returns: " + " ".join(_plain(item.description) for item in section.value), "")
        elif section.kind.value == "examples":
            yield from ("```pycon", *(str(text) for _, text in section.value), "```", "")
        elif section.kind.value == "admonition":
            yield from (f"{section.title}:", "", *_text(section.value.description))
        else:
            yield from _text(str(section.value))


def _docstring(thing: griffe.Object | griffe.Alias) -> str:
    return thing.docstring.value if thing.docstring else ""


def _plain(text: str) -> str:
    return ROLE.sub(r"`\1`", text).replace("``", "`")


def _text(text: str) -> list[str]:
    """Paragraphs as Markdown: what is indented after ``::``, and examples, are code."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        code = block.startswith(("    ", " ", ">>> "))
        if block.strip() == "::":
            continue
        lines += ["```text", textwrap.dedent(block), "```"] if code else [re.sub(r"::$", ":", _plain(block))]
        lines.append("")
    return lines


def main() -> None:
    """Write all pages, and remove those of modules that are no longer public."""
    REFERENCE.mkdir(exist_ok=True)
    made = pages()
    for old in set(REFERENCE.glob("*.md")) - {REFERENCE / name for name in made}:
        old.unlink()
    for name, text in made.items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
