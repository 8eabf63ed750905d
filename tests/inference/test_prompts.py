"""A checkpoint's own default prompt is used wherever sentence-transformers uses it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from checkpoints import QUERY, TEXTS
from rerank_core import ModelLoadError, Reranker
from rerank_core.conversion.export import export_onnx
from rerank_core.inference.prompts import default_prompt
from rerank_core.models.source import locate
from rerank_core.scoring import LocalOptions, LocalScorer

pytestmark = pytest.mark.torch

PROMPT = "judge the relevant "
CONFIG = "config_sentence_transformers.json"


def reference(folder, **arguments):
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity())
    return model.predict([(QUERY, text) for text in TEXTS], **arguments)


def logits(model, **options):
    with Reranker(model, device="cpu", **options) as reranker:
        by_index = {result.index: result.logit for result in reranker.rerank(QUERY, TEXTS)}
    return np.array([by_index[i] for i in range(len(TEXTS))])


@pytest.fixture(scope="module")
def prompted(checkpoint, tmp_path_factory):
    """``prompted("bert")`` is that checkpoint as sentence-transformers saves it with a default prompt."""
    from sentence_transformers import CrossEncoder

    folders = {}

    def build(architecture):
        if architecture not in folders:
            folders[architecture] = tmp_path_factory.mktemp(architecture) / "prompted"
            prompts = {"judge": PROMPT, "other": "something else "}
            model = CrossEncoder(
                str(checkpoint(architecture)), device="cpu", prompts=prompts, default_prompt_name="judge"
            )
            model.save_pretrained(str(folders[architecture]))
        return folders[architecture]

    return build


@pytest.fixture
def config(prompted, tmp_path):
    """Writes changes to a copy's configuration and returns the copy."""

    def write(**changes):
        folder = shutil.copytree(prompted("bert"), tmp_path / f"changed-{len(list(tmp_path.iterdir()))}")
        path = folder / CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder

    return write


@pytest.mark.parametrize("architecture", ["bert", "qwen3", "ettin"])
def test_the_default_prompt_is_used_unless_another_is_given(prompted, checkpoint, architecture):
    folder = prompted(architecture)
    expected = reference(folder)
    np.testing.assert_allclose(logits(folder, backend="torch"), expected, atol=1e-5, rtol=1e-6)
    np.testing.assert_allclose(
        logits(folder, backend="torch", prompt="other "), reference(folder, prompt="other "), atol=1e-5, rtol=1e-6
    )
    assert np.abs(expected - reference(checkpoint(architecture))).max() > 1e-3


@pytest.mark.parametrize("architecture", ["bert", "qwen3"])
def test_an_empty_prompt_switches_it_off(prompted, checkpoint, architecture):
    folder = prompted(architecture)
    expected = reference(folder, prompt="")
    np.testing.assert_allclose(logits(folder, backend="torch", prompt=""), expected, atol=1e-5, rtol=1e-6)
    np.testing.assert_allclose(expected, reference(checkpoint(architecture)), atol=1e-5, rtol=1e-6)


def test_an_export_keeps_the_prompt_and_is_compared_with_it(prompted, tmp_path, monkeypatch):
    folder = prompted("bert")
    seen = []
    from rerank_core.inference.encoding import PairEncoder

    start = PairEncoder.start
    monkeypatch.setattr(
        PairEncoder, "start", lambda self, query, **options: seen.append(options) or start(self, query, **options)
    )
    exported = export_onnx(folder, tmp_path / "onnx").folder
    assert {options["prompt"] for options in seen} == {PROMPT}
    np.testing.assert_allclose(logits(exported), reference(folder), atol=1e-4, rtol=0)
    np.testing.assert_allclose(logits(exported, prompt=""), reference(folder, prompt=""), atol=1e-4, rtol=0)


def test_the_identity_names_the_prompt_in_force(prompted, config):
    folder, other = prompted("bert"), config(default_prompt_name="other")

    def identity(folder, **options):
        return LocalScorer(folder, LocalOptions(backend="torch", device="cpu", **options)).identity

    assert identity(folder) == identity(folder, prompt=PROMPT)
    assert len({identity(folder), identity(folder, prompt=""), identity(folder, prompt="other "), identity(other)}) == 4
    scorer = LocalScorer(folder, LocalOptions(backend="torch", device="cpu"))
    scorer.warm_up()
    assert scorer.loaded.default_prompt == PROMPT


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, PROMPT),
        ({"default_prompt_name": None}, ""),
        ({"prompts": {"judge": ""}}, ""),
        ({"model_type": "SentenceTransformer"}, ""),
    ],
)
def test_the_prompt_is_found_where_sentence_transformers_finds_it(config, changes, expected):
    from sentence_transformers import CrossEncoder

    folder = config(**changes)
    assert default_prompt(locate(folder)) == expected
    model = CrossEncoder(str(folder), device="cpu")
    assert model.prompts.get(model.default_prompt_name, "") == expected


def test_the_file_does_not_count_without_modules(config):
    folder = config()
    (folder / "modules.json").unlink()
    assert default_prompt(locate(folder)) == ""


def test_a_name_without_a_prompt_is_a_load_error(config):
    with pytest.raises(ModelLoadError, match=r"names the default prompt 'missing'; it has: 'judge', 'other'\."):
        default_prompt(locate(config(default_prompt_name="missing")))
    with pytest.raises(ModelLoadError, match="is no text; got list"):
        default_prompt(locate(config(prompts={"judge": ["a"]})))
    with pytest.raises(ModelLoadError, match="it has: none"):
        default_prompt(locate(config(prompts={})))
