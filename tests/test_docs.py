"""What the documentation shows is run, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fresh import fresh
from rerank_core.cli import query as _query_command  # noqa: F401  (adds the command)
from rerank_core.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "training/README.md",
    "docs/http-fields.md",
    "docs/integrations.md",
    "docs/models.md",
    "docs/operations.md",
    "docs/options.md",
    "docs/deploy.md",
)


def installed(code: str) -> bool:
    """Whether everything an example imports is there; the base install has no frameworks."""
    imported = set(re.findall(r"^from (\w+(?:\.server|\.evaluation)?)", code, re.MULTILINE))
    used = {"CrossEncoderPostprocessor": "llama_index", "CrossEncoderCompressor": "langchain_core"}
    imported |= {module for name, module in used.items() if name in code}
    needed = {"rerank_core.server": "fastapi", "rerank_core.evaluation": "bm25s"}
    return all(find_spec(needed.get(module, module)) for module in imported)


@pytest.mark.parametrize(("page", "least"), [("README.md", 6), ("docs/operations.md", 1)])
def test_a_pages_examples_print_what_it_says(page, least, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT if page == "README.md" else tmp_path)
    blocks = [*BLOCK.findall((ROOT / page).read_text(encoding="utf-8")), ("", "")]
    namespace = {"__name__": "page"}
    compared = 0
    for position, (language, code) in enumerate(blocks):
        if language != "python" or not installed(code):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page} block {position}", "exec"), namespace)  # noqa: S102  (our own page)
        if blocks[position + 1][0] == "text":
            assert printed.getvalue() == blocks[position + 1][1]
            compared += 1
    assert compared >= least


@pytest.mark.parametrize(
    "line", [line for name, code in BLOCK.findall(README) if name == "bash" for line in code.splitlines()]
)
def test_the_readmes_commands_work(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, *arguments = shlex.split(line)
    assert program == "rerank"
    assert CliRunner().invoke(app, arguments).exit_code == 0


def sentences(page: str) -> list[str]:
    """The sentences of a page's prose: no code, tables or headings; a link counts as its text."""
    prose = re.sub(r"^```.*?^```$", "\n", page, flags=re.MULTILINE | re.DOTALL)
    blocks = re.split(r"\n\s*\n|\n(?=- |#|\|)", prose)
    texts = [" ".join(block.split()) for block in blocks if not block.lstrip().startswith(("|", "#"))]
    plain = [re.sub(r"\]\([^)]*\)", "]", text) for text in texts]
    return [sentence for text in plain for sentence in re.split(r"(?<=[.!?:])[)*\"]*\s+(?=[A-Z\[`*\"(])", text)]


def test_a_sentence_ends_where_a_reader_sees_it():
    page = "# Title\n\nOne, `a. b`. Two: `c`.\n- Three ([four](five.md)).\n\n```text\nNo prose.\n```\n\n| a | b |\n"
    assert sentences(page) == ["One, `a. b`.", "Two:", "`c`.", "- Three ([four])."]


def test_the_readmes_sentences_are_short():
    assert not [sentence for sentence in sentences(README) if len(sentence.split()) > 30]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        assert ((ROOT / page).parent / target).exists(), target


def test_the_architecture_names_only_what_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = {Path(name) for name in re.findall(r"[\w/]+\.py\b", text)}
    assert len(named) > 40
    folders = ("core", "rerank_plugins", "haystack_integrations", "tests", "examples")
    there = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert not [name for name in named if not any(file.parts[-len(name.parts) :] == name.parts for file in there)]
    assert len(text.splitlines()) <= 110


def test_docstring_examples():
    import doctest

    import rerank_core
    from rerank_core import reranker, testing
    from rerank_core.testing import contract, transport

    for module in (rerank_core, reranker, testing, contract, transport):
        seen = doctest.testmod(module)
        assert seen.attempted >= 3
        assert seen.failed == 0


def test_the_demo_ranks_the_specifications_example(capsys):
    import runpy

    runpy.run_path(str(ROOT / "examples" / "demo.py"), run_name="__main__")
    lines = [line for line in capsys.readouterr().out.splitlines() if "." in line]
    order = [
        next((i for i, line in enumerate(lines) if text in line), None)
        for text in ("Machine learning is a", "Deep learning uses")
    ]
    assert order == sorted(order)
    assert order[0] == 0


def test_the_page_of_benchmarks_is_made_from_their_results():
    made = fresh("sys.path.insert(0, 'benchmarks'); import page; print(page.page(), end='')", cwd=ROOT)
    assert made == (ROOT / "benchmarks" / "README.md").read_text()
