from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fresh import fresh
from rerank_core.conversion.quantize import channel_scales, quantize_int8
from rerank_core.conversion.rounding import round_symmetric

VALUES = arrays(np.float32, (4, 8), elements=st.floats(-100, 100, width=32))


@given(VALUES, st.sampled_from([0, 1]), st.sampled_from([63.0, 127.0]))
def test_rounding_is_within_half_a_step_and_never_overflows(values, axis, levels):
    integers, scale = round_symmetric(values, levels, axis)
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


@pytest.fixture(scope="module")
def outliers(tmp_path_factory):
    """A layer norm with two outlier channels, a product, a rectifier and a second product; and inputs."""
    import onnx

    random = np.random.default_rng(1)
    gain = np.ones(32, np.float32)
    gain[[3, 17]] = 40.0
    weights = {
        "gain": gain,
        "shift": np.zeros(32, np.float32),
        "up": (random.normal(size=(32, 64)) / gain[:, None] ** 0.9).astype(np.float32),
        "down": random.normal(size=(64, 8)).astype(np.float32),
    }
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("LayerNormalization", ["rows", "gain", "shift"], ["normed"]),
            node("MatMul", ["normed", "up"], ["wide"], name="up"),
            node("Relu", ["wide"], ["positive"]),
            node("MatMul", ["positive", "down"], ["output"], name="down"),
        ],
        "g",
        [onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["n", 32])],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["n", 8])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = tmp_path_factory.mktemp("outliers") / "float32.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path)
    return path, [{"rows": random.normal(size=(20, 32)).astype(np.float32)} for _ in range(30)]


def run(path, rows):
    return onnxruntime.InferenceSession(path).run(None, {"rows": rows})[0]


@pytest.mark.torch
def test_calibration_takes_outlier_channels_out_of_the_error(outliers, tmp_path):
    source, feeds = outliers
    quantize_int8(source, tmp_path / "plain.onnx")
    quantize_int8(source, tmp_path / "calibrated.onnx", feeds)
    rows = np.random.default_rng(2).normal(size=(200, 32)).astype(np.float32)
    expected = run(source, rows)
    plain, calibrated = (
        np.sqrt(np.square(run(tmp_path / name, rows) - expected).mean()) for name in ("plain.onnx", "calibrated.onnx")
    )
    assert calibrated < plain / 2


@pytest.mark.torch
def test_no_layer_norm_is_left_to_the_slow_kernel(outliers, tmp_path):
    import onnx

    source, feeds = outliers
    quantize_int8(source, tmp_path / "int8.onnx", feeds)
    assert "LayerNormalization" not in {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}


@pytest.mark.torch
def test_a_calibrated_graph_scores_every_row_alone(outliers, tmp_path):
    source, feeds = outliers
    quantize_int8(source, tmp_path / "int8.onnx", feeds)
    rows = np.random.default_rng(3).normal(size=(9, 32)).astype(np.float32)
    rows[0] *= 0.0
    together = run(tmp_path / "int8.onnx", rows)
    np.testing.assert_array_equal(together, np.concatenate([run(tmp_path / "int8.onnx", row[None]) for row in rows]))


@pytest.mark.torch
def test_an_empty_calibration_is_none_at_all(outliers, tmp_path):
    source, _ = outliers
    quantize_int8(source, tmp_path / "none.onnx")
    quantize_int8(source, tmp_path / "empty.onnx", iter(()))
    assert (tmp_path / "none.onnx").read_bytes() == (tmp_path / "empty.onnx").read_bytes()


def small_graph(nodes, inputs, weights, path):
    """A graph of these nodes, whose output is a float tensor, in float32 and int8; returns both, to be run."""
    import onnx

    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path / "float32.onnx")
    quantize_int8(path / "float32.onnx", path / "int8.onnx")
    return [onnxruntime.InferenceSession(path / name) for name in ("float32.onnx", "int8.onnx")]


@pytest.mark.torch
@pytest.mark.parametrize(("axis", "quantized"), [({}, True), ({"axis": 0}, True), ({"axis": -2}, True),
                                                 ({"axis": 1}, False), ({"axis": -1}, False)])  # fmt: skip
def test_a_lookup_takes_what_its_axis_says(tmp_path, axis, quantized):
    import onnx

    table = np.random.default_rng(5).normal(size=(1500, 1200)).astype(np.float32) * np.arange(1, 1201, dtype=np.float32)
    node = onnx.helper.make_node("Gather", ["table", "ids"], ["output"], **axis)
    inputs = [("ids", onnx.TensorProto.INT64, ["n"])]
    sessions = small_graph([node], inputs, {"table": table}, tmp_path)
    expected, seen = (session.run(None, {"ids": np.array([3, 1100, 3])})[0] for session in sessions)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).max() <= np.abs(table).max() / 250
    assert ((tmp_path / "int8.onnx").stat().st_size < (tmp_path / "float32.onnx").stat().st_size / 3) is quantized


@pytest.mark.torch
def test_a_gemm_is_left_exact(tmp_path):
    import onnx

    random = np.random.default_rng(6)
    weights = {name: random.normal(size=size).astype(np.float32) for name, size in (("w", (8, 16)), ("b", (8,)))}
    node = onnx.helper.make_node("Gemm", ["rows", "w", "b"], ["output"], alpha=0.5, beta=2.0, transB=1)
    sessions = small_graph([node], [("rows", onnx.TensorProto.FLOAT, ["n", 16])], weights, tmp_path)
    rows = random.normal(size=(5, 16)).astype(np.float32)
    expected, seen = (session.run(None, {"rows": rows})[0] for session in sessions)
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_allclose(seen, 0.5 * rows @ weights["w"].T + 2 * weights["b"], atol=1e-5)


@given(arrays(np.float32, 8, elements=st.floats(0, 1000, width=32)))
def test_channel_scales_change_no_product(peaks):
    random = np.random.default_rng(4)
    rows, weight = random.normal(size=(5, 8)).astype(np.float32), random.normal(size=(8, 3)).astype(np.float32)
    scales = channel_scales(peaks, [weight, 2 * weight])
    np.testing.assert_allclose((rows / scales) @ (weight * scales[:, None]), rows @ weight, atol=1e-5)


def test_without_onnx_the_error_names_the_extra():
    code = """
from pathlib import Path
from rerank_core import MissingDependencyError
from rerank_core.conversion.quantize import quantize_int8
try:
    quantize_int8(Path("a"), Path("b"))
except MissingDependencyError as error:
    print(error)
"""
    assert "rerank-plugins[torch]" in fresh(code, without=["onnx"])
