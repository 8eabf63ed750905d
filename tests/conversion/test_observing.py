from __future__ import annotations

import numpy as np
import pytest

from rerank_core.conversion.observing import Observed, observe


def test_statistics_of_rows():
    seen = Observed(2)
    seen.add(np.array([[[1.0, -3.0], [2.0, 0.0]]], np.float32))
    seen.add(np.array([[-4.0, 5.0]], np.float32))
    assert seen.lowest == -4.0
    np.testing.assert_array_equal(seen.peaks, [4.0, 5.0])
    assert seen.typical_peak == pytest.approx((1 + 2 + 5) / 3)
    np.testing.assert_allclose(seen.moment, np.array([[1 + 4 + 16, -3 - 20], [-3 - 20, 9 + 25]]) / 3)


@pytest.mark.torch
def test_tensors_inside_a_graph_are_seen_and_the_graph_stays_as_it_was():
    import onnx

    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node("Neg", ["x"], ["inner"]), node("Abs", ["inner"], ["y"])],
        "g",
        [info("x", onnx.TensorProto.FLOAT, ["n", 2])],
        [info("y", onnx.TensorProto.FLOAT, ["n", 2])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    before = model.SerializeToString()
    seen = observe(model, [{"x": np.array([[1, 2]], np.float32)}], ["inner", "y"])
    assert {name: item.lowest for name, item in seen.items()} == {"inner": -2.0, "y": 0.0}
    assert model.SerializeToString() == before
    assert observe(model, [], ["inner"]) == {}
