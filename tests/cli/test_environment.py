"""Whatever is wrong with a machine, a command says it in a line, or works; "this is a bug" is for bugs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from waiting import BOUND

MAIN = [sys.executable, "-c", "from rerank_core.cli import main; main()"]
EXTRAS = ("torch", "server", "eval", "ir-datasets", "parquet", "files")
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
NEEDS_EVAL = pytest.mark.skipif(find_spec("bm25s") is None, reason="needs the extra eval")


@pytest.fixture
def files(tmp_path):
    """What the commands read."""
    (tmp_path / "a.txt").write_text("cats purr\n\ndogs bark")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    rows = [{"query": f"cats {i}", "documents": ["dogs bark", f"cats purr {i}"], "relevant": [1]} for i in range(12)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


COMMANDS = {
    "help": ("--help",),
    "version": ("--version",),
    "query": ("query", "cats", "a.txt"),
    "parquet": ("query", "cats", "a.parquet"),
    "pdf": ("query", "cats", "a.pdf"),
    "torch": ("query", "cats", "a.txt", "-m", "checkpoint"),
    "models": ("models",),
    "export": ("export", "checkpoint", "out"),
    "evaluate": ("evaluate", "data.jsonl"),
    "evaluate --html": ("evaluate", "data.jsonl", "--cache", "scores.db", "--html", "page.html"),
    "calibrate": ("calibrate", "data.jsonl", "-o", "c.json"),
    "ir_datasets": ("evaluate", "ir_datasets:no/such/set"),
    "serve": ("serve", "--port", "0", "--config", "absent.toml"),
}
NEEDED = {
    "parquet": "parquet",
    "pdf": "files",
    "torch": "torch",
    "export": "torch",
    "evaluate": "eval",
    "evaluate --html": "eval",
    "calibrate": "eval",
    "ir_datasets": "ir-datasets",
    "serve": "server",
}


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def closure(extra: str) -> set[str]:
    """The distributions that an install of the package with this extra brings."""
    waiting = [Requirement(f"rerank-plugins[{extra}]" if extra else "rerank-plugins")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        key = (normal(wanted.name), frozenset(wanted.extras))
        if key in seen or find_distribution(wanted.name) is None:
            continue
        seen.add(key)
        waiting.extend(
            needed
            for needed in map(Requirement, find_distribution(wanted.name).requires or [])
            if needed.marker is None or any(needed.marker.evaluate({"extra": each}) for each in wanted.extras or {""})
        )
    return {name for name, _ in seen}


def find_distribution(name: str):
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def modules_of(distributions: set[str]) -> set[str]:
    """The top-level modules that these distributions, and no others, bring."""
    return {
        module
        for module, names in packages_distributions().items()
        if set(map(normal, names)) <= distributions and module.isidentifier()
    }


DRIVER = """
import json, sys
absent, commands = json.loads(sys.stdin.read())
class Without:
    # A finder that does not see the modules that are absent.
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
from typer.testing import CliRunner
from rerank_core.cli import evaluate, query, serve
from rerank_core.cli.app import app
seen = {name: CliRunner().invoke(app, arguments) for name, arguments in commands.items()}
print(json.dumps({name: [done.exit_code, done.stdout, done.stderr] for name, done in seen.items()}))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder that only torch can load, and that nobody gets far enough to load."""
    folder = tmp_path_factory.mktemp("models") / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.skipif(
    not all(map(find_spec, ("torch", "fastapi", "bm25s", "ir_datasets", "pyarrow"))), reason="hides what is installed"
)
@pytest.mark.parametrize("absent", [*EXTRAS, "all of them"])
def test_every_command_without_an_extra_names_it_or_works(files, tiny, absent):
    (files / "checkpoint").symlink_to(tiny)
    # What reads files has BM25 from the same library as what evaluates.
    gone = {"all of them": EXTRAS, "eval": ("eval", "files")}.get(absent, (absent,))
    kept = set().union(closure(""), *(closure(extra) for extra in EXTRAS if extra not in gone))
    modules = modules_of(set().union(*(closure(extra) for extra in gone)) - kept)
    assert modules, f"nothing belongs to {absent} alone"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([sorted(modules), COMMANDS]),
        capture_output=True, text=True, check=False, cwd=files,
        env=os.environ | {"XDG_CACHE_HOME": str(files / "cache"), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, (code, out, err) in json.loads(done.stdout.splitlines()[-1]).items():
        assert "this is a bug" not in err, (name, err)
        assert "Traceback" not in err, (name, err)
        extra = NEEDED.get(name)
        if name == "calibrate" and "sklearn" not in modules:  # another extra brings what it needs
            extra = None
        if extra in gone:
            assert code in {2, 3}, (name, out, err)
            assert f"pip install 'rerank-plugins[{extra}]'" in err, (name, err)
            assert err.startswith("rerank: "), (name, err)
        elif name not in {"parquet", "pdf", "torch", "export", "ir_datasets", "serve"}:  # what they name is not there
            assert code == 0, (name, err)
        else:
            assert code in {2, 3}, (name, out, err)


def run(arguments, folder, *, redirect="", **environment):
    """A command in a process of its own; ``redirect`` is for a shell."""
    changed = {name: value for name, value in environment.items() if value is not None}
    clean = {name: value for name, value in os.environ.items() if name not in environment}
    line = [*MAIN, *arguments]
    if redirect:
        line = ["sh", "-c", f'"$@" {redirect}', "sh", *line]
    return subprocess.run(
        line, cwd=folder, env={"COLUMNS": "120"} | clean | changed, capture_output=True, timeout=BOUND, check=False
    )


HOSTILE = {
    "no home": {"HOME": None},
    "a home that is a file": {"HOME": "/dev/null"},
    "a home that is nowhere": {"HOME": "/nonexistent"},
    "a cache that is a file": {"XDG_CACHE_HOME": "/dev/null"},
    "a cache that is relative": {"XDG_CACHE_HOME": "not/absolute"},
    "C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    "a dumb terminal": {"TERM": "dumb"},
    "an unknown terminal": {"TERM": "no-such-terminal"},
    "no columns": {"COLUMNS": "0"},
    "junk for columns": {"COLUMNS": "many", "LINES": "-1", "TERMINAL_WIDTH": "wide"},
    "a digit for columns that is none": {"COLUMNS": "²"},
    "more columns than memory": {"COLUMNS": "9" * 18, "TERMINAL_WIDTH": "9" * 18},
    "no colour": {"NO_COLOR": "1"},
    "a Hub home that is a file": {"HF_HOME": "/dev/null"},
    "a Hub address that is none": {"HF_ENDPOINT": "::junk::"},
    "a temporary folder that is none": {"TMPDIR": "/nonexistent"},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_environment(files, what):
    changed = HOSTILE[what]
    commands = [("query", "cats", "a.txt", "-q")]
    commands += [("query", "--help")] if "COLUMNS" in changed else []
    commands += [("models",)] if {"HF_HOME", "HF_ENDPOINT"} & changed.keys() else []
    for arguments in commands:
        seen = run(arguments, files, **changed)
        assert seen.returncode == 0, seen.stderr.decode()
        assert seen.stderr == b""
        assert seen.stdout


@NEEDS_EVAL
@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("C", 0),
        ("more columns than memory", 0),
        ("a temporary folder that is none", 0),
        ("a cache that is relative", 0),  # the standard has it ignored
        ("a cache that is a file", 2),
        ("a home that is a file", 2),
    ],
)
def test_a_hostile_environment_for_evaluate(files, what, code):
    places = {"HOME": str(files), "XDG_CACHE_HOME": None}
    seen = run(("evaluate", "data.jsonl", "--html", "page.html"), files, **places | HOSTILE[what])
    error = seen.stderr.decode()
    assert seen.returncode == code, error
    if code:
        assert error.startswith("rerank: /dev/null/")
        assert "cannot hold scores" in error
        assert "[Errno" not in error
        assert "--cache" in error
        assert len(error.splitlines()) == 1
    else:
        assert error == ""
        assert (files / "page.html").stat().st_size > 10_000
        assert (files / ".cache" / "rerank-plugins" / "evaluation.db").is_file()
    assert not (files / "not" / "absolute" / "rerank-plugins").exists()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a Hub home that is a file", "rerank: cannot get model 'nobody/nothing'"),
        (
            "a Hub address that is none",
            "rerank: cannot get model 'nobody/nothing' (nobody/nothing): HF_ENDPOINT is not",
        ),
    ],
)
def test_a_hostile_environment_for_the_hub(files, what, words):
    seen = run(("query", "cats", "a.txt", "-m", "nobody/nothing"), files, **HOSTILE[what])
    assert seen.returncode == 3
    assert seen.stderr.decode().startswith(words)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("-m", "rerank-mini-v1"), "Did you mean 'rerank-mini-en-v1'?"),
        (("-m", "BGE-reranker-v2"), "Did you mean 'bge-reranker-v2'?"),
        (("-m", "m", "--provider", "coheer"), "Did you mean 'cohere'?"),
    ],
)
def test_a_name_that_is_nearly_right_is_reported_with_it(files, options, hint, monkeypatch):
    monkeypatch.chdir(files)
    assert invoke("query", "cats", "a.txt", *options).stderr.rstrip().endswith(hint)
    assert "Did you mean" not in invoke("query", "cats", "a.txt", "-m", "nothing like it").stderr


@pytest.mark.parametrize("arguments", [("models", "--json"), ("query", "cats", "a.txt", "-q")])
def test_streams_that_are_closed(files, arguments):
    for redirect in ("<&-", "2>&-", "<&- 2>&-", ">&-", "<&- >&- 2>&-"):
        seen = run(arguments, files, redirect=redirect)
        assert seen.returncode == 0, (redirect, seen.stderr)
        assert seen.stderr == b""
        assert bool(seen.stdout) == (">&- " not in f"{redirect.replace('2>&-', '')} ")


@FULL
@pytest.mark.parametrize(
    "arguments", [("models", "--json"), ("query", "cats", "a.txt", "--jsonl"), ("query", "cats", "a.txt"), ("--help",)]
)
def test_standard_output_that_is_full(files, arguments):
    seen = run(arguments, files, redirect="> /dev/full")
    assert seen.returncode == 3
    assert b"No space left on device." in seen.stderr
    assert b"[Errno" not in seen.stderr
    assert b"standard output" in seen.stderr or arguments == ("--help",)
    assert len(seen.stderr.splitlines()) == 1
    assert run(("query", "cats", "absent.txt"), files, redirect="2> /dev/full").returncode == 2


@pytest.mark.parametrize("output", [("-q",), ("--jsonl",), ("--json",)])
@pytest.mark.parametrize(("query", "code"), [(("cats", "a.txt"), 0), (("cats", "a.txt", "-t", "1"), 1)])
def test_a_reader_that_is_gone_changes_no_exit_code(files, query, code, output):
    reading, writing = os.pipe()
    os.close(reading)
    seen = subprocess.run(
        [*MAIN, "query", *query, *output], stdout=writing, stderr=subprocess.PIPE, cwd=files, timeout=BOUND, check=False
    )
    os.close(writing)
    assert (seen.returncode, seen.stderr) == (code, b"")


@pytest.mark.parametrize("command", [(), ("query",), ("serve",)])
def test_help_that_nobody_reads_to_its_end_is_no_failure(files, command):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [*MAIN, *command, "--help"]
    seen = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, cwd=files, timeout=BOUND, check=False)
    os.close(writing)
    assert (seen.returncode, seen.stderr) == (0, b"")


@NEEDS_EVAL
def test_results_are_saved_though_their_reader_is_gone(files):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ("evaluate", "data.jsonl", "--cache", "scores.db", "-o", "found.json")
    seen = subprocess.run(
        [*MAIN, *arguments], stdout=writing, stderr=subprocess.PIPE, cwd=files, timeout=BOUND, check=False
    )
    os.close(writing)
    assert (seen.returncode, seen.stderr) == (0, b"")
    assert json.loads((files / "found.json").read_text())["queries"] == 12


def test_a_reader_that_has_enough(files):
    (files / "many.txt").write_text("\n".join(f"cats {i}" for i in range(300)))
    seen = run(("query", "cats", "many.txt", "--split", "line", "--all", "--jsonl"), files, redirect="| head -n 1")
    assert len(seen.stdout.splitlines()) == 1
    assert seen.stderr == b""


def invoke(*arguments):
    from rerank_core.cli import evaluate, query, serve  # noqa: F401  (they add their commands)
    from rerank_core.cli.app import app

    return CliRunner().invoke(app, arguments)


@NEEDS_EVAL
@pytest.mark.parametrize(
    "option", ["data", "--queries", "--texts", "--qrels", "--run", "--output", "--html", "--cache"]
)
@pytest.mark.parametrize("path", ["loop", "empty", "a.txt/x", "absent/x", "x" * 300])
def test_paths_that_are_no_files(files, option, path, monkeypatch):
    monkeypatch.chdir(files)
    (files / "loop").symlink_to("loop")
    (files / "empty").mkdir()
    if option == "--cache" and path == "absent/x":
        return  # a cache makes its folder
    arguments = ("evaluate", path) if option == "data" else ("evaluate", "data.jsonl", option, path)
    seen = invoke(*arguments, *(() if option == "--cache" else ("--cache", "scores.db")))
    assert seen.exit_code == 2, seen.stderr
    assert seen.stderr.startswith("rerank: ")
    assert len(seen.stderr.splitlines()) == 1


@pytest.mark.parametrize("model", ["loop", "a.txt", "empty"])
def test_models_that_are_no_models(files, model, monkeypatch):
    monkeypatch.chdir(files)
    (files / "loop").symlink_to("loop")
    (files / "empty").mkdir()
    seen = invoke("query", "cats", "a.txt", "-m", model)
    assert seen.exit_code == 3
    assert seen.stderr.startswith("rerank: ")
    assert "model" in seen.stderr
    assert "this is a bug" not in seen.stderr


NOBODY = """
import json, os, sys
from pathlib import Path
from rerank_core import RerankError
from rerank_core.cli.evaluate import _check_outputs
from rerank_core.reading import Selection, read
from rerank_core.evaluation import load_data, systems
b"a".decode("utf-8-sig")  # loads the codec while it may
os.setgroups([]); os.setgid(54321); os.setuid(54321)
attempts = {
    "a folder": lambda: read(["secret/a.txt"], split="file"),
    "a file": lambda: read(["locked.txt"], split="file"),
    "data": lambda: load_data("secret/data.jsonl"),
    "locked data": lambda: load_data("locked.txt"),
    "a place": lambda: _check_outputs({"--output": Path("secret/x")}),
    "a home": systems.default_file,
}
for what, attempt in attempts.items():
    try:
        attempt()
    except RerankError as error:
        print(json.dumps([what, type(error).__name__, str(error)]))
found = read(["."], selection=Selection(exclude=("*.jsonl", "*.p*")))
print(json.dumps(["the rest", {document.metadata["file"] for document in found.documents}.pop(), *found.left_out]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody else, since root may read everything")
@NEEDS_EVAL
def test_what_may_not_be_read_and_a_home_nobody_has(files):
    files.chmod(0o777)
    (files / "secret").mkdir(mode=0o700)
    (files / "secret" / "a.txt").write_text("cats")
    (files / "locked.txt").write_text("cats")
    (files / "locked.txt").chmod(0o000)
    clean = {name: value for name, value in os.environ.items() if name not in {"HOME", "XDG_CACHE_HOME"}}
    done = subprocess.run([sys.executable, "-c", NOBODY], cwd=files, env=clean, capture_output=True, check=False)
    *attempts, rest = map(json.loads, done.stdout.splitlines())
    assert rest[:2] == ["the rest", "a.txt"], done.stderr.decode()
    assert [message for message in rest[2:] if "secret" in message or "locked" in message] == rest[2:]
    assert len(rest) == 4
    seen = {what: (kind, message) for what, kind, message in attempts}
    assert list(seen) == ["a folder", "a file", "data", "locked data", "a place", "a home"], done.stderr.decode()
    assert {kind for kind, _ in seen.values()} == {"InvalidRequestError"}
    assert "name a file with --cache" in seen.pop("a home")[1]
    assert all("Permission denied" in message for _, message in seen.values())
    assert not (files / "~").exists()
