"""Documents per second, ours and other libraries', with the same weights on the same texts, taking turns.

    python benchmarks/peers.py [--peers PYTHON] [--infinity PYTHON]
    python benchmarks/peers.py --least 1000 --most 1000 --rounds 1  # half an hour

PYTHON is the interpreter of an environment that has FlashRank, fastembed and rerankers, or infinity's engine
(``benchmarks/peers.txt``); what is not given is left out, and the result says so. Every competitor is a process of its
own (``peer.py``) that waits while others run. The checkpoint is the all-MiniLM-L6-v2 body with a head from a fixed
seed: speed does not depend on the head. CrossEncoder runs at the batch size that is its best. That it is the same work
is checked by the scores: the largest difference of a logit from CrossEncoder's stands beside the speed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from measure import LENGTHS, QUERY, ROOT, Result, arguments, documents
from peer import MOST_BYTES
from throughput import build_checkpoint

from rerank_core.conversion.export import export_onnx
from rerank_core.inference.backends.openvino import precisions

COUNTS = (20, 100, 1000)
BATCHES = (8, 16, 32)
BUNDLED = ("rerank-mini-en-v1", "rerank-tiny-en-v1", "rerank-small-en-v2")
OTHERS = {"flashrank": "FlashRank", "fastembed": "fastembed", "rerankers": "rerankers"}
REFERENCE, BUNDLED_OURS = "cross-encoder", "ours:rerank-"
SAME_WORK = 0.3  # of a logit: int8 rounds, and a shorter truncation changes far more


class Competitor:
    """One process of ``peer.py``."""

    def __init__(self, name: str, python: Path, folder: Path) -> None:
        command = [str(python), str(ROOT / "benchmarks" / "peer.py"), name, str(folder)]
        self.process = subprocess.Popen(  # noqa: S603  (our own script)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.name = name
        if self._line() is None:
            raise SystemExit(f"{name} does not start; run it to see why: {' '.join(command)}")

    def rank(self, texts: Sequence[str]) -> tuple[float, list[float]] | None:
        """Seconds and logits; None when the process has ended, for want of memory for example."""
        assert self.process.stdin is not None  # noqa: S101  (for type checkers: it is a pipe)
        try:
            self.process.stdin.write(json.dumps({"query": QUERY, "documents": texts}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = self._line()
        return None if answer is None else (answer["seconds"], answer["scores"])

    def _line(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None  # noqa: S101  (as above)
        line = self.process.stdout.readline()
        return json.loads(line) if line else None


@contextmanager
def running(name: str, python: Path, folder: Path) -> Iterator[Competitor]:
    """A competitor that is ended afterwards."""
    competitor = Competitor(name, python, folder)
    try:
        yield competitor
    finally:
        competitor.process.kill()
        competitor.process.wait()


def main() -> None:
    """Build the checkpoint, start everybody, take turns, keep the result."""
    given = arguments(__doc__, rounds=5, least=20, most=100, peers=None, infinity=None)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        export_onnx(build_checkpoint(folder / "torch"), folder / "onnx")
        here = Path(sys.executable)
        own = ["float32", "int8", *(["bfloat16"] if "bfloat16" in precisions() else []), *BUNDLED]
        wanted = [("cross-encoder:" + str(batch), here) for batch in BATCHES] + [(f"ours:{name}", here) for name in own]
        wanted += [(name, given.peers) for name in OTHERS] + [("infinity", given.infinity)]
        competitors = [
            stack.enter_context(running(name, python, folder)) for name, python in wanted if python is not None
        ]
        left_out = [OTHERS.get(name, name) for name, python in wanted if python is None]
        counts = [count for count in COUNTS if given.least <= count <= given.most]
        compare(competitors, counts, given.rounds, left_out).keep(given.out)


def compare(competitors: Sequence[Competitor], counts: Sequence[int], rounds: int, left_out: Sequence[str]) -> Result:
    """Every kind and number of documents, and the table of it."""
    speeds: dict[str, dict[str, float]] = {each.name: {} for each in competitors}
    differences: dict[str, float] = dict.fromkeys(speeds, 0.0)
    columns = [f"{count} {kind}" for count in counts for kind in LENGTHS]
    for count in counts:
        for kind in LENGTHS:
            found = measured(competitors, documents(count, kind), rounds)
            reference = next(scores for name, (_, scores) in found.items() if name.startswith(REFERENCE))
            for name, (seconds, scores) in found.items():
                speeds[name][f"{count} {kind}"] = count / seconds
                difference = max(abs(one - two) for one, two in zip(scores, reference, strict=True))
                differences[name] = max(differences[name], difference)
            print(f"{count} {kind}: done", flush=True)
    reference_speed = {column: speeds[fastest(speeds, column)][column] for column in columns}
    rows = [["CrossEncoder, its best batch size", *(f"{reference_speed[column]:.1f}" for column in columns), "0"]]
    for name in others(speeds):
        cells = [cell(speeds[name].get(column), reference_speed[column]) for column in columns]
        rows.append([shown(name), *cells, "other weights" if BUNDLED_OURS in name else f"{differences[name]:.2g}"])
    notes = [
        "Documents per second, and in brackets how many times as fast as CrossEncoder at its best batch size.",
        f"Medians of {rounds} rounds. Batch sizes of CrossEncoder: {BATCHES}.",
    ]
    if other_work := [
        shown(name) for name in others(speeds) if differences[name] > SAME_WORK and BUNDLED_OURS not in name
    ]:
        notes.append(f"Not the same work, as the scores show (another truncation): {', '.join(other_work)}.")
    if any(column not in speeds[name] for name in others(speeds) for column in columns):
        notes.append(f"A dash: the process wanted more than {MOST_BYTES >> 30} GiB of memory, and ended.")
    if left_out:
        notes.append(f"Left out, not installed here: {', '.join(left_out)}.")
    data = {"documents_per_second": speeds, "largest_logit_difference": differences}
    head = ["", *columns, "largest logit difference"]
    name = "peers" if counts[0] < COUNTS[-1] else f"peers_{COUNTS[-1]}"
    return Result(name, "Ours and other libraries, the same weights on the same texts", head, rows, notes, data)


def measured(
    competitors: Sequence[Competitor], texts: Sequence[str], rounds: int
) -> dict[str, tuple[float, list[float]]]:
    """The median of seconds, and the logits, of each that answers."""
    seconds: dict[str, list[float]] = {}
    scores: dict[str, list[float]] = {}
    for _ in range(rounds):
        for each in competitors:
            answer = each.rank(texts)
            if answer is not None:
                seconds.setdefault(each.name, []).append(answer[0])
                scores[each.name] = answer[1]
    return {name: (statistics.median(times), scores[name]) for name, times in seconds.items()}


def fastest(speeds: Mapping[str, Mapping[str, float]], column: str) -> str:
    """CrossEncoder at its best batch size."""
    return max((name for name in speeds if name.startswith(REFERENCE)), key=lambda name: speeds[name].get(column, 0.0))


def others(speeds: Mapping[str, object]) -> list[str]:
    """Everybody but CrossEncoder."""
    return [name for name in speeds if not name.startswith(REFERENCE)]


def cell(speed: float | None, reference: float) -> str:
    """A cell of the table."""
    return "-" if speed is None else f"{speed:.1f} ({speed / reference:.2f})"


def shown(name: str) -> str:
    """A competitor's name for readers."""
    kind, _, detail = name.partition(":")
    if kind == "ours":
        return f"`{detail}`, bundled" if detail.startswith("rerank-") else f"Reranker, {detail}"
    return OTHERS.get(kind, kind)


if __name__ == "__main__":
    main()
