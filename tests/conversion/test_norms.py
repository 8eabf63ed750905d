from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rerank_core.conversion.norms import expand_norms

pytestmark = pytest.mark.torch

ROWS = array_shapes(min_dims=2, max_dims=3, max_side=5).flatmap(
    lambda shape: arrays(np.float32, (*shape[:-1], 8), elements=st.floats(-1e3, 1e3, width=32))
)


def norm(*, bias: bool = True, **attributes):
    """A graph of one layer norm over eight values."""
    import onnx

    random = np.random.default_rng(0)
    weights = {"scale": random.normal(size=8), **({"bias": random.normal(size=8)} if bias else {})}
    node = onnx.helper.make_node("LayerNormalization", ["rows", *weights], ["output"], name="norm", **attributes)
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, None)],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def run(model, rows):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"rows": rows})[0]


@given(rows=ROWS, bias=st.booleans(), epsilon=st.sampled_from([None, 1e-12, 1e-3]))
@settings(max_examples=40, deadline=None)
def test_spelled_out_it_is_the_same_norm(rows, bias, epsilon) -> None:
    attributes = {} if epsilon is None else {"epsilon": epsilon}
    model = norm(bias=bias, **attributes)
    expected = run(model, rows)
    expand_norms(model.graph)
    assert {node.op_type for node in model.graph.node} >= {"ReduceMean", "Sqrt"}
    spread = rows.std(-1, keepdims=True)
    told_apart = spread > 1e-3 * (1 + np.abs(rows).max(-1, keepdims=True))  # below it a rounding error decides
    np.testing.assert_allclose(np.where(told_apart, run(model, rows), expected), expected, atol=2e-3)


def test_a_norm_over_more_than_the_last_axis_stays() -> None:
    model = norm(axis=-1)
    model.graph.node[0].attribute[0].i = 0
    expand_norms(model.graph)
    assert [node.op_type for node in model.graph.node] == ["LayerNormalization"]


def test_two_norms_share_their_constants() -> None:
    import onnx

    model = norm()
    second = onnx.helper.make_node("LayerNormalization", ["output", "scale"], ["again"], name="second")
    model.graph.node.append(second)
    model.graph.output[0].name = "again"
    rows = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    expected = run(model, rows)
    expand_norms(model.graph)
    np.testing.assert_allclose(run(model, rows), expected, atol=1e-5)
    names = [tensor.name for tensor in model.graph.initializer]
    assert len(names) == len(set(names))
