"""Nothing that comes from outside steers the terminal, and what is printed says what it should."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

import rerank_core.cli.evaluate
import rerank_core.cli.query
import rerank_core.cli.serve
from apiserver import ApiServer, reply
from rerank_core.cli.app import app
from rerank_core.cli.terminal import Terminal
from rerank_core.shown import STEERING

SOURCES = Path(rerank_core.cli.__file__).parent
HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b31m\x7f\u202eevil\u2066\rx"


def rerank(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, env={"COLUMNS": "100"})


def test_only_one_module_prints():
    forbidden = {"echo", "secho", "print", "Console", "print_exc", "print_exception", "stdout", "stderr"}
    for path in SOURCES.glob("*.py"):
        if path.name in {"terminal.py", "__init__.py"}:  # the one, and the start of the process
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in forbidden:
                on_console = isinstance(node.value, ast.Name) and node.value.id == "console"
                on_console |= isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Terminal"
                assert node.attr == "print", f"{path.name}:{node.lineno} prints by itself"
                assert on_console, f"{path.name}:{node.lineno} prints by itself"
            elif isinstance(node, ast.Name):
                assert node.id not in forbidden, f"{path.name}:{node.lineno} prints by itself"


@pytest.fixture
def hostile(tmp_path):
    """Files with hostile names and contents."""
    (tmp_path / f"{HOSTILE}.txt").write_text(f"cats {HOSTILE} purr")
    (tmp_path / f"{HOSTILE}.png").write_text("")
    (tmp_path / f"{HOSTILE}.csv").write_text(f"{HOSTILE.strip()}\na\n", newline="")
    (tmp_path / "keys.jsonl").write_text(json.dumps({HOSTILE: "a"}))
    (tmp_path / "broken.jsonl").write_text("{" + HOSTILE)
    (tmp_path / "latin.txt").write_bytes(b"\xff")
    (tmp_path / "broken.toml").write_text('"' + HOSTILE.replace("\x1b", "\\u001b") + '" = 1\n')
    (tmp_path / "unknown.toml").write_text('"\\u001b[31m" = 1\n')
    beir = tmp_path / f"beir{HOSTILE}"
    (beir / "qrels").mkdir(parents=True)
    texts = [{"_id": f"d{i}", "text": f"{HOSTILE} cats purr {i}"} for i in range(6)]
    (beir / "corpus.jsonl").write_text("\n".join(map(json.dumps, texts)))
    (beir / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": f"{HOSTILE} cats"}))
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td5\t1\nx\td1\t1\n")
    (tmp_path / "twice.tsv").write_text(f"query-id\tcorpus-id\tscore\nq\t{HOSTILE[:-2]}\t1\nq\t{HOSTILE[:-2]}\t2\n")
    (tmp_path / f"{HOSTILE}.run").write_text("q Q0 d1 1 0.5 x\nq Q0 d5 1 0.4 x\nq Q0 nobody 1 0.3 x\n")
    return tmp_path


def commands(folder):
    """Command lines that say something about what is hostile in ``folder``, or is an argument itself."""
    beir, out = folder / f"beir{HOSTILE}", folder / "out"
    for file in (f"{HOSTILE}.txt", f"{HOSTILE}.png", f"{HOSTILE}.csv", "keys.jsonl", "broken.jsonl", HOSTILE, "."):
        yield "query", "cats", folder / file
    for option in (
        "--model",
        "--provider",
        "--base-url",
        "--split",
        "--field",
        "--top-n",
        "--api-key-env",
        f"--{HOSTILE}",
    ):
        yield "query", "cats", folder / "keys.jsonl", option, HOSTILE
    yield "query", "cats", folder / f"{HOSTILE}.txt", "--jsonl"
    yield "models", HOSTILE
    yield "models", f"--{HOSTILE}"
    yield (HOSTILE,)
    yield "export", HOSTILE, folder / "new"
    yield "export", "rerank-mini-en-v1", folder / f"{HOSTILE}.txt"
    yield "evaluate", folder / HOSTILE
    for options in (
        (),
        ("-o", folder / f"{HOSTILE}.json", "--html", folder / f"{HOSTILE}.html"),
        ("-o", folder / HOSTILE / "x"),
        ("--qrels", folder / "twice.tsv"),
        ("--run", folder / f"{HOSTILE}.run"),
        ("--cache", folder / f"{HOSTILE}.txt"),
        ("--language", HOSTILE),
        ("-m", HOSTILE),
        ("-m", f"{HOSTILE}>"),
    ):
        cache = () if "--cache" in options else ("--cache", folder / f"{HOSTILE}.db")
        yield "evaluate", beir, *cache, *options
    yield "calibrate", beir, "-o", out, "--method", HOSTILE, "--cache", folder / "c.db"
    yield "calibrate", beir, "-o", folder / HOSTILE / "x"
    for options in (
        ("--config", folder / HOSTILE),
        ("--config", folder / "broken.toml"),
        ("--config", folder / "unknown.toml"),
        ("--host", HOSTILE),
        ("--model", HOSTILE),
        ("--log-format", HOSTILE),
        ("--api-keys-file", folder / HOSTILE),
    ):
        yield "serve", "--port", "0", *options


def test_no_command_lets_text_from_outside_steer_the_terminal(hostile):
    pytest.importorskip("fastapi")
    pytest.importorskip("bm25s")
    for arguments in commands(hostile):
        seen = rerank(*arguments)
        for stream in (seen.stdout, seen.stderr):
            found = STEERING.search(stream)
            assert found is None, (arguments, stream)
        assert "this is a bug" not in seen.stderr, (arguments, seen.stderr)
        assert seen.stdout + seen.stderr, arguments


def test_what_is_hostile_is_seen(hostile):
    seen = rerank("query", "cats", hostile / f"{HOSTILE}.txt").stdout
    assert r"\x1b" in "".join(seen.split())
    assert r"there is no file" in rerank("query", "cats", hostile / HOSTILE).stderr
    assert r"\x1b]0;owned\x07\x1b[31m\x9b31m\x7f\u202eevil" in rerank("query", "cats", hostile / HOSTILE).stderr


def test_a_servers_words_do_not_steer(tmp_path):
    (tmp_path / "a.txt").write_text("cats")
    server = ApiServer()
    try:
        answer = {"id": "1", "model": HOSTILE, "results": [{"index": 0, "relevance_score": 0.5}]}
        for said in (reply(answer), reply({"error": {"message": HOSTILE, "code": HOSTILE}}, 400)):
            server.default = said
            seen = rerank("query", "cats", tmp_path / "a.txt", "--base-url", server.url, "-m", HOSTILE)
            assert STEERING.search(seen.stdout + seen.stderr) is None
    finally:
        server.stop()


def test_a_line_break_in_a_name_does_not_look_like_a_message(tmp_path):
    seen = rerank("query", "cats", tmp_path / "a\nrerank: all is well.txt")
    assert [line for line in seen.stderr.splitlines() if line.startswith("rerank: ")] == seen.stderr.splitlines()[:1]


def test_everything_on_a_terminal_is_text():
    screen = io.StringIO()
    console = Terminal(file=screen, force_terminal=True, color_system="truecolor", width=60)
    table = Table("name", title=HOSTILE, caption=Text(HOSTILE))
    table.add_row(Text(HOSTILE, style="red"))
    table.add_row(HOSTILE.replace("[", ""))
    console.print(HOSTILE, style="bold", markup=False)
    console.print(table)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as progress:
        progress.add_task(HOSTILE, total=1)
    styles_and_movements = re.compile(r"\x1b\[[\d;]*[mAK]|\x1b\[\?25[lh]|\x1b\[\d?[JG]|\r")
    assert STEERING.search(styles_and_movements.sub("", screen.getvalue()).replace("\n", "")) is None
    assert "\x1b[31m" in screen.getvalue()  # our own red
    assert "]0;owned" in screen.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("option", ["--json", "--jsonl"])
def test_json_keeps_every_character(tmp_path, encoding, option):
    text = f"Zürich 東京 🙂 {HOSTILE} \u2028"
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text + "\ud800", HOSTILE: "é"}))
    code = "from rerank_core.cli import main; main()"
    arguments = [sys.executable, "-c", code, "query", "cities", str(tmp_path / "a.jsonl"), option]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    seen = subprocess.run(arguments, capture_output=True, env=environment, check=True).stdout.decode(encoding)
    found = json.loads(seen)
    document = (found["results"][0] if option == "--json" else found)["document"]
    assert document["text"] == text + "\ud800"
    assert document["metadata"]["fields"] == {HOSTILE: "é"}
    assert STEERING.search(seen) is None


def _helps():
    group = typer.main.get_command(app)
    yield [], group
    for name in group.commands:
        yield [name], group.commands[name]


@pytest.mark.parametrize("columns", ["200", "80"])
def test_brackets_in_help_are_brackets(columns):
    for path, command in _helps():
        seen = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": columns})
        assert seen.exit_code == 0
        flat = "".join(re.sub(r"[│╭╮╰╯─]", " ", seen.stdout).split())
        texts = [command.callback.__doc__ or "" if command.callback else ""]
        for text in texts:
            for bracketed in re.findall(r"\S*\[[^\]]*\]", text):
                assert "".join(bracketed.split()) in flat, (path, bracketed)
    assert "rerank-plugins[torch]" in CliRunner().invoke(app, ["export", "--help"]).stdout


def test_a_new_command_needs_no_care():
    """What goes wrong in it, and the brackets of its help, come out right without a line of its own."""
    from rerank_core import ModelLoadError
    from rerank_core.cli.commands import Commands

    added = typer.Typer(cls=Commands)

    @added.callback()
    def _root() -> None:
        pass

    @added.command(help="Needs [torch] and [bold].")
    def broken(kind: str = typer.Option("", help="[one|two]")) -> None:
        raise {"model": ModelLoadError(HOSTILE), "memory": MemoryError(), "bug": KeyError(HOSTILE)}[kind]

    assert "Needs [torch] and [bold]." in CliRunner().invoke(added, ["broken", "--help"]).stdout
    assert "[one|two]" in CliRunner().invoke(added, ["broken", "--help"]).stdout
    for kind, words in {"model": "owned", "memory": "out of memory", "bug": "this is a bug"}.items():
        seen = CliRunner().invoke(added, ["broken", "--kind", kind])
        assert seen.exit_code == 3
        assert words in seen.stderr
        assert STEERING.search(seen.stderr) is None
