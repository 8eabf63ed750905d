"""What the speed benchmarks share: texts, turns, the machine's name, and how a result is kept and shown."""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from rerank_core.inference.cpus import available_cpus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
QUERY = "what does the license say about redistribution of derivative works"
LENGTHS = {"short": (20, 60), "mixed": (10, 380), "long": (300, 400)}
"""Words of the documents, from and to."""

_FEATURES = {"avx2": "AVX2", "avx512_vnni": "AVX-512 VNNI", "avx512_bf16": "AVX-512 BF16", "amx_int8": "AMX"}


@dataclass(frozen=True)
class Result:
    """One benchmark's result.

    Attributes:
        name: of the script and of the files.
        title: what was measured, in words.
        columns: the table's head.
        rows: its cells, as they are shown.
        notes: what a reader must know beside the table.
        data: the numbers behind the cells, for programs.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def keep(self, folder: Path) -> None:
        """Write the result to ``folder``, with command, machine and date, and print the table."""
        folder.mkdir(parents=True, exist_ok=True)
        command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_shown(sys.argv[1:])])
        about = {"command": command, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self) | about, indent=1) + "\n")
        table = Table(title=self.title)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        Console().print(table)
        for note in self.notes:
            print(note)


def arguments(description: str | None, **more: Any) -> argparse.Namespace:
    """The command line of a benchmark: ``--out``, and options of the kinds of these defaults (None: a path)."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    for name, default in more.items():
        kind = type(default) if isinstance(default, int | float | str) else Path
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default)
    return parser.parse_args()


def documents(count: int, kind: str = "mixed", seed: int = 0) -> list[str]:
    """English texts with as many words as ``LENGTHS`` says."""
    words = (ROOT / "LICENSE").read_text().split()
    shortest, longest = LENGTHS[kind]
    sample = random.Random(seed)  # noqa: S311  (a reproducible benchmark)
    texts = []
    for _ in range(count):
        start = sample.randrange(len(words) - 400)
        texts.append(" ".join(words[start : start + sample.randint(shortest, longest)]))
    return texts


def turns(competitors: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each competitor in each round. They take turns, so that a busy machine slows all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, run in competitors.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each competitor's rounds."""
    return {name: statistics.median(times) for name, times in seconds.items()}


def _shown(words: Sequence[str]) -> list[str]:
    """A command line without the paths of this machine."""
    return [Path(word).name.upper() if word.startswith("/") else word for word in words]


def keep_plot(figure: Figure, file: Path) -> None:
    """Write a figure as SVG: equal data, equal file."""
    import matplotlib as mpl  # not above: scripts that measure memory or imports do without it

    file.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": file.stem}):
        figure.savefig(file, metadata={"Date": None})


def machine() -> str:
    """The processor, what it can multiply, and how much of it this process may use."""
    name, flags = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
        fields = {key.strip(): value.strip() for key, _, value in lines}
        name, flags = fields.get("model name", name), fields.get("flags", "")
    known = ", ".join(shown for flag, shown in _FEATURES.items() if flag in flags.split())
    return f"{available_cpus()} cores of {name}" + (f" ({known})" if known else "")
