"""What an evaluation found, as frozen values that are saved with everything needed to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.cases import Case, Outcome
from rerank_core.evaluation.curves import Bin, Cut
from rerank_core.evaluation.measures import MAIN, mean
from rerank_core.evaluation.significance import Comparison, Verdict, compare, holm, verdict_of
from rerank_core.files import accessing
from rerank_core.shown import json_text

FORMAT = 2
_READABLE = {1, FORMAT}  # what was saved before has fewer fields


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
        """The value to a few digits, rounded down: what is copied keeps every document that was kept.

        Near 1 the digits behind the nines count, as those behind the zeros near 0.
        """
        value = Decimal(repr(float(self.value)))
        digits = min(value.adjusted() - 2 if value else 0, (1 - value).adjusted() - 1 if value < 1 else 0)
        return str(float(value.quantize(Decimal(1).scaleb(digits), ROUND_FLOOR)))


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
        bands: the 95 % interval of the change against the first stage at each depth of ``by_depth``.
        retimed: how many queries were scored once more for the times, as their scores were known before; None where the
            times are of the evaluation's own queries.
        outcomes: what became of each query, by its id.
        cuts: precision and recall among the candidates at thresholds.
        reliability: mean score and share of relevant candidates, by tenths of the score.
        trained_on: the public sets in the name of the data that the system was trained on, as far as that is known:
            where there are any, its figures are not zero-shot.
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
    bands: Mapping[int, tuple[float, float]] | None = None
    retimed: int | None = None
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    cuts: tuple[Cut, ...] = ()
    reliability: tuple[Bin, ...] = ()
    trained_on: tuple[str, ...] = ()

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
        known = {each.name: data[each.name] for each in fields(cls) if each.name in data or each.name not in _ADDED}
        change, bands = known["comparison"], _by_number(known.get("bands"))
        return cls(
            **{
                **known,
                "comparison": change and Comparison(**{each.name: change[each.name] for each in fields(Comparison)}),
                "by_depth": _by_number(known["by_depth"]),
                "seconds_by_depth": _by_number(known["seconds_by_depth"]),
                "losses": tuple(Loss(**loss) for loss in known["losses"]),
                "threshold": None if known["threshold"] is None else Threshold(**known["threshold"]),
                "bands": bands and {depth: (float(low), float(high)) for depth, (low, high) in bands.items()},
                "outcomes": {name: Outcome.from_dict(each) for name, each in known.get("outcomes", {}).items()},
                "cuts": tuple(Cut(*each) for each in known.get("cuts", ())),
                "reliability": tuple(Bin(*each) for each in known.get("reliability", ())),
                "trained_on": tuple(map(str, known.get("trained_on", ()))),
            }
        )


_ADDED = {"bands", "retimed", "outcomes", "cuts", "reliability", "trained_on", "cases", "texts", "ceiling"}
"""What files of the first format do not have."""


def _by_number(values: Mapping[str, Any] | None) -> dict[int, Any] | None:
    """JSON knows only texts as keys."""
    return None if values is None else {int(key): value for key, value in values.items()}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two systems compared on the same queries.

    Attributes:
        one: the name of one.
        other: the name of the other.
        comparison: nDCG@10 of ``one`` against ``other``.
        p_value: adjusted for how many comparisons the evaluation shows, those with the first stage included (Holm).
    """

    one: str
    other: str
    comparison: Comparison
    p_value: float

    @property
    def verdict(self) -> str:
        """Which one is better, if that is statistically significant."""
        found = verdict_of(self.comparison, self.p_value)
        return {"helps": f"{self.one} is better", "hurts": f"{self.other} is better"}.get(found, found)

    @property
    def effect(self) -> Verdict:
        """Whether ``one`` helps in place of ``other``."""
        return verdict_of(self.comparison, self.p_value)


@lru_cache(maxsize=256)
def _compare(before: tuple[float, ...], after: tuple[float, ...]) -> Comparison:
    """Every form of a report asks for the same comparisons, and each takes ten thousand resamples."""
    return compare(before, after)


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
        cases: the queries, by id.
        texts: the beginning of the documents that ``cases`` and outcomes name, by id.
        ceiling: nDCG@10 of the best order of the candidates: no reranker gets further.
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
    cases: Mapping[str, Case] = field(default_factory=dict, repr=False)
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    ceiling: float | None = None

    @property
    def baseline(self) -> SystemReport:
        """The first stage."""
        return self.systems[0]

    @property
    def rerankers(self) -> tuple[SystemReport, ...]:
        """What was compared with it."""
        return self.systems[1:]

    def effects(self) -> list[Pair]:
        """Every reranker against the first stage."""
        return self._compared()[: len(self.rerankers)]

    def pairs(self) -> list[Pair]:
        """Every reranker against every later one."""
        return self._compared()[len(self.rerankers) :]

    def _compared(self) -> list[Pair]:
        """All comparisons, their p-values adjusted together."""
        systems = [(a, self.baseline) for a in self.rerankers] + list(combinations(self.rerankers, 2))
        changes = [
            a.comparison
            if b is self.baseline and a.comparison is not None
            else _compare(
                tuple(b.measures[MAIN][query] for query in a.measures[MAIN]), tuple(a.measures[MAIN].values())
            )
            for a, b in systems
        ]
        adjusted = holm([change.p_value for change in changes])
        return [
            Pair(a.name, b.name, change, p_value)
            for (a, b), change, p_value in zip(systems, changes, adjusted, strict=True)
        ]

    def dollars(self, system: SystemReport) -> float | None:
        """What 1,000 queries cost with one of ``systems``; None where price or tokens are not known."""
        return None if self.price is None or system.tokens is None else system.tokens * self.price / 1000

    def to_dict(self) -> dict[str, Any]:
        """Everything, and what follows from it, as JSON has it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        systems = [system.to_dict() | {"dollars_per_1000_queries": self.dollars(system)} for system in self.systems]
        values |= {"format": FORMAT, "systems": systems}
        values["cases"] = {query: asdict(case) for query, case in self.cases.items()}
        values["pairs"] = [asdict(pair) | {"verdict": pair.verdict} for pair in self.pairs()]
        values["effects"] = [asdict(pair) | {"verdict": pair.effect} for pair in self.effects()]
        return values

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evaluation:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: when ``data`` is something else; or KeyError, TypeError, AttributeError.
        """
        if data["format"] not in _READABLE:
            raise ValueError(data["format"])
        values = {each.name: data[each.name] for each in fields(cls) if each.name in data or each.name not in _ADDED}
        first, *rest = (SystemReport.from_dict(each) for each in data["systems"])
        values |= {"queries": int(data["queries"]), "candidates": float(data["candidates"])}
        values |= {name: dict(data[name]) for name in ("settings", "environment")}
        values["cases"] = {query: Case.from_dict(each) for query, each in data.get("cases", {}).items()}
        return cls(**values | {"systems": (first, *rest), "left_out": tuple(map(str, data["left_out"]))})

    def to_json(self) -> str:
        """Everything, as JSON text."""
        return json_text(self.to_dict(), indent=1)

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
            return cls.from_dict(json.loads(text.decode()))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidRequestError(f"{file} is not a saved evaluation.") from error
