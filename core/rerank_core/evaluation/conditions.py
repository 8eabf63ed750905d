"""When a command that evaluates shall fail, for whoever runs it in continuous integration."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.report import Evaluation
from rerank_core.evaluation.stages import Report

HURTS, NOT_BETTER, BELOW = "hurts", "not-better", "below"


@dataclass(frozen=True, slots=True)
class Condition:
    """When to fail.

    Attributes:
        kind: :data:`HURTS`, :data:`NOT_BETTER` or :data:`BELOW`.
        least: the gain in nDCG@10 that :data:`BELOW` asks for.
    """

    kind: str
    least: float = 0.0

    @classmethod
    def read(cls, text: str) -> Condition:
        """``hurts``, ``not-better`` or ``below=GAIN``.

        Raises:
            InvalidRequestError: when it is none of these.
        """
        kind, equals, number = text.partition("=")
        try:
            least = float(number) if equals else 0.0
        except ValueError:
            least = 2.0
        if (kind, bool(equals)) not in {(HURTS, False), (NOT_BETTER, False), (BELOW, True)} or not -1 <= least <= 1:
            raise InvalidRequestError(
                f"--fail-if: expected {HURTS}, {NOT_BETTER} or {BELOW}=GAIN (in nDCG@10, such as .02); got {text!r}.",
                param="fail_if",
            )
        return cls(kind, least)

    def failure(self, report: Report) -> str:
        """Why it holds behind one of the first stages, in words; "" where it holds behind none."""
        return next((reason for found in report.evaluations if (reason := self._reason(found))), "")

    def _reason(self, found: Evaluation) -> str:
        effects = found.effects()
        if self.kind == HURTS:
            hurting = [effect.one for effect in effects if effect.effect == "hurts"]
            return f"{', '.join(hurting)} hurts behind {found.first_stage}" if hurting else ""
        if self.kind == NOT_BETTER:
            helps = any(effect.effect == "helps" for effect in effects)
            return "" if helps else f"no model is found to help behind {found.first_stage}"
        most = max((effect.comparison.difference for effect in effects), default=0.0)
        return f"the largest gain behind {found.first_stage} is {most:+.3f}" if most < self.least else ""
