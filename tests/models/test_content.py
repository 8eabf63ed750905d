"""A model is the bytes that decide its scores, wherever they lie and whatever their names and times say."""

from __future__ import annotations

import json
import os
import shutil
import threading

import pytest

from rerank_core import ModelLoadError, Reranker
from rerank_core.models import DEFAULT_MODEL, digests
from rerank_core.models.content import checkpoint_files, onnx_files
from rerank_core.models.digests import cache_folder, file_digest
from rerank_core.models.source import BUNDLED, locate
from rerank_core.scoring import CachedScorer

MINI, TINY = (BUNDLED[name] for name in (DEFAULT_MODEL, "rerank-tiny-en-v1"))
QUERY, TEXTS = "feline pets", ["Dogs bark.", "Cats purr."]


@pytest.fixture
def hashed(monkeypatch):
    """The files whose bytes are read, while everything that lies there counts as unchanged for long."""
    read, original = [], digests.hashlib.file_digest

    def counted(file, algorithm):
        read.append(os.path.basename(file.name))  # noqa: PTH119  (may be a number)
        return original(file, algorithm)

    monkeypatch.setattr(digests.hashlib, "file_digest", counted)
    in_2100 = 4_102_444_800_000_000_000
    monkeypatch.setattr(digests.time, "time_ns", lambda: in_2100)
    return read


def rewrite(file, data):
    """Other content under the same name, size and time of modification, as ``rsync -a`` or an image layer has it."""
    before = file.stat()
    assert len(data) == before.st_size
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_another_model_with_the_same_names_sizes_and_times_gets_neither_scores_nor_session(tmp_path, hashed):
    one, two = tmp_path / "one", tmp_path / "two"
    shutil.copytree(MINI, one)
    shutil.copytree(TINY, two)
    size = max(folder.joinpath("model.onnx").stat().st_size for folder in (one, two))
    for folder in (one, two):  # trailing bytes of an unknown protobuf field, so that both are of one size
        data = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(data + padding(size + 64 - len(data)))
        shutil.copyfile(MINI / "tokenizer.json", folder / "tokenizer.json")
        shutil.copyfile(MINI / "config.json", folder / "config.json")
    store = {}
    first = Reranker(scorer=CachedScorer(Reranker(one).scorer, store))
    before = first.rerank(QUERY, TEXTS)
    rewrite(one / "model.onnx", (two / "model.onnx").read_bytes())
    second = Reranker(scorer=CachedScorer(Reranker(one).scorer, store))
    after = second.rerank(QUERY, TEXTS)
    assert [r.logit for r in after] == [r.logit for r in Reranker(two).rerank(QUERY, TEXTS)]
    assert [r.logit for r in after] != [r.logit for r in before]
    assert not any(result.cached for result in after)
    assert first.scorer.identity != second.scorer.identity


def padding(size):
    """A protobuf field of the model that nobody reads (doc_string, number 6), ``size`` bytes long."""
    body = size - 1
    for groups in range(1, 6):
        length = body - groups
        varint = b""
        rest = length
        while rest > 127:
            varint += bytes([rest & 127 | 128])
            rest >>= 7
        varint += bytes([rest])
        if len(varint) == groups:
            return b"\x32" + varint + b" " * length
    raise AssertionError(size)


def test_a_copy_is_the_same_model_under_any_name_and_time(tmp_path):
    for name in ("one", "two"):
        shutil.copytree(MINI, tmp_path / name)
        for file in (tmp_path / name).iterdir():
            os.utime(file, (len(name), len(name)))
    fingerprints = {locate(tmp_path / name).fingerprint("model.onnx") for name in ("one", "two")}
    assert len(fingerprints) == 1


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def changed_by(folder, name, graph):
    """Whether the fingerprint follows a file; it is put back afterwards."""
    before = locate(folder).fingerprint(graph)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[::-1] + b" ")
    changed = locate(folder).fingerprint(graph) != before
    (folder / name).write_bytes(content)
    assert locate(folder).fingerprint(graph) == before
    return changed


def test_which_files_decide_the_scores_of_a_graph(tmp_path):
    location = b"\x0a\x08location\x12"
    far = b"weights/" + b"x" * 150
    write(tmp_path, "model.onnx", "model.onnx.data", "tensors.bin", far.decode(), "unrelated.bin", "other.onnx")
    write(tmp_path, "tokenizer.json", "config.json", "config_sentence_transformers.json", "modules.json")
    write(tmp_path, "README.md", "notes.txt", "deep/tokenizer.json", "model.safetensors")
    named = [b"model.onnx.data", b"tensors.bin", far, b"/absent"]
    lengths = [b"\x0f", b"\x0b", bytes([158 & 127 | 128, 1]), b"\x07"]
    parts = [location + length + name for length, name in zip(lengths, named, strict=True)]
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07".join(parts) + location)
    decide = {
        "model.onnx", "model.onnx.data", "tensors.bin", far.decode(), "tokenizer.json", "config.json",
        "config_sentence_transformers.json", "modules.json",
    }  # fmt: skip
    assert set(onnx_files(tmp_path, "model.onnx")) == decide
    every = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in every if changed_by(tmp_path, name, "model.onnx")} == decide


def test_tensors_lie_beside_their_graph(tmp_path):
    write(tmp_path, "onnx/model.onnx", "onnx/t.bin", "t.bin", "tokenizer.json")
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"\x0a\x08location\x12\x05t.bin")
    assert onnx_files(tmp_path, "onnx/model.onnx") == ["onnx/model.onnx", "onnx/t.bin", "tokenizer.json"]


@pytest.mark.torch
def test_the_tensors_that_onnx_writes_elsewhere_are_found(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(MINI / "model.onnx")
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="elsewhere.bin", size_threshold=0)
    assert onnx_files(tmp_path, "model.onnx") == ["model.onnx", "elsewhere.bin"]


def test_which_files_decide_the_scores_of_a_checkpoint(tmp_path):
    decide = {
        "model.safetensors", "pytorch_model.bin", "config.json", "tokenizer.json", "vocab.txt", "spm.model",
        "chat_template.jinja", "config_sentence_transformers.json", "modules.json", "1_Dense/config.json",
        "1_Dense/model.safetensors", "additional_chat_templates/other.jinja", "modeling.py", "code/layers.py",
    }  # fmt: skip
    others = {
        "README.md", "LICENSE", ".gitattributes", "model.onnx", "onnx/model.onnx", "checkpoint-500/model.safetensors",
        "optimizer.pt", "training_args.bin", "runs/events.out.tfevents.1", "model.gguf", "train.log",
    }  # fmt: skip
    write(tmp_path, *decide, *others)
    modules = [{"path": ""}, {"path": "1_Dense"}, {"path": "../outside"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert set(checkpoint_files(tmp_path)) == decide
    for name in decide - {"modules.json"} | others:
        assert changed_by(tmp_path, name, None) is (name in decide)
    (tmp_path / "modules.json").write_text("[3]")
    assert "1_Dense/config.json" not in checkpoint_files(tmp_path)


def test_a_file_of_the_hubs_cache_that_was_changed_is_another_model(hub, tmp_path):
    shutil.copytree(MINI, tmp_path / "model")
    hub.publish("tests/changed-later", tmp_path / "model")
    files = locate("tests/changed-later")
    files.fetch(["model.onnx"])
    before = files.fingerprint("model.onnx")
    blob = (files.folder / "tokenizer.json").resolve()
    blob.write_bytes(blob.read_bytes() + b" ")
    assert files.fingerprint("model.onnx") != before


def test_a_file_that_cannot_be_read_is_a_load_error(tmp_path, monkeypatch):
    write(tmp_path, "model.onnx", "tokenizer.json")

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("rerank_core.models.content.file_digest", refused)
    with pytest.raises(ModelLoadError, match=r"model\.onnx of model .* cannot be read: Permission denied"):
        locate(tmp_path).fingerprint("model.onnx")


def test_what_is_read_of_a_configuration_is_in_the_fingerprint(tmp_path):
    write(tmp_path, "config.json", "other.json")
    assert locate(tmp_path).read_json("config.json") == {}
    with pytest.raises(ValueError, match="not in CONFIG_FILES"):
        locate(tmp_path).read_json("other.json")


# The digests of files


@pytest.fixture
def weights(tmp_path):
    """A file large enough to be remembered on disk."""
    file = tmp_path / "weights.bin"
    file.write_bytes(b"w" * digests._WORTH_KEEPING)
    return file


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """``fresh()`` forgets like a new process; the record lies in a folder of the test."""
    monkeypatch.setattr(digests, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(digests, "_known", {})
    monkeypatch.setattr(digests, "_read", set())

    def forget():
        digests._known.clear()
        digests._read.clear()

    return forget


def test_a_large_file_is_read_once_per_machine(weights, hashed, fresh):
    digest = file_digest(weights)
    for _ in range(3):
        assert file_digest(weights) == digest
    fresh()
    assert file_digest(weights) == digest
    assert hashed == ["weights.bin"]
    rewrite(weights, b"x" * weights.stat().st_size)
    assert file_digest(weights) != digest
    assert len(hashed) == 2


def test_a_small_file_leaves_no_record(tmp_path, hashed, fresh):
    (tmp_path / "config.json").write_text("{}")
    file_digest(tmp_path / "config.json")
    file_digest(tmp_path / "config.json")
    assert hashed == ["config.json"]
    assert not (tmp_path / "cache").exists()


def test_what_was_changed_a_moment_ago_is_read_again(weights, fresh, monkeypatch):
    """Two changes within a tick of the file system's clock have one time."""
    status = weights.stat()
    monkeypatch.setattr(digests, "_key", lambda _status: tuple(status)[:5])
    first = file_digest(weights)
    weights.write_bytes(b"x" * status.st_size)
    assert file_digest(weights) != first


def test_a_file_that_changes_while_it_is_read_is_not_remembered(weights, hashed, fresh, monkeypatch):
    original = digests.hashlib.file_digest

    def growing(file, algorithm):
        digest = original(file, algorithm)
        weights.write_bytes(b"x" * 10)
        return digest

    monkeypatch.setattr(digests.hashlib, "file_digest", growing)
    file_digest(weights)
    assert digests._known == {}


@pytest.mark.parametrize(
    "record",
    [
        b"", b"\xff\xfe\x00", b"1 2 3 4 5", b"1 2 3 4 5 " + b"g" * 64, b"x" * 100, b"\n" * 2_000_000,
        b"9" * 5000 + b" 2 3 4 5 " + b"a" * 64, b"9" * 5000 + b" 2 3 4 5 " + b"a" * 64 + b" " + b"0" * 16,
    ],
)  # fmt: skip
def test_a_damaged_record_is_no_digest_and_is_written_on(weights, hashed, fresh, tmp_path, record):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "sha256-2.txt").write_bytes(record)
    digest = file_digest(weights)
    fresh()
    assert file_digest(weights) == digest
    assert hashed == ["weights.bin"]
    assert (folder / "sha256-2.txt").stat().st_size < 2_000_000


def test_a_line_of_the_record_that_was_changed_is_no_digest(weights, fresh, hashed, tmp_path):
    """Neither with another digest, nor as the line of another file."""
    other = tmp_path / "other.bin"
    other.write_bytes(b"o" * weights.stat().st_size)
    digest = file_digest(weights)
    record = tmp_path / "cache" / "sha256-2.txt"
    line = record.read_text().strip()
    key, others_key = (" ".join(map(str, digests._key(file.stat()))) for file in (weights, other))
    record.write_text(f"{line.replace(digest, '0' * 64)}\n{line.replace(key, others_key)}\n")
    fresh()
    assert file_digest(weights) == digest
    assert file_digest(other) != digest
    assert hashed == ["weights.bin", "weights.bin", "other.bin"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_record_that_is_no_file_is_neither_read_nor_written(weights, hashed, fresh, tmp_path):
    """A pipe would wait for whoever is at its other end."""
    (tmp_path / "cache").mkdir()
    os.mkfifo(tmp_path / "cache" / "sha256-2.txt")
    assert file_digest(weights) == file_digest(weights)
    assert hashed == ["weights.bin"]


def test_where_nothing_can_be_written_memory_does(weights, hashed, fresh, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder would be")
    for folder in (tmp_path / "cache", None):
        monkeypatch.setattr(digests, "cache_folder", lambda folder=folder: folder)
        fresh()
        hashed.clear()
        assert file_digest(weights) == file_digest(weights)
        assert hashed == ["weights.bin"]


def test_threads_that_ask_at_once_read_a_file_once(weights, hashed, fresh):
    start = threading.Barrier(6)
    found = []

    def ask():
        start.wait()
        found.append(file_digest(weights))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert hashed == ["weights.bin"]


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "given/rerank-plugins"),
        ("linux", "", "home/.cache/rerank-plugins"),
        ("darwin", "", "home/Library/Caches/rerank-plugins"),
        ("win32", "LOCALAPPDATA", "given/rerank-plugins"),
        ("win32", "", "home/AppData/Local/rerank-plugins"),
    ],
)
def test_the_cache_is_where_the_platform_has_it(tmp_path, monkeypatch, platform, variable, expected):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "given"))
    monkeypatch.setattr(digests.sys, "platform", platform)
    assert cache_folder() == tmp_path / expected


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(digests.Path, "home", nowhere)
    assert cache_folder() is None
