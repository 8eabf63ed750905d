from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rerank_core import MissingDependencyError
from rerank_core.inference.quantize import _symmetric, quantize_int8

VALUES = arrays(np.float32, (4, 8), elements=st.floats(-100, 100, width=32))


@given(VALUES, st.sampled_from([0, 1]), st.sampled_from([63.0, 127.0]))
def test_rounding_is_within_half_a_step_and_never_overflows(values, axis, levels):
    integers, scale = _symmetric(values, levels, axis)
    assert np.abs(integers.astype(int)).max() <= levels
    assert np.all(np.abs(integers * scale - values) <= scale * 0.5001 + 1e-30)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """A graph with a table lookup and two products, and its int8 twin."""
    import onnx

    random = np.random.default_rng(0)
    weights = {
        "table": random.normal(size=(2000, 16)).astype(np.float32),
        "small": random.normal(size=(16, 16)).astype(np.float32),
        "left": random.normal(size=(16, 24)).astype(np.float32),
        "right": random.normal(size=(16, 24)).astype(np.float32),
    }
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Gather", ["table", "ids"], ["rows"]),
            node("MatMul", ["rows", "left"], ["a"], name="left"),
            node("MatMul", ["rows", "right"], ["b"], name="right"),
            node("Mul", ["a", "b"], ["output"]),
        ],
        "g",
        [onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["n"])],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["n", 24])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    folder = tmp_path_factory.mktemp("graphs")
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "float32.onnx")
    quantize_int8(folder / "float32.onnx", folder / "int8.onnx")
    assert (folder / "int8.onnx").stat().st_size < (folder / "float32.onnx").stat().st_size / 3
    return [onnxruntime.InferenceSession(folder / name) for name in ("float32.onnx", "int8.onnx")]


@pytest.mark.torch
@settings(max_examples=30)
@given(ids=st.lists(st.integers(0, 1999), min_size=1, max_size=20))
def test_the_int8_graph_is_close_and_every_row_is_independent(graphs, ids):
    expected, together = (session.run(None, {"ids": np.array(ids, np.int64)})[0] for session in graphs)
    assert np.abs(together - expected).max() <= 0.05 * np.abs(expected).max() + 0.5
    alone = np.concatenate([graphs[1].run(None, {"ids": np.array([i], np.int64)})[0] for i in ids])
    np.testing.assert_array_equal(together, alone)


def test_without_onnx_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"rerank-plugins\[torch\]"):
        quantize_int8(tmp_path / "a", tmp_path / "b")
