"""What layer norms cost in ONNX Runtime on a CPU: its own kernel against elementary operators.

    python benchmarks/norms.py

Twelve residual sums with a layer norm behind each, as in a six-layer encoder of width 384, over 512 tokens, on one
thread. Both take turns; the minimum of the rounds counts.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from rerank_core.conversion.norms import expand_norms

WIDTH, NORMS, TOKENS = 384, 12, 512


def chain() -> onnx.ModelProto:
    """``NORMS`` times x = norm(x + residual)."""
    nodes = []
    for norm in range(NORMS):
        nodes.append(helper.make_node("Add", [f"x{norm}", "residual"], [f"sum{norm}"]))
        nodes.append(helper.make_node("LayerNormalization", [f"sum{norm}", "scale", "bias"], [f"x{norm + 1}"]))
    shape: tuple[str | int, ...] = ("batch", "sequence", WIDTH)
    values = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x0", "residual")}
    output = helper.make_tensor_value_info(f"x{NORMS}", onnx.TensorProto.FLOAT, shape)
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.normal(size=WIDTH).astype(np.float32), name) for name in ("scale", "bias")
    ]
    graph = helper.make_graph(nodes, "norms", list(values.values()), [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {}
    for name in ("LayerNormalization", "spelled out"):
        model = chain()
        if name == "spelled out":
            expand_norms(model.graph)
        sessions[name] = onnxruntime.InferenceSession(model.SerializeToString(), options)
    random = np.random.default_rng(1)
    feeds = {name: random.normal(size=(2, TOKENS // 2, WIDTH)).astype(np.float32) for name in ("x0", "residual")}
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    outputs = {}
    for _ in range(rounds):
        for name, session in sessions.items():
            started = time.perf_counter()
            (outputs[name],) = session.run(None, feeds)
            seconds[name].append(time.perf_counter() - started)
    first, second = outputs.values()
    for name, times in seconds.items():
        print(f"{name:>18}: {1000 * min(times):.2f} ms")
    ratio = min(seconds["spelled out"]) / min(seconds["LayerNormalization"])
    print(f"ratio {ratio:.2f}, largest difference {np.abs(first - second).max():.1e}, {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main()
