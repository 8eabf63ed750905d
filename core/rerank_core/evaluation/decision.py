"""What an evaluation advises, as facts in words and numbers: every form of the report shows these.

Chosen is, of the systems that help (significantly, after Holm's correction), the one with the highest nDCG@10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation, Pair, SystemReport
from rerank_core.evaluation.significance import ENOUGH_QUERIES

Choice = Literal["turn it on", "leave it off", "too few queries to tell"]

_NEAR = 0.005
"""So much nDCG@10 is not worth more candidates."""
_PRECISE = 0.5
_FUSED = "+fusion"

NOT_ZERO_SHOT = "not zero-shot here"
"""Said of a system that was trained on the data it is measured on."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the decision.

    Attributes:
        label: what it is about.
        text: the answer, in words and numbers.
    """

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What an evaluation advises.

    Attributes:
        choice: the answer in a few words.
        system: the name of the system to turn on; None for none.
        candidates: how many candidates to rerank; None without a system.
        threshold: the ``score_threshold`` to use; None where none can be recommended.
        facts: the reasons, and everything else to decide, in words.
    """

    choice: Choice
    system: str | None
    candidates: int | None
    threshold: float | None
    facts: tuple[Fact, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        facts = [{"label": fact.label, "text": fact.text} for fact in self.facts]
        chosen = {"choice": self.choice, "system": self.system, "candidates": self.candidates}
        return {**chosen, "score_threshold": self.threshold, "facts": facts}


def decide(found: Evaluation) -> Decision:
    """What to do."""
    effects = {effect.one: effect for effect in found.effects()}
    few = any(effect.comparison.caution for effect in effects.values())
    helping = [system for system in found.rerankers if effects[system.name].effect == "helps"]
    if few or not helping:
        choice: Choice = "too few queries to tell" if few else "leave it off"
        facts = (*_without(found, effects, few=few), *_trained(found), *_ceiling(found))
        return Decision(choice, None, None, None, facts)
    best = max(helping, key=SystemReport.mean)
    depth = enough_candidates(best)
    facts = (
        Fact("reranking", f"turn it on with {best.name}: {_change(effects[best.name], found)}"),
        *_alternatives(found, best),
        *_fusion(found, best),
        Fact("candidates", _candidates(best, depth)),
        *_threshold(best),
        *_cost(found, best, depth),
        *_trained(found),
        *_ceiling(found),
    )
    value = best.threshold.value if best.threshold is not None else None
    return Decision("turn it on", best.name, depth, value, facts)


def enough_candidates(system: SystemReport) -> int:
    """The fewest candidates with which nDCG@10 is within .005 of the highest."""
    values = system.by_depth or {0: 0.0}
    return min(depth for depth, value in values.items() if value >= max(values.values()) - _NEAR)


def time_of(system: SystemReport, seconds: float | None) -> str:
    """A time of a system for people, with a star where its queries were scored once more for it."""
    if seconds is None:
        return "?"
    shown = f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    return shown if system.retimed is None else f"{shown}*"


def retimed_note(found: Evaluation) -> str:
    """What the star of a time means; "" where no time has one."""
    counts = {system.retimed for system in found.rerankers if system.retimed is not None}
    if not counts:
        return ""
    return f"*: scores from the cache have no times; {max(counts)} queries were scored anew for these"


def _change(effect: Pair, found: Evaluation) -> str:
    change, first = effect.comparison, found.baseline.mean()
    interval = f" (95 % interval {change.low:+.3f} to {change.high:+.3f})" if change.bounded else ""
    counts = f"{change.wins} queries better, {change.losses} worse"
    return (
        f"{MAIN} {first + change.difference:.3f} instead of {first:.3f}, {change.difference:+.3f}{interval}; {counts}"
    )


def _without(found: Evaluation, effects: dict[str, Pair], *, few: bool) -> Iterator[Fact]:
    if few:
        missing = f"{found.queries} queries, at least {ENOUGH_QUERIES} are needed: label {ENOUGH_QUERIES} or more"
        yield Fact("reranking", f"too few queries to tell: {missing}")
    elif not effects:
        yield Fact("reranking", "no model was measured")
    else:
        hurting = [name for name, effect in effects.items() if effect.effect == "hurts"]
        reason = f"{', '.join(hurting)} hurts" if hurting else "no difference found"
        yield Fact("reranking", f"leave it off: {reason}")
    for name, effect in effects.items():
        yield Fact(name, _change(effect, found))


def _alternatives(found: Evaluation, best: SystemReport) -> Iterator[Fact]:
    """Systems that take less time and are not found to be worse."""
    worse = {
        pair.other if pair.one == best.name else pair.one
        for pair in found.pairs()
        if best.name in {pair.one, pair.other} and pair.verdict == f"{best.name} is better"
    }
    for system in found.rerankers:
        if system is best or system.name in worse or system.seconds is None or best.seconds is None:
            continue
        if system.seconds < best.seconds:
            share = system.seconds / best.seconds
            yield Fact("or", f"{system.name}: {MAIN} {system.mean():.3f}, no difference found, {share:.0%} of the time")


def _fusion(found: Evaluation, best: SystemReport) -> Iterator[Fact]:
    means = {system.name: system.mean() for system in found.rerankers}
    plain = best.name.removesuffix(_FUSED)
    fused = plain + _FUSED
    if plain in means and fused in means:
        answer = "yes" if best.name == fused else "no"
        yield Fact(
            "fusion", f"{answer}: {MAIN} {means[fused]:.3f} with the first stage's scores, {means[plain]:.3f} alone"
        )
    elif best.name == plain:
        yield Fact("fusion", f"not measured; add --model '{fused}'")


def _candidates(best: SystemReport, depth: int) -> str:
    values = best.by_depth or {}
    most = max(values, default=depth)
    if depth >= most:
        fewer = "" if len(values) > 1 else "; fewer were not measured"
        return f"rerank {most}, all there are{fewer}"
    return f"rerank {depth}: {MAIN} {values[depth]:.3f}, with all {most} {values[most]:.3f}"


def _threshold(best: SystemReport) -> Iterator[Fact]:
    cut = best.threshold
    if cut is None:
        yield Fact("threshold", "too few relevant candidates to choose one")
        return
    weak = "" if cut.precision >= _PRECISE else "; most of what it keeps is not relevant, so set it with care"
    yield Fact(
        "threshold",
        f"score_threshold={cut.shown} keeps {cut.kept:.0%} of the candidates, with precision {cut.precision:.2f} and "
        f"recall {cut.recall:.2f} on queries it was not chosen on{weak}",
    )


def _cost(found: Evaluation, best: SystemReport, depth: int) -> Iterator[Fact]:
    times = best.seconds_by_depth or {}
    if depth not in times:
        yield Fact("cost", "time is not known: the scores are from the cache; --cache NEW_FILE computes them again")
        return
    dollars = found.dollars(best)
    price = "" if dollars is None else f"; ${dollars:.4f} per 1,000 queries with all candidates"
    noted = "" if best.retimed is None else f", from {best.retimed} queries scored anew"
    yield Fact(
        "cost", f"{time_of(best, times[depth]).rstrip('*')} per query here, median, {depth} candidates{noted}{price}"
    )


def _trained(found: Evaluation) -> Iterator[Fact]:
    """Systems whose figures say less about other data."""
    for system in found.rerankers:
        if system.trained_on:
            sets = " and ".join(system.trained_on)
            yield Fact(
                NOT_ZERO_SHOT,
                f"{system.name} was trained on {sets}: it may gain less on data it has not seen",
            )


def _ceiling(found: Evaluation) -> Iterator[Fact]:
    if found.ceiling is None:
        return
    missing = sum(not case.reachable for case in found.cases.values())
    yield Fact(
        "ceiling",
        f"no reranker gets above {MAIN} {found.ceiling:.3f} with these candidates; {missing} of {found.queries} "
        f"{'query has' if found.queries == 1 else 'queries have'} no relevant document among them",
    )
