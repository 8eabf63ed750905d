"""The last step of making a model: what is taken into the package, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import sys
from string import Template

import pytest

from rerank_core.models.source import BUNDLED
from training import bundle as module
from training.bundle import CARDS, BundleError, bundle
from training.card import write
from training.export import checksums, write_checksums
from training.notes import Notes, NotesError
from training.train import PLANS

pytestmark = pytest.mark.torch

MINI, TINY, *_ = BUNDLED
each_bundled = pytest.mark.parametrize("name", BUNDLED)


def digest(name):
    return checksums(BUNDLED[name])["model.onnx"]


@pytest.fixture
def run(tmp_path):
    """``run(NAME)`` is the folder of a finished run, with the bundled files for what it made."""

    def finished(name):
        shutil.copytree(BUNDLED[name], tmp_path / "run" / name / "int8")
        return tmp_path / "run"

    return finished


@each_bundled
def test_bundling_what_is_bundled_changes_nothing(run, tmp_path, name):
    shutil.copytree(BUNDLED[name], tmp_path / "models" / name)
    assert bundle(name, run(name), models=tmp_path / "models") == []
    for file in BUNDLED[name].iterdir():
        assert (tmp_path / "models" / name / file.name).read_bytes() == file.read_bytes()


def test_only_what_changed_is_written(run, tmp_path):
    run(MINI)
    assert sorted(bundle(MINI, tmp_path / "run", models=tmp_path / "models")) == sorted(module.FILES)
    (tmp_path / "models" / MINI / "config.json").write_text("{}")
    assert bundle(MINI, tmp_path / "run", models=tmp_path / "models") == ["config.json"]
    assert checksums(tmp_path / "models" / MINI) == checksums(BUNDLED[MINI])
    assert [path.name for path in (tmp_path / "models").iterdir()] == [MINI]


@each_bundled
def test_a_bundled_card_is_its_template_filled(name):
    card = (BUNDLED[name] / "README.md").read_text(encoding="utf-8")
    text = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    fixed = re.split(r"\$[a-z_]+", text)
    assert re.fullmatch(".*".join(map(re.escape, fixed)), card, re.DOTALL)
    notes = Notes.read(CARDS / f"{name}.toml")
    assert notes.texts.keys() == {key for key in Template(text).get_identifiers() if key.startswith("note_")}
    assert notes.weights == checksums(BUNDLED[name])["model.onnx"]
    assert notes.complete(card) == card


def write_file(name, content):
    return lambda folder: (folder / name).write_text(content)


def remove(name):
    return lambda folder: (folder / name).unlink()


def take_from_tiny(*names):
    return lambda folder: [shutil.copyfile(BUNDLED[TINY] / name, folder / name) for name in names]


def with_checksums(change):
    return lambda folder: (change(folder), write_checksums(folder))


def change_card(change):
    def apply(folder):
        card = (folder / "README.md").read_text(encoding="utf-8")
        (folder / "README.md").write_text(change(card), encoding="utf-8")

    return apply


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, r"has no model\.onnx, tokenizer\.json, config\.json, sha256\.json, README\.md: finish the run"),
        (remove("config.json"), r"has no config\.json"),
        (remove("README.md"), r"has no README\.md.*--evaluate"),
        (write_file("tokenizer.json", "{}"), r"does not record the files beside it \(tokenizer\.json\)"),
        (write_file("sha256.json", "{"), r"sha256\.json is no JSON"),
        (write_file("sha256.json", json.dumps(checksums(BUNDLED[MINI]) | {"more": "0"})), "it names others"),
        (with_checksums(write_file("tokenizer.json", "{}")), "cannot score"),
        (with_checksums(write_file("model.onnx", "float32")), "is not an int8 graph"),
        (take_from_tiny("README.md"), f"is not the card of {MINI}: its first line is '# {TINY}'"),
        (
            take_from_tiny("model.onnx", "sha256.json"),
            f'about other weights .{digest(MINI)[:12]}.*"{digest(TINY)[:12]}',
        ),
        (change_card(lambda card: card.replace("seven times", "once")), "has 'evaluation', which is not in the card"),
        (change_card(lambda card: card + "$note_unheard_of"), "asks for note_unheard_of, which .*toml does not have"),
    ],
)
def test_what_is_incomplete_or_does_not_belong_together_is_refused(run, tmp_path, spoil, message):
    spoil(run(MINI) / MINI / "int8")
    with pytest.raises(BundleError, match=message):
        bundle(MINI, tmp_path / "run", models=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_model_the_registry_does_not_know_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"enter it in core/rerank_core/models/registry\.py"):
        bundle("rerank-huge-en-v1", tmp_path)


def test_the_command_says_what_it_did(run, tmp_path, monkeypatch, capsys):
    shutil.copytree(BUNDLED[TINY], tmp_path / "models" / TINY)
    (tmp_path / "models" / TINY / "README.md").unlink()
    arguments = ["bundle", "--out", str(run(TINY)), "--into", str(tmp_path / "models"), TINY]
    for said in ("README.md changed", "nothing changed"):
        monkeypatch.setattr(sys, "argv", arguments)
        module.main()
        assert capsys.readouterr().out == f"{tmp_path / 'models' / TINY}: {said}\n"
    (tmp_path / "run" / TINY / "int8" / "config.json").unlink()
    with pytest.raises(SystemExit, match=r"has no config\.json"):
        module.main()


@pytest.mark.parametrize("content", [None, "weights = 3", "weights =", 'weights = "a"\nnotes = 3'])
def test_notes_that_are_none_are_said_to_be(tmp_path, content):
    if content is not None:
        (tmp_path / "notes.toml").write_text(content)
    with pytest.raises(NotesError, match=r"notes\.toml is (missing|not a TOML file)"):
        Notes.read(tmp_path / "notes.toml")


def test_a_dollar_in_a_card_is_no_placeholder(tmp_path):
    with pytest.raises(NotesError, match=r"a \$ that begins no placeholder"):
        Notes(tmp_path, "a", {}).complete("costs 3 $ a month")


@pytest.mark.parametrize("name", PLANS)
def test_a_card_is_measured_first_and_noted_afterwards(tmp_path, name):
    models = {str(tmp_path / each / "int8"): 0.7 for each in BUNDLED}
    files = {
        "quality/quality.json": {
            "ndcg@10": {"set": {"BM25": 0.5, "bi-encoder": 0.6, **models}},
            "queries": {"set": 40},
            "dates": {"set": "2026-11-25"},
            "machine": "a machine",
            "p": {"set": {"BM25": 0.01, "bi-encoder": 0.02}},
        },
        "quality_fp32/quality.json": {
            "ndcg@10": {"set": {"fp32": 0.71, str(tmp_path / MINI / "int8"): 0.7}},
            "queries": {"set": 40},
        },
        f"{name}/states/training.json": {"steps": 1234, "pairs": 5678, "minutes": 9.1},
        f"{name}/calibration.json": dict.fromkeys(
            ("relevant_median", "negative_median", "relevant_right", "negative_right"), 0.9
        ),
        f"{name}/choices.json": {
            "choices": [{"share": 0.75, "mix": [1.0] * 5, "loss": 1.5, "ndcg": {"set": 0.8, "mean": 0.8}}]
        },
    }
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(json.dumps(content))
    write(tmp_path / "README.md", name, tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    notes = Notes.read(CARDS / f"{name}.toml")
    assert set(Template(card).get_identifiers()) == notes.texts.keys()
    assert "1,234 steps" in card
    assert "$" not in notes.complete(card)
