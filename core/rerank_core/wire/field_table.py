"""The page on what every field of every dialect does, made from the fields' declarations.

``python -m rerank_core.wire.field_table > docs/http-fields.md`` writes it; a test fails when it is out of date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from rerank_core.wire.dialect import Dialect
from rerank_core.wire.effects import Declared, declared
from rerank_core.wire.routes import ROUTES

_TOP = """# Fields of the HTTP API

What each field of a request does, in every dialect the server speaks. What a client asks for is done, or the answer is
an error that names the field. `null` is the same as leaving a field out. Fields that are not listed are ignored.

- *honoured*: the answer is what the field asks for.
- *honoured or an error*: it is where every text fits the model; otherwise the request fails.
- *honoured, or refused where the model cannot*: another model's error names the field.
- *refused*: a value other than the usual one fails the request.
- *no effect on the answer*: taken, because clients send it.

This page is made from the code: `python -m rerank_core.wire.field_table > docs/http-fields.md`.
"""


def page() -> str:
    """The page, in Markdown."""
    paths: dict[type[Dialect], list[str]] = {}
    spoken: dict[type[Dialect], Dialect] = {}
    for route in ROUTES:
        for dialect in route.dialects:
            paths.setdefault(type(dialect), []).append(route.path)
            spoken[type(dialect)] = dialect
    return "\n".join([_TOP, *("\n".join(_section(spoken[kind], paths[kind])) for kind in spoken)])


def _section(dialect: Dialect, paths: list[str]) -> Iterator[str]:
    if dialect.body is None:
        return
    yield f"## {dialect.name}\n"
    yield "`POST " + "`, `POST ".join(paths) + "`\n"
    yield "| field | what it does | how, or why not | usual | otherwise |"
    yield "| --- | --- | --- | --- | --- |"
    yield from map(_row, declared(dialect.body))
    yield ""


def _row(field: Declared) -> str:
    effect = field.effect
    name, *others = (".".join((*field.path, name)) for name in field.names)
    called = f"`{name}`" + (f" (or {', '.join(f'`{each}`' for each in others)})" if others else "")
    does = effect.does + (" or an error" if getattr(effect, "or_fails", False) else "")
    return f"| {called} | {does} | {effect.why} | `{json.dumps(effect.usual)}` | `{json.dumps(effect.other)}` |"


if __name__ == "__main__":
    sys.stdout.write(page())
