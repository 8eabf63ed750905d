"""Help, examples, completion and the manual page: what a person learns about the command from itself."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rerank_core.cli import with_all_commands
from rerank_core.cli.examples import EXAMPLES
from waiting import BOUND

ROOT = Path(__file__).parents[2]
APP = with_all_commands()
GROUP = typer.main.get_command(APP)
# These listen until they are stopped, or need a checkpoint from the Hub: only their arguments are read.
NOT_RUN = {"serve", "mcp", "export"}
NEEDS = {"evaluate": "bm25s", "calibrate": "bm25s"}


@pytest.fixture
def folder(tmp_path):
    """What the examples name, and a ``rerank`` on the path."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "src").mkdir()
    text = "To reset it, hold both buttons.\n\nThe opening hours are nine to five.\n"
    for name in ("manual.md", "notes.txt", "docs/a.md"):
        (tmp_path / name).write_text(text)
    (tmp_path / "src" / "client.py").write_text("def retry():\n    '''Requests are retried here.'''\n")
    (tmp_path / "questions.txt").write_text("how do I reset it\nopening hours\n")
    rows = [
        {"query": f"cats {i}", "documents": ["dogs bark", f"cats purr {i}", "cats", "rain"], "relevant": [1]}
        for i in range(12)
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "logs").mkdir()
    for name in ("pairs.jsonl", "logs/monday.jsonl"):
        (tmp_path / name).write_text(json.dumps({"query": "cats", "document": "Cats purr."}))
    (tmp_path / "first.trec").write_text("q1 Q0 d1 1 9.5 bm25\n")
    (tmp_path / "queries.tsv").write_text("q1\tcats\n")
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "Cats purr."}\n')
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "rerank"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rerank_core "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("line", [line for name, lines in EXAMPLES.items() if name not in NOT_RUN for line in lines])
def test_examples_run(folder, line):
    name = line.partition("rerank ")[2].split()[0]
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
        pytest.importorskip("ir_measures")
        line += " --cache scores.db"
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        line, shell=True, cwd=folder, env=environment, capture_output=True, timeout=BOUND, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("line", [line for name in sorted(NOT_RUN & EXAMPLES.keys()) for line in EXAMPLES[name]])
def test_examples_that_do_not_end_are_understood(line):
    command, *arguments = shlex.split(line)[1:]
    assert GROUP.get_command(None, command).make_context(command, arguments).command.name == command


def test_every_command_has_examples_in_its_help():
    assert EXAMPLES.keys() == GROUP.commands.keys(), "cli/examples.py has the examples of each command"
    for name, lines in EXAMPLES.items():
        shown = CliRunner().invoke(APP, [name, "--help"], env={"COLUMNS": "200"}).stdout
        assert all(line in shown for line in lines)


def completed(line):
    environment = {"_RERANK_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    seen = CliRunner().invoke(APP, [], prog_name="rerank", env=environment)
    return seen.stdout.split()


def test_models_and_providers_are_completed():
    assert "rerank-tiny-en-v1" in completed("rerank query --model rerank-t")
    assert "rerank-mini-en-v1" in completed("rerank evaluate -m rerank-m")
    assert "rerank-small-en-v2" in completed("rerank serve --model rerank-s")
    assert completed("rerank query --provider coh")[0] == "cohere"
    assert "local" in completed("rerank query --provider lo")


def test_the_manual_page_is_the_helps():
    pytest.importorskip("myst_parser", reason="pages are made with what the documentation needs, not with lower bounds")
    made = importlib.util.spec_from_file_location("make_man", ROOT / "docs" / "make_man.py")
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    page = module.page()
    assert module.PAGE.read_text(encoding="utf-8") == page, "run python docs/make_man.py"
    for name, command in GROUP.commands.items():
        assert f".SS rerank {name}" in page
        assert all(option.opts[0].replace("-", "\\-") in page for option in command.params if option.opts[0][0] == "-")
    text = [line for line in page.split("\n") if not line.startswith(".")]
    assert not any(line.startswith("'") for line in text)


def test_the_package_runs_as_a_module(tmp_path):
    arguments = [sys.executable, "-m", "rerank_core", "--version"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    seen = subprocess.run(
        arguments, capture_output=True, text=True, timeout=BOUND, check=True, cwd=tmp_path, env=environment
    )
    assert seen.stdout.startswith("rerank-plugins ")


def test_the_page_of_commands_is_the_helps():
    pytest.importorskip("myst_parser", reason="pages are made with what the documentation needs, not with lower bounds")
    made = importlib.import_module("docs.make_commands")
    page = made.page()
    assert made.PAGE.read_text(encoding="utf-8") == page, "run python -m docs.make_commands"
    for name in GROUP.commands:
        assert f"## `rerank {name}`" in page
