"""Attention as one operator: the same scores, in graphs that are exported and in those that are bundled already."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
import onnxruntime  # noqa: E402  (what is above decides whether there is anything to test)
import torch  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from rerank_core.conversion import quantize  # noqa: E402
from rerank_core.conversion.gated_attention import fuse_attention  # noqa: E402
from rerank_core.models.source import BUNDLED  # noqa: E402
from training import refresh as module  # noqa: E402
from training.export import INPUTS, checksums, export_onnx, write_checksums  # noqa: E402
from training.model import EncoderShape, Focus, RerankMini  # noqa: E402
from training.refresh import refresh  # noqa: E402

pytestmark = pytest.mark.torch

NAME = "rerank-mini-en-v2"
SHAPE = EncoderShape(vocab_size=30522, positions=512, layers=2, hidden=24, heads=3, intermediate=48)
PAIRS = [("which planet is red", text) for text in ("Mars is red.", "Venus is hot.", "", "Red wine is a drink. " * 9)]


def small(folder, shape=SHAPE):
    """A model with random weights as a float32 graph, in a folder of its own."""
    torch.manual_seed(0)
    model = RerankMini(
        np.ones(shape.vocab_size, np.float32), np.zeros(shape.vocab_size, np.uint8), gate=-1.5, shape=shape
    )
    for layer in model.layers:
        torch.nn.init.normal_(layer.query_key_value.weight, std=0.5)  # so that attention decides something
    torch.nn.init.normal_(model.head.weight)
    return export_onnx(model.eval(), Tokenizer.from_file(str(BUNDLED[NAME] / "tokenizer.json")), folder)


def run(model, rows):
    """Logits of (query length, document length) pairs of random tokens, padded to the longest."""
    random = np.random.default_rng(0)
    width = max(map(sum, rows))
    block = np.zeros((3, len(rows), width), np.int64)
    for row, (query, document) in enumerate(rows):
        block[0, row, : query + document] = random.integers(2000, 3000, query + document)
        block[1, row, : query + document] = 1
        block[2, row, query : query + document] = 1
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, dict(zip(INPUTS, block, strict=True)))[0]


def operators(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("focus", [None, Focus()], ids=["all tokens", "chosen tokens"])
def test_fused_attention_gives_the_same_logits(tmp_path, focus):
    model = onnx.load(small(tmp_path, replace(SHAPE, focus=focus)))
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    cases = [[(4, 9)], [(3, 60), (12, 5), (9, 1)], [(20, 200)] * 2]
    expected = [run(model, rows) for rows in cases]
    assert fuse_attention(model.graph) == operators(model).count("MultiHeadAttention") == SHAPE.layers
    for rows, logits in zip(cases, expected, strict=True):
        np.testing.assert_allclose(run(model, rows), logits, atol=1e-5)
    assert fuse_attention(model.graph) == 0


def test_attention_of_another_form_stays(exported):
    model = onnx.load(next(exported("bert").rglob("model.onnx")))
    before = operators(model)
    assert fuse_attention(model.graph) == 0
    assert operators(model) == before


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_graph_has_its_attention_fused(name):
    graph = operators(onnx.load(BUNDLED[name] / "model.onnx"))
    assert graph.count("MultiHeadAttention") in {6, 12}
    assert graph.count("Softmax") == 1  # over the query's tokens, in MaxSim


@pytest.fixture
def unfused(tmp_path, monkeypatch):
    """A bundled model of the form before, with the note about its weights."""
    monkeypatch.setattr(quantize, "fuse_attention", lambda _: 0)
    folder = tmp_path / "models" / NAME
    quantize.quantize_int8(small(tmp_path / "float"), small(folder))
    write_checksums(folder)
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / f"{NAME}.toml").write_text(f'weights = "{checksums(folder)["model.onnx"]}"\n[notes]\n')
    return folder


def test_a_bundled_model_is_refreshed(unfused, tmp_path):
    before = checksums(unfused)
    report = refresh(NAME, PAIRS, models=unfused.parent, cards=tmp_path / "cards")
    assert re.match(r"2 attentions fused; logits moved by \d\.\d\d% of their spread \(4 pairs\)", report)
    after = checksums(unfused)
    assert {name for name in after if after[name] != before[name]} == {"model.onnx"}
    assert json.loads((unfused / "sha256.json").read_text()) == after
    assert after["model.onnx"] in (tmp_path / "cards" / f"{NAME}.toml").read_text()
    assert refresh(NAME, PAIRS, models=unfused.parent, cards=tmp_path / "cards") == "nothing to do"
    assert [path.name for path in unfused.parent.iterdir()] == [NAME]


def test_nothing_is_written_where_the_logits_would_move(unfused, tmp_path, monkeypatch):
    before = checksums(unfused)
    monkeypatch.setattr(module, "MOST", -1.0)
    with pytest.raises(ValueError, match="logits would move by"):
        refresh(NAME, PAIRS, models=unfused.parent, cards=tmp_path / "cards")
    assert checksums(unfused) == before
    assert before["model.onnx"] in (tmp_path / "cards" / f"{NAME}.toml").read_text()
