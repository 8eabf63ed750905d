"""What a candidate on trial did: the log of a ``ShadowScorer``, read and summed up."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.lines import read_lines, read_object

_FIELDS = ("documents", "moved", "top_n", "overlap", "first_differs", "seconds", "live_seconds")


@dataclass(frozen=True, slots=True)
class ShadowSummary:
    """How a candidate's answers differed from the live model's.

    Attributes:
        live: the live model.
        candidate: the one on trial.
        requests: how many were compared.
        dropped: how many were not, by code.
        overlap: mean share of the first results that both rankings have; None where nothing was compared.
        first_differs: share of requests in which another text comes first; None as above.
        moved: share of texts that have another place; None as above.
        live_seconds: the live model's median and 95th percentile; None as above.
        seconds: the candidate's.
    """

    live: str
    candidate: str
    requests: int
    dropped: Mapping[str, int]
    overlap: float | None = None
    first_differs: float | None = None
    moved: float | None = None
    live_seconds: tuple[float, float] | None = None
    seconds: tuple[float, float] | None = None

    def __str__(self) -> str:
        lines = [f"{self.candidate} beside {self.live}: {self.requests} requests compared"]
        if self.live_seconds is not None and self.seconds is not None:
            lines.append(f"both have {self.overlap:.0%} of the first results; {self.moved:.0%} of all texts move")
            lines.append(f"another text comes first in {self.first_differs:.0%} of the requests")
            for name, (median, high) in (("live", self.live_seconds), ("candidate", self.seconds)):
                lines.append(f"{name}: {1000 * median:.0f} ms in the median, 95 % within {1000 * high:.0f} ms")
        lines += [f"not compared ({code}): {count}" for code, count in sorted(self.dropped.items())]
        return "\n".join(lines)


def read_shadow_log(file: Path) -> list[ShadowSummary]:
    """Sum up a log, for each pair of models in it.

    Raises:
        InvalidRequestError: when it cannot be read, or a line is none of such a log; the message says which.
    """
    compared: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    dropped: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for number, line in read_lines(file):
        row = read_object(file, number, line)
        pair = (str(row.get("live")), str(row.get("candidate")))
        if "code" in row:
            dropped[pair][str(row["code"])] += 1
        elif all(isinstance(row.get(name), int | float) for name in _FIELDS) and row["documents"] > 0:
            compared[pair].append(row)
        else:
            raise InvalidRequestError(f"{file.name}:{number}: this is no line of a shadow log.", param="shadow_log")
    return [_summary(*pair, compared[pair], dropped[pair]) for pair in {**compared, **dropped}]


def _summary(live: str, candidate: str, rows: Sequence[Mapping[str, Any]], dropped: Mapping[str, int]) -> ShadowSummary:
    if not rows:
        return ShadowSummary(live, candidate, 0, dropped)
    return ShadowSummary(
        live,
        candidate,
        len(rows),
        dropped,
        overlap=statistics.fmean(row["overlap"] for row in rows),
        first_differs=statistics.fmean(row["first_differs"] for row in rows),
        moved=sum(row["moved"] for row in rows) / sum(row["documents"] for row in rows),
        live_seconds=_spread([row["live_seconds"] for row in rows]),
        seconds=_spread([row["seconds"] for row in rows]),
    )


def _spread(seconds: list[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    seconds.sort()
    return statistics.median(seconds), seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))]
