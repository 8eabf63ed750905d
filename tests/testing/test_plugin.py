"""The pytest plugin: found by itself, out of everybody's way."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from fresh import environment, fresh
from waiting import BOUND

ROOT = Path(__file__).resolve().parents[2]
with (ROOT / "pyproject.toml").open("rb") as file:
    PLUGINS = tomllib.load(file)["project"]["entry-points"]["pytest11"]

TEST = """
import sys

STARTED_WITH = set(sys.modules)

def test_it(fake_reranker):
    from rerank_core.testing import FakeScorer

    assert fake_reranker.rerank("a b", ["c", "a b"])[0].text == "a b"
    assert isinstance(fake_reranker.scorer, FakeScorer)
    assert fake_reranker.scorer.calls == [("a b", ("c", "a b"))]

def test_each_test_has_its_own(fake_reranker):
    assert fake_reranker.scorer.calls == []
"""


@pytest.fixture
def run(tmp_path):
    """``run(code, *arguments)`` runs the tests in ``code`` where our plugin is installed."""
    site, folder = tmp_path / "site", tmp_path / "tests"
    info = site / "somebodys_rerank-1.0.dist-info"
    info.mkdir(parents=True)
    folder.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-rerank\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{name} = {value}" for name, value in PLUGINS.items()]
    (info / "entry_points.txt").write_text("[pytest11]\n" + "\n".join(lines) + "\n", encoding="utf-8")

    def call(code, *arguments):
        (folder / "test_users.py").write_text(code, encoding="utf-8")
        path = environment()["PYTHONPATH"]
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments, "."],
            capture_output=True, text=True, timeout=BOUND, check=False, cwd=folder,
            env=environment(PYTHONPATH=f"{site}:{path}"),
        )  # fmt: skip

    return call


def test_the_fixture_is_there_as_soon_as_the_package_is_installed(run):
    done = run(TEST)
    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_asking_for_it_by_name_is_no_second_plugin(run):
    done = run(TEST, "-p", "rerank_plugins.pytest")
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_does_not_use_it_imports_nothing_else(run, tmp_path):
    code = """
import sys
from pathlib import Path

SEEN = Path("modules.txt")

def test_it():
    SEEN.write_text(" ".join(sys.modules), encoding="utf-8")
"""

    def imported(*arguments):
        done = run(code, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return set((tmp_path / "tests" / "modules.txt").read_text(encoding="utf-8").split())

    assert imported() - imported("-p", "no:rerank_plugins.pytest") == {"rerank_plugins", "rerank_plugins.pytest"}


def test_it_can_be_left_out(run):
    done = run(TEST, "-p", "no:rerank_plugins.pytest")
    assert "fixture 'fake_reranker' not found" in done.stdout


def test_a_fixture_of_the_same_name_takes_its_place(run):
    done = run("""
import pytest

@pytest.fixture
def fake_reranker():
    return "mine"

def test_it(fake_reranker):
    assert fake_reranker == "mine"
""")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", PLUGINS.values())
def test_the_plugin_imports_pytest_alone(module):
    seen = fresh(
        f"import pytest; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    )
    assert seen.split() == ["rerank_plugins", module]
    assert import_module(module).__doc__
