"""The examples of docs/integrations.md run, in its order, and print what it says."""

from __future__ import annotations

import contextlib
import io
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "integrations.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TITLES = ("LanceDB", "Qdrant", "Chroma", "SQL", "BM25")


def section(title):
    """The blocks below a heading, up to the next one of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$", PAGE, re.MULTILINE)
    end = re.search(rf"^#{{1,{len(found[1])}}} ", PAGE[found.end() :], re.MULTILINE)
    return FENCE.findall(PAGE[found.end() :][: end.start() if end else None])


def test_all_python_is_run():
    run = [code for title in TITLES for language, code in section(title) if language == "python"]
    written = [code for language, code in FENCE.findall(PAGE) if language == "python"]
    assert [*written[:1], *run] == written


@pytest.mark.parametrize("title", TITLES)
def test_examples_print_what_the_page_says(title, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blocks = section(title)
    code = "".join(code for language, code in blocks if language == "python")
    for module in re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    first = next(code for language, code in FENCE.findall(PAGE) if language == "python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(first + code, f"integrations.md, {title}", "exec"), {})  # noqa: S102  (our own page)
    assert printed.getvalue() == "".join(text for language, text in blocks if language == "text")
