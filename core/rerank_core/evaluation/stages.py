"""A report: the evaluations behind one or several first stages, and what was found earlier."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.decision import decide
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import FORMAT, Evaluation
from rerank_core.evaluation.significance import Comparison, compare
from rerank_core.files import accessing
from rerank_core.shown import json_text


@dataclass(frozen=True, slots=True)
class Change:
    """A system now and in an earlier report.

    Attributes:
        name: the system's.
        before: its mean nDCG@10 then.
        after: its mean nDCG@10 now.
        comparison: query by query; None where data, queries or measures are others.
    """

    name: str
    before: float
    after: float
    comparison: Comparison | None

    @property
    def verdict(self) -> str:
        """What the change says."""
        if self.comparison is None:
            return "other data: not compared"
        return {"helps": "better", "hurts": "worse"}.get(self.comparison.verdict, self.comparison.verdict)


@dataclass(frozen=True, slots=True)
class Report:
    """What is shown and saved together.

    Attributes:
        evaluations: one for each first stage, of the same systems on the same queries.
        earlier: those of an earlier report to compare with.
        command: how to have all of it again, as a command line; "" where it was made otherwise.

    Raises:
        InvalidRequestError: when there is no evaluation.
    """

    evaluations: tuple[Evaluation, ...]
    earlier: tuple[Evaluation, ...] = ()
    command: str = ""

    def __post_init__(self) -> None:
        if not self.evaluations:
            raise InvalidRequestError("a report needs an evaluation.", param="evaluations")

    @classmethod
    def of(cls, found: Evaluation | Report) -> Report:
        """The report that ``found`` is, or of that one evaluation."""
        return found if isinstance(found, Report) else cls((found,))

    def changes(self, found: Evaluation) -> Iterator[Change]:
        """Every system of an evaluation that the earlier report has behind the same first stage."""
        then = {each.first_stage: each for each in self.earlier}
        alone = len(self.earlier) == len(self.evaluations) == 1
        old = self.earlier[0] if alone else then.get(found.first_stage)
        if old is None:
            return
        known = {system.name: system for system in old.rerankers} | {found.baseline.name: old.baseline}
        for system in found.systems:
            if system.name not in known:
                continue
            before, after = known[system.name].measures[MAIN], system.measures[MAIN]
            same = old.checksum == found.checksum and before.keys() == after.keys()
            comparison = compare([before[query] for query in after], list(after.values())) if same else None
            yield Change(system.name, known[system.name].mean(), system.mean(), comparison)

    def to_json(self) -> str:
        """Everything, with the decisions, as JSON text; one evaluation is an object of its own."""
        found = [self._to_dict(each) for each in self.evaluations]
        return json_text(found[0] if len(found) == 1 else {"format": FORMAT, "evaluations": found}, indent=1)

    def _to_dict(self, found: Evaluation) -> dict[str, Any]:
        changes = [asdict(change) | {"verdict": change.verdict} for change in self.changes(found)]
        derived = {"decision": decide(found).to_dict(), "changes": changes, "command": self.command}
        return found.to_dict() | derived

    @classmethod
    def load(cls, file: str | Path) -> Report:
        """Read what was saved as JSON.

        Raises:
            InvalidRequestError: when the file cannot be read, or is no report.
        """
        with accessing(file):
            text = Path(file).read_bytes()
        try:
            data = json.loads(text.decode())
            found: list[Mapping[str, Any]] = data.get("evaluations", [data])
            return cls(tuple(Evaluation.from_dict(each) for each in found), command=str(found[0].get("command", "")))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise InvalidRequestError(f"{file} is not a saved evaluation.") from error
