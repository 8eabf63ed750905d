"""What an evaluation found, as frozen values that are saved with everything needed to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import combinations
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.measures import MAIN, mean
from rerank_core.evaluation.significance import LEVEL, Comparison, compare, holm
from rerank_core.files import accessing
from rerank_core.shown import json_text

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Threshold:
    """A score to cut at, and what that buys on queries it was not chosen on.

    Attributes:
        value: the suggested ``score_threshold``, a score that is in the data; rounded up it would drop that document.
        precision: share of the documents at or above it that are relevant, on held-out folds.
        recall: share of the relevant candidates that are at or above it, on held-out folds.
        kept: share of all candidates at or above it.
    """

    value: float
    precision: float
    recall: float
    kept: float

    @property
    def shown(self) -> str:
        """The value with all its digits, so that what is copied keeps what was measured."""
        return repr(float(self.value))


@dataclass(frozen=True, slots=True)
class Loss:
    """A query that reranking made worse.

    Attributes:
        query: its text.
        before: nDCG@10 of the first stage.
        after: nDCG@10 of the reranker.
        wanted: the beginning of the best relevant document that was pushed down.
        preferred: the beginning of the highest document above it that is less relevant.
    """

    query: str = field(repr=False)
    before: float
    after: float
    wanted: str = field(repr=False)
    preferred: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SystemReport:
    """One reranker, or the first stage itself.

    Attributes:
        name: for people.
        identity: everything that decides its scores; "" for the first stage.
        measures: measure to query id to value.
        comparison: nDCG@10 against the first stage; None for the first stage itself.
        by_depth: nDCG@10 when only so many candidates are reranked; only the full depth where scores depend on what
            else is in the request (cascades, list-wise models).
        seconds_by_depth: ``seconds`` at these depths, by the share of a query's candidates.
        losses: the worst losses, worst first.
        seconds: median seconds per query, of those scored one by one (100 at most); None where not all of their scores
            were computed in this run.
        seconds_95: 95 % of the queries took at most this.
        documents_per_second: over the same queries.
        tokens: mean tokens per query; None where they are not known.
        truncated: share of the documents that were read only in part, as far as that is known: services need not tell.
        threshold: a suggestion; None where there is too little to base it on.
    """

    name: str
    identity: str
    measures: Mapping[str, Mapping[str, float]]
    comparison: Comparison | None = None
    by_depth: Mapping[int, float] | None = None
    seconds_by_depth: Mapping[int, float] | None = None
    losses: Sequence[Loss] = ()
    seconds: float | None = None
    seconds_95: float | None = None
    documents_per_second: float | None = None
    tokens: float | None = None
    truncated: float = 0.0
    threshold: Threshold | None = None

    def mean(self, measure: str = MAIN) -> float:
        """The mean of a measure over all queries."""
        return mean(self.measures[measure])

    def to_dict(self) -> dict[str, Any]:
        """Everything, and what follows from it: the means, the verdict and its caution."""
        values = asdict(self) | {"means": {measure: self.mean(measure) for measure in self.measures}}
        if self.comparison is not None:
            values["comparison"] |= {"verdict": self.comparison.verdict, "caution": self.comparison.caution}
        return values

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SystemReport:
        """The inverse of :meth:`to_dict`."""
        data = {each.name: data[each.name] for each in fields(cls)}
        change = data["comparison"]
        return cls(
            **{
                **data,
                "comparison": change and Comparison(**{each.name: change[each.name] for each in fields(Comparison)}),
                "by_depth": _by_number(data["by_depth"]),
                "seconds_by_depth": _by_number(data["seconds_by_depth"]),
                "losses": tuple(Loss(**loss) for loss in data["losses"]),
                "threshold": None if data["threshold"] is None else Threshold(**data["threshold"]),
            }
        )


def _by_number(values: Mapping[str, float] | None) -> dict[int, float] | None:
    """JSON knows only texts as keys."""
    return None if values is None else {int(key): value for key, value in values.items()}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rerankers compared on the same queries.

    Attributes:
        one: the name of one.
        other: the name of the other.
        comparison: nDCG@10 of ``one`` against ``other``.
        p_value: adjusted for how many pairs there are (Holm).
    """

    one: str
    other: str
    comparison: Comparison
    p_value: float

    @property
    def verdict(self) -> str:
        """Which one is better, if that is statistically significant."""
        if self.comparison.caution:
            return "too few queries to tell"
        if self.p_value >= LEVEL or not self.comparison.difference:
            return "no difference found"
        return f"{self.one if self.comparison.difference > 0 else self.other} is better"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything one evaluation found.

    Attributes:
        data: name of the data.
        checksum: of what was measured on: the data (:attr:`LabelledData.checksum`), or the sample of it.
        queries: how many were measured.
        first_stage: how the candidates were found.
        candidates: mean number of candidates per query.
        systems: the first stage, then every reranker in the order asked for.
        settings: what was asked for.
        environment: package versions, machine and date.
        left_out: what was asked for and could not be measured, and what counts with 0 for every system, in words.
        price: dollars per million tokens; None where it was not given.
    """

    data: str
    checksum: str
    queries: int
    first_stage: str
    candidates: float
    systems: tuple[SystemReport, ...]
    settings: Mapping[str, Any]
    environment: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    price: float | None = None

    @property
    def baseline(self) -> SystemReport:
        """The first stage."""
        return self.systems[0]

    @property
    def rerankers(self) -> tuple[SystemReport, ...]:
        """What was compared with it."""
        return self.systems[1:]

    def pairs(self) -> list[Pair]:
        """Every reranker against every later one."""
        pairs = list(combinations(self.rerankers, 2))
        changes = [
            compare([b.measures[MAIN][query] for query in a.measures[MAIN]], list(a.measures[MAIN].values()))
            for a, b in pairs
        ]
        adjusted = holm([change.p_value for change in changes])
        return [
            Pair(a.name, b.name, change, p_value)
            for (a, b), change, p_value in zip(pairs, changes, adjusted, strict=True)
        ]

    def dollars(self, system: SystemReport) -> float | None:
        """What 1,000 queries cost with one of ``systems``; None where price or tokens are not known."""
        return None if self.price is None or system.tokens is None else system.tokens * self.price / 1000

    def to_json(self) -> str:
        """Everything, as JSON text."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        systems = [system.to_dict() | {"dollars_per_1000_queries": self.dollars(system)} for system in self.systems]
        values |= {"format": FORMAT, "systems": systems}
        values["pairs"] = [asdict(pair) | {"verdict": pair.verdict} for pair in self.pairs()]
        return json_text(values, indent=1)

    def save(self, file: str | Path) -> None:
        """Write :meth:`to_json` to ``file``.

        Raises:
            InvalidRequestError: when it cannot be written.
        """
        with accessing(file, "write"):
            Path(file).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: str | Path) -> Evaluation:
        """Read what :meth:`save` has written.

        Raises:
            InvalidRequestError: when the file cannot be read, or is not one.
        """
        with accessing(file):
            text = Path(file).read_bytes()
        try:
            data = json.loads(text.decode())
            if data["format"] != FORMAT:
                raise ValueError(data["format"])  # noqa: TRY301  (one message for all of them)
            values = {each.name: data[each.name] for each in fields(cls)}
            first, *rest = (SystemReport.from_dict(each) for each in data["systems"])
            values |= {"queries": int(data["queries"]), "candidates": float(data["candidates"])}
            values |= {name: dict(data[name]) for name in ("settings", "environment")}
            return cls(**values | {"systems": (first, *rest), "left_out": tuple(map(str, data["left_out"]))})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidRequestError(f"{file} is not a saved evaluation.") from error
