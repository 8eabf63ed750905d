"""From the start of a process to its first answer: import, loading and one ranking.

    python benchmarks/cold_start.py

With ``when_cold="keep_order"`` the first answer is the documents in their order, while the model loads: that process
ends with this answer. Fresh processes, taking turns; the files are in the system's cache after the first round, which
does not count.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from measure import ROOT, Result, arguments, medians, turns

from rerank_core.models.source import BUNDLED

PYTHON, IMPORT = "Python alone", "`import rerank_core`"
RANK = """
from rerank_core import Reranker
print(Reranker({model!r}).rerank("feline pets", ["A dog barked.", "Cats purr."])[0].text)
"""
COLD = """
import os
from rerank_core import Reranker
response = Reranker(when_cold="keep_order").rerank("feline pets", ["A dog barked.", "Cats purr."])
assert response.degraded
print(response[0].text, flush=True)
os._exit(0)  # not after the model is loaded
"""


def main() -> None:
    """Time Python alone, each bundled model, and the command line."""
    given = arguments(__doc__, rounds=11)
    rerank = Path(sys.executable).with_name("rerank")
    commands = {
        PYTHON: [sys.executable, "-c", "pass"],
        IMPORT: [sys.executable, "-c", "import rerank_core"],
        **{f"first ranking, `{name}`": [sys.executable, "-c", RANK.format(model=name)] for name in BUNDLED},
        'first answer, `when_cold="keep_order"`': [sys.executable, "-c", COLD],
        "`rerank --help`": [str(rerank), "--help"],
        "`rerank query` over README.md": [str(rerank), "query", "how fast is it", str(ROOT / "README.md")],
    }
    runs = {name: process(command) for name, command in commands.items()}
    turns(runs, 1)
    seconds = medians(turns(runs, given.rounds))
    imported = seconds[IMPORT] - seconds[PYTHON]
    Result(
        "cold_start",
        "From the start of a process to its end, after one answer",
        ["", "ms"],
        [[name, f"{1000 * median:.0f}"] for name, median in seconds.items()],
        [f"Medians of {given.rounds} processes each. The import alone takes {1000 * imported:.0f} ms."],
        {"seconds": seconds},
    ).keep(given.out)


def process(command: list[str]) -> Callable[[], object]:
    """Runs a command to its end."""
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  (our own commands)


if __name__ == "__main__":
    main()
