"""What every form of a report shows: figures as texts, in rows below a head."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rerank_core.documents import one_line
from rerank_core.evaluation.breakdowns import breakdown
from rerank_core.evaluation.decision import NOT_ZERO_SHOT, retimed_note
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation, SystemReport
from rerank_core.evaluation.significance import Verdict, mean_interval, p_value_text
from rerank_core.evaluation.stages import Report

_LINE = 2_000
UNKNOWN = "?"
UNKNOWN_MEANS = "?: scores from the cache are not timed, and a service need not tell its tokens"
INTERVAL = "95 % interval"


def plain(text: str) -> str:
    """``text`` as one line, without what would steer a terminal."""
    return one_line(text, _LINE)


def size(found: Evaluation) -> str:
    """How much was measured."""
    queries = "query" if found.queries == 1 else "queries"
    candidates = "candidate" if found.candidates == 1 else "candidates"
    return f"{found.queries:,} {queries}, {found.candidates:,.1f}".removesuffix(".0") + f" {candidates} each"


def verdict_lines(found: Evaluation) -> Iterator[tuple[str, Verdict, str]]:
    """(name, verdict, what it rests on) of every reranker."""
    effects = found.effects()
    adjusted = " (Holm)" if len(effects) + len(found.pairs()) > 1 else ""
    for effect in effects:
        change = effect.comparison
        interval = (
            f"{INTERVAL} {change.low:+.3f} to {change.high:+.3f}" if change.bounded else "too few for an interval"
        )
        counts = f"{change.wins} queries better, {change.losses} worse, {change.ties} the same"
        p_value = p_value_text(effect.p_value) + adjusted
        yield plain(effect.one), effect.effect, f"{MAIN} {change.difference:+.3f}, {interval}, {p_value}; {counts}"


def pair_cells(found: Evaluation) -> list[list[str]]:
    """Every reranker against every later one: a head, and a row for each pair; the head alone where there are none."""
    rows = [["pair", MAIN, INTERVAL, "p (Holm)", "result"]]
    for pair in found.pairs():
        change = pair.comparison
        interval = f"{change.low:+.3f} to {change.high:+.3f}" if change.bounded else UNKNOWN
        p_value = p_value_text(pair.p_value).removeprefix("p ")
        rows.append([f"{pair.one} - {pair.other}", f"{change.difference:+.3f}", interval, p_value, pair.verdict])
    return rows


def quality_cells(found: Evaluation) -> list[list[str]]:
    """The means of every measure, and the interval of the first: a head, and a row for each system.

    Recall at full depth is not among them: reranking does not change it. Behind the name of a system that was trained
    on the data it is said that its figures are not zero-shot.
    """
    measures = list(found.baseline.measures)[:-1]
    rows = []
    for system in found.systems:
        interval = mean_interval(list(system.measures[MAIN].values()))
        shown = UNKNOWN if interval is None else "{:.3f} to {:.3f}".format(*interval)
        main, *others = (f"{system.mean(measure):.3f}" for measure in measures)
        rows.append([_marked(system), main, shown, *others])
    return [["system", MAIN, INTERVAL, *measures[1:]], *rows]


def _marked(system: SystemReport) -> str:
    return f"{system.name} ({NOT_ZERO_SHOT})" if system.trained_on else system.name


def recall_line(found: Evaluation) -> str:
    """Recall at full depth, which is the same for all systems."""
    name = list(found.baseline.measures)[-1]
    return f"{name} {found.baseline.mean(name):.3f} for all of them: reranking does not change it"


def best_cells(rows: list[list[str]]) -> set[tuple[int, int]]:
    """Row and column of the highest figure of each column, where not all of them are equal."""
    best = set()
    for column in range(1, max(map(len, rows), default=0)):
        figures = {row: cells[column] for row, cells in enumerate(rows) if _is_figure(cells[column])}
        if len(set(figures.values())) > 1:
            most = max(map(float, figures.values()))
            best |= {(row, column) for row, figure in figures.items() if float(figure) == most}
    return best


def _is_figure(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def stage_cells(report: Report) -> list[list[str]]:
    """nDCG@10 of every system behind every first stage: a head, and a row for each system."""
    rows = [["alone", *(f"{found.baseline.mean():.3f}" for found in report.evaluations)]]
    for position, system in enumerate(report.evaluations[0].rerankers):
        rows.append([_marked(system), *(f"{found.rerankers[position].mean():.3f}" for found in report.evaluations)])
    return [["system", *(found.first_stage for found in report.evaluations)], *rows]


def threshold_cells(found: Evaluation) -> list[list[str]]:
    """The suggested thresholds: a head, and a row for each reranker that has one."""
    cuts = [(system.name, system.threshold) for system in found.rerankers if system.threshold is not None]
    rows = [[name, cut.shown, f"{cut.precision:.2f}", f"{cut.recall:.2f}", f"{cut.kept:.0%}"] for name, cut in cuts]
    return [["system", "score_threshold", "precision", "recall", "kept"], *rows]


def breakdown_cells(found: Evaluation, system: SystemReport) -> list[list[str]]:
    """Groups of queries: a head, and a row for each group."""
    groups = breakdown(found, system)
    rows = [
        [
            group.name,
            str(group.queries),
            f"{group.before:.3f}",
            f"{group.after:.3f}",
            f"{group.after - group.before:+.3f}",
        ]
        for group in groups
    ]
    return [["group", "queries", "first stage", "reranked", "change"], *rows]


def change_cells(report: Report, found: Evaluation) -> list[list[str]]:
    """What changed since the earlier report: a head, and a row for each system that it has."""
    rows = [
        [each.name, f"{each.before:.3f}", f"{each.after:.3f}", f"{each.after - each.before:+.3f}", each.verdict]
        for each in report.changes(found)
    ]
    return [["system", "then", "now", "change", "result"], *rows]


def cost_cells(found: Evaluation, shown: Callable[[float], str]) -> list[list[str]]:
    """What each reranker costs: a head, and a row for each.

    Args:
        found: the evaluation.
        shown: seconds, for people.
    """
    head = ["system", "query\np50", "p95", "documents\n/s", "tokens\n/query", "cut\ndocuments"]
    rows = [head if found.price is None else [*head, "$ / 1,000\nqueries"]]
    for system in found.rerankers:
        times, star = (system.seconds, system.seconds_95), "" if system.retimed is None else "*"
        row = [
            system.name,
            *(UNKNOWN if value is None else shown(value) + star for value in times),
            UNKNOWN if system.documents_per_second is None else f"{system.documents_per_second:.1f}",
            UNKNOWN if system.tokens is None else f"{system.tokens:,.0f}",
            f"{system.truncated:.1%}",
        ]
        dollars = found.dollars(system)
        rows.append(row if found.price is None else [*row, UNKNOWN if dollars is None else f"{dollars:.4f}"])
    return rows


def seconds(value: float) -> str:
    """A time for people."""
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"


def cost_notes(found: Evaluation) -> list[str]:
    """What the marks in the cells of :func:`cost_cells` mean."""
    _, *rows = cost_cells(found, seconds)
    notes = [UNKNOWN_MEANS] if any(UNKNOWN in row for row in rows) else []
    return [*notes, *filter(None, [retimed_note(found)])]
