"""``rerank mcp`` as a process of its own, called by the SDK's client over standard input and output."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from mcp import Client, StdioServerParameters

from fresh import environment, fresh
from rerank_core import Reranker
from waiting import BOUND, ended

TEXTS = ["Cats purr.", "Paris is the capital of France.", "Berlin is a city."]
QUERY = "What is the capital of France?"
START = "from rerank_core.cli import main; main()"


@pytest.fixture
def notes(tmp_path):
    """A folder with a note of three paragraphs, another one, and a link out of it."""
    folder = tmp_path / "notes"
    (folder / "more").mkdir(parents=True)
    (folder / "cities.md").write_text("# Cities\n\n" + "\n\n".join(TEXTS), encoding="utf-8")
    (folder / "more" / "data.jsonl").write_text('{"text": "France is a country."}\n', encoding="utf-8")
    (tmp_path / "secret.txt").write_text("The capital of France is a secret.", encoding="utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


@asynccontextmanager
async def client(folder, *arguments):
    command = StdioServerParameters(
        command=sys.executable, args=["-c", START, "mcp", "--root", str(folder), *arguments], env=environment()
    )
    async with Client(command, read_timeout_seconds=BOUND) as connected:
        yield connected


def called(folder, *calls, arguments=()):
    """What the tools answered to ``(name, arguments)`` each."""

    async def session():
        async with client(folder, *arguments) as connected:
            return [await connected.call_tool(name, values) for name, values in calls]

    return asyncio.run(session())


def failure(answer):
    assert answer.is_error
    return answer.content[0].text


def test_the_tools_say_what_they_take_and_give(notes):
    async def listed():
        async with client(notes) as connected:
            return (await connected.list_tools()).tools, connected.instructions

    tools, instructions = asyncio.run(listed())
    assert [tool.name for tool in tools] == ["rank_texts", "rank_files"]
    assert "rank_files" in instructions
    for tool in tools:
        assert tool.annotations.read_only_hint
        assert tool.input_schema["required"][0] == "query"
        assert all("description" in field for field in tool.input_schema["properties"].values())
        assert set(tool.output_schema["properties"]) >= {"model", "results"}


def test_both_tools_give_the_engines_ranking(notes):
    texts, files = called(
        notes,
        ("rank_texts", {"query": QUERY, "texts": TEXTS, "top_n": 2}),
        ("rank_files", {"query": QUERY, "top_n": 1}),
    )
    wanted = Reranker().rerank(QUERY, TEXTS, top_n=2)
    assert texts.structured_content["model"] == wanted.model
    assert texts.structured_content["results"] == [
        {"rank": each.rank, "index": each.index, "score": each.relevance_score, "text": each.text, "truncated": False}
        for each in wanted
    ]
    found = files.structured_content
    assert found["passages"] == 4  # not the link's
    assert found["results"][0] | {"score": None} == {
        "rank": 1, "score": None, "file": "cities.md", "line": 5, "text": f"Cities\n\n{TEXTS[1]}",
        "truncated": False,
    }  # fmt: skip


def test_files_are_named_split_and_limited(notes):
    lines, folder, none = called(
        notes,
        ("rank_files", {"query": QUERY, "paths": ["cities.md"], "split": "line", "score_threshold": 0.5}),
        ("rank_files", {"query": QUERY, "paths": ["more"]}),
        ("rank_texts", {"query": QUERY, "texts": []}),
    )
    assert [each["text"] for each in lines.structured_content["results"]] == [TEXTS[1]]
    assert [each["file"] for each in folder.structured_content["results"]] == ["more/data.jsonl"]
    assert none.structured_content["results"] == []


def test_mistakes_are_errors_a_model_can_read(notes):
    answers = called(
        notes,
        ("rank_texts", {"query": " ", "texts": TEXTS}),
        ("rank_texts", {"query": QUERY, "texts": TEXTS * 2}),
        ("rank_files", {"query": QUERY, "paths": ["../secret.txt"]}),
        ("rank_files", {"query": QUERY, "paths": ["link.txt"]}),
        ("rank_files", {"query": QUERY, "paths": ["-"]}),
        ("rank_files", {"query": QUERY, "paths": ["a\0b"]}),
        ("rank_texts", {"query": QUERY}),
        ("rank_texts", {"query": QUERY, "texts": TEXTS, "top_n": 1}),
        arguments=("--max-documents", "5"),
    )
    *failed, last = answers
    expected = ("empty", "at most 5", "outside the folder", "outside the folder", "no file", "null", "texts")
    for answer, words in zip(failed, expected, strict=True):
        assert words in failure(answer)
        assert "is a secret" not in failure(answer)
    assert last.structured_content["results"][0]["text"] == TEXTS[1]  # it goes on


def started(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", START, "mcp", *arguments],
        capture_output=True, text=True, timeout=BOUND, check=False, env=environment(), **options,
    )  # fmt: skip


def test_it_ends_with_its_input(notes):
    done = started("--root", str(notes), input="")
    assert (done.returncode, done.stdout) == (0, "")


def test_ctrl_c_ends_it_at_once(notes):
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
    }
    command = [sys.executable, "-c", START, "mcp", "--root", str(notes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process:
        process.stdin.write(json.dumps(hello).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "rerank"
        process.send_signal(signal.SIGINT)
        assert ended(process) == -signal.SIGINT


def test_a_folder_that_is_none_is_a_usage_error(notes):
    done = started("--root", str(notes / "cities.md"), input="")
    assert done.returncode == 2
    assert "is not a folder" in done.stderr


def test_without_the_sdk_the_extra_is_named(notes):
    code = f"sys.argv = ['rerank', 'mcp', '--root', {str(notes)!r}]\nfrom rerank_core.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit as done:\n    print(done.code)"
    code = "import io; sys.stderr = sys.stdout\n" + code
    said = fresh(code, without=["mcp", "mcp_types"])
    assert "rerank-plugins[mcp]" in said
    assert said.rstrip().endswith("3")
