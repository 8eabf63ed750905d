"""What tests do not do: hope that a machine is fast enough, and leave something behind for the next test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ALLOWED = {
    TESTS / "waiting.py",  # the one place that waits
    TESTS / "alone.py",  # a script
    # Settings that other libraries read when they are imported, hence the same for all tests.
    *TESTS.rglob("conftest.py"),
    TESTS / "compat" / "third_party.py",
}
FILES = sorted(set(TESTS.rglob("*.py")) - ALLOWED)

CLOCKS = {
    "time", "monotonic", "perf_counter", "process_time", "thread_time",
    "time_ns", "monotonic_ns", "perf_counter_ns", "process_time_ns", "thread_time_ns",
}  # fmt: skip
BOUNDED = {"join", "wait", "result", "communicate", "get"}  # with a number: how long to wait at most
REQUESTS = {"get", "post", "put", "delete", "head", "options", "patch", "request", "stream", "Client", "AsyncClient"}


def faults(source: str) -> list[str]:
    """``line: what is wrong`` for each bad habit in the source of a test."""
    nodes = ast.walk(ast.parse(source))
    return [f"{node.lineno}: {fault}" for node in nodes if (fault := _hope(node) or _trace(node))]


def _trace(node: ast.AST) -> str | None:
    """What stays behind for the next test of the process."""
    match node:
        case ast.Attribute(value=ast.Name("sys"), attr="modules"):
            return "what is imported meanwhile stays broken; run it in an interpreter of its own (fresh.fresh)"
        case (
            ast.Call(func=ast.Attribute(value=ast.Name("os"), attr="chdir" | "putenv" | "umask"))
            | ast.Subscript(value=ast.Attribute(value=ast.Name("os"), attr="environ"), ctx=ast.Store() | ast.Del())
            | ast.AugAssign(target=ast.Attribute(value=ast.Name("os"), attr="environ"))
        ):
            return "stays; use monkeypatch"
        case ast.Call(func=ast.Attribute(value=ast.Name("signal"), attr="signal")):
            return "stays; run it in an interpreter of its own (fresh.fresh)"
        case ast.Call(func=ast.Attribute(attr="setLevel" | "addHandler" | "removeHandler")):
            return "stays; use caplog"
    return None


def _hope(node: ast.AST) -> str | None:  # noqa: C901, PLR0911  (a table)
    match node:
        case ast.ImportFrom(module="time"):
            return "import the module time"
        case ast.Call(func=ast.Attribute(value=ast.Name("time" | "asyncio"), attr="sleep"), args=[ast.Constant(0)]):
            return None
        case ast.Call(func=ast.Attribute(value=ast.Name("time" | "asyncio"), attr="sleep")):
            return "sleeps; wait for what should happen (waiting.wait_for)"
        case ast.Attribute(value=ast.Name("time"), attr=name) if name in CLOCKS:
            return "reads a clock; count work, or say who waits for whom"
        case ast.Call(func=ast.Attribute(attr="time"), args=[], keywords=[]):
            return "reads a clock; count work, or say who waits for whom"
        case ast.Call(func=ast.Attribute(value=ast.Name("threading"), attr="Timer")):
            return "a timer hopes that something has happened by then"
        case ast.Call(func=ast.Attribute(attr="join"), args=[ast.Constant(int() | float())]):
            return "may give up silently; use waiting.join"
        case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(int() | float())]) if name in BOUNDED:
            return "a bound of its own, or a sleep; use waiting.BOUND"
        case ast.Call(func=ast.Attribute(attr=name), keywords=options) if name in BOUNDED | {"run"} and any(
            option.arg == "timeout" and isinstance(option.value, ast.Constant) for option in options
        ):
            return "a bound of its own; use waiting.BOUND"
        case ast.Call(func=ast.Attribute(value=ast.Name("httpx"), attr=name), keywords=options) if name in REQUESTS:
            given = {option.arg for option in options}
            return None if given & {"timeout", "transport", None} else "waits for 5 s only; timeout=waiting.BOUND"
    return None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(TESTS).as_posix())
def test_tests_have_no_bad_habits(file):
    assert faults(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "time.sleep(0.5)",
        "await asyncio.sleep(1)",
        "assert time.monotonic() - started < 5",
        "clock = time.perf_counter",
        "from time import sleep",
        "asyncio.get_running_loop().time()",
        "threading.Timer(0.3, stop)",
        "thread.join(10)",
        "future.result(20)",
        "event.wait(0.1)",
        "subprocess.run(command, timeout=60)",
        "httpx.get(url)",
        "monkeypatch.setitem(sys.modules, 'torch', None)",
        "os.environ['A'] = 'b'",
        "del os.environ['A']",
        "os.environ |= settings",
        "os.chdir(tmp_path)",
        "signal.signal(signal.SIGINT, handler)",
        "logging.getLogger('rerank_core').setLevel(10)",
    ],
)
def test_a_bad_habit_is_seen(line):
    assert len(faults(line)) == 1


@pytest.mark.parametrize(
    "line",
    ["await asyncio.sleep(0)", "','.join(words)", "event.wait(BOUND)", "httpx.get(url, **HTTP)", "os.environ['A']"],
)
def test_a_good_habit_is_left_alone(line):
    assert faults(line) == []


ROOT = TESTS.parent
FOLDERS = (
    ".ci", "benchmarks", "compat", "core", "docs", "examples", "haystack_integrations", "notebooks", "rerank_plugins",
    "tests", "training",
)  # fmt: skip
WRITTEN = [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"] + [
    file
    for folder in FOLDERS
    for kind in ("*.py", "*.pyi", "*.md", "*.ipynb")
    for file in (ROOT / folder).rglob(kind)
    if "static" not in file.parts
]
# What we do not write, and what we write instead.
WORDS = {
    r"dear(er|est)?": "expensive",
    r"stand-ins?": "fallback",
    r"beyond chance": "statistically significant",
    r"(un)?told": "reported, shown, asked",
    r"(gate|open|shut|close)?doors?": "gate, request",
    r"patience": "a number of seconds",
    r"in passing": "say that it may work the next time",
}
SAYS_WHAT_WAS = {"CHANGELOG.md", "test_habits.py"}
# Notebooks have these texts in them, where a door is a door.
CORPUS = (ROOT / "notebooks" / "corpus" / "corpus.jsonl").read_text(encoding="utf-8")


def is_ours(file: Path, found: re.Match[str]) -> bool:
    """Whether a word stands in a text of ours, and not in one of the notebooks' corpus."""
    around = found.string[max(found.start() - 15, 0) : found.end()]
    return file.suffix != ".ipynb" or around not in CORPUS


@pytest.mark.parametrize(("word", "instead"), WORDS.items())
def test_words_are_the_fields_and_plain(word, instead):
    pattern = re.compile(rf"(?<![\w-]){word}(?![\w-])", re.IGNORECASE)
    lines = [
        f"{file.relative_to(ROOT)}:{number}: write {instead}: {line.strip()[:100]}"
        for file in WRITTEN
        if file.name not in SAYS_WHAT_WAS
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (found := pattern.search(line)) and is_ours(file, found)
    ]
    assert lines == []
