"""Where a bundled model's time goes: the share of each kind of operator, by ONNX Runtime's own profile.

    python benchmarks/operators.py [--model rerank-mini-en-v1]

One thread, batches of about 512 tokens without padding, as in ``roof.py``. Profiling itself costs a little for every
operator, so the many cheap ones are shown somewhat too high.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnxruntime
from measure import Result, arguments
from roof import LENGTHS, runner

from rerank_core.models.source import BUNDLED

SHOWN = 9
NOTE = (
    "Columns are pairs x tokens. `MatMulIntegerToFloat` is the products by weights, which no graph can do without; "
    "attention has two more products per head. The rest is scales of activations, norms and GELU."
)


def main() -> None:
    """Profile each length, and show the operators that take most."""
    given = arguments(__doc__, model="rerank-mini-en-v1", rounds=15)
    shares = {
        f"{batch} x {length}": profile(BUNDLED[given.model] / "model.onnx", batch, length, given.rounds)
        for length, batch in LENGTHS.items()
    }
    everywhere = {
        name: sum(share.get(name, 0.0) for share in shares.values()) for each in shares.values() for name in each
    }
    shown = sorted(everywhere, key=lambda name: -everywhere[name])[:SHOWN]
    rows = [[f"`{name}`", *(f"{share.get(name, 0.0):.1%}" for share in shares.values())] for name in shown]
    others = [1 - sum(share.get(name, 0.0) for name in shown) for share in shares.values()]
    rows.append(["all others", *(f"{other:.1%}" for other in others)])
    Result(
        "operators",
        f"Where {given.model}'s time goes, on one core",
        ["operator", *shares],
        rows,
        [NOTE, f"{given.rounds} runs each."],
        {"shares": shares},
    ).keep(given.out)


def profile(file: Path, batch: int, length: int, rounds: int) -> Mapping[str, float]:
    """The share of the time of each kind of operator, after a run to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_mem_pattern = False
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(file), options)
        run = runner(session, batch, length)
        for _ in range(rounds + 1):
            run()
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [event for event in events if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]
    kernels = kernels[len(kernels) // (rounds + 1) :]  # every run has the same kernels
    spent: Counter[str] = Counter()
    for event in kernels:
        spent[event["args"]["op_name"]] += event["dur"]
    total = spent.total()
    return {name: duration / total for name, duration in spent.items()}


if __name__ == "__main__":
    main()
