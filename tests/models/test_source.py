from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from rerank_core import ModelLoadError, ModelNotFoundError, Reranker
from rerank_core.models import DEFAULT_MODEL, REGISTRY
from rerank_core.models.source import BUNDLED, is_cached, locate, verify_bundled

MINI = BUNDLED[DEFAULT_MODEL]
each_bundled = pytest.mark.parametrize("name", BUNDLED)


def test_the_registry_has_the_promised_models():
    promised = {
        "rerank-mini-en-v1", "rerank-tiny-en-v1", "bge-reranker-v2", "jina-reranker", "ms-marco-MiniLM-L6-v2",
        "ms-marco-TinyBERT-L2-v2", "ettin-reranker-17m-v1", "ettin-reranker-32m-v1", "ettin-reranker-68m-v1",
        "ettin-reranker-150m-v1", "bge-reranker-base", "bge-reranker-large", "mxbai-rerank-xsmall-v1",
        "Qwen3-Reranker-0.6B",
    }  # fmt: skip
    assert promised <= set(REGISTRY)
    for name, spec in REGISTRY.items():
        assert spec.name == name
        assert all((spec.licence, spec.languages, spec.description, spec.size_mb, spec.parameters))
    assert REGISTRY["bge-reranker-v2"].max_tokens == 512
    assert (REGISTRY["jina-reranker"].max_tokens, REGISTRY["jina-reranker"].backend) == (8192, "onnx")


def test_the_default_is_bundled_and_the_first_that_is_listed():
    assert (
        list(BUNDLED)
        == list(REGISTRY)[: len(BUNDLED)]
        == [
            "rerank-mini-en-v1",
            "rerank-tiny-en-v1",
            "rerank-small-en-v2",
            "rerank-mini-en-v2",
        ]
    )
    assert next(iter(BUNDLED)) == DEFAULT_MODEL


@each_bundled
def test_a_bundled_model_is_small_complete_and_as_recorded(name):
    folder, spec = BUNDLED[name], REGISTRY[name]
    verify_bundled(folder)
    locate(name).verify()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= (34e6 if "small" in name else 25e6)
    recorded = json.loads((folder / "sha256.json").read_text())
    assert {"model.onnx", "tokenizer.json", "config.json"} <= set(recorded)
    assert (folder / "README.md").read_text().startswith(f"# {name}\n")
    assert (spec.licence, spec.backend, spec.dtype, is_cached(spec)) == ("Apache-2.0", "onnx", "int8", True)


@each_bundled
def test_a_bundled_model_needs_no_network(hub, name):
    with Reranker(name, local_files_only=True) as reranker:
        response = reranker.rerank("feline pets", ["Dogs bark.", "Cats purr."])
        assert (response.model, response[0].text) == (name, "Cats purr.")
        assert reranker.loaded.folder == BUNDLED[name]
        assert (reranker.loaded.backend, reranker.loaded.dtype, reranker.loaded.max_tokens) == ("onnx", "int8", 512)
    assert hub.requests == []


@each_bundled
def test_a_damaged_bundled_model_is_found_out_when_it_is_loaded(tmp_path, monkeypatch, name):
    shutil.copytree(BUNDLED[name], tmp_path / name)
    for damaged in ("tokenizer.json", "sha256.json"):  # another list is another model than one that is loaded already
        with (tmp_path / name / damaged).open("a") as file:
            file.write(" ")
    monkeypatch.setitem(BUNDLED, name, tmp_path / name)
    with pytest.raises(ModelLoadError, match=f"{name}/tokenizer.json is damaged"):
        Reranker(name).warm_up()


@pytest.mark.parametrize("damage", ["change", "remove", "no list", "{", "[]", '{"tokenizer.json": 3}'])
def test_a_damaged_bundled_model_does_not_load(tmp_path, damage):
    folder = tmp_path / "model"
    shutil.copytree(MINI, folder)
    if damage == "change":
        with (folder / "tokenizer.json").open("a") as file:
            file.write(" ")
    elif damage[0] in "[{":
        (folder / "sha256.json").write_text(damage)
    else:
        (folder / ("model.onnx" if damage == "remove" else "sha256.json")).unlink()
    with pytest.raises(ModelLoadError, match="Reinstall rerank-plugins"):
        verify_bundled(folder)


@pytest.mark.parametrize("name", ["no-such-model", "./missing", "/missing/folder", "a/b/c", "", "~/nothing"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ModelNotFoundError, match=DEFAULT_MODEL) as caught:
        locate(name)
    assert caught.value.code == "model_not_found"


def test_a_local_onnx_file_is_found_with_its_folder(tmp_path):
    (tmp_path / "onnx").mkdir()
    for name in ("onnx/model.onnx", "other.onnx", "config.json"):
        (tmp_path / name).write_text("{}")
    files = locate(tmp_path / "onnx" / "model.onnx")
    assert (files.folder, files.onnx_file) == (tmp_path, "onnx/model.onnx")
    assert locate(str(tmp_path / "other.onnx")).onnx_file == "other.onnx"


def test_a_file_of_the_hubs_cache_loads_though_what_it_links_to_has_no_suffix(tmp_path):
    """What ``hf_hub_download`` returns: a link by the file's name to a blob by its hash."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "commit"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, path in enumerate(MINI.iterdir()):
        shutil.copyfile(path, blobs / f"{number:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
    with Reranker(snapshot / "model.onnx") as linked, Reranker(DEFAULT_MODEL) as bundled:
        documents = ["Dogs bark.", "Cats purr."]
        scores = [[result.logit for result in each.rerank("feline pets", documents)] for each in (linked, bundled)]
        assert scores[0] == scores[1]
        assert linked.loaded.folder == snapshot


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a/" * 3000, "~nobody-of-this-name/model", "a\0b", "a\udcffb", "/" + "x" * 300, "."]
)
def test_a_name_that_no_file_can_have_is_an_error_of_ours(hub, name):
    with pytest.raises((ModelNotFoundError, ModelLoadError)):
        Reranker(name, local_files_only=True).rerank("q", ["a"])


@pytest.mark.parametrize("name", ["BAAI/bge reranker-v2-m3", "owner/x--y", "owner/a..b", "o/" + "x" * 200, "a/b\0c"])
def test_a_name_that_no_repository_can_have_will_not_pass(hub, name):
    reranker = Reranker(name, on_failure="keep_order")
    with pytest.raises(ModelNotFoundError, match="no Hub id is spelled like this") as caught:
        reranker.rerank("q", ["a"])
    assert ("Did you mean 'BAAI/bge-reranker-v2-m3'?" in str(caught.value)) == name.startswith("BAAI")
    assert hub.requests == []


def test_a_folder_that_links_to_itself_is_an_error_of_ours(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ModelNotFoundError):
        Reranker(tmp_path / "loop").rerank("q", ["a"])


def test_a_broken_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"config\.json .* is not valid JSON"):
        locate(tmp_path).read_json("config.json")


@pytest.fixture
def onnx_folder(tmp_path):
    """A repository of the shape the Hub has: ONNX under onnx/, torch weights beside it."""
    folder = tmp_path / "repository"
    (folder / "onnx").mkdir(parents=True)
    shutil.copyfile(MINI / "model.onnx", folder / "onnx" / "model.onnx")
    shutil.copyfile(MINI / "tokenizer.json", folder / "tokenizer.json")
    (folder / "config.json").write_text('{"max_position_embeddings": 512}')
    (folder / "model.safetensors").write_bytes(b"never downloaded")
    return folder


def test_a_hub_model_downloads_what_it_needs_once_and_then_works_offline(hub, onnx_folder, monkeypatch):
    commit = hub.publish("tests/onnx-model", onnx_folder)
    reranker = Reranker("tests/onnx-model", backend="onnx")
    expected = [result.logit for result in Reranker().rerank("a cat", ["cats", "dogs"])]
    assert [result.logit for result in reranker.rerank("a cat", ["cats", "dogs"])] == expected
    assert (reranker.loaded.repository, reranker.loaded.revision) == ("tests/onnx-model", commit)
    assert reranker.loaded.fingerprint.startswith(f"tests/onnx-model@{commit}:")
    assert len(hub.downloads("onnx/model.onnx")) == 1
    assert hub.downloads(".safetensors") == []
    hub.requests.clear()
    offline = Reranker("tests/onnx-model", backend="onnx", local_files_only=True)
    assert [result.logit for result in offline.rerank("a cat", ["cats", "dogs"])] == expected
    assert hub.requests == []


def test_a_registry_model_by_its_repository_is_the_same_model(hub, onnx_folder):
    spec = REGISTRY["jina-reranker"]
    hub.publish(spec.repository, onnx_folder)
    assert locate(spec.repository).spec is spec


def test_a_hub_model_with_a_revision(hub, onnx_folder):
    commit = hub.publish("tests/pinned", onnx_folder)
    assert locate("tests/pinned", revision=commit).revision == commit
    with pytest.raises(ModelLoadError, match="no revision 'v9'") as caught:
        locate("tests/pinned", revision="v9")
    assert caught.value.code == "revision_not_found"


def test_a_repository_the_hub_does_not_have(hub):
    with pytest.raises(ModelNotFoundError, match="the Hub has no repository 'tests/nothing'"):
        Reranker("tests/nothing").warm_up()
    assert hub.requests


def test_offline_without_a_cached_copy_names_the_model_and_three_ways_out(hub):
    with pytest.raises(ModelLoadError) as caught:
        Reranker("bge-reranker-v2", local_files_only=True).warm_up()
    message = str(caught.value)
    for part in ("'bge-reranker-v2'", "hf download BAAI/bge-reranker-v2-m3", "local folder", DEFAULT_MODEL):
        assert part in message
    assert caught.value.code == "model_unavailable"
    assert hub.requests == []


def run_offline(code, **environment):
    """Run code in a fresh process: the Hub's settings are read when its library is imported."""
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


LOAD = "from rerank_core import Reranker; Reranker('bge-reranker-v2').warm_up()"


def test_the_offline_switch_is_respected(hub):
    seen = run_offline(LOAD, HF_HUB_OFFLINE="1")
    assert "downloads are switched off" in seen.stderr
    assert hub.requests == []


def test_a_hub_that_does_not_answer_is_a_load_error():
    seen = run_offline(LOAD, HF_ENDPOINT="http://127.0.0.1:9")
    assert "ModelLoadError: cannot get model 'bge-reranker-v2'" in seen.stderr.splitlines()[-1]
    assert "the Hub did not answer" in seen.stderr.splitlines()[-1]


def test_a_hub_that_does_not_answer_may_answer_another_time():
    code = (
        "from rerank_core import Reranker\n"
        "print(Reranker('bge-reranker-v2', on_failure='keep_order').rerank('q', ['a']).degraded)"
    )
    assert run_offline(code, HF_ENDPOINT="http://127.0.0.1:9").stdout == "True\n"
    offline = run_offline(code, HF_HUB_OFFLINE="1")
    assert (offline.stdout, "downloads are switched off" in offline.stderr) == ("", True)


def test_a_registry_model_is_looked_for_on_the_hub(hub):
    with pytest.raises(ModelNotFoundError, match="BAAI/bge-reranker-v2-m3"):
        Reranker("bge-reranker-v2").warm_up()
    assert any("BAAI/bge-reranker-v2-m3" in line for line in hub.requests)


def test_what_is_cached(hub, onnx_folder):
    spec = REGISTRY["jina-reranker"]
    assert not is_cached(spec)
    hub.publish(spec.repository, onnx_folder)
    reranker = Reranker("jina-reranker")
    reranker.warm_up()
    assert is_cached(spec)
    assert (reranker.loaded.backend, reranker.loaded.max_tokens) == ("onnx", 8192)
