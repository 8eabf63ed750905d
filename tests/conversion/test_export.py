from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from checkpoints import QUERY, TEXTS
from fresh import fresh
from rerank_core import InvalidRequestError, ModelLoadError, Reranker
from rerank_core.conversion import graph as module
from rerank_core.conversion.export import export_onnx
from rerank_core.conversion.graph import FLOAT32_TOLERANCE, INT8_TOLERANCE, OPSET

pytestmark = pytest.mark.torch


def test_an_export_holds_all_that_onnx_needs(exported):
    folder = exported("bert")
    names = {path.name for path in folder.iterdir()}
    assert {"model.onnx", "model_int8.onnx", "tokenizer.json", "config.json"} <= names
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None


def test_a_graph_has_the_one_operator_set_and_no_path_of_this_machine(exported):
    path = exported("bert") / "model.onnx"
    assert onnx.load(path).opset_import[0].version == OPSET
    assert b".py" not in path.read_bytes()


@pytest.mark.parametrize(
    ("architecture", "fused"), [("bert", True), ("xlm-roberta", True), ("modernbert", False), ("deberta-v2", False)]
)
def test_attention_is_one_operator_where_every_token_sees_all_others(exported, architecture, fused):
    for name in ("model.onnx", "model_int8.onnx"):
        operators = [node.op_type for node in onnx.load(exported(architecture) / name).graph.node]
        layers = json.loads((exported(architecture) / "config.json").read_text())["num_hidden_layers"]
        assert operators.count("MultiHeadAttention") == (layers if fused else 0)
        assert operators.count("Softmax") == (0 if fused else layers)


def test_the_model_keeps_its_own_attention(checkpoint, tmp_path):
    with Reranker(checkpoint("bert"), backend="torch", device="cpu") as reranker:
        before = [result.logit for result in reranker.rerank(QUERY, TEXTS)]
        export_onnx(checkpoint("bert"), tmp_path / "onnx", int8=False)
        assert [result.logit for result in reranker.rerank(QUERY, TEXTS)] == before


def test_the_report_states_the_measured_differences(checkpoint, tmp_path):
    steps = []
    report = export_onnx(checkpoint("bert"), tmp_path / "new" / "folder", on_step=steps.append)
    assert report.folder == tmp_path / "new" / "folder"
    assert [path.name for path in report.files] == ["model.onnx", "model_int8.onnx"]
    assert 0 <= report.float32_difference <= FLOAT32_TOLERANCE
    assert 0 < report.int8_difference <= INT8_TOLERANCE
    assert len(steps) == 5


def test_without_int8(checkpoint, tmp_path):
    report = export_onnx(checkpoint("xlm-roberta"), tmp_path / "onnx", int8=False)
    assert report.int8_difference is None
    assert [path.name for path in report.files] == ["model.onnx"]
    with pytest.raises(ModelLoadError, match="no ONNX file in int8"):
        Reranker(report.folder, dtype="int8", backend="onnx").warm_up()
    with pytest.raises(ModelLoadError, match="rerank export"):
        Reranker(report.folder, dtype="int8").warm_up()


def test_two_labels_export_too(checkpoint, tmp_path):
    folder = checkpoint("bert", labels=2)
    report = export_onnx(folder, tmp_path / "onnx", int8=False)
    torch_scores = [result.logit for result in Reranker(folder, backend="torch", device="cpu").rerank(QUERY, TEXTS)]
    onnx_scores = [result.logit for result in Reranker(report.folder).rerank(QUERY, TEXTS)]
    np.testing.assert_allclose(onnx_scores, torch_scores, atol=1e-4)


@pytest.mark.parametrize(("limit", "what"), [("FLOAT32_TOLERANCE", "like torch"), ("INT8_TOLERANCE", "int8 changes")])
def test_scores_that_differ_leave_nothing_behind(checkpoint, tmp_path, monkeypatch, limit, what):
    monkeypatch.setattr(module, limit, -1.0)
    with pytest.raises(ModelLoadError, match=what) as caught:
        export_onnx(checkpoint("bert"), tmp_path / "onnx")
    assert caught.value.code == "export_mismatch"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_not_overwritten(checkpoint, tmp_path):
    (tmp_path / "precious").write_text("data")
    with pytest.raises(InvalidRequestError, match="not an empty folder"):
        export_onnx(checkpoint("bert"), tmp_path)
    assert (tmp_path / "precious").read_text() == "data"


def test_generative_models_are_refused(checkpoint, tmp_path):
    with pytest.raises(ModelLoadError, match="generative"):
        export_onnx(checkpoint("qwen3"), tmp_path / "onnx")


def test_without_onnxscript_the_error_names_the_extra(tmp_path):
    code = f"""
from pathlib import Path
from rerank_core import MissingDependencyError
from rerank_core.conversion.export import export_onnx
try:
    export_onnx({str(tmp_path)!r}, Path({str(tmp_path / "onnx")!r}))
except MissingDependencyError as error:
    print(error)
"""
    assert "rerank-plugins[torch]" in fresh(code, without=["onnxscript"])


def test_the_working_folder_may_be_the_target(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    report = export_onnx(checkpoint("bert"), Path(), int8=False)
    assert report.folder == tmp_path / "here"
    assert (tmp_path / "here" / "model.onnx").exists()
