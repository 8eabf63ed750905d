"""``rerank pull`` and ``rerank cache``, with a Hub on loopback."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from rerank_core import Reranker
from rerank_core.cli import with_all_commands
from rerank_core.models.source import BUNDLED

APP = with_all_commands()
NAME = "owner/tiny"


@pytest.fixture
def published(hub):
    hub.publish(NAME, BUNDLED["rerank-tiny-en-v1"])
    return hub


def run(*arguments):
    return CliRunner().invoke(APP, [str(each) for each in arguments])


def listed():
    """What is in the cache, by name; other tests may have downloaded models of their own."""
    return {row["model"]: row for row in json.loads(run("cache", "--json").stdout)}


def first(model, **options):
    with Reranker(model, backend="onnx", **options) as reranker:
        return reranker.rerank("feline pets", ["Dogs bark.", "Cats purr."])[0].index


def test_what_was_pulled_works_offline_is_listed_and_can_be_removed(published):
    done = run("pull", NAME, "--backend", "onnx")
    assert done.exit_code == 0, done.output
    assert f"{NAME} runs on onnx" in done.stdout
    assert published.downloads("model.onnx")
    assert first(NAME, local_files_only=True) == 1

    row = listed()[NAME]
    assert row["revisions"] == [published.commit(NAME)]
    assert row["megabytes"] > 1
    assert f"{NAME}  {row['megabytes']} MB" in run("cache").stdout

    assert "MB deleted" in run("cache", "--remove", NAME).stdout
    assert NAME not in listed()


def test_all_models_of_a_cascade_are_pulled_but_into_no_folder_of_one(tmp_path):
    cascade = "rerank-tiny-en-v1>rerank-mini-en-v1"
    done = run("pull", cascade)
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == cascade.split(">")
    refused = run("pull", cascade, "--to", tmp_path / "both")
    assert refused.exit_code == 2
    assert "is a cascade of 2: pull each of them" in refused.stderr
    assert not (tmp_path / "both").exists()


def test_a_pulled_folder_needs_neither_hub_nor_cache(published, tmp_path):
    folder = tmp_path / "model"
    assert run("pull", NAME, "--backend", "onnx", "--to", folder).exit_code == 0
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    run("cache", "--remove", NAME)
    asked = len(published.requests)
    assert first(folder, local_files_only=True) == 1
    assert len(published.requests) == asked
    again = run("pull", NAME, "--to", folder)
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("cache", "--remove", "rerank-mini-en-v1"), 2, "is bundled with the package"),
        (("cache", "--remove", "owner/absent"), 2, "is not in the cache"),
        (("pull", "owner/absent"), 3, "the Hub has no repository"),
    ],
)
def test_what_is_not_there(hub, arguments, code, said):
    done = run(*arguments)
    assert (done.exit_code, said in done.stderr) == (code, True), done.output
