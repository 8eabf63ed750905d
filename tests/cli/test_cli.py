from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import rerank_core
from apiserver import ApiServer, reply
from fresh import fresh
from rerank_core.cli import evaluate, query, serve  # noqa: F401  (they add their commands)
from rerank_core.cli.app import app
from rerank_core.cli.engine_options import in_flags
from rerank_core.cli.hits import score_bar
from rerank_core.models import DEFAULT_MODEL
from waiting import BOUND, ended

PARAGRAPHS = """# Manual

Install it with pip and start the server.

Cats are popular pets worldwide.

The weather is sunny."""


@pytest.fixture
def manual(tmp_path):
    path = tmp_path / "manual.md"
    path.write_text(PARAGRAPHS)
    return path


def rerank(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, env={"COLUMNS": "120"})


def rows(*arguments, **more):
    """The results as data."""
    seen = rerank("query", *arguments, "--jsonl", **more)
    assert seen.exit_code == 0, seen.stderr
    return [json.loads(line) for line in seen.stdout.splitlines()]


def test_the_best_paragraph_comes_first_with_its_place(manual):
    first = rows("how do I install it", manual)[0]
    assert first["document"]["text"] == "Manual\n\nInstall it with pip and start the server."
    assert first["document"]["metadata"] == {"file": str(manual), "line": 3, "context": "Manual"}


def test_json_is_the_whole_response(manual):
    seen = rerank("query", "install", manual, "--json", "-n", 1)
    response = json.loads(seen.stdout)
    assert response["model"] == DEFAULT_MODEL
    assert len(response["results"]) == 1
    assert response["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize(("split", "lines"), [("file", [1]), ("paragraph", [3, 5, 7]), ("line", [1, 3, 5, 7])])
def test_what_a_document_is(manual, split, lines):
    seen = rows("install", manual, "--split", split, "--all")
    assert sorted(row["document"]["metadata"]["line"] for row in seen) == lines


def test_standard_input():
    seen = rows("cats", "-", stdin="first\r\n\r\n\r\n  cats purr\r\nall day\r\n")
    assert seen[0]["document"] == {"text": "cats purr\nall day", "metadata": {"file": "-", "line": 4}}


def test_folders_are_searched_and_hidden_files_left_out(tmp_path, manual):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "notes.md").write_text("hidden")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("a plain text")
    (tmp_path / "deep" / "image.png").write_bytes(b"\x89PNG")
    seen = rows("text", tmp_path, "--split", "file")
    assert {row["document"]["metadata"]["file"] for row in seen} == {
        str(tmp_path / "deep" / "a.txt"),
        str(manual),
    }


def test_json_lines_csv_and_parquet(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    data = [{"body": "cats purr", "id": 1}, {"body": "dogs\nbark", "id": 2}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    (tmp_path / "a.csv").write_text('body,id\ncats purr,1\n"dogs\nbark",2\n')
    parquet.write_table(pa.Table.from_pylist(data), tmp_path / "a.parquet")
    for name, second_line in (("a.jsonl", 2), ("a.csv", 3), ("a.parquet", 2)):
        seen = sorted(rows("cats", tmp_path / name, "--field", "body"), key=lambda row: row["index"])
        assert [row["document"]["text"] for row in seen] == ["cats purr", "dogs\nbark"]
        assert [int(row["document"]["metadata"]["fields"]["id"]) for row in seen] == [1, 2]
        assert seen[1]["document"]["metadata"]["line"] == second_line


def test_empty_cells_beyond_the_header_are_nothing(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,cats purr,\n")
    assert rows("cats", tmp_path / "a.csv")[0]["document"]["text"] == "cats purr"


def test_json_lines_may_be_strings(tmp_path):
    (tmp_path / "a.jsonl").write_text('"cats purr"\n\n"dogs bark"\n')
    assert rows("cats", tmp_path / "a.jsonl")[0]["document"]["metadata"]["line"] == 1


def test_windows_show_the_best_passage(tmp_path, monkeypatch):
    path = tmp_path / "long.txt"
    path.write_text("Nothing to see here. " * 300 + "Paris is the capital of France. " + "Nothing more. " * 300)
    (row,) = rows("capital of France", path, "--windows", "--split", "file")
    start, end = row["window"]
    assert "Paris" in row["document"]["text"][start:end]
    path.write_text("Nothing to see here.\n" * 300 + "Paris is the capital of France.\n" + "Nothing more.\n" * 300)
    monkeypatch.chdir(tmp_path)
    shown = rerank("query", "capital of France", "long.txt", "--windows", "--split", "file").stdout
    assert 100 < int(re.search(r"long\.txt:(\d+)", shown)[1]) <= 301  # where the window begins
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": path.read_text()}))
    assert "rows.jsonl:1:" in rerank("query", "capital of France", "rows.jsonl", "--windows").stdout
    assert "--windows reads everything" in rerank("query", "capital", path, "--split", "file").stderr


def test_nothing_above_the_threshold_is_exit_code_1(manual):
    seen = rerank("query", "quantum chromodynamics", manual, "--threshold", "0.999")
    assert seen.exit_code == 1
    assert "nothing found in 3 passages" in seen.stderr
    assert rerank("query", "anything", "-", stdin="").exit_code == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "there is no file"),
        ("image.png", b"", "unknown kind"),
        ("binary.txt", b"\xff\xfe\x00", "not UTF-8 text (byte 0)"),
        ("broken.jsonl", b'{"text": "a"}\n{oops\n', "broken.jsonl:2 is not JSON"),
        ("number.jsonl", b"3\n", "expected a string or an object"),
        ("field.jsonl", b'{"body": "a"}\n', "no text under 'text' (only body)"),
        ("null.jsonl", b'{"text": null}\n', "NoneType in it"),
        ("field.csv", b"body\na\n", "--field"),
        ("open.csv", b'text,n\na,1\n"cats, 2\nb,3\n', "open.csv:3 is not CSV"),
        ("inch.csv", b'text,n\n"5" screen",1\n', "inch.csv:2 is not CSV"),
        ("twice.csv", b"text,id,text\na,1,b\n", "two columns are called 'text'"),
        ("comma.csv", b"id,text\n1,Hello, refunds take five days\n", "comma.csv:2 has 3 cells and the header 2"),
        ("deep.jsonl", b"[" * 200_000, "deep.jsonl:1 is not JSON"),
        ("not.parquet", b"PAR", "not a Parquet file"),
        (f"{'long' * 80}.txt", None, "cannot read"),
    ],
)
def test_bad_input_is_exit_code_2_and_names_the_file(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    seen = rerank("query", "a", path)
    assert seen.exit_code == 2
    assert message in seen.stderr.replace("\n", "")
    assert name[:20] in seen.stderr
    assert seen.stdout == ""


def test_a_bad_file_in_a_folder_is_left_out_and_named(tmp_path, manual):
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    (tmp_path / "field.csv").write_text("body\na\n")
    seen = rerank("query", "install", tmp_path)
    assert seen.exit_code == 0
    assert "3 of 3 passages" in seen.stderr
    assert "left out: " in seen.stderr
    assert "latin.txt is not UTF-8" in seen.stderr.replace("\n", "")
    assert "field.csv:2" in seen.stderr
    manual.unlink()
    assert rerank("query", "install", tmp_path).exit_code == 2


def test_a_parquet_file_without_its_library_is_an_input_error(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    code = f"""
from typer.testing import CliRunner
from rerank_core.cli import query
from rerank_core.cli.app import app
seen = CliRunner().invoke(app, ["query", "a", {str(tmp_path / "a.parquet")!r}])
print(seen.exit_code, seen.stderr)
"""
    printed = fresh(code, without=["pyarrow"])
    assert printed.startswith("2 ")
    assert "rerank-plugins[parquet]" in printed


def test_an_empty_folder_is_an_input_error(tmp_path):
    assert "no files of a known kind" in rerank("query", "a", tmp_path).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["query"],
        ["query", "--queries", "FILE", "--candidates", "-1"],
        ["query", " ", "FILE"],
        ["query", "a", "FILE", "--top-n", "0"],
        ["query", "a", "FILE", "--threshold", "2"],
        ["query", "a", "FILE", "--split", "word"],
        ["query", "a", "FILE", "--json", "--jsonl"],
        ["query", "a", "FILE", "--no-such-option"],
        ["no-such-command"],
    ],
)
def test_wrong_usage_is_exit_code_2(manual, arguments):
    seen = rerank(*[str(manual) if argument == "FILE" else argument for argument in arguments])
    assert seen.exit_code == 2
    assert "Traceback" not in seen.stderr


def test_a_model_error_is_exit_code_3(manual):
    seen = rerank("query", "a", manual, "--model", "no-such-model")
    assert seen.exit_code == 3
    assert seen.stderr.startswith("rerank: no model named 'no-such-model'")


def test_the_list_of_models():
    seen = rerank("models")
    assert seen.exit_code == 0
    models = {model["name"]: model for model in json.loads(rerank("models", "--json").stdout)}
    for name in ("rerank-mini-en-v1", "rerank-tiny-en-v1"):
        assert name in seen.stdout
        assert models[name]["on_this_machine"] is True
    assert models["bge-reranker-v2"]["repository"] == "BAAI/bge-reranker-v2-m3"


def test_the_list_of_models_is_filtered():
    seen = rerank("models", "--language", "zh", "--licence", "mit", "--max-size", "1500", "--json")
    assert [model["name"] for model in json.loads(seen.stdout)] == ["bge-reranker-base"]
    nothing = rerank("models", "--max-size", "1")
    assert nothing.exit_code == 1
    assert "no model known by name fits" in nothing.stderr


@pytest.mark.torch
def test_export_writes_files_that_work(checkpoint, tmp_path, manual):
    seen = rerank("export", checkpoint("bert"), tmp_path / "onnx")
    assert seen.exit_code == 0, seen.stderr
    assert "model_int8.onnx" in seen.stdout
    assert "float32: largest difference of a logit from torch" in seen.stdout
    assert rerank("query", "install", manual, "--model", tmp_path / "onnx").exit_code == 0
    written = json.loads(rerank("export", checkpoint("bert"), tmp_path / "other", "--no-int8", "--json").stdout)
    assert written["files"] == [str(tmp_path / "other" / "model.onnx")]
    again = rerank("export", checkpoint("bert"), tmp_path / "onnx")
    assert again.exit_code == 2
    assert "not an empty folder" in again.stderr


def test_version_and_help():
    assert rerank("--version").stdout == f"rerank-plugins {rerank_core.__version__}\n"
    for command in ([], ["query"], ["models"], ["export"]):
        seen = rerank(*command, "--help")
        assert seen.exit_code == 0
        assert "Usage" in seen.stdout


def test_score_bars():
    assert [score_bar(score, 4) for score in (0.0, 0.5, 1.0)] == ["░░░░", "██░░", "████"]


def command(*arguments, **more):
    code = "from rerank_plugins.command import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )


# Sends the signal at the import of a module, or from within the first batch.
INTERRUPTED = """
import os, signal, sys
from rerank_plugins.command import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's parent may ignore it
once = iter([signal.SIGINT])
def interrupt(*_):
    if number := next(once, None):
        os.kill(os.getpid(), number)
moment = sys.argv.pop(1)
if moment == "scoring":
    from rerank_core.inference.backends.onnx import OnnxBackend
    run = OnnxBackend.run
    OnnxBackend.run = lambda self, *arguments: interrupt() or run(self, *arguments)
else:
    sys.addaudithook(lambda event, given: interrupt() if event == "import" and given[0] == moment else None)
main()
"""


@pytest.mark.parametrize("moment", ["rerank_core", "rerank_core.cli.app", "numpy", "onnxruntime", "scoring"])
def test_ctrl_c_ends_quietly(tmp_path, moment):
    """During imports the signal itself ends the process, later the command does; a shell shows 130 for both."""
    path = tmp_path / "long.txt"
    path.write_text("\n".join(f"a line of many, number {i}, " * 30 for i in range(400)))
    arguments = [sys.executable, "-c", INTERRUPTED, moment, "query", "number", str(path), "--split", "line"]
    seen = subprocess.run(arguments, capture_output=True, timeout=BOUND, check=False)
    assert seen.returncode in {130, -signal.SIGINT}
    assert (seen.stdout, seen.stderr) == (b"", b"")


def test_file_names_and_texts_are_no_markup(tmp_path):
    folder = tmp_path / "[id]" / "[/x]"
    folder.mkdir(parents=True)
    (folder / "page.md").write_text("[bold]cats[/nothing] purr \x1b[31mred")
    seen = rerank("query", "cats", tmp_path / "[id]", "--split", "file")
    assert seen.exit_code == 0
    assert "/[id]/[/x]/page.md:1:" in seen.stdout
    assert "[bold]cats[/nothing]" in seen.stdout
    assert "\x1b[31m" not in seen.stdout


def test_csv_with_blank_lines_and_long_fields(tmp_path):
    (tmp_path / "a.csv").write_text('text,n\n\ncats,1\n\n"dogs\nbark",2\n' + "x" * 200_000 + ",3\n")
    seen = sorted(rows("cats", tmp_path / "a.csv"), key=lambda row: row["index"])
    assert [row["document"]["metadata"]["line"] for row in seen] == [3, 5, 7]


def test_suffixes_in_capitals(tmp_path):
    (tmp_path / "README.MD").write_text("cats")
    assert len(rows("cats", tmp_path / "README.MD")) == len(rows("cats", tmp_path)) == 1


def test_numbers_that_are_none_are_null_in_json(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "cats", "v": NaN, "w": [Infinity]}\n')
    (row,) = rows("cats", tmp_path / "a.jsonl")
    assert row["document"]["metadata"]["fields"] == {"v": None, "w": [None]}


def test_closed_standard_input_is_an_input_error():
    process = subprocess.run(
        f"{sys.executable} -c 'from rerank_core.cli import main; main()' query a - <&-",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert "standard input is closed" in process.stderr


def test_a_bug_is_not_taken_for_nothing_found(manual, monkeypatch):
    def broken(*_, **__):
        raise KeyError("a bug")

    monkeypatch.setattr("rerank_core.Reranker.rerank", broken)
    seen = rerank("query", "a", manual)
    assert seen.exit_code == 3
    assert "unexpected KeyError" in seen.stderr


def test_a_terminal_without_unicode_shows_something(manual):
    process = command("query", "install", manual, env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    out, err = process.communicate(timeout=BOUND)
    assert process.returncode == 0, err
    out.decode("ascii")


def test_a_reader_that_stops_early_is_no_error(manual):
    process = command("query", "install", manual)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    ended(process)


def test_progress_is_shown_on_a_terminal_only(manual, monkeypatch):
    from rich.console import Console

    from rerank_core.cli import progress
    from rerank_core.events import BatchScored, Encoded

    screen = io.StringIO()
    monkeypatch.setattr(progress, "Terminal", lambda stderr: Console(file=screen, force_terminal=True))  # noqa: ARG005  (its signature)
    with progress.progress_hook() as hook:
        hook(Encoded("m", 2, 2, 10, 0.0))
        hook(BatchScored("m", 2, 10, 0, 0.0))
    assert "scoring" in screen.getvalue()
    with progress.status("first") as step:
        step("second")
    with progress.query_progress(2) as on_query:
        on_query("mini")
    assert "1/2" in screen.getvalue()


@pytest.fixture
def api():
    server = ApiServer()
    yield server
    server.stop()


def test_an_api_answers(manual, api, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-mine")
    seen = rows("cats", manual, "--base-url", api.url, "--model", "m", "--api-key-env", "MY_KEY", "-n", 1)
    assert seen[0]["document"]["text"].startswith("Manual")
    assert api.requests[0].headers["authorization"] == "Bearer sk-mine"
    assert api.requests[0].json["model"] == "m"
    rows("cats", manual, "--provider", "cohere", "--base-url", f"{api.url}/v2", "--model", "m")
    assert api.requests[1].target == "/v2/rerank"


def test_an_api_that_fails_is_exit_code_3_and_one_line(manual, api, monkeypatch):
    monkeypatch.delenv("ASSISTERS_API_KEY", raising=False)
    api.default = reply({}, 401)
    seen = rerank("query", "cats", manual, "--base-url", api.url, "--model", "m")
    assert (seen.exit_code, seen.stdout) == (3, "")
    assert seen.stderr.startswith("rerank: http://127.0.0.1")
    assert len(seen.stderr.splitlines()) == 1
    seen = rerank("query", "cats", manual, "--provider", "assisters", "--model", "m")
    assert seen.exit_code == 3
    assert "ASSISTERS_API_KEY" in seen.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--provider", "nobody", "-m", "m"),
        ("--base-url", "localhost:8000", "-m", "m"),
        ("--base-url", "http://localhost"),
        ("--base-url", "http://localhost", "-m", "m", "--windows"),
        ("--base-url", "http://localhost", "-m", "m", "--api-key-env", "NO_SUCH_VARIABLE"),
    ],
)
def test_wrong_api_options_are_exit_code_2(manual, arguments):
    seen = rerank("query", "cats", manual, *arguments)
    assert seen.exit_code == 2
    assert seen.stderr.startswith("rerank: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--timeout", "3"), "--timeout is for models reached over HTTP; give --provider or --base-url as well"),
        (("--base-url", "http://localhost"), "--base-url is the address of a rerank API, which needs the name of a "),
        (("--base-url", "http://localhost", "-m", "m", "--dtype", "int8"), "--dtype is for models in this process; "),
        (("--base-url", "http://me:sesame@localhost", "-m", "m"), "give the key as --api-key-env, where it stays out"),
        (("--provider", "cohere", "-m", "m"), "--provider cohere needs an API key: set COHERE_API_KEY, or give --api-"),
        (("--provider", "tei"), "--provider tei is a server of your own: give its address as --base-url."),
        (("--top-n", "0"), "--top-n must be a whole number"),
        (("--threshold", "2"), "--threshold must be a number"),
        (("--max-tokens", "9999"), "--max-tokens 9999 is more than"),
        (("--max-tokens", "9999"), "For longer documents use --long-documents windows."),
    ],
)
def test_messages_name_options_as_the_command_line_does(manual, monkeypatch, arguments, said):
    monkeypatch.delenv("COHERE_API_KEY", raising=False)
    seen = rerank("query", "cats", manual, *arguments).stderr
    assert said in seen
    assert "sesame" not in seen


def test_messages_name_no_option_that_the_command_does_not_have():
    message = "pass trust_remote_code=True and revision='<commit>', or model=."
    assert in_flags(message, None, {"--revision"}) == "pass trust_remote_code=True and --revision <commit>, or model=."
    everything = {"--trust-remote-code", "--revision", "--model"}
    assert in_flags(message, None, everything) == "pass --trust-remote-code and --revision <commit>, or --model."
    assert in_flags("top_n must be 1", "top_n", ()) == "top_n must be 1"


def test_options_of_the_engine_reach_it(manual):
    options = ("--max-tokens", "64", "--threads", "1", "--backend", "onnx", "--dtype", "int8", "--local-files-only")
    assert rows("cats", manual, *options) == rows("cats", manual)
    assert rerank("query", "cats", manual, "--dtype", "int4").exit_code == 2
    assert "--device" in rerank("query", "cats", manual, "--devise", "cpu").stderr


def test_a_key_is_no_argument(manual):
    assert rerank("query", "cats", manual, "--api-key", "sk").exit_code == 2
