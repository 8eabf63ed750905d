"""What layer norms cost in ONNX Runtime on a CPU: its own kernel against elementary operators.

    python benchmarks/norms.py

Twelve residual sums with a layer norm behind each, as in a six-layer encoder of width 384, over 512 tokens, on one
thread. Both take turns.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
from measure import Result, arguments, medians, turns
from onnx import helper, numpy_helper
from roof import session

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
    """Time both, and compare what they give."""
    given = arguments(__doc__, rounds=30)
    own, spelled_out = chain(), chain()
    expand_norms(spelled_out.graph)
    models = {"LayerNormalization": own, "spelled out": spelled_out}
    random = np.random.default_rng(1)
    feeds = {name: random.normal(size=(2, TOKENS // 2, WIDTH)).astype(np.float32) for name in ("x0", "residual")}
    runs = {name: partial(session(model.SerializeToString()).run, None, feeds) for name, model in models.items()}
    (first,), (second,) = (run() for run in runs.values())
    seconds = medians(turns(runs, given.rounds))
    Result(
        "norms",
        f"{NORMS} layer norms over {TOKENS} tokens of width {WIDTH}, on one core",
        ["", "ms", "ratio"],
        [
            [name, f"{1000 * median:.2f}", f"{median / seconds['LayerNormalization']:.2f}"]
            for name, median in seconds.items()
        ],
        [f"Medians of {given.rounds} rounds. The largest difference is {np.abs(first - second).max():.1e}."],
        {"seconds": seconds},
    ).keep(given.out)


if __name__ == "__main__":
    main()
