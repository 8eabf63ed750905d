"""``rerank query``: what is shown, and what is read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rerank_core.cli import query as _query_command  # noqa: F401  (adds the command)
from rerank_core.cli.app import app
from waiting import BOUND

MANUAL = """\
# Manual

Read this first.

## Reset

The lamp is green. To reset the device, hold both
buttons for ten seconds. It blinks.

Bread is baked at noon.
"""
HOLD = "hold both buttons for ten seconds"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "manual.md").write_text(MANUAL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rerank(*arguments, columns="80", **environment):
    environment |= {"COLUMNS": columns}
    return CliRunner().invoke(app, ["query", *map(str, arguments)], env=environment)


def on_terminal(*arguments, **more):
    """What a person sees, without the codes for colours and links."""
    seen = rerank(*arguments, FORCE_COLOR="1", **more)
    assert seen.exit_code in {0, 1}, seen.stderr
    return seen.stdout


def plain(shown):
    return re.sub(r"\x1b\[[\d;]*m|\x1b\]8;[^\x1b]*\x1b\\", "", shown)


def test_piped_a_hit_is_a_line_and_the_rest_goes_to_standard_error(folder):
    seen = rerank("how do I reset it", "manual.md", "-n", 1)
    place, text = seen.stdout.rstrip("\n").split(" ", 1)
    assert re.fullmatch(r"manual\.md:7:0\.\d{3}:The", place)
    assert text.endswith(f"{HOLD}. It blinks.")
    assert seen.stderr.startswith("1 of 3 passages")


def test_the_line_is_the_best_sentences(folder):
    (folder / "a.txt").write_text("Bread is baked.\nIt rains.\nParis is the capital of France. Wine is red.\n")
    assert rerank("capital of France", "a.txt").stdout.startswith("a.txt:3:")


def test_on_a_terminal_the_path_has_its_own_line_and_the_best_sentence_is_bold(folder):
    shown = on_terminal("how do I reset it", "manual.md", "-n", 1)
    head, context, *text = plain(shown).splitlines()
    assert re.fullmatch(r"0\.\d{3} [█░]{10} manual\.md:7", head)
    assert context.strip() == "Manual > Reset"
    assert " ".join(" ".join(text).split()).endswith("It blinks.")
    assert max(map(len, text)) > 60  # the whole width
    bold = " ".join(re.findall(r"\x1b\[1m([^\x1b]*)", shown))
    assert "To reset the device" in bold
    assert "The lamp is green" not in bold
    assert f"file://{folder}/manual.md" in shown


def test_a_long_path_is_not_folded(folder):
    name = "a-long-name-" * 12 + ".md"
    (folder / name).write_text("To reset it, hold both buttons.")
    assert f"{name}:1" in plain(on_terminal("how do I reset it", name, columns="40")).splitlines()[0]


@pytest.mark.parametrize("columns", ["40", "80"])
def test_long_texts_are_cut_around_the_best_sentence(folder, columns):
    words = "Nothing is to be seen in this place today. "
    (folder / "long.txt").write_text(f"{words * 20}Paris is the capital of France. {words * 3}")
    shown = plain(on_terminal("capital of France", "long.txt", columns=columns))
    assert "capital of France" in " ".join(shown.split())
    assert len(shown.splitlines()) < 12
    assert "… " in shown
    assert plain(on_terminal("capital of France", "long.txt", "--full")).count("Nothing") == 23


def test_lines_around_a_hit(folder):
    lines = rerank("how do I reset it", "manual.md", "-n", 2, "-C", 1).stdout.splitlines()
    assert lines[0] == "manual.md-6-"
    assert lines[1].startswith("manual.md:7:")
    assert lines[2:4] == ["manual.md-9-", "--"]
    only = rerank("how do I reset it", "manual.md", "-n", 1, "-B", 2).stdout.splitlines()
    assert [line.split("-")[1] for line in only[:-1]] == ["5", "6"]
    shown = plain(on_terminal("how do I reset it", "manual.md", "-n", 1, "-A", 2))
    assert "Bread is baked" in shown
    assert "hold both\n" in "\n".join(map(str.rstrip, shown.splitlines()))  # the file's own lines


def test_guesses_are_said_to_be_guesses(folder):
    remark = "nothing above 0.1; these are the best guesses"
    assert remark in rerank("quantum chromodynamics", "manual.md").stderr
    assert remark not in rerank("how do I reset it", "manual.md").stderr
    assert remark not in rerank("quantum chromodynamics", "manual.md", "-t", "0").stderr


def test_quiet_says_nothing_but_errors(folder):
    assert rerank("reset", "manual.md", "-q").stderr == ""
    assert "there is no file" in rerank("reset", "absent.md", "-q").stderr
    assert rerank("reset", "manual.md").stderr  # the next command speaks again


def test_results_go_to_a_file(folder):
    seen = rerank("how do I reset it", "manual.md", "-o", "hits.txt")
    assert seen.stdout == ""
    assert (folder / "hits.txt").read_text("utf-8").startswith("manual.md:7:")
    rerank("how do I reset it", "manual.md", "--json", "-o", "hits.json", "-q")
    assert len(json.loads((folder / "hits.json").read_text("utf-8"))["results"]) == 3
    assert "cannot write absent/x" in rerank("reset", "manual.md", "-o", "absent/x").stderr


def test_verbose_says_what_is_done_and_when(folder):
    seen = rerank("reset", "manual.md", "-v").stderr
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO read 3 passages\n", seen)
    assert "INFO" not in rerank("reset", "manual.md", "--log-level", "error").stderr
    assert "INFO" not in rerank("reset", "manual.md").stderr  # only the command that was asked to


COMMAND = [sys.executable, "-c", "from rerank_plugins.command import main; main()", "query"]


def run(*arguments, **more):
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=BOUND, check=False, encoding="utf-8", **more
    )


def test_without_files_standard_input_is_read_when_piped_and_else_the_folder(folder):
    piped = run("capital of France", "-q", input="Bread.\n\nParis is the capital of France.\n")
    assert re.match(r"-:3:0\.\d{3}:Paris is the capital of France\.\n", piped.stdout)
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        here = run("how do I reset it", "-q", stdin=nothing)
    assert here.stdout.startswith("manual.md:7:")


def test_many_queries(folder):
    (folder / "queries.txt").write_text("how do I reset it\n\nwhen is bread baked\n")
    lines = rerank("--queries", "queries.txt", "manual.md", "-n", 1).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["how do I reset it", "when is bread baked"]
    assert lines[1].split("\t")[1].startswith("manual.md:10:")
    found = json.loads(rerank("--queries", "queries.txt", "manual.md", "--json").stdout)
    assert [each["query"] for each in found["responses"]] == ["how do I reset it", "when is bread baked"]
    rows = [json.loads(row) for row in rerank("--queries", "queries.txt", "manual.md", "--jsonl").stdout.splitlines()]
    assert {row["query"] for row in rows} == {"how do I reset it", "when is bread baked"}
    assert "when is bread baked" in plain(on_terminal("--queries", "queries.txt", "manual.md"))
    (folder / "queries.txt").write_text("\n")
    assert "holds no query" in rerank("--queries", "queries.txt", "manual.md").stderr


def test_a_first_pass_reads_what_shares_words_and_says_so(folder):
    pytest.importorskip("bm25s")
    lines = [f"row {i} says little" for i in range(50)] + ["Paris is the capital of France."]
    (folder / "many.txt").write_text("\n".join(lines))
    arguments = ("capital of France", "many.txt", "--split", "line")
    seen = rerank(*arguments, "--candidates", 5, "--all", "--jsonl")
    (row,) = map(json.loads, seen.stdout.splitlines())
    assert (row["index"], row["document"]["metadata"]["line"]) == (50, 51)
    assert "BM25 picked the best 5 of 51 passages" in rerank(*arguments, "--candidates", 5).stderr
    assert "BM25" not in rerank(*arguments, "--candidates", 0).stderr
    assert len(rerank(*arguments, "--candidates", 51, "--all").stdout.splitlines()) == 51
    nothing = rerank("zebra", "many.txt", "--split", "line", "--candidates", 5)
    assert nothing.exit_code == 1
    assert "shares no word" in nothing.stderr


def test_a_file_of_a_folder_that_cannot_be_read_is_named(folder):
    (folder / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    assert "left out: latin.txt is not UTF-8" in rerank("reset", ".").stderr
