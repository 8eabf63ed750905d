"""``rerank doctor``, and the check before an evaluation."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from apiserver import ApiServer
from rerank_core.cli import doctor, evaluate  # noqa: F401  (they add their commands)
from rerank_core.cli.app import app


@pytest.fixture
def short(monkeypatch):
    """A speed is measured in one batch."""
    monkeypatch.setattr(doctor, "_SECONDS", 0.0)


@pytest.fixture
def mixed_up():
    """A server whose scores depend on the length of a text alone."""
    server = ApiServer()
    yield server
    server.stop()


def run(*arguments):
    return CliRunner().invoke(app, arguments)


def test_a_model_and_its_machine(short):
    done = run("doctor", "--model", "rerank-tiny-en-v1", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {"python", "processor features", "threads", "libraries", "accelerator", "caches"} <= found.keys()
    (patient,) = found["models"]
    assert (patient["ranks"], patient["backend"], patient["dtype"]) == (True, "onnx", "int8")
    assert {"findings", "why", "documents_per_second"} <= patient.keys()


def test_all_models_that_are_on_this_machine_in_words(short):
    done = run("doctor")
    assert done.exit_code == 0, done.output
    assert "rerank-mini-en-v1 ranks as it should" in done.stdout
    assert "documents of 90 words per second" in done.stdout


def test_a_server_that_mixes_up_its_scores(mixed_up):
    done = run("doctor", "--base-url", mixed_up.url, "--model", "served")
    assert done.exit_code == 3
    assert "served does not rank: the relevant text is first in" in done.stdout


def test_a_model_that_cannot_be_loaded(tmp_path):
    done = run("doctor", "--model", str(tmp_path))
    assert done.exit_code == 3
    assert "cannot be checked" in done.stdout


@pytest.mark.parametrize("option", ["--check", "--no-check"])
def test_an_evaluation_stops_before_it_begins(mixed_up, tmp_path, option):
    pytest.importorskip("bm25s")
    data = tmp_path / "data.jsonl"
    line = {"query": "what do pandas eat", "documents": ["stones", "they eat bamboo"], "relevant": [1]}
    data.write_text(json.dumps(line) + "\n")
    done = run("evaluate", str(data), "--model", "native:served", "--base-url", mixed_up.url, option)
    assert done.exit_code == (3 if option == "--check" else 0), done.output
    assert ("served does not rank" in done.stderr) == (option == "--check")
    assert ("--no-check" in done.stderr) == (option == "--check")
